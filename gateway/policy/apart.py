"""Checking a bundle in a process of its own, while this one goes on answering requests.

Compiling a thousand policies and running their cases takes a second or two of work that no thread can do beside the event loop
without holding it up. And whatever text could make Cedar's parser end a process ends that one.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from gateway.kernel.errors import BundleError
from gateway.policy.evaluate import Bundle, Policy
from gateway.policy.folder import Snapshot
from gateway.policy.reads import Reads
from gateway.policy.template import Template

T = TypeVar("T")
TIMEOUT_SECONDS: Final = 120
MEMORY_BYTES: Final = 4 << 30
_NICE: Final = 5


class Made(msgspec.Struct, frozen=True, kw_only=True, tag="made"):
    """A bundle that was found good, taken apart."""

    version: str
    policies: tuple[Policy, ...]
    reads: Reads
    templates: tuple[Template, ...] = ()


class Bad(msgspec.Struct, frozen=True, kw_only=True, tag="bad"):
    """Why it is not."""

    what: str
    where: str
    todo: str


_given: Final = msgspec.msgpack.Decoder(Snapshot)
_found: Final = msgspec.msgpack.Decoder(Made | Bad)


def load_apart(snapshot: Snapshot) -> Bundle:
    """Return what `gateway.policy.holder.load_checked` returns, checked in another process. Blocking.

    Raises BundleError as that does, and when the other process ends without an answer or takes longer than two minutes.
    """
    found = ask_apart("gateway.policy.apart", msgspec.msgpack.encode(snapshot), _found, snapshot.folder)
    if isinstance(found, Bad):
        raise BundleError(found.what, where=found.where, todo=found.todo)
    return Bundle(version=found.version, policies=found.policies, reads=found.reads, templates=found.templates)


def ask_apart(module: str, given: bytes, decoder: msgspec.msgpack.Decoder[T], where: str) -> T:
    """Run one of our modules on standard input; return what it wrote. Blocking.

    Raises BundleError, which speaks of `where`, when it ends without an answer or takes longer than two minutes.
    """
    todo = "Restore the files before, and report this"
    try:
        done = subprocess.run(  # noqa: S603  one of our own modules
            # -P: the folder that this was started in is no place to take modules from.
            [sys.executable, "-P", "-m", module],
            input=given,
            stdout=subprocess.PIPE,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BundleError(f"checking it took longer than {TIMEOUT_SECONDS} s", where=where, todo=todo) from None
    except OSError as error:
        what = f"no process could be started to check it ({error.strerror})"
        raise BundleError(what, where=where, todo=todo) from error
    try:
        return decoder.decode(done.stdout)
    except msgspec.DecodeError:
        what = f"checking it ended with status {done.returncode} and no answer"
        raise BundleError(what, where=where, todo=todo) from None


def answer(given: bytes) -> bytes:
    """Check the bundle that was handed in, and return the answer for the other side."""
    # Not at the top: whoever only asks needs none of it.
    from gateway.policy.holder import load_checked

    try:
        bundle = load_checked(_given.decode(given))
    except BundleError as error:
        return msgspec.msgpack.encode(Bad(what=error.what, where=error.where, todo=error.todo))
    made = Made(version=bundle.version, policies=bundle.policies, reads=bundle.reads, templates=bundle.templates)
    return msgspec.msgpack.encode(made)


def answer_apart(answer: Callable[[bytes], bytes]) -> None:
    """Be the other process: answer what is on standard input, after those who serve, and within some memory."""
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    sys.stdout.buffer.write(answer(sys.stdin.buffer.read()))


if __name__ == "__main__":
    answer_apart(answer)

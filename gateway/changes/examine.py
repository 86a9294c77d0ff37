"""Everything that is looked at before a change goes on: what is wrong with its files, who would be locked out. Small bundles in
a thread; larger ones in a process of their own, while this one goes on answering requests (decision 23).
"""

from typing import Final

import msgspec

from gateway.changes.bundle_files import content_of, snapshot_of
from gateway.changes.checking import check_files, problem_of
from gateway.changes.lockout import TODO, Locked, Officer, Reach, locked_out
from gateway.changes.model import Checked, Files, Problem
from gateway.domain.route import Route
from gateway.kernel.errors import BundleError
from gateway.policy.apart import answer_apart, ask_apart
from gateway.policy.compile import version_of
from gateway.policy.known import NOTHING, Known

LARGE_BYTES: Final = 16_384
"""A thread that checks this much keeps requests waiting for some milliseconds, one that checks a hospital's for hundreds."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be looked at, and for whom."""

    files: dict[str, bytes]
    routes: tuple[Route, ...]
    known: Known = NOTHING
    officers: tuple[Officer, ...] = ()
    reach: Reach = Reach()
    analysed: bool = True
    """With the static checks; without them only what keeps a bundle from being loaded counts."""


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    checked: Checked
    """A lockout is one of its problems."""
    locked: Locked | None = None


_question: Final = msgspec.msgpack.Decoder(Question)
_examined: Final = msgspec.msgpack.Decoder(Examined)


def is_large(files: Files) -> bool:
    """Whether these files are better looked at in another process."""
    return sum(len(data) for data in files.values()) > LARGE_BYTES


def examine(question: Question) -> Examined:
    """Look at it here. Never raises for what the files hold."""
    checked, bundle = check_files(question.files, question.routes, question.known, analysed=question.analysed)
    locked = locked_out(bundle, question.officers, question.routes, question.reach) if bundle is not None else None
    if locked is not None:
        problem = Problem(file="", line=0, what=locked.what, todo=TODO)
        checked = msgspec.structs.replace(checked, problems=(problem, *checked.problems))
    return Examined(checked=checked, locked=locked)


def without_lockout(found: Examined) -> Checked:
    """Return what is to be said of the files alone."""
    if found.locked is None:
        return found.checked
    what = found.locked.what
    return msgspec.structs.replace(
        found.checked, problems=tuple(problem for problem in found.checked.problems if problem.what != what)
    )


def examine_apart(question: Question) -> Examined:
    """Look at it in another process. Blocking. One that ends without an answer is a problem of the files."""
    try:
        return ask_apart("gateway.changes.examine", msgspec.msgpack.encode(question), _examined, "")
    except BundleError as error:
        version = version_of(snapshot_of(question.files).policies)
        content = content_of(question.files)
        return Examined(checked=Checked(version=version, content=content, problems=(problem_of(error),), passed=0, failed=()))


def answer(given: bytes) -> bytes:
    """Answer a question that came as bytes."""
    return msgspec.msgpack.encode(examine(_question.decode(given)))


if __name__ == "__main__":
    answer_apart(answer)

"""The policies in force, and how others take their place: only ones that load and whose cases hold, all at once, no restart."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Self

import msgspec

from gateway.kernel.errors import BundleError
from gateway.policy.apart import load_apart
from gateway.policy.case_files import parse_cases
from gateway.policy.cases import run_cases
from gateway.policy.compile import compile_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.folder import Snapshot, read_folder


class Loaded(msgspec.Struct, frozen=True):
    """Another bundle is in force now."""

    bundle: Bundle
    replaced: str
    """Version of the one before."""


class Unchanged(msgspec.Struct, frozen=True):
    """The folder holds what is in force, or what was already rejected."""


class Rejected(msgspec.Struct, frozen=True):
    """What is in the folder can't be used; the bundle before stays in force."""

    error: BundleError


def load_checked(snapshot: Snapshot) -> Bundle:
    """Compile a snapshot and run its cases. Raises BundleError, also when there is no case or one does not hold."""
    bundle = compile_bundle(snapshot.policies, snapshot.folder)
    cases = parse_cases(snapshot.cases, snapshot.folder)
    failures = run_cases(bundle, cases).failures
    if failures:
        first = failures[0]
        difference = first.differences[0]
        raise BundleError(
            f"{len(failures)} of {len(cases)} cases fail, first {first.case.name!r}: {difference.what} is {difference.got}, "
            f"expected {difference.expected}",
            where=f"{first.case.file}:{first.case.line}",
            todo="`gateway policy test` shows them all",
        )
    return bundle


class PolicyHolder:
    """Holds the bundle in force.

    `current` may be read from any thread or task at any time: it is always one whole, checked bundle. Hold on to the value
    for the length of one decision.
    """

    def __init__(self, folder: Path, bundle: Bundle, fingerprint: str = "") -> None:
        self._folder: Final = folder
        self._bundle = bundle
        self._seen = fingerprint
        self._rejected: BundleError | None = None
        self._lock: Final = threading.Lock()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Load the first bundle. Raises BundleError when it can't be used or its cases don't hold: then don't start."""
        snapshot = read_folder(folder)
        return cls(folder, load_checked(snapshot), snapshot.fingerprint)

    @property
    def current(self) -> Bundle:
        """The bundle in force."""
        return self._bundle

    @property
    def rejected(self) -> BundleError | None:
        """Why the folder's present content is not in force; None when it is."""
        return self._rejected

    def reload(self) -> Loaded | Unchanged | Rejected:
        """Look at the folder, and put its bundle in force if it differs and is good. Blocking: call it in a thread.

        Every problem is a `Rejected`, told once for the same content; the bundle in force is then untouched.
        """
        with self._lock:
            seen, self._seen = self._seen, ""  # a folder that can't be read is no known content
            try:
                snapshot = read_folder(self._folder)
                self._seen = snapshot.fingerprint
                if snapshot.fingerprint == seen:
                    return Unchanged()
                bundle = load_apart(snapshot)
            except BundleError as error:
                return self._reject(error)
            except Exception as error:  # noqa: BLE001  whatever a folder's content brings up, the old bundle keeps serving
                what = f"loading it broke: {type(error).__name__}"
                return self._reject(BundleError(what, where=str(self._folder), todo="Restore the files before, and report this"))
            self._rejected = None
            before, self._bundle = self._bundle, bundle
            return Unchanged() if before.version == bundle.version else Loaded(bundle, before.version)

    def _reject(self, error: BundleError) -> Rejected | Unchanged:
        again = self._rejected is not None and str(self._rejected) == str(error)
        self._rejected = error
        return Unchanged() if again else Rejected(error)

    async def watch(
        self,
        on_loaded: Callable[[Loaded], Awaitable[None]],
        on_rejected: Callable[[BundleError], Awaitable[None]],
        *,
        every: float = 1.0,
    ) -> None:
        """Reload whenever the folder's content changes, looking every `every` seconds, until cancelled.

        Content is compared by hash, not by time. The loading runs in a thread. `on_loaded` is called after the new bundle is in
        force. What a callback raises ends the watch: let it end the process too, or policies would silently stop following.
        """
        while True:
            await asyncio.sleep(every)
            outcome = await asyncio.to_thread(self.reload)
            if isinstance(outcome, Loaded):
                await on_loaded(outcome)
            elif isinstance(outcome, Rejected):
                await on_rejected(outcome.error)

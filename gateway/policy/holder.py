"""The policies in force, and how others take their place: only ones that load and whose cases hold, all at once, no restart."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Self

import msgspec

from gateway.kernel.errors import BundleError, StoreUnavailable
from gateway.policy.apart import load_apart
from gateway.policy.case_files import parse_cases
from gateway.policy.cases import run_cases
from gateway.policy.compile import compile_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.folder import Snapshot
from gateway.policy.offers import FolderOffers, Offer, Offers

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 30.0
"""How long until what was published and could not be loaded is tried once more: it may have been this machine's fault."""


class Loaded(msgspec.Struct, frozen=True):
    """Another bundle is in force now."""

    bundle: Bundle
    replaced: str
    """Version of the one before."""
    detail: dict[str, str] = {}
    """Who published it, why, who approved: for the log."""


class Unchanged(msgspec.Struct, frozen=True):
    """What is offered is in force, or was already rejected."""


class Rejected(msgspec.Struct, frozen=True):
    """What is offered can't be used; the bundle before stays in force."""

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
    """Holds the bundle in force, and the one that is tried out beside it.

    `current` and `trial` may be read from any thread or task at any time: each is one whole, checked bundle. Hold on to the
    value for the length of one decision.
    """

    def __init__(self, offers: Offers, offer: Offer, bundle: Bundle) -> None:
        """Use `open`."""
        self._offers: Final = offers
        self._seen: Offer | None = offer
        """What was offered last, in force or not; None: nobody knows."""
        self._offer = offer
        """What is in force."""
        self._bundle = bundle
        self._trial: Bundle | None = None
        self._trial_seen = ""
        self._trial_error: BundleError | None = None
        self._rejected: BundleError | None = None
        self._again_at = 0.0
        self._unreachable = False
        self._lock: Final = threading.Lock()

    @classmethod
    def open(cls, offers: Offers | Path, *, checked: tuple[Snapshot, Bundle] | None = None) -> Self:
        """Load the first bundle, from a folder or another source. `checked`: files that were just loaded, and what they came to.

        Raises BundleError when it can't be used or its cases don't hold, StoreUnavailable when the source does not answer: then
        don't start. A trial that can't be loaded is left out.
        """
        if isinstance(offers, Path):
            offers = FolderOffers(offers)
        offer = offers.newest()
        if offer is None:
            raise AssertionError("a source always has something new for who asks first")
        if checked is not None and checked[0].fingerprint == offer.snapshot.fingerprint:
            bundle = checked[1]
        else:
            bundle = load_checked(offer.snapshot)
        holder = cls(offers, offer, bundle)
        holder._try_out(offer.trial)
        return holder

    @property
    def current(self) -> Bundle:
        """The bundle in force."""
        return self._bundle

    @property
    def trial(self) -> Bundle | None:
        """The report-only bundle, if there is one."""
        return self._trial

    @property
    def number(self) -> int:
        """Of the publication in force; 0: from a folder."""
        return self._offer.number

    @property
    def detail(self) -> dict[str, str]:
        """Who published what is in force, why, who approved."""
        return self._offer.detail

    @property
    def rejected(self) -> BundleError | None:
        """Why what is offered now is not in force; None when it is."""
        return self._rejected

    @property
    def trial_error(self) -> BundleError | None:
        """Why what should be tried out is not; None when it is, or there is nothing."""
        return self._trial_error

    def reload(self) -> Loaded | Unchanged | Rejected:
        """Ask the source, and put its bundle in force if it is another one and good. Blocking: call it in a thread.

        Every problem is a `Rejected`, told once for the same content; the bundle in force is then untouched. A source that does
        not answer changes nothing.
        """
        with self._lock:
            try:
                offer = self._offers.newest()
            except StoreUnavailable as error:
                if not self._unreachable:
                    logger.error("policies can't be followed, those in force stay: %s", error)  # noqa: TRY400  it says it all
                self._unreachable = True
                return Unchanged()
            except BundleError as error:
                self._seen = None  # a folder that can't be read is no known content
                return self._reject(error)
            except Exception as error:  # noqa: BLE001  whatever a source brings up, the old bundle keeps serving
                self._seen = None
                return self._reject(_broke(error))
            if self._unreachable:
                logger.warning("policies can be followed again")
                self._unreachable = False
            if offer is None:
                if self._rejected is None or self._seen is None or time.monotonic() < self._again_at:
                    return Unchanged()
                offer, self._seen = self._seen, None
            outcome = self._take(offer)
            self._try_out(offer.trial)
            return outcome

    def _take(self, offer: Offer) -> Loaded | Unchanged | Rejected:
        seen, self._seen = self._seen, offer
        if seen is not None and _same(seen, offer):
            return Unchanged()
        try:
            bundle = load_apart(offer.snapshot)
        except BundleError as error:
            return self._reject(error)
        except Exception as error:  # noqa: BLE001  as above
            return self._reject(_broke(error, offer.snapshot.folder))
        self._rejected = None
        before, number = self._bundle, self._offer.number
        self._bundle, self._offer = bundle, offer
        if before.version == bundle.version and number == offer.number:
            return Unchanged()
        return Loaded(bundle, before.version, offer.detail)

    def _reject(self, error: BundleError) -> Rejected | Unchanged:
        again = self._rejected is not None and str(self._rejected) == str(error)
        self._rejected = error
        self._again_at = time.monotonic() + RETRY_SECONDS
        return Unchanged() if again else Rejected(error)

    def _try_out(self, snapshot: Snapshot | None) -> None:
        """Begin, exchange or end the trial. What can't be loaded is not tried out; nothing else suffers from it."""
        fingerprint = snapshot.fingerprint if snapshot is not None else ""
        if fingerprint == self._trial_seen:
            return
        self._trial_seen, self._trial, self._trial_error = fingerprint, None, None
        if snapshot is None:
            return
        try:
            self._trial = load_apart(snapshot)
        except BundleError as error:
            self._trial_error = error
        except Exception as error:  # noqa: BLE001  as above
            self._trial_error = _broke(error, snapshot.folder)
        if self._trial_error is not None:
            logger.error("the bundle on trial is left out: %s", self._trial_error)

    async def watch(
        self,
        on_loaded: Callable[[Loaded], Awaitable[None]],
        on_rejected: Callable[[BundleError], Awaitable[None]],
        *,
        every: float = 1.0,
    ) -> None:
        """Reload whenever the source has something else, looking every `every` seconds, until cancelled.

        A folder's content is compared by hash, not by time. The loading runs in a thread. `on_loaded` is called after the new
        bundle is in force. What a callback raises ends the watch: let it end the process too, or policies would silently stop
        following.
        """
        while True:
            await asyncio.sleep(every)
            outcome = await asyncio.to_thread(self.reload)
            if isinstance(outcome, Loaded):
                await on_loaded(outcome)
            elif isinstance(outcome, Rejected):
                await on_rejected(outcome.error)


def _same(one: Offer, other: Offer) -> bool:
    return one.number == other.number and one.snapshot.fingerprint == other.snapshot.fingerprint


def _broke(error: Exception, where: str = "") -> BundleError:
    todo = "Restore the files before, and report this"
    return BundleError(f"loading it broke: {type(error).__name__}", where=where, todo=todo)

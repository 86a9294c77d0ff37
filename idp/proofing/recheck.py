"""Asks the verifier whether the proofings in force still hold: when an officer wants it, and by schedule.

One process at a time does it; a run that was broken off is gone on with. An outage takes nothing away: no answer is no answer.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.kernel.clock import Clock
from gateway.kernel.errors import GatewayError, StoreUnavailable
from gateway.kernel.secret import Secret
from idp.model import PersonDigest, ProofingRecord
from idp.proofing.digest import DigestKeys
from idp.proofing.faults import told
from idp.proofing.port import Expired, ProofingBackend, Recorded, Revoked, Standing, Unknown, Valid
from idp.proofing.rehearsal import recorded_method
from idp.store import SqliteStore
from idp.store.rechecks import Found, Recheck

AT_A_TIME: Final = 4
"""Questions to the verifier at the same time."""
ANSWER_SECONDS: Final = 30.0
"""How long one answer may take; then it is none."""
_HOUR: Final = 3600

log = logging.getLogger(__name__)


class ProofingError(GatewayError):
    """What was asked of the proofing office can't be done."""


class Rechecker:
    """See the module. Made for one store; `lock` is a file beside it, made when it is missing."""

    def __init__(
        self, store: SqliteStore, backend: ProofingBackend | None, clock: Clock, *, lock: Path,
        at_a_time: int = AT_A_TIME, answer_seconds: float = ANSWER_SECONDS,
    ) -> None:  # fmt: skip
        self._store, self._backend, self._clock, self._lock = store, backend, clock, lock
        self._at_a_time, self._patience = at_a_time, answer_seconds

    async def run(self, keys: DigestKeys, *, by: str) -> Recheck:
        """Ask about every proofing in force, or go on with the run that was broken off; return what was found.

        ProofingError: no verifier is configured, or another run is going on.
        """
        backend = self._configured()
        with self._alone():
            return await self._ask_all(backend, keys, by)

    async def run_if_due(self, keys: DigestKeys, *, every_hours: int, by: str) -> Recheck | None:
        """The same where a run was broken off, or the newest began so many hours ago (0: never). None: it is not due, there is no
        verifier, or another run is going on.
        """
        if self._backend is None or not await self._due(every_hours):
            return None
        with contextlib.suppress(BusyError), self._alone():
            # Another process may have been first.
            return await self._ask_all(self._backend, keys, by) if await self._due(every_hours) else None
        return None

    def check_free(self) -> None:
        """Raise ProofingError when a run could not begin now. It may begin elsewhere before this one does."""
        self._configured()
        with self._alone():
            pass

    async def _due(self, every_hours: int) -> bool:
        newest = await self._store.rechecks.list(1)
        if newest and newest[0].finished_at is None:
            return True
        return bool(every_hours) and (not newest or newest[0].started_at + every_hours * _HOUR <= self._clock.now())

    async def _ask_all(self, backend: ProofingBackend, keys: DigestKeys, by: str) -> Recheck:
        run = await self._store.rechecks.begin(by=by, at=self._now())
        waiting = iter(await self._store.rechecks.due(run))

        async def worker() -> None:
            for record in waiting:
                found = await self._ask(backend, keys, record)
                await self._store.rechecks.settle(run, record, found, at=self._now())

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._at_a_time):
                    workers.create_task(worker())
        except ExceptionGroup as group:  # the store's trouble, several times over
            raise group.exceptions[0] from group
        return await self._store.rechecks.finish(run, at=self._now())

    async def _ask(self, backend: ProofingBackend, keys: DigestKeys, record: ProofingRecord) -> Found:
        if record.method != recorded_method(backend):
            # Another verifier's: the configured one knows nothing of it.
            return "unknown"
        if record.digest_key not in keys.ids:
            # Whoever is on a list of revoked cards, nobody can tell that it is this one.
            log.error("proofing %d can't be asked about: its digest's key is not in the key file", record.number)
            return "unknown"

        renewed: list[PersonDigest] = []

        def is_person(person: Secret) -> bool:
            # Whoever is recognised under an older key moves to the newest, so that the older one can be dropped one day.
            if (digest := keys.renewed(record, person)) is not None:
                renewed.append(digest)
            return keys.same_person(record, person)

        asked = Recorded(
            verifier=record.verifier, transaction=record.transaction, verified_at=record.verified_at,
            expires_at=record.expires_at, is_person=is_person,
        )  # fmt: skip
        match await self._answer(backend, asked):
            case Valid():
                for digest in renewed[:1]:
                    await self._store.proofing.rekey(record.number, digest)
                return "valid"
            case Revoked():
                return "revoked"
            case Expired():
                return "expired"
            case Unknown(detail=detail):
                log.warning("no answer about proofing %d: %s", record.number, detail)
                return "unknown"

    async def _answer(self, backend: ProofingBackend, asked: Recorded) -> Standing:
        try:
            async with asyncio.timeout(self._patience):
                return await backend.recheck(asked)
        except TimeoutError:
            return Unknown(detail="no answer in time")
        except Exception as error:  # noqa: BLE001  a fault says nothing about this person, and must not keep others from being asked
            return Unknown(detail=told(error))

    def _configured(self) -> ProofingBackend:
        if self._backend is None:
            raise ProofingError("no verifier is configured", where="idp.proofing", todo="Configure one first.")
        return self._backend

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the one run. The lock ends with the process, whatever becomes of it."""
        try:
            file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            where = str(self._lock)
            raise StoreUnavailable(f"can't be used: {error.strerror}", where=where, todo="Check the directory.") from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BusyError("proofings are being rechecked already", todo="Look at its progress, or wait.") from error
            yield
        finally:
            os.close(file)

    def _now(self) -> int:
        return int(self._clock.now())


class BusyError(ProofingError):
    """Another run is going on."""

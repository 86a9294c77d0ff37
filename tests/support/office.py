"""A proofing office on the bench of the proofing desk, with a verifier that answers as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret
from idp.changes import Changes
from idp.files import open_keys
from idp.keys import KeyFile
from idp.model import ProofingRecord, User
from idp.proofing.office import ProofingOffice
from idp.proofing.port import ProofingBackend, Recorded, Standing, Valid
from idp.settings import ProofingSettings
from idp.store import SqliteStore
from tests.support.proofing import PEOPLE, SATO, Bench, Scripted, opened

DAY = 86_400


class Verifier(Scripted):
    """Answers to `recheck` by the reference of the proofing; Valid, where nothing is said."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.says: dict[str, Standing | Exception] = {}
        self.rechecked: list[str] = []
        self.persons: dict[str, str] = {}
        """What it knows a person by, of each reference: the test says whom it finds."""
        self.running = self.most = 0
        self.gate: asyncio.Event | None = None

    async def recheck(self, record: Recorded) -> Standing:
        self.rechecked.append(record.transaction)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            if record.transaction in self.persons:
                assert record.is_person(Secret(self.persons[record.transaction]))
                assert not record.is_person(Secret("somebody else"))
            answer = self.says.get(record.transaction, Valid())
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self.running -= 1


class OfficeBench:
    """Desk, office and teller on one store."""

    def __init__(self, desk: Bench, keys: KeyFile, settings: ProofingSettings) -> None:
        self.desk, self.key_file, self.settings = desk, keys, settings
        self.store, self.clock, self.events = desk.store, desk.clock, desk.events
        self.verifier = Verifier(desk.clock)
        desk.backend = self.verifier
        desk.desk.backend = self.verifier  # type: ignore[misc]  # one verifier for both, as it is outside
        desk.keys = keys.digest_keys()
        self.folder = desk.path.parent
        self.lock = self.folder / "rechecking.lock"
        self.teller = Changes(self.store.accounts, self.events, lock=self.folder / "telling.lock")
        self.office = self.another()

    def another(
        self, *, backend: ProofingBackend | None = None, store: SqliteStore | None = None, without: bool = False
    ) -> ProofingOffice:
        """Return an office on the same files."""
        return ProofingOffice(
            store or self.store, self.key_file, self.clock, self.events, backend=None if without else backend or self.verifier,
            lock=self.lock, settings=self.settings, tell=self.teller.tell,
        )  # fmt: skip

    @property
    def now(self) -> int:
        return int(self.clock.now())

    async def proofed(self, user: User = SATO, *, seconds: int | None = 100 * DAY) -> ProofingRecord:
        """Have a person proofed, by a card of their own."""
        self.verifier.seconds = seconds
        self.verifier.person = f"card of {user.id}"
        record = await self.desk.kept(user)
        self.verifier.persons[record.transaction] = self.verifier.person
        return record

    async def crowd(self, count: int) -> list[User]:
        """Add people who are proofed."""
        users = [User(id=f"usr_n{n}", login=f"n{n}", name=f"看護師 {n}", roles=("nurse",)) for n in range(count)]
        for user in users:
            await self.store.users.add(user)
            await self.proofed(user)
        return users


async def standing(bench: OfficeBench, user: User = SATO) -> tuple[bool, bool, str]:
    """Return whether a person's proofing is in force, whether it ends soon, and why it ended (`none`: there is none)."""
    (found,) = [one for one in await bench.office.standings() if one.user.id == user.id]
    return found.in_force, found.expiring, found.record.ended_why if found.record is not None else "none"


async def until(happened: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Wait for something that happens beside the test."""
    async with asyncio.timeout(10):
        while True:
            answer = happened()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def office_bench(folder: Path, **settings: int) -> AsyncIterator[OfficeBench]:
    """Yield an office with `PEOPLE`."""
    async with opened(folder) as desk:
        bench = OfficeBench(desk, open_keys(desk.path.parent, now=int(desk.clock.now())), ProofingSettings(**settings))  # type: ignore[arg-type]  # numbers only
        assert len(PEOPLE) == len(await desk.store.users.list())
        try:
            yield bench
        finally:
            await bench.office.close()

"""A console over a real proofing office, on one clock, with people in the store and officers who have accounts."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.app.console_proofing import ConsoleOffice
from idp.model import User
from idp.proofing.in_person import InPersonBackend, in_person_backend
from idp.proofing.office import ProofingOffice
from idp.proofing.port import Person, Started, Verified
from tests.support.console import ORIGIN, World
from tests.support.in_person import settings as counter_settings
from tests.support.office import OfficeBench, office_bench
from tests.support.proofing import NEAR_SATO, SATO

YAMAMOTO = User(id="usr_yamamoto", login="sec.yamamoto", name="山本 凛", roles=("security_officer",), department="情報システム室")
KOBAYASHI = User(
    id="usr_kobayashi", login="sec.kobayashi", name="小林 葵", roles=("security_officer",), department="情報システム室"
)
SECOND_OFFICER: dict[str, Any] = {
    "sub": KOBAYASHI.id, "login": KOBAYASHI.login, "name": KOBAYASHI.name, "roles": ["security_officer"], "aud": "console",
}  # fmt: skip


class ProofingWorld:
    """The console's surroundings and the office's bench."""

    def __init__(self, world: World, bench: OfficeBench, office: ProofingOffice, counter: InPersonBackend | None) -> None:
        self.world, self.bench, self.office, self.counter = world, bench, office, counter
        self.port = self.adapted()

    def adapted(self, verifier: str = "digital-agency") -> ConsoleOffice:
        """The office as the console has it."""
        return ConsoleOffice(self.office, self.bench.clock, verifier=verifier, expiring_days=self.bench.settings.expiring_days)

    def application(self, **parts: Any) -> web.Application:
        return self.world.application(**{"proofing": self.port, **parts})

    async def add(self, user: User) -> User:
        await self.bench.store.users.add(user)
        return user

    async def near(self, user: User = SATO, card: Verified = NEAR_SATO, person: str = "another card") -> str:
        """Have somebody's card be read that is close to the ledger, not equal; return the case."""
        self.bench.verifier.holds(card, person)
        self.bench.verifier.seconds = 400 * 86_400
        return (await self.bench.desk.case(user)).case_id

    async def at_counter(self, user: User = SATO) -> str:
        """Have somebody be on the way to the counter; return their code."""
        assert self.counter is not None
        person = Person(user_id=user.id, name=user.name, birth_date=user.birth_date, kana=user.kana)
        begun = await self.counter.begin(person, "sign_in")
        assert isinstance(begun, Started)
        return begun.show.values["code"]

    def told(self, name: str) -> list[tuple[str, str, dict[str, str]]]:
        """The office's events of a name: outcome, by whom, detail."""
        return [(event.outcome, event.by, event.detail) for event in self.bench.events.all if event.name == name]


@contextlib.asynccontextmanager
async def opened(folder: Path, *, counter: bool = False, origin: str = ORIGIN, **settings: int) -> AsyncIterator[ProofingWorld]:
    """Yield a console's world with `tests.support.proofing.PEOPLE` and two officers. `counter`: people are proofed there."""
    async with office_bench(folder, **settings) as bench:
        world = World(folder, bench.clock, origin)
        for officer in (YAMAMOTO, KOBAYASHI):
            await bench.store.users.add(officer)
        backend = in_person_backend(counter_settings(), bench.clock) if counter else None
        office = bench.another(backend=backend) if backend is not None else bench.office
        try:
            yield ProofingWorld(world, bench, office, backend)
        finally:
            await world.close()

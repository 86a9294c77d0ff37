"""A proofing desk on a real store, with a backend that reads what the test puts on the card."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret
from idp.model import ProofingRecord, User
from idp.proofing.desk import Pending, ProofingDesk, Refused, UnderReview
from idp.proofing.digest import DigestKeys
from idp.proofing.port import (
    Broken,
    Outcome,
    Person,
    Proofed,
    Purpose,
    Recorded,
    Show,
    Standing,
    Started,
    Unknown,
    Verified,
)
from idp.store import SqliteStore, open_store
from tests.support.idp_site import Events

NOW = 1_800_000_000
SATO = User(
    id="usr_sato", login="dr.sato", name="佐藤 恵", roles=("physician",), birth_date="1984-05-12", kana="サトウ メグミ",
    email="sato@hospital.example",
)  # fmt: skip
SUZUKI = User(
    id="usr_suzuki", login="nurse.suzuki", name="鈴木 翔", roles=("nurse",), birth_date="1990-11-03", kana="スズキ ショウ"
)
OFFICER = User(id="usr_mori", login="hr.mori", name="森 直子", roles=("officer",))
SECOND = User(id="usr_hara", login="hr.hara", name="原 誠", roles=("officer",))
PEOPLE = (SATO, SUZUKI, OFFICER, SECOND)
KEYS = DigestKeys([("", Secret("k" * 40))])
CARD_OF_SATO = Verified(name="佐藤\u3000恵", kana="サトウ\u3000メグミ", birth_date="1984-05-12")
CARD_OF_SUZUKI = Verified(name="鈴木\u3000翔", kana="スズキ\u3000ショウ", birth_date="1990-11-03")
NEAR_SATO = Verified(name="佐藤\u3000恵", kana="サトウ\u3000メグミ", birth_date="1984-05-21")
"""Two digits of the day are the other way round."""


class Scripted:
    """A backend whose card is what the test says. By itself it vouches for whoever comes."""

    method = "scripted"
    simulated = False

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.person = "card-of-sato"
        self.attributes: Verified | None = None
        self.vouched = True
        self.outcome: Outcome | None = None
        self.down_at_start = False
        self.hang = False
        self.handle: str | None = None
        self.seconds: int | None = 1000
        self.seen: list[tuple[bytes, Mapping[str, str]]] = []
        self.asked: list[Person] = []

    def holds(self, attributes: Verified | None, person: str = "card-of-sato") -> None:
        """From now on this card is read, and nobody vouches."""
        self.attributes, self.person, self.vouched = attributes, person, False

    async def begin(self, person: Person, purpose: Purpose) -> Started | Broken:
        if self.hang:
            await asyncio.sleep(60)
        self.asked.append(person)
        handle = Secret(self.handle) if self.handle is not None else None
        link = f"https://verifier.example/?state={self.handle}" if self.handle is not None else ""
        if self.down_at_start:
            return Broken(detail="no line")
        return Started(show=Show(template="x.html", link=link), state=b"state", handle=handle)

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        if self.hang:
            await asyncio.sleep(60)
        self.seen.append((state, answer))
        return self.outcome or self.proofed(f"reference-{len(self.seen)}")

    def proofed(self, transaction: str) -> Proofed:
        now = int(self.clock.now())
        return Proofed(
            level=3, method=self.method, evidence="electronic_signature", verified_at=now,
            expires_at=None if self.seconds is None else now + self.seconds, verifier="verifier.example", transaction=transaction,
            person=Secret(self.person), attributes=self.attributes, vouched=self.vouched,
        )  # fmt: skip

    async def recheck(self, record: Recorded) -> Standing:
        return Unknown(detail="scripted")

    async def close(self) -> None:
        return None


class Bench:
    """A desk, and short ways to use it."""

    def __init__(self, store: SqliteStore, clock: ManualClock, path: Path, **options: Any) -> None:
        self.store, self.clock, self.path, self.events, self.backend = store, clock, path, Events(), Scripted(clock)
        self.keys = KEYS
        self.desk = ProofingDesk(self.backend, store, self.events, clock, lambda: self.keys, **{"answer_seconds": 0.2, **options})

    async def begin(self, user: User = SATO, browser: str = "browser-1", **options: str) -> str:
        pending = await self.desk.begin(user, "sign_in", browser, "192.0.2.1", **options)
        assert isinstance(pending, Pending)
        return pending.name

    async def complete(
        self, name: str, user: User = SATO, browser: str = "browser-1"
    ) -> ProofingRecord | UnderReview | Refused | Broken:
        return await self.desk.complete(user, name, browser, {"a": "b"}, "192.0.2.1")

    async def prove(self, user: User = SATO) -> ProofingRecord | UnderReview | Refused | Broken:
        """Begin and complete."""
        return await self.complete(await self.begin(user), user)

    async def kept(self, user: User = SATO) -> ProofingRecord:
        """The same, which has to be kept."""
        record = await self.prove(user)
        assert isinstance(record, ProofingRecord), record
        return record

    async def case(self, user: User = SATO) -> UnderReview:
        """The same, which has to go to an officer."""
        review = await self.prove(user)
        assert isinstance(review, UnderReview), review
        return review

    async def change(self, user: User, change: Callable[[User], User]) -> None:
        assert await self.store.users.update(user.id, change) is not None

    def sealed(self) -> bytes:
        """A part of what lies sealed in the one open case."""
        with closing(sqlite3.connect(self.path)) as connection:
            ((found,),) = connection.execute("SELECT sealed FROM proofing_case WHERE state='open'").fetchall()
        piece: bytes = found[20:60]
        return piece

    def files(self) -> bytes:
        """Everything that lies on the disk."""
        return b"".join(path.read_bytes() for path in sorted(self.path.parent.iterdir()))


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[Bench]:
    """Yield a bench with `PEOPLE` in its store."""
    clock, path = ManualClock(float(NOW)), folder / "store" / "idp.sqlite3"
    path.parent.mkdir()
    store = await open_store(path, clock=clock, sealing_key=bytes(range(32)), idle_seconds=900, seconds=43_200)
    try:
        for user in PEOPLE:
            await store.users.add(user)
        yield Bench(store, clock, path, **options)
    finally:
        await store.close()

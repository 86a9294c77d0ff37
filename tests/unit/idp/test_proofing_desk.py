import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import AuditError, ConfigError
from gateway.kernel.secret import Secret
from idp.model import ProofingRecord, User
from idp.proofing.desk import Pending, ProofingDesk, Refused
from idp.proofing.port import Broken, NotProofed, Outcome, Person, Proofed, Purpose, Show, Started
from idp.store import SqliteStore, open_store
from tests.support.idp_site import Events

SATO = User(id="usr_sato", login="dr.sato", name="佐藤 恵", roles=("physician",), birth_date="1984-05-12")
SUZUKI = User(id="usr_suzuki", login="nurse.suzuki", name="鈴木 翔", roles=("nurse",))
KEY = Secret("k" * 40)


class Scripted:
    """A backend that answers what the test says."""

    method = "scripted"
    simulated = False

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.person = "card-of-sato"
        self.transaction = "t1"
        self.outcome: Outcome | None = None
        self.down_at_start = False
        self.hang = False
        self.seen: list[tuple[bytes, Mapping[str, str]]] = []

    async def begin(self, person: Person, purpose: Purpose) -> Started | Broken:
        if self.hang:
            await asyncio.sleep(60)
        return Broken(detail="no line") if self.down_at_start else Started(show=Show(template="x.html"), state=b"state")

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        if self.hang:
            await asyncio.sleep(60)
        self.seen.append((state, answer))
        now = int(self.clock.now())
        return self.outcome or Proofed(
            level=3, method="scripted", verified_at=now, expires_at=now + 1000, verifier="verifier.example",
            transaction=self.transaction, person=Secret(self.person),
        )  # fmt: skip


class Bench:
    def __init__(self, store: SqliteStore, clock: ManualClock) -> None:
        self.store, self.clock, self.events, self.backend = store, clock, Events(), Scripted(clock)
        self.desk = ProofingDesk(self.backend, store, self.events, clock, KEY, answer_seconds=0.2)

    async def begin(self, user: User = SATO, browser: str = "browser-1") -> str:
        pending = await self.desk.begin(user, "sign_in", browser, "192.0.2.1")
        assert isinstance(pending, Pending)
        return pending.name

    async def complete(self, name: str, user: User = SATO, browser: str = "browser-1") -> ProofingRecord | Refused | Broken:
        return await self.desk.complete(user, name, browser, {"a": "b"}, "192.0.2.1")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = ManualClock()
    store = await open_store(tmp_path / "idp.sqlite3", clock=clock, sealing_key=bytes(32), idle_seconds=900, seconds=43_200)
    for user in (SATO, SUZUKI):
        await store.users.add(user)
    try:
        yield Bench(store, clock)
    finally:
        await store.close()


async def test_a_success_is_kept_without_anything_personal(bench: Bench) -> None:
    result = await bench.complete(await bench.begin())
    assert isinstance(result, ProofingRecord)
    assert result == await bench.store.proofing.latest(SATO.id)
    assert (result.level, result.method, result.verifier, result.transaction) == (3, "scripted", "verifier.example", "t1")
    assert len(result.person_digest) == 64
    assert "card-of-sato" not in msgspec.json.encode(result).decode()
    assert bench.events.names() == ["proofing.started", "proofing.succeeded"]
    assert bench.events.all[1].detail == {"method": "scripted", "level": "3", "transaction": "t1"}
    assert bench.backend.seen == [(b"state", {"a": "b"})]


async def test_the_digest_depends_on_the_key_and_the_verifier(bench: Bench) -> None:
    first = await bench.complete(await bench.begin())
    other = ProofingDesk(bench.backend, bench.store, bench.events, bench.clock, Secret("z" * 40))
    assert isinstance(first, ProofingRecord)
    proofed = await bench.backend.complete(b"", {})
    assert isinstance(proofed, Proofed)
    assert bench.desk._digest(proofed) == first.person_digest
    assert other._digest(proofed) != first.person_digest
    assert bench.desk._digest(msgspec.structs.replace(proofed, verifier="another.example")) != first.person_digest


async def test_a_no_is_a_no_with_its_reason(bench: Bench) -> None:
    bench.backend.outcome = NotProofed(reason="wrong_person")
    assert await bench.complete(await bench.begin()) == Refused(reason="wrong_person")
    assert await bench.store.proofing.latest(SATO.id) is None
    assert bench.events.last("proofing.refused").detail["reason"] == "wrong_person"


async def test_an_outage_is_told_as_one_at_both_ends(bench: Bench) -> None:
    bench.backend.down_at_start = True
    assert await bench.desk.begin(SATO, "sign_in", "browser-1", "") == Broken(detail="no line")
    bench.backend.down_at_start = False
    bench.backend.outcome = Broken(detail="502")
    assert await bench.complete(await bench.begin()) == Broken(detail="502")
    assert bench.events.names() == ["proofing.started", "proofing.broken", "proofing.started", "proofing.broken"]


async def test_a_verifier_that_hangs_is_an_outage(bench: Bench) -> None:
    name = await bench.begin()
    bench.backend.hang = True
    assert isinstance(await bench.complete(name), Broken)
    assert isinstance(await bench.desk.begin(SATO, "sign_in", "browser-1", ""), Broken)


async def test_the_same_person_may_renew(bench: Bench) -> None:
    await bench.complete(await bench.begin())
    bench.backend.transaction = "t2"
    assert isinstance(await bench.complete(await bench.begin()), ProofingRecord)


async def test_a_state_is_of_one_person_in_one_browser_once(bench: Bench) -> None:
    assert await bench.complete(await bench.begin(), SUZUKI) == Refused(reason="stale")
    assert await bench.complete(await bench.begin(), browser="browser-2") == Refused(reason="stale")
    assert await bench.complete(await bench.begin(browser=""), browser="") == Refused(reason="stale")
    name = await bench.begin()
    assert isinstance(await bench.complete(name), ProofingRecord)
    assert await bench.complete(name) == Refused(reason="stale")
    assert len(bench.backend.seen) == 1


async def test_a_verifiers_old_answer_does_not_count_again(bench: Bench) -> None:
    await bench.complete(await bench.begin())
    assert await bench.complete(await bench.begin()) == Refused(reason="stale")


async def test_another_person_can_not_renew_an_account(bench: Bench) -> None:
    await bench.complete(await bench.begin())
    bench.backend.person, bench.backend.transaction = "card-of-somebody", "t2"
    assert await bench.complete(await bench.begin()) == Refused(reason="other_person_than_before")
    bench.clock.advance(2000)  # the first result is over: the verifier may know a person by another name by now
    bench.backend.transaction = "t3"
    assert isinstance(await bench.complete(await bench.begin()), ProofingRecord)


async def test_one_person_is_not_proofed_on_two_active_accounts(bench: Bench) -> None:
    await bench.complete(await bench.begin())
    bench.backend.transaction = "t2"
    assert await bench.complete(await bench.begin(SUZUKI), SUZUKI) == Refused(reason="person_of_other_account")
    await bench.store.users.update(SATO.id, lambda user: msgspec.structs.replace(user, active=False))
    bench.backend.transaction = "t3"
    assert isinstance(await bench.complete(await bench.begin(SUZUKI), SUZUKI), ProofingRecord)


async def test_what_can_not_be_logged_does_not_happen(bench: Bench) -> None:
    name = await bench.begin()
    bench.events.fail = AuditError("the disk is full")
    with pytest.raises(AuditError):
        await bench.complete(name)
    assert await bench.store.proofing.latest(SATO.id) is None
    with pytest.raises(AuditError):
        await bench.desk.begin(SATO, "sign_in", "browser-1", "")


def test_a_short_key_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="shorter than 32"):
        ProofingDesk(bench.backend, bench.store, bench.events, bench.clock, Secret("short"))

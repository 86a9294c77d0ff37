"""What every proofing backend must do. A backend joins by adding a `Bench` to BENCHES: how it is made, and made to answer."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConfigError
from idp.proofing.port import (
    Broken,
    Expired,
    NotProofed,
    NotProofedReason,
    Person,
    Proofed,
    ProofingBackend,
    Recorded,
    Revoked,
    Started,
    Unknown,
    Valid,
)
from idp.proofing.simulated import simulated_backend
from tests.support.digital_agency import agency_bench
from tests.support.in_person import counter_bench
from tests.support.jpki_bench import jpki_bench
from tests.support.platform_operator import stamp_bench, verify_bench

NOW = 1_800_000_000
PERSON = Person(user_id="usr_sato", name="佐藤 恵", birth_date="1984-05-12", kana="サトウ メグミ")
OTHER = Person(user_id="usr_suzuki", name="鈴木 翔", birth_date="1990-01-02", kana="スズキ ショウ")


class Bench(Protocol):
    """One backend, and what its verifier would have the browser bring back to what was `begun`."""

    @property
    def backend(self) -> ProofingBackend: ...

    @property
    def clock(self) -> ManualClock:
        """The backend's clock, at NOW."""
        ...

    async def success(self, begun: Started, person: Person) -> Mapping[str, str]:
        """An answer with the person's own card."""
        ...

    def refusals(self) -> tuple[NotProofedReason, ...]:
        """The reasons that the verifier can be made to give."""
        ...

    async def refused(self, begun: Started, reason: NotProofedReason) -> Mapping[str, str]:
        """An answer that must be refused for this reason."""
        ...

    async def outage(self, begun: Started) -> Mapping[str, str]:
        """An answer at which the verifier turns out to be down; from now on it is."""
        ...

    async def revoke(self, proofed: Proofed) -> bool:
        """Have the verifier revoke the card that was used. False where it has no such thing."""
        ...


class SimulatedBench:
    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.backend = simulated_backend(clock, demo_mode=True)

    async def success(self, begun: Started, person: Person) -> Mapping[str, str]:
        return {"outcome": "success"}

    def refusals(self) -> tuple[NotProofedReason, ...]:
        return ("wrong_person", "card_expired", "cancelled")

    async def refused(self, begun: Started, reason: NotProofedReason) -> Mapping[str, str]:
        return {"outcome": {"wrong_person": "wrong_person", "card_expired": "expired"}.get(reason, "cancel")}

    async def outage(self, begun: Started) -> Mapping[str, str]:
        return {"outcome": "down"}

    async def revoke(self, proofed: Proofed) -> bool:
        return False


@asynccontextmanager
async def simulated(clock: ManualClock) -> AsyncIterator[Bench]:
    yield SimulatedBench(clock)


Opener = Callable[[ManualClock], AbstractAsyncContextManager[Bench]]
BENCHES: dict[str, Opener] = {
    "simulated": simulated,
    "digital-agency": agency_bench,
    "platform-operator": verify_bench,
    "operator-stamp": stamp_bench,
    "in-person": counter_bench,
    "jpki": jpki_bench,
}


@pytest.fixture(params=sorted(BENCHES))
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with BENCHES[request.param](ManualClock(NOW)) as made:
        yield made
        await made.backend.close()
        await made.backend.close()


def is_a_backend(backend: ProofingBackend) -> None:
    """Holds for mypy."""


async def begun(bench: Bench, person: Person = PERSON) -> Started:
    started = await bench.backend.begin(person, "sign_in")
    assert isinstance(started, Started)
    return started


async def proofed(bench: Bench, person: Person = PERSON) -> Proofed:
    started = await begun(bench, person)
    outcome = await bench.backend.complete(started.state, await bench.success(started, person))
    assert isinstance(outcome, Proofed)
    return outcome


def recorded(outcome: Proofed) -> Recorded:
    return Recorded(
        verifier=outcome.verifier,
        transaction=outcome.transaction,
        verified_at=outcome.verified_at,
        expires_at=outcome.expires_at,
        is_person=lambda other: other == outcome.person,
    )


async def test_it_is_the_port(bench: Bench) -> None:
    is_a_backend(bench.backend)


async def test_it_begins_with_something_to_show_and_a_state_that_can_be_stored(bench: Bench) -> None:
    started = await begun(bench)
    assert started.show.template.endswith(".html")
    assert 0 < len(started.state) <= 8192


async def test_where_the_browser_goes_and_comes_back_nobody_can_guess_what_brings_it_back(bench: Bench) -> None:
    first, second = await begun(bench), await begun(bench)
    assert bool(first.show.link) == (first.handle is not None)
    if first.handle is not None and second.handle is not None:
        assert first.show.link.startswith("http")
        assert len(first.handle.reveal()) >= 32
        assert first.handle != second.handle


async def test_success_is_a_whole_result(bench: Bench) -> None:
    outcome = await proofed(bench)
    assert 1 <= outcome.level <= 3
    assert outcome.method
    assert outcome.verified_at == NOW
    assert outcome.expires_at is None or outcome.expires_at > outcome.verified_at
    assert outcome.verifier
    assert outcome.transaction
    assert outcome.person.reveal()
    assert outcome.vouched or outcome.attributes is not None


async def test_a_card_names_its_person(bench: Bench) -> None:
    outcome = await proofed(bench)
    if outcome.attributes is not None:
        assert "佐藤" in outcome.attributes.name
        assert outcome.attributes.birth_date.endswith(("0512", "05-12"))


async def test_what_recognises_a_person_is_the_same_every_time_and_another_for_another(bench: Bench) -> None:
    results = [await proofed(bench, person) for person in (PERSON, PERSON, OTHER)]
    assert results[0].person == results[1].person != results[2].person
    assert len({result.transaction for result in results}) == 3


async def test_every_no_has_its_reason(bench: Bench) -> None:
    assert "cancelled" in bench.refusals()
    for reason in bench.refusals():
        started = await begun(bench)
        outcome = await bench.backend.complete(started.state, await bench.refused(started, reason))
        assert outcome == NotProofed(reason=reason)


async def test_an_outage_is_never_a_no(bench: Bench) -> None:
    started = await begun(bench)
    outcome = await bench.backend.complete(started.state, await bench.outage(started))
    assert isinstance(outcome, Broken)
    assert outcome.detail
    assert PERSON.name not in outcome.detail


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"outcome": ""},
        {"outcome": "Success"},
        {"x": "y" * 10_000},
        {"level": "3", "person": "usr_sato"},
        {"code": "\x00", "state": "\u202e"},
        {"certificate": "AAAA", "signature": "AAAA"},
        {"response": "{}"},
    ],
)
async def test_an_answer_that_makes_no_sense_proofs_nobody(bench: Bench, answer: dict[str, str]) -> None:
    outcome = await bench.backend.complete((await begun(bench)).state, answer)
    assert outcome == NotProofed(reason="unusable_answer")


async def test_an_answer_to_another_beginning_proofs_nobody(bench: Bench) -> None:
    if bench.backend.simulated:
        return  # whose answer it is, is chosen on its page
    first, second = await begun(bench), await begun(bench, OTHER)
    answer = await bench.success(second, OTHER)
    assert not isinstance(await bench.backend.complete(first.state, answer), Proofed)


async def test_no_result_holds_the_persons_data_in_the_open(bench: Bench) -> None:
    started = await begun(bench)
    outcome = await bench.backend.complete(started.state, await bench.success(started, PERSON))
    kept = repr(outcome)
    for personal in (PERSON.name, PERSON.birth_date, PERSON.kana):
        assert personal is not None
        assert personal not in kept
    assert "Secret(***)" in kept


async def test_asked_again_it_holds_or_nobody_knows_until_it_ends_by_itself(bench: Bench) -> None:
    outcome = await proofed(bench)
    assert isinstance(await bench.backend.recheck(recorded(outcome)), Valid | Unknown)
    if outcome.expires_at is not None:
        bench.clock.advance(outcome.expires_at - NOW)
        assert isinstance(await bench.backend.recheck(recorded(outcome)), Expired)


async def test_asked_again_a_revoked_card_is_revoked(bench: Bench) -> None:
    outcome, other = await proofed(bench), await proofed(bench, OTHER)
    if await bench.revoke(outcome):
        assert isinstance(await bench.backend.recheck(recorded(outcome)), Revoked)
        assert not isinstance(await bench.backend.recheck(recorded(other)), Revoked)


async def test_asked_again_while_it_is_down_nobody_knows(bench: Bench) -> None:
    outcome = await proofed(bench)
    await bench.outage(await begun(bench))
    if not bench.backend.simulated:
        assert isinstance(await bench.backend.recheck(recorded(outcome)), Unknown)


@pytest.mark.parametrize("mode", [False, None, 0, "yes", 1])
def test_the_simulation_refuses_to_start_outside_demo_mode(mode: object) -> None:
    with pytest.raises(ConfigError, match="refuses to start outside demo mode"):
        simulated_backend(ManualClock(), demo_mode=mode)  # type: ignore[arg-type]  # also what is merely true-ish

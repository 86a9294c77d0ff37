"""What every proofing backend must do. A backend joins by adding a `Bench` to BENCHES: how it is made, and made to answer."""

from collections.abc import Callable, Mapping
from typing import Protocol

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConfigError
from idp.proofing.port import Broken, NotProofed, NotProofedReason, Person, Proofed, ProofingBackend, Started
from idp.proofing.simulated import simulated_backend

PERSON = Person(user_id="usr_sato", name="佐藤 恵", birth_date="1984-05-12", kana="サトウ メグミ")
OTHER = Person(user_id="usr_suzuki", name="鈴木 翔")


class Bench(Protocol):
    """One backend, and what its verifier would have the browser bring back."""

    def __init__(self, clock: ManualClock) -> None: ...

    @property
    def backend(self) -> ProofingBackend: ...

    def success(self) -> Mapping[str, str]: ...

    def refusals(self) -> Mapping[NotProofedReason, Mapping[str, str]]:
        """Answers by the reason that they must be refused for."""
        ...

    def outage(self) -> Mapping[str, str]:
        """An answer at which the verifier turns out to be down."""
        ...


class SimulatedBench:
    def __init__(self, clock: ManualClock) -> None:
        self.backend = simulated_backend(clock, demo_mode=True)

    def success(self) -> Mapping[str, str]:
        return {"outcome": "success"}

    def refusals(self) -> Mapping[NotProofedReason, Mapping[str, str]]:
        outcomes: dict[NotProofedReason, str] = {"wrong_person": "wrong_person", "card_expired": "expired", "cancelled": "cancel"}
        return {reason: {"outcome": outcome} for reason, outcome in outcomes.items()}

    def outage(self) -> Mapping[str, str]:
        return {"outcome": "down"}


BENCHES: list[Callable[[ManualClock], Bench]] = [SimulatedBench]


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest) -> Bench:
    made: Bench = request.param(ManualClock(1_800_000_000))
    return made


async def begun(bench: Bench, person: Person = PERSON) -> Started:
    started = await bench.backend.begin(person, "sign_in")
    assert isinstance(started, Started)
    return started


async def test_it_begins_with_something_to_show_and_a_state_that_can_be_stored(bench: Bench) -> None:
    started = await begun(bench)
    assert started.show.template.endswith(".html")
    assert 0 < len(started.state) <= 8192


async def test_success_is_a_whole_result(bench: Bench) -> None:
    outcome = await bench.backend.complete((await begun(bench)).state, bench.success())
    assert isinstance(outcome, Proofed)
    assert 1 <= outcome.level <= 3
    assert outcome.method == bench.backend.method
    assert outcome.verified_at == 1_800_000_000
    assert outcome.expires_at is None or outcome.expires_at > outcome.verified_at
    assert outcome.verifier
    assert outcome.transaction
    assert outcome.person.reveal()


async def test_what_recognises_a_person_is_the_same_every_time_and_another_for_another(bench: Bench) -> None:
    results = []
    for person in (PERSON, PERSON, OTHER):
        outcome = await bench.backend.complete((await begun(bench, person)).state, bench.success())
        assert isinstance(outcome, Proofed)
        results.append(outcome)
    assert results[0].person == results[1].person != results[2].person
    assert len({result.transaction for result in results}) == 3


async def test_every_no_has_its_reason(bench: Bench) -> None:
    for reason, answer in bench.refusals().items():
        outcome = await bench.backend.complete((await begun(bench)).state, answer)
        assert outcome == NotProofed(reason=reason)


async def test_an_outage_is_never_a_no(bench: Bench) -> None:
    outcome = await bench.backend.complete((await begun(bench)).state, bench.outage())
    assert isinstance(outcome, Broken)
    assert outcome.detail
    assert PERSON.name not in outcome.detail


@pytest.mark.parametrize(
    "answer", [{}, {"outcome": ""}, {"outcome": "Success"}, {"x": "y" * 10_000}, {"level": "3", "person": "usr_sato"}]
)
async def test_an_answer_that_makes_no_sense_proofs_nobody(bench: Bench, answer: dict[str, str]) -> None:
    outcome = await bench.backend.complete((await begun(bench)).state, answer)
    assert outcome == NotProofed(reason="unusable_answer")


async def test_no_result_holds_the_persons_data(bench: Bench) -> None:
    started = await begun(bench)
    outcome = await bench.backend.complete(started.state, bench.success())
    assert isinstance(outcome, Proofed)
    kept = repr(outcome)
    for personal in (PERSON.name, PERSON.birth_date, PERSON.kana):
        assert personal is not None
        assert personal not in kept
    assert "Secret(***)" in kept


@pytest.mark.parametrize("mode", [False, None, 0, "yes", 1])
def test_the_simulation_refuses_to_start_outside_demo_mode(mode: object) -> None:
    with pytest.raises(ConfigError, match="refuses to start outside demo mode"):
        simulated_backend(ManualClock(), demo_mode=mode)  # type: ignore[arg-type]  # also what is merely true-ish

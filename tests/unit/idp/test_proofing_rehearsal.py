from gateway.kernel.clock import ManualClock
from idp.proofing.port import NotProofed, Person, Proofed, Started, Valid
from idp.proofing.rehearsal import Rehearsal, recorded_method
from idp.proofing.simulated import simulated_backend
from tests.contract.test_proofing_contract import recorded

PERSON = Person(user_id="usr_sato", name="佐藤 恵")


async def end(outcome: str) -> object:
    rehearsal = Rehearsal(simulated_backend(ManualClock(), demo_mode=True))
    started = await rehearsal.begin(PERSON, "renewal")
    assert isinstance(started, Started)
    return await rehearsal.complete(started.state, {"outcome": outcome})


async def test_a_yes_counts_as_level_1_and_is_marked() -> None:
    outcome = await end("success")
    assert isinstance(outcome, Proofed)
    assert outcome.level == 1
    assert outcome.method == "rehearsal_simulated"
    assert outcome.evidence == "none"  # so no verified_claims speak of it


async def test_a_no_is_what_it_is() -> None:
    assert await end("expired") == NotProofed(reason="card_expired")


async def test_it_asks_the_one_that_is_rehearsed_again() -> None:
    rehearsal = Rehearsal(simulated_backend(ManualClock(), demo_mode=True))
    outcome = await end("success")
    assert isinstance(outcome, Proofed)
    assert rehearsal.simulated
    assert await rehearsal.recheck(recorded(outcome)) == Valid()
    await rehearsal.close()


def test_its_records_are_told_from_the_verifiers_own() -> None:
    backend = simulated_backend(ManualClock(), demo_mode=True)
    assert recorded_method(Rehearsal(backend)) == "rehearsal_simulated"
    assert recorded_method(backend) == "simulated"

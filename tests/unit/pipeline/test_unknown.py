"""Where nobody knows what is in force, a decision waits for nobody if it is the same whatever is; else it is Unavailable."""

import json
from typing import Any

import msgspec
import pytest

from gateway.domain.decision import Allow, Deny, Unavailable
from gateway.domain.record import DecisionRecord
from gateway.kernel.errors import StoreUnavailable
from gateway.policy.evaluate import Bundle
from gateway.policy.recorded import RecordedFacts, explain_record, facts_in_record
from gateway.ports import HospitalSituation
from tests.support.policy import bundle, policy
from tests.support.world import World

ANYBODY = "principal, action, resource"
VENDORS = 'principal in Role::"vendor", action, resource'


class Lost:
    """A picture that is too old."""

    known = False

    def grants_of(self, subject: str, now: float) -> tuple[str, ...]:
        self._look()
        return ("a",)

    def situation(self, now: float) -> HospitalSituation:
        self._look()
        return "normal"

    def waiting_of(self, subject: str) -> tuple[str, ...]:
        return ()

    def _look(self) -> None:
        if not self.known:
            raise StoreUnavailable("nobody knows", where="records", todo="wait")


@pytest.fixture
def world() -> World:
    return World()


async def decide(world: World, lost: Lost, made: Bundle) -> object:
    world.policies.current = made
    world.pipeline._judge._exceptional = lost
    _, token = await world.sign_in()
    return await world.pipeline.decide(world.request(cookie=token), "test")


@pytest.mark.parametrize(
    ("texts", "outcome"),
    [
        ([policy()], Allow),
        ([policy(when="context.device.registered")], Deny),
        ([policy(), policy("b", 'context.grants.contains("a")')], Allow),
        ([policy(), policy("b", 'context.situation == "emergency"')], Allow),
        ([policy(), policy("b", "context.grants.isEmpty()", effect="forbid", scope=VENDORS)], Allow),
        ([policy(when='context.grants.contains("a")')], Unavailable),
        ([policy(when='context.situation == "emergency"')], Unavailable),
        ([policy(), policy("b", "context.grants.isEmpty()", effect="forbid", scope=ANYBODY)], Unavailable),
        ([policy(), policy("b", 'context.situation == "emergency"', effect="forbid", scope=ANYBODY)], Unavailable),
        ([policy(when='context.grants == ["a"] || !(context.grants == ["a"])')], Unavailable),
    ],
)  # fmt: skip
async def test_only_what_depends_on_it_is_unavailable(world: World, texts: list[str], outcome: type) -> None:
    assert isinstance(await decide(world, Lost(), bundle(*texts)), outcome)


async def test_what_was_found_not_knowing_is_not_kept_for_when_it_is_known(world: World) -> None:
    lost = Lost()
    made = bundle(policy(when="context.device.registered"), policy("b", 'context.grants.contains("a")'))
    assert isinstance(await decide(world, lost, made), Unavailable)
    lost.known = True
    assert isinstance(await decide(world, lost, made), Allow)
    lost.known = False
    assert isinstance(await decide(world, lost, made), Unavailable)


async def test_what_nobody_knew_is_not_recorded_as_known(world: World) -> None:
    lost = Lost()
    made = bundle(policy(), policy("b", 'context.grants.contains("a")'))
    assert isinstance(await decide(world, lost, made), Allow)
    guessed = facts_recorded(world)
    assert not {"grants", "situation"} & set(guessed)
    held = facts_in_record({"outcome": "allow", "facts": guessed})
    assert isinstance(held, RecordedFacts)
    assert set(held.missing) == {"grants", "situation"}
    again = explain_record({"outcome": "allow", "facts": guessed}, held, made)
    assert (again.missing, again.verdict) == (("grants",), "not_comparable")
    lost.known = True
    assert isinstance(await decide(world, lost, made), Allow)
    known = facts_recorded(world)
    assert (known["grants"], known["situation"]) == (["a"], "normal")


def facts_recorded(world: World) -> dict[str, Any]:
    record = world.log.records[-1]
    assert isinstance(record, DecisionRecord)
    found: dict[str, Any] = json.loads(msgspec.json.encode(record.facts))
    return found


async def test_no_lease_is_given_under_a_grant(world: World) -> None:
    lost = Lost()
    lost.known = True
    leased = bundle(policy(more='@lease("2s")\n'))
    allow = await decide(world, lost, leased)
    assert isinstance(allow, Allow)
    assert allow.lease_seconds == 0

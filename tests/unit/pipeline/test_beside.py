"""What is not enforced is recorded beside the decision, and never touches it."""

import time
from typing import Any

import msgspec
import pytest

from gateway.domain.decision import Allow, Deny
from gateway.domain.record import DecisionRecord
from gateway.pipeline import beside
from gateway.pipeline.beside import Trial
from gateway.pipeline.records import recorded_facts
from gateway.policy.cache import AnswerCache
from gateway.policy.evaluate import Answer, Bundle
from gateway.policy.facts import Facts
from tests.support.policy import bundle, facts, policy
from tests.support.world import World

ALL = policy("all")
NURSES = policy("nurses", 'principal in Role::"nurse"')
NO_NURSES = policy("no-nurses", 'principal in Role::"nurse"', effect="forbid")
NO_PHYSICIANS = policy("no-physicians", 'principal in Role::"physician"', effect="forbid", more='@mode("report-only")\n')
ERRS = policy("errs", "context.authentication.age_seconds + 9223372036854775807 > 0", effect="forbid")


async def decided(world: World) -> tuple[Allow | Deny, DecisionRecord]:
    world.good_device()
    _, token = await world.sign_in()
    world.clock.advance(60)
    decision = await world.pipeline.decide(world.request(cookie=token), "proxy")
    assert isinstance(decision, Allow | Deny)
    return decision, world.decisions()[-1]


def world_of(*texts: str) -> World:
    world = World()
    world.policies.current = bundle(*texts)
    return world


async def test_without_trial_and_report_only_policies_records_say_nothing_of_them() -> None:
    _, record = await decided(world_of(ALL))
    assert record.trial is msgspec.UNSET
    assert record.report_only is msgspec.UNSET
    encoded = msgspec.json.encode(record)
    assert b'"trial"' not in encoded
    assert b'"report_only"' not in encoded


async def test_a_trial_is_recorded_and_not_obeyed() -> None:
    world = world_of(ALL)
    trial = world.policies.trial = bundle(NURSES)
    decision, record = await decided(world)
    assert isinstance(decision, Allow)
    assert (record.outcome, record.policies, record.bundle) == ("allow", ("all",), world.policies.current.version)
    assert msgspec.to_builtins(record.trial) == {"allowed": False, "bundle": trial.version}


async def test_a_trial_that_would_allow_lets_nobody_in() -> None:
    world = world_of(NURSES)
    trial = world.policies.trial = bundle(ALL)
    decision, record = await decided(world)
    assert isinstance(decision, Deny)
    assert msgspec.to_builtins(record.trial) == {"allowed": True, "policies": ("all",), "bundle": trial.version}
    assert decision.remedy == ()


async def test_a_policy_that_errs_in_a_trial_is_recorded_there_alone() -> None:
    world = world_of(ALL)
    world.policies.trial = bundle(ALL, ERRS)
    decision, record = await decided(world)
    assert isinstance(decision, Allow)
    assert record.errors == ()
    assert not isinstance(record.trial, msgspec.UnsetType)
    assert record.trial.allowed is False
    assert record.trial.errors[0].startswith("errs: ")


async def test_a_trial_that_breaks_touches_no_decision(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    world = world_of(ALL)
    trial = world.policies.trial = bundle(NURSES)
    true = AnswerCache.evaluate

    def breaks(self: Any, *given: Any) -> Answer:
        if self.bundle is trial:
            raise MemoryError
        return true(self, *given)

    monkeypatch.setattr(AnswerCache, "evaluate", breaks)
    decision, record = await decided(world)
    assert isinstance(decision, Allow)
    assert not isinstance(record.trial, msgspec.UnsetType)
    assert record.trial.errors == ("trial: MemoryError",)
    assert "the bundle on trial could not be asked" in caplog.text


async def test_the_page_that_is_asked_for_again_sees_a_trial_that_began_or_ended_meanwhile() -> None:
    world = world_of(ALL)
    world.good_device()
    _, token = await world.sign_in()
    seen = []
    for trial in (None, bundle(NURSES), bundle(ALL), None):
        world.policies.trial = trial
        for _ in range(2):  # gathered, then kept
            assert isinstance(await world.pipeline.decide(world.request(cookie=token), "proxy"), Allow)
            said = world.decisions()[-1].trial
            seen.append(None if isinstance(said, msgspec.UnsetType) else said.allowed)
    assert seen == [None, None, False, False, True, True, None, None]


def test_a_slow_trial_has_its_time_of_a_second_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    class Slow:
        """A bundle whose every answer takes 20 ms."""

        def __init__(self, bundle: Bundle) -> None:
            self.bundle = bundle

        def evaluate(self, facts: Facts, encoded: object) -> Answer:
            nonlocal now
            now += 0.02
            return Answer(allowed=True, forbidden=False)

    monkeypatch.setattr(beside, "AnswerCache", Slow)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    trial, slow = Trial(), bundle(ALL)
    asked = facts()
    raw = recorded_facts(asked)
    assert isinstance(raw, msgspec.Raw)
    answers = [trial.ask(slow, asked, raw) for _ in range(10)]
    assert [isinstance(answer, msgspec.UnsetType) for answer in answers] == [False] * 3 + [True] * 7
    now = 101.0
    assert not isinstance(trial.ask(slow, asked, raw), msgspec.UnsetType)


async def test_report_only_policies_are_recorded_where_they_would_have_changed_the_outcome() -> None:
    _, record = await decided(world_of(ALL, NO_PHYSICIANS))
    assert record.outcome == "allow"
    assert msgspec.to_builtins(record.report_only) == {"allowed": False, "policies": ("no-physicians",)}
    # The same forbid where everybody is denied anyway changes nothing.
    _, record = await decided(world_of(NURSES, NO_PHYSICIANS))
    assert record.outcome == "deny"
    assert record.report_only is msgspec.UNSET
    # And one that does not match.
    _, record = await decided(world_of(ALL, policy("quiet", 'principal in Role::"nurse"', more='@mode("report-only")\n')))
    assert record.report_only is msgspec.UNSET


async def test_what_is_recorded_of_a_trial_is_bounded() -> None:
    world = world_of(ALL)
    many = [policy(f"errs-{n}", f"context.authentication.age_seconds + 922337203685477580{n % 8} > {n}") for n in range(40)]
    world.policies.trial = bundle(*many)
    _, record = await decided(world)
    assert not isinstance(record.trial, msgspec.UnsetType)
    assert len(record.trial.errors) == 8

"""Break-glass is offered beside a remedy that takes an officer or a card, and beside no other."""

from typing import Any

import pytest

from gateway.policy.evaluate import Bundle
from gateway.policy.remedy import Outcomes, Remedy, last_resort, search
from tests.support.policy import bundle, facts, policy

UNPROOFED = {"level": 0, "method": "none", "age_days": 0}
OPEN = 'context.situation == "break_glass"'


def two(usual: str, *, glass: str = OPEN) -> Bundle:
    return bundle(policy("usual", when=usual), policy("glass", when=glass))


def offered(policies: Bundle, outcomes: Outcomes = Outcomes(), **parts: Any) -> tuple[tuple[str, ...], bool]:  # noqa: B008  frozen
    now = facts(**parts)
    remedy = search(policies, now, outcomes)
    return remedy.steps, last_resort(policies, now, outcomes, remedy)


def test_beside_an_identity_check() -> None:
    assert offered(two("context.proofing.level >= 2"), proofing=UNPROOFED) == (("identity_proofing",), True)


def test_not_where_policies_do_not_offer_it() -> None:
    never = two("context.proofing.level >= 2", glass='context.situation == "break_glass" && context.proofing.level >= 1')
    assert offered(never, proofing=UNPROOFED) == (("identity_proofing",), False)


def test_not_where_there_is_none_or_one_runs_already() -> None:
    policies = two("context.proofing.level >= 2")
    assert offered(policies, Outcomes(break_glass=False), proofing=UNPROOFED) == (("identity_proofing",), False)
    assert not last_resort(policies, facts(situation="break_glass"), Outcomes(), Remedy(steps=("identity_proofing",)))


def test_not_beside_what_is_done_at_once() -> None:
    steps, beside = offered(two("context.authentication.phishing_resistant"), authentication={
        "kinds": ("otp", "pwd"), "factors": 2, "phishing_resistant": False, "age_seconds": 60, "key_touch_age_seconds": None,
    })  # fmt: skip
    assert (steps, beside) == (("key_touch",), False)


@pytest.mark.parametrize("steps", [(), ("break_glass",), ("key_touch", "break_glass")])
def test_not_where_it_is_the_remedy_or_nothing_is(steps: Any) -> None:
    assert not last_resort(two("context.proofing.level >= 2"), facts(proofing=UNPROOFED), Outcomes(), Remedy(steps=steps))

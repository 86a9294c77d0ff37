"""Every remedy that is offered works: somebody who does what the page says, quickly or slowly, is let in by the next decision.

What doing it means is in `tests.support.follower`, without a hypothesis of ours.
"""

import asyncio

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.decision import Allow, Deny
from gateway.policy.bundle import load_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.remedy import Enrolment, Outcomes
from tests.property.test_policy_remedy import DEMANDS
from tests.support.follower import NOW, ROLES, Follower, Start, starts, targets
from tests.support.policy import STARTER, bundle, policy

BUNDLE = load_bundle(STARTER)
paces = st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=8, max_size=8)
MOST_STEPS = 8


async def do_all(made: Bundle, start: Start, paces: list[float]) -> bool:
    """All that the page lists, one after the other; then the request again. Whether anything was offered."""
    person = Follower(made, start)
    await person.come()
    denied = await person.ask()
    assert isinstance(denied, Allow | Deny), denied
    if isinstance(denied, Allow) or not denied.remedy:
        return False
    for step, pace in zip(denied.remedy, paces, strict=False):
        await person.do(str(step), denied, pace)
    after = await person.ask()
    assert isinstance(after, Allow), (denied.remedy, denied.grant, start, after)
    return True


async def do_one_by_one(made: Bundle, start: Start, paces: list[float]) -> None:
    """The first step, then the page again: it leads in, and not round and round."""
    person = Follower(made, start)
    await person.come()
    first = decision = await person.ask()
    done: list[str] = []
    for pace in paces[:MOST_STEPS]:
        if not isinstance(decision, Deny) or not decision.remedy:
            break
        done.append(str(decision.remedy[0]))
        await person.do(done[-1], decision, pace)
        decision = await person.ask()
    if isinstance(first, Deny) and first.remedy:
        assert isinstance(decision, Allow), (first.remedy, done, decision)
        assert len(done) <= len(first.remedy), (first.remedy, done)


NOTHING = Start(
    roles=(), organization="demo-hospital", kinds=(("pwd", 60),), has_key=True, bound=(), proofing=None, device="none",
    evidence="cookie", ownership="hospital", compliance_age=60, address="10.1.0.9", at=NOW, target=0, situation="normal",
    outcomes=Outcomes(),
)  # fmt: skip
STARTS = {
    "first day": NOTHING,
    "touched an hour ago": replace(NOTHING, kinds=(("fido2", 3600),), device="active"),
    "device not compliant, touched now": replace(
        NOTHING, kinds=(("fido2", 1),), device="not_compliant", proofing=(3, 86_400, None), bound=("fido2",)
    ),
    "no way to proof anybody": replace(NOTHING, outcomes=Outcomes(proofing=None, enrolment=Enrolment(approval=True))),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_everybody_everywhere_slowly(start: Start) -> None:
    offered = 0
    for role in sorted(set(ROLES)):
        for target in range(len(targets())):
            offered += asyncio.run(do_all(BUNDLE, replace(start, roles=(role,), target=target), [1.0] * MOST_STEPS))
    assert offered > 5, "it shows something"


@settings(max_examples=400, deadline=None)
@given(starts(), paces)
def test_the_starter_policies(start: Start, paces: list[float]) -> None:
    event("offered" if asyncio.run(do_all(BUNDLE, start, paces)) else "nothing offered")


@settings(max_examples=200, deadline=None)
@given(starts(), paces)
def test_the_starter_policies_step_by_step(start: Start, paces: list[float]) -> None:
    asyncio.run(do_one_by_one(BUNDLE, start, paces))


@settings(max_examples=200, deadline=None)
@given(starts(), paces, st.lists(st.sampled_from(DEMANDS), min_size=1, max_size=4, unique=True), st.sampled_from(DEMANDS))
def test_any_demands(start: Start, paces: list[float], demands: list[str], stop: str) -> None:
    scope = "principal, action, resource"
    made = bundle(
        policy("ask", " && ".join(f"({one})" for one in demands), scope=scope),
        policy("stop", f"!({stop})", effect="forbid", scope=scope),
    )
    asyncio.run(do_all(made, start, paces))

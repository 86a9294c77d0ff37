"""Every remedy that is offered works: somebody who does what the page says, quickly or slowly, is let in by the next decision.

What doing it means is in `tests.support.follower`, without a hypothesis of ours.
"""

import asyncio

from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.domain.decision import Allow, Deny
from gateway.policy.bundle import load_bundle
from gateway.policy.evaluate import Bundle
from tests.property.test_policy_remedy import DEMANDS
from tests.support.follower import Follower, Start, starts
from tests.support.policy import STARTER, bundle, policy

BUNDLE = load_bundle(STARTER)
paces = st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=8, max_size=8)
MOST_STEPS = 8


async def do_all(made: Bundle, start: Start, paces: list[float]) -> None:
    """All that the page lists, one after the other; then the request again."""
    person = Follower(made, start)
    await person.come()
    denied = await person.ask()
    assert isinstance(denied, Allow | Deny), denied
    if isinstance(denied, Allow) or not denied.remedy:
        event(f"{type(denied).__name__}, nothing offered")
        return
    event(f"offered: {' '.join(denied.remedy)}")
    for step, pace in zip(denied.remedy, paces, strict=False):
        await person.do(str(step), denied, pace)
    after = await person.ask()
    assert isinstance(after, Allow), (denied.remedy, denied.grant, after)


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


@settings(max_examples=400, deadline=None)
@given(starts(), paces)
def test_the_starter_policies(start: Start, paces: list[float]) -> None:
    asyncio.run(do_all(BUNDLE, start, paces))


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

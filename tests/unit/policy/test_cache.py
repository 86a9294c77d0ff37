"""What a bundle reads, and what is remembered of its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from cedarpy import pst

from gateway.policy.bundle import load_bundle
from gateway.policy.cache import AnswerCache
from gateway.policy.evaluate import Answer
from gateway.policy.facts import Facts
from gateway.policy.reads import LEAVES, place, reads_of, whole_numbers
from gateway.policy.remedy import find_remedy
from tests.support.policy import STARTER, bundle, facts, policy


def reads(*conditions: str) -> tuple[set[str], dict[str, tuple[int, ...]]]:
    found = bundle(*(policy(f"p{index}", when) for index, when in enumerate(conditions))).reads
    return set(found.exact), dict(found.thresholds)


@pytest.mark.parametrize(
    ("condition", "exact", "thresholds"),
    [
        ("context.proofing.level >= 2", set(), {"proofing.level": (2,)}),
        ("3 > context.proofing.level && context.proofing.level != 1", set(), {"proofing.level": (1, 3)}),
        ("context.proofing.level + 1 > 2", {"proofing.level"}, {}),
        ("context.proofing.level > 1 || context.proofing.level == context.time.hour", {"proofing.level", "time.hour"}, {}),
        ("[1, 2].contains(context.proofing.level)", {"proofing.level"}, {}),
        ("context.authentication has key_touch_age_seconds", set(), {"authentication.key_touch_age_seconds": ()}),
        ("context.network.tls", {"network.tls"}, {}),
        ("context.network == context.network", {"network.tls", "network.zone"}, {}),
        ('resource.patient like "p*"', {"target.patient"}, {}),
        ('[Route::"ehr.home"].contains(resource)', set(), {}),
        ('(if context.network.tls then resource else resource).patient == ""', set(LEAVES.values()), {}),
        ("context == context", {name for name in LEAVES.values() if not name.startswith("target.")}, {}),
    ],
)
def test_what_policies_read(condition: str, exact: set[str], thresholds: dict[str, tuple[int, ...]]) -> None:
    assert reads(condition) == (exact, thresholds)


@dataclass(frozen=True)
class Unheard:
    """A construct that the language may get one day, and that reads what it does not name."""

    what: str


@pytest.mark.parametrize("node", [Unheard("the whole context"), object(), ["a list"], b"bytes"])
def test_what_is_not_known_counts_as_reading_everything(node: Any) -> None:
    clause = pst.When(expr=pst.BinaryOp(op="and", left=pst.BoolLit(value=True), right=node))
    assert reads_of([template(clause)]).exact == frozenset(LEAVES.values())


def template(*clauses: pst.When) -> pst.Template:
    anything = pst.ScopeAny()
    return pst.Template(
        id="p", effect="permit", principal=anything, action=anything, resource=anything, clauses=clauses, annotations={}
    )


def test_what_the_starter_bundle_reads() -> None:
    found = load_bundle(STARTER).reads
    assert "target.patient" not in found.exact
    assert "time.date" not in found.exact
    assert found.thresholds["authentication.key_touch_age_seconds"] == (300, 900, 3600)
    assert "authentication.age_seconds" not in found.exact


def test_the_whole_numbers_are_those_of_the_facts() -> None:
    assert len(whole_numbers()) == 15
    assert set(whole_numbers()) < set(LEAVES.values())


def test_places() -> None:
    assert [place(number, (3, 7)) for number in (None, 0, 2, 3, 4, 6, 7, 8)] == [-1, 0, 0, 1, 2, 2, 3, 4]
    assert place(5, ()) == 0


class Counted:
    """A bundle that counts how often it is asked."""

    def __init__(self, *texts: str) -> None:
        self._bundle = bundle(*texts)
        self.reads = self._bundle.reads
        self.asked = 0

    def evaluate(self, given: Facts) -> Answer:
        self.asked += 1
        return self._bundle.evaluate(given)

    def allowed(self, hypotheses: Sequence[Facts]) -> list[bool]:
        self.asked += len(hypotheses)
        return self._bundle.allowed(hypotheses)


def test_what_no_policy_reads_does_not_make_another_question() -> None:
    counted = Counted(policy(when="context.authentication.age_seconds < 300"))
    cache = AnswerCache(counted)  # type: ignore[arg-type]  # as much of a bundle as it needs
    for age in (0, 60, 299):
        assert cache.evaluate(facts(authentication={"age_seconds": age}, target={"patient": f"p{age}"})).allowed
    assert counted.asked == 1
    for age in (300, 301, 86_400):
        assert not cache.evaluate(facts(authentication={"age_seconds": age}, time={"hour": age % 24})).allowed
    assert counted.asked == 3


def test_other_people_and_other_targets_are_other_questions() -> None:
    counted = Counted(policy(when="context.network.tls"))
    cache = AnswerCache(counted)  # type: ignore[arg-type]  # as much of a bundle as it needs
    changes: list[dict[str, object]] = [
        {},
        {"principal": {"id": "usr_2"}},
        {"principal": {"roles": ("nurse",)}},
        {"principal": {"organization": "x"}},
        {"target": {"route": "ehr.home"}},
        {"target": {"app": "imaging"}},
        {"target": {"action": "write"}},
        {"network": {"tls": False}},
    ]
    for _ in range(2):
        for change in changes:
            cache.evaluate(facts(**change))
    assert counted.asked == len(changes)


def test_it_does_not_grow_without_end() -> None:
    counted = Counted(policy())
    cache = AnswerCache(counted, size=10)  # type: ignore[arg-type]  # as much of a bundle as it needs
    for number in range(100):
        cache.evaluate(facts(principal={"id": f"usr_{number}"}))
        cache.evaluate(facts())
        assert len(cache) <= 21
    assert counted.asked == 100, "what is asked for again and again stays"


def test_a_remedy_is_looked_for_once() -> None:
    counted = Counted(policy(when="context.network.tls && context.authentication.factors >= 2"))
    cache = AnswerCache(counted)  # type: ignore[arg-type]  # as much of a bundle as it needs
    without = facts(network={"tls": False}, device={"registered": False, "compliant": False})
    assert find_remedy(cache, without) == ()
    asked = counted.asked
    assert asked > 1
    assert find_remedy(cache, without) == ()
    assert counted.asked == asked
    with pytest.raises(ValueError, match="one person and one target"):
        cache.allowed([without, facts(principal={"id": "usr_2"})])

"""Why the policies answered as they did: which determined it, what they looked at, what would help, what the others missed. Pure.

The answer is Cedar's, by way of `Bundle.evaluate`. The reasons are our own reading of the same policies
(`gateway.policy.expression`), and `Explanation.consistent` says whether the two agree; a property test shows that they do.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec
from cedarpy import pst

from gateway.policy.atoms import atom_of
from gateway.policy.evaluate import Answer, Bundle, Policy
from gateway.policy.expression import Match, Question, Truth, matches, pst_of, question_of, scope_of, truth_of
from gateway.policy.facts import Facts
from gateway.policy.phrase import phrase
from gateway.policy.remedy import Remedy, search
from gateway.policy.steps import Outcomes
from gateway.policy.words import Sentence, found, in_both, value_of_fact

Why = Literal["permits", "forbids", "nothing", "error", "request"]
Place = Literal["principal", "action", "resource", "condition"]
_WHAT_IT_IS_ABOUT: Final = frozenset({"target.app", "target.route", "target.action", "target.sensitivity", "target.patient"})
_IN_NOBODYS_HANDS: Final = ("principal.", "situation", "network.", "time.")
"""Facts that whoever asks can't change soon."""


class ReadFact(msgspec.Struct, frozen=True, kw_only=True):
    """One fact that was looked at."""

    name: str
    """As in `Facts`: "device.compliant"."""
    value: object
    """None: not known."""
    said: Sentence


class Unmet(msgspec.Struct, frozen=True, kw_only=True):
    """One condition that does not hold: what the policy wants, and what was found instead."""

    place: Place
    truth: Literal["false", "erring", "unknown"]
    wanted: tuple[Sentence, ...]
    """Several where one is only looked at when another holds."""
    found: tuple[Sentence, ...]
    facts: tuple[str, ...] = ()
    """What it looked at."""

    @property
    def out_of_reach(self) -> bool:
        """Whether it wants what the person can't change: another role, place or time."""
        return any(name.startswith(_IN_NOBODYS_HANDS) for name in self.facts)


class PolicyExplained(msgspec.Struct, frozen=True, kw_only=True):
    """One policy, and what of it holds."""

    id: str
    effect: Literal["permit", "forbid"]
    title: Sentence
    report_only: bool
    guidelines: tuple[str, ...]
    template: str
    file: str
    line: int
    applies: Truth
    met: int
    """How many conditions hold."""
    unmet: tuple[Unmet, ...]
    """In Cedar's order: the first is where it stopped."""
    reads: tuple[ReadFact, ...]
    about_this: bool
    """It is about requests like this one (application, route, action, sensitivity, patient), whoever asks and however."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why facts are answered as they are by a bundle."""

    version: str
    facts: Facts
    answer: Answer
    why: Why
    determining: tuple[PolicyExplained, ...]
    """The permits of an allow, the forbids of a forbidden."""
    erring: tuple[PolicyExplained, ...]
    permits: tuple[PolicyExplained, ...]
    """The other permits: first those about this request, by how little they miss."""
    forbids: tuple[PolicyExplained, ...]
    """The other forbids, those about this request first."""
    report_only: tuple[PolicyExplained, ...]
    """Policies that are recorded and not enforced, those that would apply first."""
    remedy: Remedy
    consistent: bool
    """What is said here agrees with the answer. False is a fault of ours."""

    @property
    def steps(self) -> tuple[Sentence, ...]:
        """The remedy's steps in words."""
        grant = value_of_fact("grants", self.remedy.grant)
        return tuple(in_both(f"step.{step}", **({"value": grant} if step == "grant" else {})) for step in self.remedy.steps)


def explain(bundle: Bundle, facts: Facts, outcomes: Outcomes = Outcomes()) -> Explanation:  # noqa: B008  frozen
    """Explain what `bundle` answers to these facts. Never raises."""
    answer = bundle.evaluate(facts)
    remedy = search(bundle, facts, outcomes)
    if any(error.startswith("request:") for error in answer.errors):
        return Explanation(
            version=bundle.version, facts=facts, answer=answer, why="request", remedy=remedy, consistent=True,
            determining=(), erring=(), permits=(), forbids=(), report_only=(),
        )  # fmt: skip
    question = question_of(facts)
    every = [explain_policy(policy, question) for policy in bundle.policies]
    enforced = [one for one in every if not one.report_only]
    erring = tuple(one for one in enforced if one.applies == "erring")
    determining = tuple(one for one in enforced if one.id in answer.policies)
    others = [one for one in enforced if one not in determining and one not in erring]
    return Explanation(
        version=bundle.version,
        facts=facts,
        answer=answer,
        why="permits" if answer.allowed else "forbids" if answer.forbidden else "error" if answer.errors else "nothing",
        determining=determining,
        erring=erring,
        permits=tuple(sorted((one for one in others if one.effect == "permit"), key=_distance)),
        forbids=tuple(sorted((one for one in others if one.effect == "forbid"), key=_distance)),
        report_only=tuple(sorted((one for one in every if one.report_only), key=_distance)),
        remedy=remedy,
        consistent=_agrees(enforced, answer),
    )


def explain_policy(policy: Policy, question: Question) -> PolicyExplained:
    """Say what of one policy holds."""
    template = pst_of(policy)
    match = matches(template, question)
    conditions = list(_conditions(template, match, question))
    unmet = tuple(_unmet(conditions))
    reads = {name: value for condition in conditions for name, value in condition.reads.items()}
    return PolicyExplained(
        id=policy.id,
        effect=policy.effect,
        title=Sentence(policy.title_ja, policy.title_en),
        report_only=policy.report_only,
        guidelines=policy.guidelines,
        template=policy.template,
        file=policy.file,
        line=policy.line,
        applies=match.applies,
        met=sum(condition.truth == "true" for condition in conditions),
        unmet=unmet,
        reads=tuple(ReadFact(name=name, value=value, said=found(name, value)) for name, value in reads.items()),
        about_this=not any(
            condition.truth == "false" and condition.reads.keys() and condition.reads.keys() <= _WHAT_IT_IS_ABOUT
            for condition in conditions
        ),
    )


class _Condition(msgspec.Struct, frozen=True):
    """One thing that must hold, by itself: whether Cedar gets as far or not."""

    place: Place
    expr: pst.Expr
    truth: Truth
    what: str
    reads: dict[str, object]
    reached: bool


def _conditions(template: pst.Template, match: Match, question: Question) -> Iterator[_Condition]:
    head: tuple[tuple[Place, pst.Expr | None], ...] = (
        ("principal", scope_of(template.principal, pst.Var("principal"))),
        ("action", scope_of(template.action, pst.Var("action"))),
        ("resource", scope_of(template.resource, pst.Var("resource"))),
    )
    for place, expr in head:
        if expr is not None:
            reads: dict[str, object] = {}
            truth, what = truth_of(expr, question, reads)
            yield _Condition(place, expr, truth, what, reads, reached=True)
    for conjunct in match.conjuncts:
        reached = conjunct.value != "not_reached"
        yield _Condition("condition", conjunct.expr, conjunct.alone, conjunct.what, conjunct.reads, reached)


def _unmet(conditions: Sequence[_Condition]) -> Iterator[Unmet]:
    """Each condition that does not hold; what can't be evaluated only because its `has` does not hold belongs to that."""
    guarded: set[int] = set()
    for place, one in enumerate(conditions):
        if one.truth == "true" or place in guarded:
            continue
        atom = atom_of(one.expr)
        behind: list[int] = []
        if one.truth == "false" and atom is not None and atom.op == "known":
            later = range(place + 1, len(conditions))
            behind = [at for at in later if conditions[at].truth == "erring" and atom.fact in conditions[at].reads]
            guarded |= set(behind)
        elif one.truth == "erring" and not one.reached:
            continue  # Cedar does not get there, and whatever is in its way is told
        wanted = [phrase(conditions[at].expr) for at in behind] or [phrase(one.expr)]
        yield Unmet(
            place=one.place,
            truth=one.truth,
            wanted=tuple(wanted),
            found=(*(found(name, value) for name, value in one.reads.items()), *_trouble(one)),
            facts=tuple(one.reads),
        )


def _trouble(condition: _Condition) -> tuple[Sentence, ...]:
    if condition.truth == "unknown":
        return (in_both("explain.unknown"),)
    if condition.truth == "erring":
        return (in_both("explain.too_large" if "too large" in condition.what else "explain.not_evaluated"),)
    return ()


def _distance(one: PolicyExplained) -> tuple[bool, bool, int, int]:
    """How far a policy is from applying: what is about other requests last, then by how many conditions do not hold; of as many,
    those first that are in the person's own hands.
    """
    return one.applies != "true", not one.about_this, len(one.unmet), sum(unmet.out_of_reach for unmet in one.unmet)


def _agrees(enforced: Sequence[PolicyExplained], answer: Answer) -> bool:
    """Whether the policies that we say apply are those that Cedar says do. Where one is unknown, nothing can be said."""
    if any(one.applies == "unknown" for one in enforced):
        return True
    erring = {one.id for one in enforced if one.applies == "erring"}
    permits = {one.id for one in enforced if one.applies == "true" and one.effect == "permit"}
    forbids = {one.id for one in enforced if one.applies == "true" and one.effect == "forbid"}
    allowed = bool(permits) and not forbids and not erring
    determining = forbids or (permits if allowed else set())
    return (answer.allowed, answer.forbidden, set(answer.policies), {error.partition(":")[0] for error in answer.errors}) == (
        allowed,
        bool(forbids),
        determining,
        erring,
    )

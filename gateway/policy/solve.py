"""Whether conditions can hold together, and whether some imply another: by trying every case that they can tell apart. Pure.

Complete, so that "never" is proved; and bounded: where there are more cases than are tried, or a condition is undecidable
(`vocabulary`), the answer is None, "not known".
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from cedarpy import pst

from gateway.policy.domains import Case, TooMany, cases_of, list_of
from gateway.policy.expression import Erring, NotModelled, question_of, value_of
from gateway.policy.facts import (
    AuthenticationFacts,
    DeviceFacts,
    Facts,
    NetworkFacts,
    PrincipalFacts,
    ProofingFacts,
    TargetFacts,
    TimeFacts,
)
from gateway.policy.vocabulary import NUMBERS, Vocabulary, leaf, vocabulary_of

_ORDER: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "eq": operator.eq,
    "not_eq": operator.ne,
    "less": operator.lt,
    "less_eq": operator.le,
    "greater": operator.gt,
    "greater_eq": operator.ge,
}
MAX_STEPS: Final = 50_000
"""Combinations of cases that one question may take."""
WEAKEST: Final = Facts(
    principal=PrincipalFacts(id="(somebody)", roles=(), organization=""),
    authentication=AuthenticationFacts(
        kinds=("pwd",), factors=1, phishing_resistant=False, age_seconds=10**7, key_touch_age_seconds=None
    ),
    proofing=ProofingFacts(level=0, method="", age_days=0),
    device=DeviceFacts(
        registered=False, compliant=False, evidence="none", evidence_strength=0, ownership="", compliance_age_seconds=None
    ),
    network=NetworkFacts(zone="other", tls=False),
    time=TimeFacts(hour=3, weekday=1, date="2026-11-23", day=20261123),
    situation="normal",
    grants=(),
    target=TargetFacts(app="(an app)", route="(a route)", action="read", sensitivity="normal", patient=""),
)
"""What stands for facts that nothing reads."""


class Condition:
    """One condition, with what was found out about it. Compared by identity: `Conditions` makes one for each expression."""

    __slots__ = ("_compared", "_known", "expr", "lists", "names", "vocabulary")

    def __init__(self, expr: pst.Expr) -> None:
        self.expr: Final = expr
        self.vocabulary: Final[Vocabulary | None] = vocabulary_of(expr)
        self.names: Final = tuple(sorted(self.vocabulary.names)) if self.vocabulary else ()
        self.lists: Final = frozenset(map(list_of, self.names))
        self._known: Final[dict[tuple[Any, ...], bool]] = {}
        self._compared: Final = _comparison(expr)

    def holds(self, case: Case) -> bool:
        """Whether it is true in this case, which has all facts that it reads. What Cedar can't evaluate is not."""
        key = tuple(case[name] for name in self.names)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._compared(key[0]) if self._compared else self._evaluated(key)
        return known

    def _evaluated(self, values: tuple[Any, ...]) -> bool:
        facts = facts_of(dict(zip(self.names, values, strict=True)))
        try:
            return value_of(self.expr, question_of(facts)) is True
        except Erring:
            return False


def _comparison(expr: pst.Expr) -> Callable[[Any], bool] | None:
    """The commonest condition without the evaluator, many times as fast: one number beside a literal. None for any other."""
    if not isinstance(expr, pst.BinaryOp) or expr.op not in _ORDER:
        return None
    compare, attribute, literal = _ORDER[expr.op], expr.left, expr.right
    if leaf(attribute) not in NUMBERS or not isinstance(literal, pst.LongLit):
        return None
    # What is absent can't be compared: Cedar errs, and the condition does not hold.
    return lambda value: value is not None and compare(value, literal.value)


def facts_of(case: Case) -> Facts:
    """Return facts that are as a case says, and as weak as can be otherwise."""
    parts: dict[str, dict[str, Any]] = {}
    plain: dict[str, Any] = {}
    for name, value in case.items():
        part, _, attribute = name.partition(".")
        if attribute:
            parts.setdefault(part, {})[attribute] = value
        else:
            plain[part] = value
    for part, changes in parts.items():
        plain[part] = msgspec.structs.replace(getattr(WEAKEST, part), **changes)
    return msgspec.structs.replace(WEAKEST, **plain)


class Conditions:
    """Asks about sets of conditions, and remembers the answers: policies are much alike."""

    def __init__(self) -> None:
        self._by_expr: dict[pst.Expr, Condition] = {}
        self._solutions: dict[tuple[frozenset[Condition], Condition | None], Case | bool | None] = {}

    def of(self, exprs: Iterable[pst.Expr]) -> tuple[Condition, ...]:
        """Return the conditions of these expressions, each once."""
        return tuple(dict.fromkeys(self._of(expr) for expr in exprs))

    def _of(self, expr: pst.Expr) -> Condition:
        known = self._by_expr.get(expr)
        if known is None:
            known = self._by_expr[expr] = Condition(expr)
        return known

    def possible(self, given: "Given", only: frozenset[str] | None = None) -> bool | None:
        """Whether all of these can hold together. Undecidable ones are left out: False is proved all the same.

        `only`: those with a bearing on these lists, where the others are known to be possible.
        """
        decided = given.decidable
        for part in given.parts if only is None else (given.about(only),):
            solution = self._solution(part, None)
            if solution is False:
                return False
            decided = decided and solution is not None
        return True if decided else None

    def example(self, given: "Given") -> Facts | None:
        """Return facts for which all of these hold, as weak as can be otherwise; None where there are none, or none was found."""
        case = self._case(given)
        return facts_of(case) if given.decidable and case is not None else None

    def _case(self, given: "Given") -> Case | None:
        """Some case in which all that is decidable of these holds; remembered."""
        if given.case is None:
            case: dict[str, Any] = {}
            for part in given.parts:
                solution = self._solution(part, None)
                if not isinstance(solution, Mapping):
                    return None
                case |= solution
            given.case = case
        return given.case

    def implied(self, given: "Given", wanted: Condition) -> bool | None:
        """Whether `wanted` holds wherever all that is given does. What is given must not be known to be impossible."""
        if wanted in given.conditions:
            return True
        if wanted.vocabulary is None:
            return None
        case = self._case(given)
        if case is not None and given.decidable and all(name in case for name in wanted.names) and not wanted.holds(case):
            return False  # seen at a glance, most times
        solution = self._solution(given.about(wanted.lists), wanted)
        return None if solution is None else solution is False

    def _solution(self, conditions: frozenset[Condition], but: Condition | None) -> Case | bool | None:
        """A case in which all of these hold, and `but` does not; False: there is none; None: not known."""
        key = (conditions, but)
        if key not in self._solutions:
            try:
                found = _solve(conditions, but)
            except (TooMany, NotModelled):
                self._solutions[key] = None
            else:
                self._solutions[key] = False if found is None else found
        return self._solutions[key]


class Given:
    """Conditions that hold together, in parts that have no bearing on each other."""

    __slots__ = ("_by_list", "_unions", "case", "conditions", "decidable", "parts")

    def __init__(self, conditions: Iterable[Condition]) -> None:
        self.conditions: Final = frozenset(conditions)
        self.decidable: Final = all(one.vocabulary is not None for one in self.conditions)
        by_list: dict[str, set[Condition]] = {}
        alone: list[frozenset[Condition]] = []
        for one in self.conditions:
            if not one.lists:
                if one.vocabulary is not None:
                    alone.append(frozenset({one}))
                continue
            together = {one}.union(*(by_list.get(name, ()) for name in one.lists))
            for name in set().union(*(other.lists for other in together)):
                by_list[name] = together
        parts = {id(part): frozenset(part) for part in by_list.values()}
        self._by_list: Final = {name: parts[id(part)] for name, part in by_list.items()}
        self._unions: Final[dict[frozenset[str], frozenset[Condition]]] = {}
        self.parts: Final = (*alone, *parts.values())
        self.case: Case | None = None
        """One in which they hold, once `Conditions` has found it."""

    def about(self, lists: frozenset[str]) -> frozenset[Condition]:
        """Return those with a bearing on these lists of cases, directly or by way of others."""
        known = self._unions.get(lists)
        if known is None:
            known = self._unions[lists] = frozenset().union(*(self._by_list.get(name, frozenset()) for name in lists))
        return known


def _solve(conditions: frozenset[Condition], but: Condition | None) -> Case | None:
    wanted = [(one, True) for one in conditions] + ([(but, False)] if but is not None else [])
    literals: dict[str, frozenset[int | str]] = {}
    for one, _ in wanted:
        for name, compared in (one.vocabulary.literals if one.vocabulary else {}).items():
            literals[name] = literals.get(name, frozenset()) | compared
    lists = list(cases_of(literals))
    place = {name: number for number, cases in enumerate(lists) for name in cases[0]}
    crossing: list[tuple[Condition, bool, frozenset[int]]] = []
    for one, want in wanted:
        places = frozenset(place[name] for name in one.names)
        if len(places) == 1:
            (number,) = places
            lists[number] = tuple(case for case in lists[number] if one.holds(case) is want)
            if not lists[number]:
                return None
        elif places:
            crossing.append((one, want, places))
        elif one.holds({}) is not want:
            return None
    return _search(lists, crossing)


def _search(lists: Sequence[Sequence[Case]], crossing: Sequence[tuple[Condition, bool, frozenset[int]]]) -> Case | None:
    """Try the combinations of cases that are left, the shortest lists first; a condition is looked at as soon as it can be."""
    order = sorted(range(len(lists)), key=lambda number: len(lists[number]))
    due: list[list[tuple[Condition, bool]]] = [[] for _ in order]
    for one, want, places in crossing:
        due[max(order.index(number) for number in places)].append((one, want))
    steps = 0

    def extend(depth: int, case: Mapping[str, Any]) -> Case | None:
        nonlocal steps
        if depth == len(order):
            return case
        for more in lists[order[depth]]:
            steps += 1
            if steps > MAX_STEPS:
                raise TooMany
            longer = {**case, **more}
            if all(one.holds(longer) is want for one, want in due[depth]):
                found = extend(depth + 1, longer)
                if found is not None:
                    return found
        return None

    return extend(0, {})

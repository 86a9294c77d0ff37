"""Every case that some conditions can tell apart, in finite lists. Facts that hang together are in one list. Pure.

A number is tried at, just below and just above each number that it is compared with; a name is one of those that are named, or
another; a closed word is each of its words; what may be absent is absent, too. Combinations that `gateway.pipeline.gather` never
makes are left out: what is not registered shows no evidence, factors follow from kinds. Where a rule is not certain the
combination stays: a case too many hides a finding, a case too few would invent one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, combinations, product
from typing import Any, Final, get_args

from gateway.policy.facts import Action, AuthKind, Evidence, Ownership, Sensitivity, Situation, count_factors
from gateway.policy.vocabulary import ACTION, BOOLEANS, NUMBERS, ORGANIZATION, ROLES, SETS, SMALL

MAX_CASES: Final = 5_000
"""Of one list."""
_STRENGTH: Final[Mapping[str, int]] = {word: number for number, word in enumerate(get_args(Evidence))}
_STATES: Final = ("disk_encrypted", "screen_lock", "antivirus", "os_supported")
_OPTIONAL: Final = frozenset(
    {"authentication.key_touch_age_seconds", "proofing.expires_in_days", "device.compliance_age_seconds"}
    | {f"device.{name}{end}" for name in _STATES for end in ("", "_age_seconds")}
)
_ORDERED: Final = ("authentication.age_seconds", "authentication.key_touch_age_seconds")
"""The second is never less than the first."""
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "device.evidence": get_args(Evidence),
    "device.ownership": get_args(Ownership),
    "situation": get_args(Situation),
    "target.sensitivity": get_args(Sensitivity),
    ACTION: get_args(Action),
}
_EMPTY_TOO: Final = frozenset({ORGANIZATION, "target.patient", "proofing.method"})

Case = Mapping[str, Any]
"""Facts by name: `{"device.registered": True}`."""
Literals = Mapping[str, frozenset[int | str]]


class TooMany(Exception):  # noqa: N818  an outcome, not a failure
    """There are more cases than are tried."""


class _Group:
    """Facts that hang together: which they are, what is always looked at with them, and what never comes about."""

    def __init__(self, prefix: str, hubs: tuple[str, ...], possible: Callable[[Case], bool]) -> None:
        self.prefix: Final = prefix
        """Of the names that belong to it."""
        self.hubs: Final = hubs
        self.possible: Final = possible


def _authentication(case: Case) -> bool:
    kinds = case["authentication.kinds"]
    touch, age = case.get("authentication.key_touch_age_seconds", ...), case.get("authentication.age_seconds", ...)
    return (
        case.get("authentication.factors", ...) in {..., count_factors(kinds)}
        and (touch is ... or (touch is not None) == ("fido2" in kinds))
        and (touch is ... or touch is None or age is ... or touch >= age)
        and (kinds != () or not case.get("authentication.phishing_resistant", False))
    )


def _proofing(case: Case) -> bool:
    """Without a proofing nothing is bound to it, and it neither ages nor ends."""
    return case["proofing.level"] > 0 or (
        not case.get("proofing.authenticator_bound", False)
        and not case.get("proofing.age_days", 0)
        and case.get("proofing.expires_in_days") is None
    )


def _device(case: Case) -> bool:
    evidence = case["device.evidence"]
    if case.get("device.evidence_strength", ...) not in {..., _STRENGTH[evidence]}:
        return False
    if case["device.registered"]:
        return True
    return (
        evidence == "none"
        and not case.get("device.compliant", False)
        and case.get("device.ownership", "") == ""
        and case.get("device.compliance_age_seconds") is None
    )


def _said(name: str) -> Callable[[Case], bool]:
    """What was said of a device's state has an age, and there is no age without it."""

    def possible(case: Case) -> bool:
        value, age = case.get(f"device.{name}", ...), case.get(f"device.{name}_age_seconds", ...)
        return ... in (value, age) or (value is None) == (age is None)

    return possible


_GROUPS: Final = (
    # Before the device itself, whose prefix theirs begins with: each apart, for together they would be too many.
    *(_Group(f"device.{name}", (), _said(name)) for name in _STATES),
    _Group("authentication.", ("authentication.kinds",), _authentication),
    _Group("proofing.", ("proofing.level",), _proofing),
    _Group("device.", ("device.registered", "device.evidence"), _device),
)


def cases_of(literals: Literals) -> tuple[tuple[Case, ...], ...]:
    """Return the lists of cases of facts and what each is compared with. Lists vary independently of each other.

    TooMany where one list gets too long.
    """
    lists = []
    left = dict(literals)
    for group in _GROUPS:
        mine = {name: left.pop(name) for name in list(left) if name.startswith(group.prefix)}
        if mine:
            lists.append(_group_cases(group, frozenset(mine.items())))
    lists += [_single_cases(name, compared) for name, compared in sorted(left.items())]
    return tuple(lists)


@lru_cache(maxsize=512)
def _group_cases(group: _Group, literals: frozenset[tuple[str, frozenset[int | str]]]) -> tuple[Case, ...]:
    by_name = {**{name: frozenset[int | str]() for name in group.hubs}, **dict(literals)}
    # Numbers that are compared with each other are tried around the same places.
    around = frozenset[int | str]().union(*(by_name.get(name, ()) for name in _ORDERED))
    by_name |= {name: around for name in _ORDERED if name in by_name}
    names = sorted(by_name)
    values = [_values(name, by_name[name]) for name in names]
    cases: list[Case] = []
    for tried, combination in enumerate(product(*values)):
        case = dict(zip(names, combination, strict=True))
        if group.possible(case):
            cases.append(case)
        if tried > 20 * MAX_CASES or len(cases) > MAX_CASES:
            raise TooMany
    return tuple(cases)


@lru_cache(maxsize=2048)
def _single_cases(name: str, compared: frozenset[int | str]) -> tuple[Case, ...]:
    return tuple({name: value} for value in _values(name, compared))


def _values(name: str, compared: Iterable[int | str]) -> list[Any]:
    """Every value of one fact that something compared with these can tell apart."""
    values: list[Any]
    if name in BOOLEANS:
        values = [False, True]
    elif name in SMALL:
        values = list(SMALL[name])
    elif name in _WORDS:
        values = list(_WORDS[name])
    elif name == "authentication.kinds":
        values = list(_subsets(sorted(get_args(AuthKind))))
    elif name in NUMBERS:
        values = _numbers(number for number in compared if isinstance(number, int))
    else:
        words = sorted(str(word) for word in compared)
        another = "(another)" + "'" * (1 + max(map(len, words), default=0))  # longer than each that is named
        if name in SETS:
            values = _some_of([*words, another])
        elif name == ROLES:
            values = _some_of(words)
        else:
            values = [*words, another, *([""] if name in _EMPTY_TOO and "" not in words else [])]
    return [*values, None] if name in _OPTIONAL else values


def _numbers(compared: Iterable[int]) -> list[int]:
    """Never below 0: ages and days are counted from 0."""
    near = {number + step for number in compared for step in (-1, 0, 1)} | {0}
    return sorted(number for number in near if 0 <= number < 2**63)


def _some_of(words: list[str]) -> list[tuple[str, ...]]:
    if 2 ** len(words) > MAX_CASES:
        raise TooMany
    return list(_subsets(words))


def _subsets(words: list[str]) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(words, size) for size in range(len(words) + 1))


@lru_cache(maxsize=4096)
def list_of(name: str) -> str:
    """Return which list a fact is in: facts of the same one hang together."""
    return next((group.prefix for group in _GROUPS if name.startswith(group.prefix)), name)

"""What is to be said of a bundle that can be used, without asking it anything: what can't be meant. Pure.

Errors keep a bundle from being published: a `forbid` that can err, a `permit` that asks nothing of sign-in and device, a
name that is misspelt, a clause that is in no catalogue. Warnings do not: a policy that never matches or that another makes
superfluous, a route that no policy can open, a `permit` that can err, a name that is not configured (yet). A gateway that runs
goes on with a bundle that it took before, whatever is found here: `compile` alone says what can be used (decision 22).

"Never", "superfluous" and "no policy can open" are proved: every case that the policies' conditions can tell apart was tried
(`domains`, `solve`). What would take too many, or is not of a kind that can be tried, is left undecided and counted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec
from cedarpy import pst

from gateway.policy.domains import list_of
from gateway.policy.erring import can_err
from gateway.policy.evaluate import Bundle, Policy
from gateway.policy.expression import clause_of, pst_of, scope_of
from gateway.policy.known import NOTHING, Known, KnownRoute
from gateway.policy.naming import unknown_clauses, unknown_names
from gateway.policy.reads import reads_of
from gateway.policy.solve import Condition, Conditions, Given
from gateway.policy.template import Template
from gateway.policy.vocabulary import ACTION, APP, ROUTE

Code = Literal["forbid_errs", "permit_errs", "no_ground", "unknown_clause", "unknown_name", "never", "shadowed", "route"]
Severity = Literal["error", "warning"]
_GROUND: Final = ("authentication.", "device.")
_TARGET: Final = frozenset(map(list_of, (APP, ROUTE, ACTION, "target.sensitivity")))


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is to be said."""

    code: Code
    severity: Severity
    policy: str
    """Its id; empty for a route."""
    file: str
    """As the bundle's errors name it; empty for a route."""
    line: int
    what: str
    todo: str
    other: str = ""
    """Of a shadowed policy the one that makes it superfluous; of a route its id."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found."""

    findings: tuple[Finding, ...]
    """In the order of the policies; routes last."""
    undecided: tuple[str, ...]
    """Policies of which it is not known whether they ever match, or whether another makes them superfluous."""
    undecided_routes: tuple[str, ...] = ()


class _One(msgspec.Struct, frozen=True, eq=False):
    """A policy, taken apart."""

    number: int
    policy: Policy
    parsed: pst.Template
    conditions: tuple[Condition, ...]
    """All that must hold for it to match; those of its head first."""
    given: Given
    """The same, to ask about."""
    here: Given
    """With the application of the route that it is for, where the configuration says which that is."""


def analyse(bundle: Bundle, known: Known = NOTHING) -> Iterator[Finding]:
    """Yield what is to be said of a bundle, and of the configuration's routes where `known` has them."""
    yield from report(bundle, known).findings


def report(bundle: Bundle, known: Known = NOTHING) -> Report:
    """Look at a whole bundle: seconds for a thousand policies."""
    conditions = Conditions()
    homes = _homes(known.routes or ())
    policies = [_taken_apart(number, policy, conditions, homes) for number, policy in enumerate(bundle.policies)]
    by_policy: dict[int, list[Finding]] = {}
    undecided: list[str] = []
    alive: list[_One] = []
    for one in policies:
        by_policy[one.number] = [*_plainly_wrong(one, known)]
        possible = conditions.possible(one.given)
        if possible is False:
            todo = "Look for conditions that exclude each other; take the policy away if it is no longer needed"
            by_policy[one.number].append(_finding("never", one, "this policy can never match any request", todo))
            continue
        alive.append(one)
        no_ground = _no_ground(one, conditions)
        if no_ground:
            by_policy[one.number].append(no_ground)
        if possible is None:
            undecided.append(one.policy.id)
    shadows = _Shadows(alive, conditions)
    for one in alive:
        found, decided = shadows.of(one)
        if found:
            by_policy[one.number].append(found)
        elif not decided and one.policy.id not in undecided:
            undecided.append(one.policy.id)
    findings = [finding for one in policies for finding in by_policy[one.number]]
    findings += [finding for template in bundle.templates for finding in _of_template(template)]
    routes, not_known = _Routes(alive, conditions).unreached(known.routes or ())
    return Report(findings=(*findings, *routes), undecided=tuple(undecided), undecided_routes=not_known)


def _homes(routes: Iterable[KnownRoute]) -> Mapping[pst.Expr, pst.Expr]:
    """That a request is to a route, and that it is to the application which the route is of."""
    homes: dict[pst.Expr, pst.Expr] = {}
    twice = set[pst.Expr]()
    for route in routes:
        is_it, of_app, *_ = _target(route)
        if homes.setdefault(is_it, of_app) != of_app:
            twice.add(is_it)  # of two applications: no configuration has that, and nothing follows from it
    return {is_it: of_app for is_it, of_app in homes.items() if is_it not in twice}


def _taken_apart(number: int, policy: Policy, conditions: Conditions, homes: Mapping[pst.Expr, pst.Expr]) -> _One:
    parsed = pst_of(policy)
    scopes = (
        scope_of(parsed.resource, pst.Var("resource")),
        scope_of(parsed.action, pst.Var("action")),
        scope_of(parsed.principal, pst.Var("principal")),
    )
    exprs = [scope for scope in scopes if scope is not None]
    exprs += [expr for clause in parsed.clauses for expr in clause_of(clause)]
    made = conditions.of(exprs)
    given = here = Given(made)
    also = conditions.of(homes[expr] for expr in exprs if expr in homes)
    if also:
        with_app = Given((*made, *also))
        # Where that contradicts what the policy says itself, all would follow from it.
        here = given if conditions.possible(with_app) is False else with_app
    return _One(number, policy, parsed, made, given, here)


def _finding(code: Code, one: _One, what: str, todo: str, *, looked_for: str = "", other: str = "") -> Finding:
    severity: Severity = "error" if code in {"forbid_errs", "no_ground", "unknown_clause"} else "warning"
    policy = one.policy
    return Finding(
        code=code,
        severity=severity,
        policy=policy.id,
        file=policy.file,
        line=_line(policy, looked_for),
        what=f"{policy.id}: {what}",
        todo=todo,
        other=other,
    )


def _line(policy: Policy | Template, looked_for: str) -> int:
    """Where something stands in a policy's text; the policy's first line where it stands nowhere or came from `links.toml`."""
    if not looked_for or looked_for not in policy.text or (isinstance(policy, Policy) and policy.template):
        return policy.line
    return policy.line + policy.text[: policy.text.index(looked_for)].count("\n")


def _plainly_wrong(one: _One, known: Known) -> Iterator[Finding]:
    """What one policy shows by itself, without trying anything."""
    for unknown in unknown_clauses(one.policy.guidelines):
        yield _finding("unknown_clause", one, unknown.what, unknown.todo, looked_for=unknown.name)
    for unknown in unknown_names(one.parsed, one.conditions, known):
        finding = _finding("unknown_name", one, unknown.what, unknown.todo, looked_for=f'"{unknown.name}"')
        yield msgspec.structs.replace(finding, severity="error") if unknown.near else finding
    err = can_err(one.parsed)
    if err and one.policy.effect == "forbid":
        todo = "Compare with a number instead: while a forbid can't be evaluated, everybody is denied"
        yield _finding("forbid_errs", one, f"this forbid can fail to be evaluated: {err}", todo)
    elif err:
        todo = "Compare with a number instead: while it can't be evaluated, everybody is denied"
        yield _finding("permit_errs", one, f"this permit can fail to be evaluated: {err}", todo)


def _of_template(template: Template) -> Iterator[Finding]:
    for unknown in unknown_clauses(template.guidelines):
        yield Finding(
            code="unknown_clause",
            severity="error",
            policy=template.id,
            file=template.file,
            line=_line(template, unknown.name),
            what=f"{template.id}: {unknown.what}",
            todo=unknown.todo,
        )


def _no_ground(one: _One, conditions: Conditions) -> Finding | None:
    """A permit whose answer no sign-in and no device changes: what it says of them is nothing, or follows from the rest."""
    if one.policy.effect != "permit":
        return None
    reads = reads_of([one.parsed])
    if any(name.startswith(_GROUND) for name in (*reads.exact, *reads.thresholds)):
        grounds = [c for c in one.conditions if c.vocabulary is None or any(name.startswith(_GROUND) for name in c.names)]
        rest = Given(condition for condition in one.conditions if condition not in grounds)
        if any(ground.vocabulary is None or conditions.implied(rest, ground) is not True for ground in grounds):
            return None
    todo = "Ask for something of both or either, for instance context.authentication.factors >= 2 && context.device.registered"
    return _finding("no_ground", one, "this permit asks for nothing of the sign-in or the device", todo)


class _Shadows:
    """Which policies another makes superfluous."""

    def __init__(self, policies: Sequence[_One], conditions: Conditions) -> None:
        self._conditions: Final = conditions
        self._enforced: Final = [one for one in policies if not one.policy.report_only]
        # By their head: a head that some policy's requests need not fit is looked at once for it, not for each that has it.
        self._by_head: dict[tuple[Condition, ...], list[_One]] = {}
        for one in self._enforced:
            self._by_head.setdefault(_head(one), []).append(one)

    def of(self, one: _One) -> tuple[Finding | None, bool]:
        """Return what makes a policy superfluous, and whether that was decided."""
        decided = True
        for other in self._candidates(one):
            covered = self._covers(other, one)
            if covered is None:
                decided = False
            elif covered and not (self._same_kind(one, other) and other.number > one.number and self._covers(one, other)):
                return self._finding(one, other), True
        return None, decided

    def _candidates(self, one: _One) -> Iterator[_One]:
        for head, others in self._by_head.items():
            if all(self._conditions.implied(one.here, condition) is not False for condition in head):
                yield from (other for other in others if other is not one and self._would_matter(other, one))

    def _would_matter(self, other: _One, one: _One) -> bool:
        """Whether nothing would change without `one`, were it only where `other` is."""
        if other.policy.effect != one.policy.effect:
            return other.policy.effect == "forbid"
        return other.policy.lease_seconds <= one.policy.lease_seconds

    def _same_kind(self, one: _One, other: _One) -> bool:
        """Whether they might make each other superfluous: then the later one is."""
        alike = one.policy.report_only == other.policy.report_only
        return alike and self._would_matter(one, other) and self._would_matter(other, one)

    def _covers(self, other: _One, one: _One) -> bool | None:
        """Whether `other` matches wherever `one` does; None: not known."""
        answers = []
        for condition in other.conditions:
            answers.append(self._conditions.implied(one.here, condition))
            if answers[-1] is False:
                return False
        return None if None in answers else True

    def _finding(self, one: _One, other: _One) -> Finding:
        place = f"{other.policy.id} ({other.policy.file}:{other.policy.line})"
        if one.policy.effect != other.policy.effect:
            what = f"this permit never lets anybody in: {place} forbids every request that it matches"
            todo = "Take it away, or narrow the forbid"
        else:
            what = f"this {one.policy.effect} changes nothing: {place} matches every request that it matches"
            todo = "Take it away, or narrow the other one if that is too wide"
        return _finding("shadowed", one, what, todo, other=other.policy.id)


def _head(one: _One) -> tuple[Condition, ...]:
    """The conditions of a policy's head, which come first."""
    heads = (one.parsed.resource, one.parsed.action, one.parsed.principal)
    return one.conditions[: sum(not isinstance(head, pst.ScopeAny) for head in heads)]


class _Routes:
    """Which routes some policy can open."""

    def __init__(self, policies: Sequence[_One], conditions: Conditions) -> None:
        self._conditions: Final = conditions
        self._permits: Final = [one for one in policies if one.policy.effect == "permit" and not one.policy.report_only]
        self._forbids: Final = [one for one in policies if one.policy.effect == "forbid" and not one.policy.report_only]

    def unreached(self, routes: Iterable[KnownRoute]) -> tuple[list[Finding], tuple[str, ...]]:
        """Return a finding for each route that nothing can open, and the ids of those of which it is not known."""
        found: list[Finding] = []
        not_known: list[str] = []
        for route in routes:
            answer = self._opened(self._conditions.of(_target(route)))
            if answer is None:
                not_known.append(route.id)
            elif answer is not True:
                found.append(_route_finding(route, answer))
        return found, tuple(not_known)

    def _opened(self, target: tuple[Condition, ...]) -> Literal[True] | str | None:
        """True; or why not: the id of a forbid that is always in the way, empty when no permit fits; or None: not known."""
        undecided, in_the_way = False, ""
        fits: dict[Condition, bool] = {}
        for permit in self._permits:
            if not all(self._fits(one, target, fits) for one in permit.given.about(_TARGET)):
                continue
            both = Given((*target, *permit.conditions))
            possible = self._conditions.possible(both)
            if possible is False:
                continue
            stopped = next((forbid for forbid in self._forbids if self._always(forbid, both)), None)
            if stopped is not None:
                in_the_way = stopped.policy.id
            elif possible:
                return True
            else:
                undecided = True
        return None if undecided else in_the_way

    def _fits(self, one: Condition, target: tuple[Condition, ...], fits: dict[Condition, bool]) -> bool:
        """Whether one condition by itself does not exclude the target."""
        if one not in fits:
            fits[one] = self._conditions.possible(Given((*target, one))) is not False
        return fits[one]

    def _always(self, forbid: _One, given: Given) -> bool:
        return all(self._conditions.implied(given, condition) is True for condition in forbid.conditions)


def _target(route: KnownRoute) -> list[pst.Expr]:
    """The conditions of being a request to this route."""
    resource = pst.Var("resource")

    def entity(kind: str, name: str) -> pst.EntityLit:
        return pst.EntityLit(pst.EntityUid(pst.EntityType(kind), name))

    return [
        pst.BinaryOp("eq", resource, entity("Route", route.id)),
        pst.BinaryOp("in", resource, entity("App", route.app)),
        pst.BinaryOp("eq", pst.Var("action"), entity("Action", route.action)),
        pst.BinaryOp("eq", pst.GetAttr(resource, "sensitivity"), pst.StringLit(route.sensitivity)),
    ]


def _route_finding(route: KnownRoute, in_the_way: str) -> Finding:
    about = f"{route.id} ({route.action}, {route.sensitivity})"
    if in_the_way:
        what = f"nobody can ever use the route {about}: {in_the_way} forbids whatever a permit allows there"
    else:
        what = f"nobody can ever use the route {about}: no permit fits it"
    todo = "Write a permit for it, or take the route out of the configuration"
    return Finding(code="route", severity="warning", policy="", file="", line=0, what=what, todo=todo, other=route.id)


def by_severity(findings: Iterable[Finding]) -> Mapping[Severity, int]:
    """Return how many there are of each."""
    counts: dict[Severity, int] = {"error": 0, "warning": 0}
    for finding in findings:
        counts[finding.severity] += 1
    return counts

"""A policy's conditions over one request's facts, one by one: what Cedar computes as a whole, for those who explain. Pure.

Cedar decides; nothing here ever does. It works on Cedar's parsed form (`cedarpy.pst`) and gives each condition the value that
Cedar's evaluator gives it: `&&`, `||` and `if` look only as far as they must, whole numbers are 64 bits wide and overflow is an
error, an attribute that is absent is an error unless `has` came first. A property test compares with Cedar. Not modelled:
extension functions (addresses, decimals, dates), whose types no fact has; they raise `NotModelled`: neither yes nor no.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import cedarpy
import msgspec
from cedarpy import pst

from gateway.policy.evaluate import Policy
from gateway.policy.facts import Facts
from gateway.policy.reads import LEAVES, Path
from gateway.policy.schema import cedar_request

_LONG: Final = range(-(2**63), 2**63)
Scope = pst.PrincipalOrResourceConstraint | pst.ActionConstraint
Truth = Literal["true", "false", "erring", "unknown"]
"""What a condition is. `erring`: Cedar can't evaluate it. `unknown`: this module can't, Cedar perhaps can."""


class Erring(Exception):  # noqa: N818  Cedar's own outcome, not a failure of ours
    """Cedar can't evaluate this: the policy that it stands in errs."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class NotModelled(Exception):  # noqa: N818  as above
    """This construct of Cedar is not evaluated here: unknown, never false."""


class Many(msgspec.Struct, frozen=True):
    """A set. Equal to another with the same members, in whatever order and number they were written."""

    members: frozenset[Any]

    @classmethod
    def of(cls, values: Iterator["Value"]) -> "Many":
        """The set of these values."""
        return cls(frozenset(map(_tagged, values)))

    def values(self) -> list["Value"]:
        """Its members, in no particular order."""
        return [value for _, value in self.members]


class Fields(msgspec.Struct, frozen=True):
    """A record."""

    items: tuple[tuple[str, Any], ...]
    """Sorted by name; values tagged with their type, as in `Many`."""

    @classmethod
    def of(cls, values: Mapping[str, "Value"]) -> "Fields":
        """The record of these values."""
        return cls(tuple((name, _tagged(value)) for name, value in sorted(values.items())))

    def get(self, name: str) -> "Value | None":
        """Return a field; None when there is none."""
        return next((value for key, (_, value) in self.items if key == name), None)


Value = bool | int | str | pst.EntityUid | Many | Fields


class Entity(msgspec.Struct, frozen=True):
    """What is known of a person or a route."""

    parents: frozenset[pst.EntityUid]
    """All above it."""
    attributes: Fields


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One request as Cedar is asked it, in this module's values. Make it once where many conditions are about the same facts."""

    facts: Facts
    variables: Mapping[str, Value]
    entities: Mapping[pst.EntityUid, Entity]


class Conjunct(msgspec.Struct, frozen=True, kw_only=True):
    """One of the conditions that must all hold."""

    expr: pst.Expr
    """Of an `unless` the negation of what is written."""
    value: Literal["true", "false", "erring", "unknown", "not_reached"]
    """As Cedar gets to it: after the first that does not hold, it reaches none."""
    alone: Truth
    """What it is by itself, also when it is not reached; `erring` may then just mean that what guards it does not hold."""
    what: str = ""
    """What Cedar can't evaluate, or what is not modelled."""
    reads: dict[str, object] = {}
    """What it looked at, by the names of `Facts` ("device.compliant", "principal.roles"); None: not known."""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a policy applies to a request, and what of it does."""

    principal: bool
    action: bool
    resource: bool
    clauses: tuple[tuple[Conjunct, ...], ...]
    """For each `when` and `unless`, in order."""

    @property
    def in_scope(self) -> bool:
        """Whether it is about this person, action and route at all."""
        return self.principal and self.action and self.resource

    @property
    def conjuncts(self) -> list[Conjunct]:
        """Every condition of every clause."""
        return [conjunct for clause in self.clauses for conjunct in clause]

    @property
    def applies(self) -> Truth:
        """`true`: Cedar counts the policy; `erring`: it can't be evaluated."""
        if not self.in_scope:
            return "false"
        # The first that does not hold ends it; after it none is reached.
        return next((one.alone for one in self.conjuncts if one.value != "true"), "true")


@lru_cache(maxsize=4096)
def pst_of(policy: Policy) -> pst.Template:
    """Return Cedar's parsed form of a policy of a bundle."""
    return next(iter(cedarpy.PolicySet.from_str(policy.cedar).to_pst().static_policies.values()))


def question_of(facts: Facts) -> Question:
    """Return the request that these facts make. ValueError where Cedar could not be asked: a lone surrogate in a text."""
    asked = cedar_request(facts)
    person, action, route = (_uid(asked[part]["type"], asked[part]["id"]) for part in ("principal", "action", "resource"))
    parents = [_uid("Role", role) for role in facts.principal.roles]
    if facts.principal.organization:
        parents.append(_uid("Organization", facts.principal.organization))
    attributes = {
        path[1]: getattr(facts.target, name.partition(".")[2]) for path, name in LEAVES.items() if path[0] == "resource"
    }
    return Question(
        facts=facts,
        variables={
            "principal": person,
            "action": action,
            "resource": route,
            "context": _plain(msgspec.json.decode(asked["context"])),
        },
        entities={
            person: Entity(frozenset(parents), Fields(())),
            route: Entity(frozenset({_uid("App", facts.target.app)}), Fields.of(attributes)),
        },
    )


def value_of(expr: pst.Expr, facts: Facts | Question, reads: dict[str, object] | None = None) -> Value:
    """Return what Cedar makes of an expression for these facts. What it looked at is added to `reads`.

    Raises `Erring` where Cedar does, and `NotModelled` where this module can't tell.
    """
    question = facts if isinstance(facts, Question) else question_of(facts)
    return _Evaluator(question, {} if reads is None else reads).value(expr)


def conjuncts_of(expr: pst.Expr) -> Iterator[pst.Expr]:
    """Yield the conditions whose conjunction this is, in the order in which Cedar reaches them."""
    if isinstance(expr, pst.BinaryOp) and expr.op == "and":
        yield from conjuncts_of(expr.left)
        yield from conjuncts_of(expr.right)
    elif isinstance(expr, pst.UnaryOp) and expr.op == "not":
        inner = expr.arg
        if isinstance(inner, pst.BinaryOp) and inner.op == "or":
            yield from conjuncts_of(pst.UnaryOp("not", inner.left))
            yield from conjuncts_of(pst.UnaryOp("not", inner.right))
        elif isinstance(inner, pst.UnaryOp) and inner.op == "not":
            yield from conjuncts_of(inner.arg)
        else:
            yield expr
    else:
        yield expr


def clause_of(clause: pst.Clause) -> tuple[pst.Expr, ...]:
    """Return the conditions of a `when` or `unless`, all of which must hold for the policy to apply."""
    return tuple(conjuncts_of(clause.expr if isinstance(clause, pst.When) else pst.UnaryOp("not", clause.expr)))


def matches(policy: pst.Template, facts: Facts | Question) -> Match:
    """Say whether a policy applies, and each of its conditions' value. NotModelled for a template whose slots are not filled."""
    question = facts if isinstance(facts, Question) else question_of(facts)
    person = _in_scope(policy.principal, pst.Var("principal"), question)
    action = _in_scope(policy.action, pst.Var("action"), question)
    resource = _in_scope(policy.resource, pst.Var("resource"), question)
    reached = person and action and resource
    clauses = []
    for clause in policy.clauses:
        conjuncts = []
        for expr in clause_of(clause):
            conjunct = _judge(expr, question, reached=reached)
            reached = reached and conjunct.value == "true"
            conjuncts.append(conjunct)
        clauses.append(tuple(conjuncts))
    return Match(principal=person, action=action, resource=resource, clauses=tuple(clauses))


def truth_of(expr: pst.Expr, facts: Facts | Question, reads: dict[str, object] | None = None) -> tuple[Truth, str]:
    """Return what a condition is for these facts, and why where it is neither true nor false. Raises neither error."""
    try:
        value = value_of(expr, facts, reads)
    except Erring as error:
        return "erring", error.what
    except NotModelled as error:
        return "unknown", str(error)
    if not isinstance(value, bool):
        return "erring", f"{_kind(value)} is not yes or no"
    return ("true" if value else "false"), ""


def _judge(expr: pst.Expr, question: Question, *, reached: bool) -> Conjunct:
    reads: dict[str, object] = {}
    alone, what = truth_of(expr, question, reads)
    return Conjunct(expr=expr, value=alone if reached else "not_reached", alone=alone, what=what, reads=reads)


def scope_of(constraint: Scope, variable: pst.Var) -> pst.Expr | None:
    """Return the condition that a policy's head sets for the person, action or route; None: any. NotModelled as `matches`."""
    match constraint:
        case pst.ScopeAny():
            return None
        case pst.ScopeEq(entity) | pst.ActionEq(entity):
            return pst.BinaryOp("eq", variable, _literal(entity))
        case pst.ScopeIn(entity):
            return pst.BinaryOp("in", variable, _literal(entity))
        case pst.ScopeIs(kind):
            return pst.Is(variable, kind, None)
        case pst.ScopeIsIn(kind, entity):
            return pst.Is(variable, kind, _literal(entity))
        case pst.ActionIn(entities):
            return pst.BinaryOp("in", variable, pst.Set(tuple(pst.EntityLit(entity) for entity in entities)))
    raise NotModelled(f"{type(constraint).__name__} is not modelled")


def _in_scope(constraint: Scope, variable: pst.Var, question: Question) -> bool:
    expr = scope_of(constraint, variable)
    return expr is None or value_of(expr, question) is True


def _literal(entity: pst.EntityOrSlot) -> pst.Expr:
    return pst.EntityLit(entity) if isinstance(entity, pst.EntityUid) else entity


def _uid(kind: str, name: str) -> pst.EntityUid:
    return pst.EntityUid(pst.EntityType(kind), name)


def _plain(value: Any) -> Value:
    """A value of Cedar's JSON; facts hold texts, numbers, yes or no, lists and records of them."""
    if isinstance(value, dict):
        return Fields.of({name: _plain(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return Many.of(map(_plain, value))
    plain: bool | int | str = value
    return plain


def _tagged(value: Value) -> tuple[str, Value]:
    """A value beside its kind: Python takes True for 1, Cedar does not."""
    return _kind(value), value


def _kind(value: Value) -> str:
    return {bool: "yes or no", int: "a number", str: "a text", Many: "a set", Fields: "a record"}.get(type(value), "an entity")


def _same(left: Value, right: Value) -> bool:
    return _tagged(left) == _tagged(right)


_RELATIVES: Final[Mapping[str, str]] = {"Role": "principal.roles", "Organization": "principal.organization"}
_ITSELF: Final[Mapping[str, str]] = {"principal": "principal.id", "action": "target.action", "resource": "target.route"}


class _Evaluator:
    """Cedar's evaluator for what the schema's types can make, and every error that it can come to."""

    def __init__(self, question: Question, reads: dict[str, object]) -> None:
        self._question = question
        self._reads = reads

    def value(self, expr: pst.Expr) -> Value:
        """The value of an expression. Its depth is bounded: Cedar's own conversion refuses more than 100 levels."""
        how = self._HOW.get(type(expr))
        if how is None:
            raise NotModelled(f"{type(expr).__name__} is not modelled")
        return how(self, expr)

    def _read(self, path: Path) -> None:
        for name, part, attribute in _below(path):
            whole = getattr(self._question.facts, part)
            self._reads[name] = getattr(whole, attribute) if attribute else whole

    def _read_entity(self, variable: pst.Expr, other: pst.Expr) -> None:
        """Note which fact says whether the person, action or route is or belongs to something."""
        if not isinstance(variable, pst.Var) or variable.name == "context":
            return
        named = other.elements if isinstance(other, pst.Set) else (other,)
        for one in named:
            kind = str(one.value.type) if isinstance(one, pst.EntityLit) else ""
            name = _ITSELF[variable.name]
            if variable.name == "principal":
                name = _RELATIVES.get(kind, name)
            elif kind == "App":
                name = "target.app"
            part, _, attribute = name.partition(".")
            self._reads[name] = getattr(getattr(self._question.facts, part), attribute)

    def _bool(self, expr: pst.Expr) -> bool:
        value = self.value(expr)
        if not isinstance(value, bool):
            raise Erring(f"{_kind(value)} is not yes or no")
        return value

    def _var(self, expr: pst.Var) -> Value:
        if expr.name == "context":
            self._read(("context",))
        return self._question.variables[expr.name]

    def _base(self, expr: pst.Expr) -> Value:
        """What an attribute is taken from, which is itself no reading of all that is in it."""
        if isinstance(expr, pst.Var):
            return self._question.variables[expr.name]
        if isinstance(expr, pst.GetAttr):
            return self._attribute(self._base(expr.base), expr.attr)
        return self.value(expr)

    def _get(self, expr: pst.GetAttr) -> Value:
        if path := _path(expr):
            self._read(path)
        return self._attribute(self._base(expr.base), expr.attr)

    def _attribute(self, base: Value, name: str) -> Value:
        value = self._fields(base).get(name)
        if value is None:
            raise Erring(f"{name} is not known")
        return value

    def _fields(self, base: Value) -> Fields:
        if isinstance(base, Fields):
            return base
        if isinstance(base, pst.EntityUid):
            known = self._question.entities.get(base)
            return known.attributes if known else Fields(())
        raise Erring(f"{_kind(base)} has no attributes")

    def _has(self, expr: pst.HasAttr) -> Value:
        base, path = self._base(expr.base), _path(expr.base)
        for name in expr.attrs:
            path = (*path, name) if path else ()
            if LEAVES.get(path):
                self._read(path)
            inner = self._fields(base).get(name)
            if inner is None:
                return False
            base = inner
        return True

    def _like(self, expr: pst.Like) -> Value:
        base = self.value(expr.base)
        if not isinstance(base, str):
            raise Erring(f"{_kind(base)} is not a text")
        return _fits(base, [None if isinstance(part, pst.Wildcard) else part.value for part in expr.pattern])

    def _is(self, expr: pst.Is) -> Value:
        base = self.value(expr.base)
        if not isinstance(base, pst.EntityUid):
            raise Erring(f"{_kind(base)} is not an entity")
        if base.type != expr.entity_type:
            return False
        return True if expr.in_expr is None else self._in(pst.BinaryOp("in", expr.base, expr.in_expr))

    def _if(self, expr: pst.IfThenElse) -> Value:
        return self.value(expr.then_expr if self._bool(expr.cond) else expr.else_expr)

    def _unary(self, expr: pst.UnaryOp) -> Value:
        if expr.op == "not":
            return not self._bool(expr.arg)
        if expr.op == "neg":
            return _long(-_number(self.value(expr.arg)))
        if expr.op == "is_empty":
            return not _members(self.value(expr.arg)).members
        raise NotModelled(f"{expr.op} is not modelled")

    def _binary(self, expr: pst.BinaryOp) -> Value:
        if expr.op == "and":
            return self._bool(expr.left) and self._bool(expr.right)
        if expr.op == "or":
            return self._bool(expr.left) or self._bool(expr.right)
        if expr.op == "in":
            return self._in(expr)
        how = _BINARY.get(expr.op)
        if how is None:
            raise NotModelled(f"{expr.op} is not modelled")
        for one, other in ((expr.left, expr.right), (expr.right, expr.left)):
            self._read_entity(one, other)
        return how(self.value(expr.left), self.value(expr.right))

    def _in(self, expr: pst.BinaryOp) -> Value:
        self._read_entity(expr.left, expr.right)
        left, right = self.value(expr.left), self.value(expr.right)
        if not isinstance(left, pst.EntityUid):
            raise Erring(f"{_kind(left)} is not an entity")
        groups = right.values() if isinstance(right, Many) else [right]
        if not all(isinstance(group, pst.EntityUid) for group in groups):
            raise Erring(f"{_kind(right)} is not an entity, or a set of them")
        known = self._question.entities.get(left)
        return any(group == left or (known is not None and group in known.parents) for group in groups)

    _HOW: Final[Mapping[type, Callable[..., Value]]] = {
        pst.Var: _var,
        pst.BoolLit: lambda _self, expr: expr.value,
        pst.LongLit: lambda _self, expr: expr.value,
        pst.StringLit: lambda _self, expr: expr.value,
        pst.EntityLit: lambda _self, expr: expr.value,
        pst.UnaryOp: _unary,
        pst.BinaryOp: _binary,
        pst.GetAttr: _get,
        pst.HasAttr: _has,
        pst.Like: _like,
        pst.Is: _is,
        pst.IfThenElse: _if,
        pst.Set: lambda self, expr: Many.of(map(self.value, expr.elements)),
        pst.Record: lambda self, expr: Fields.of({name: self.value(inner) for name, inner in expr.fields.items()}),
    }


def _number(value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Erring(f"{_kind(value)} is not a number")
    return _long(value)


def _long(number: int) -> int:
    if number not in _LONG:
        raise Erring("the number is too large")
    return number


def _members(value: Value) -> Many:
    if not isinstance(value, Many):
        raise Erring(f"{_kind(value)} is not a set")
    return value


_BINARY: Final[Mapping[str, Callable[[Value, Value], Value]]] = {
    "eq": _same,
    "not_eq": lambda left, right: not _same(left, right),
    "less": lambda left, right: _number(left) < _number(right),
    "less_eq": lambda left, right: _number(left) <= _number(right),
    "greater": lambda left, right: _number(left) > _number(right),
    "greater_eq": lambda left, right: _number(left) >= _number(right),
    "add": lambda left, right: _long(_number(left) + _number(right)),
    "sub": lambda left, right: _long(_number(left) - _number(right)),
    "mul": lambda left, right: _long(_number(left) * _number(right)),
    "contains": lambda left, right: _tagged(right) in _members(left).members,
    "contains_all": lambda left, right: _members(left).members >= _members(right).members,
    "contains_any": lambda left, right: bool(_members(left).members & _members(right).members),
}


def _fits(text: str, pattern: list[str | None]) -> bool:
    """Whether a text is as a pattern says, None standing for any run of characters. Never slower than length times length."""
    at = place = 0
    star, mark = -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] is None:
            star, mark = place, at
            place += 1
        elif place < len(pattern) and pattern[place] == text[at]:
            at, place = at + 1, place + 1
        elif star >= 0:
            mark += 1
            at, place = mark, star + 1
        else:
            return False
    return all(part is None for part in pattern[place:])


@lru_cache(maxsize=256)
def _below(path: Path) -> tuple[tuple[str, str, str], ...]:
    """The facts at and below a path: name, part of `Facts`, attribute of that."""
    names = (name for leaf, name in LEAVES.items() if leaf[: len(path)] == path)
    return tuple((name, name.partition(".")[0], name.partition(".")[2]) for name in names)


def _path(node: pst.Expr) -> Path:
    """The path of plain attributes of a variable; empty for anything else."""
    names: list[str] = []
    while isinstance(node, pst.GetAttr):
        names.append(node.attr)
        node = node.base
    return (node.name, *reversed(names)) if isinstance(node, pst.Var) else ()

"""A policy's conditions over one request's facts, one by one: what Cedar computes as a whole, for those who explain. Pure.

Cedar decides; nothing here ever does. It works on Cedar's parsed form (`cedarpy.pst`) and gives each condition the value that
Cedar's evaluator gives it: `&&`, `||` and `if` look only as far as they must, whole numbers are 64 bits wide and overflow is an
error, an attribute that is absent is an error unless `has` came first. A property test compares with Cedar. Not modelled:
extension functions (addresses, decimals, dates), whose types no fact has; they raise `NotModelled`: neither yes nor no.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import cedarpy
import msgspec
from cedarpy import pst

from gateway.policy.evaluate import Policy
from gateway.policy.evaluator import Evaluator
from gateway.policy.facts import Facts
from gateway.policy.values import Erring, NotModelled, Question, Value, kind_of, question_of

__all__ = [
    "Conjunct", "Erring", "Match", "NotModelled", "Question", "Truth", "Value", "clause_of", "conjuncts_of", "matches", "pst_of",
    "question_of", "scope_of", "truth_of", "value_of",
]  # fmt: skip

Scope = pst.PrincipalOrResourceConstraint | pst.ActionConstraint
Truth = Literal["true", "false", "erring", "unknown"]
"""What a condition is. `erring`: Cedar can't evaluate it. `unknown`: this module can't, Cedar perhaps can."""


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


def value_of(expr: pst.Expr, facts: Facts | Question, reads: dict[str, object] | None = None) -> Value:
    """Return what Cedar makes of an expression for these facts. What it looked at is added to `reads`.

    Raises `Erring` where Cedar does, and `NotModelled` where this module can't tell.
    """
    question = facts if isinstance(facts, Question) else question_of(facts)
    return Evaluator(question, {} if reads is None else reads).value(expr)


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
        return "erring", f"{kind_of(value)} is not yes or no"
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

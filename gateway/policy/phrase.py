"""A policy's condition as a sentence, in Japanese and English. What has no words stands as Cedar text: nothing is guessed. Pure.

Conditions on single facts (`atoms`) have sentences of their own; `&&`, `||`, `!` and `if` put them together.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from cedarpy import pst

from gateway.kernel.web.show import visible
from gateway.policy.atoms import Atom, atom_of, merged
from gateway.policy.cedar_text import cedar_of
from gateway.policy.expression import clause_of, conjuncts_of, scope_of
from gateway.policy.words import Sentence, compared, in_both, join, name_of, several, value_of_fact

_LONGEST: Final = 400
_VALUE: Final = 80


@lru_cache(maxsize=4096)
def phrase(expr: pst.Expr) -> Sentence:
    """Return what a condition wants, as a sentence."""
    return _phrase(expr, negated=False, inside=False)


def phrases(conditions: Iterable[pst.Expr]) -> list[Sentence]:
    """Return a sentence for each of the conditions that must all hold; a `has` that only guards another one is left out."""
    every = list(conditions)
    return [phrase(one) for place, one in enumerate(every) if not guards(one, every[place + 1 :])]


def conditions_of(policy: pst.Template) -> list[pst.Expr]:
    """Return everything that must hold for a policy to apply, head included, in Cedar's order."""
    head = (
        scope_of(policy.principal, pst.Var("principal")),
        scope_of(policy.action, pst.Var("action")),
        scope_of(policy.resource, pst.Var("resource")),
    )
    clauses = [expr for clause in policy.clauses for expr in clause_of(clause)]
    return [expr for expr in (*head, *clauses) if expr is not None]


def guards(condition: pst.Expr, later: Sequence[pst.Expr]) -> bool:
    """Whether a condition only says that a fact is known which a later one looks at anyway."""
    atom = atom_of(condition)
    return atom is not None and atom.op == "known" and any(_looks_at(one, atom.fact) for one in later)


def _looks_at(condition: pst.Expr, fact: str) -> bool:
    """Whether a single fact's condition needs this one to be known."""
    atom = atom_of(condition)
    return atom is not None and atom.fact == fact and atom.op not in {"known", "unknown"}


def _phrase(expr: pst.Expr, *, negated: bool, inside: bool) -> Sentence:
    """`inside`: it is part of a longer sentence, where several parts stand in brackets."""
    if atom := atom_of(expr, negated=negated):
        return sentence_of(atom)
    if isinstance(expr, pst.UnaryOp) and expr.op == "not":
        return _phrase(expr.arg, negated=not negated, inside=inside)
    if isinstance(expr, pst.BoolLit):
        return in_both("unit.true" if expr.value is not negated else "unit.false")
    if isinstance(expr, pst.BinaryOp) and expr.op in {"and", "or"}:
        return _several(expr, negated=negated, inside=inside)
    if isinstance(expr, pst.IfThenElse):
        said = in_both(
            "op.if",
            condition=_phrase(expr.cond, negated=False, inside=True),
            then=_phrase(expr.then_expr, negated=negated, inside=True),
            otherwise=_phrase(expr.else_expr, negated=negated, inside=True),
        )
        return in_both("join.group", value=said) if inside else said
    said = _cedar(expr)
    return in_both("op.not", condition=said) if negated else said


def _several(expr: pst.BinaryOp, *, negated: bool, inside: bool) -> Sentence:
    """Of `&&` and `||`, whose negation is the other with all of its parts negated."""
    parts = list(_flat(expr, expr.op))
    if expr.op == "and":
        parts = [one for place, one in enumerate(parts) if negated or not guards(one, parts[place + 1 :])]
    either = (expr.op == "or") is not negated
    said: list[Sentence] = []
    if either:
        atoms = [atom_of(one, negated=negated) for one in parts]
        said = [
            sentence_of(one) if isinstance(one, Atom) else _phrase(one, negated=negated, inside=True)
            for one in merged([atom or part for atom, part in zip(atoms, parts, strict=True)])
        ]
    else:
        said = [_phrase(one, negated=negated, inside=True) for one in parts]
    if len(said) == 1:
        return said[0]
    together = join(said, "join.either" if either else "join.both")
    return in_both("join.group", value=together) if inside else together


def _flat(expr: pst.Expr, op: str) -> Iterable[pst.Expr]:
    if op == "and":
        yield from conjuncts_of(expr)
    elif isinstance(expr, pst.BinaryOp) and expr.op == op:
        yield from _flat(expr.left, op)
        yield from _flat(expr.right, op)
    else:
        yield expr


def _cedar(expr: pst.Expr) -> Sentence:
    text = visible(cedar_of(expr), _LONGEST)
    said = in_both("join.cedar", value=text)
    return Sentence(said.ja, said.en, cedar=True)


def sentence_of(atom: Atom) -> Sentence:
    """Return what a condition on one fact says."""
    fact, op, values = atom.fact, atom.op, atom.values
    if op in {"yes", "no", "known", "unknown", "some", "none"}:
        return in_both(f"{op}.{fact}")
    if op in {"like", "not_like"}:
        return compared(op, fact, in_both("join.quoted", value=visible(values[0], _VALUE)))
    if op.endswith("includes_all"):
        return compared(op, fact, several(fact, values, "join.and"))
    if values == ("",):
        return in_both("op.empty" if op == "eq" else "op.filled", name=name_of(fact))
    if fact == "time.hour" and len(values) == 1:
        return _hour(op, int(str(values[0])))
    value = several(fact, values)
    return in_both(f"day.{op}", value=value) if fact == "time.day" else compared(op, fact, value)


def _hour(op: str, hour: int) -> Sentence:
    """The hour is that of the clock: at most 8 means until a minute to nine."""
    if op in {"less_eq", "greater"}:
        op, hour = ("less" if op == "less_eq" else "greater_eq"), hour + 1
    return in_both(f"hour.{op}", value=value_of_fact("time.hour", hour), end=value_of_fact("time.hour", hour + 1))

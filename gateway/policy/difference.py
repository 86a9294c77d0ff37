"""What differs between two bundles, in plain words: policies, their conditions, templates, cases. Pure.

Conditions are compared in Cedar's parsed form, so layout, comments and brackets are no difference. What a change does to who gets
in is only said where it follows from the conditions alone (`Reach`); whom it concerns, a replay shows.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
from cedarpy import pst

from gateway.policy.atoms import Atom, atom_of
from gateway.policy.cases import Case
from gateway.policy.evaluate import Bundle, Policy
from gateway.policy.expression import pst_of
from gateway.policy.facts_in import facts_in
from gateway.policy.phrase import conditions_of, guards, phrase, phrases
from gateway.policy.words import Sentence, in_both

Kind = Literal["added", "removed", "changed"]
Reach = Literal["wider", "narrower", ""]
"""Whether the policy applies to more requests than before, or to fewer; empty: that can't be told from the condition alone."""
_UP: Final = frozenset({"less", "less_eq"})
_DOWN: Final = frozenset({"greater", "greater_eq"})
_ANY_OF: Final = frozenset({"eq", "includes"})
_NONE_OF: Final = frozenset({"not_eq", "not_includes"})


class ConditionChange(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of a policy."""

    kind: Kind
    before: Sentence | None = None
    after: Sentence | None = None
    reach: Reach = ""


class PolicyChange(msgspec.Struct, frozen=True, kw_only=True):
    """One policy that is not as it was."""

    kind: Kind
    id: str
    effect: Literal["permit", "forbid"]
    """Now; of a removed one, before."""
    report_only: bool
    title: Sentence
    statements: tuple[Sentence, ...] = ()
    """What of a changed one differs beside its conditions."""
    conditions: tuple[ConditionChange, ...] = ()
    when: tuple[Sentence, ...] = ()
    """All conditions of an added or a removed one."""

    @property
    def outline(self) -> Sentence:
        """What it does: "permits", "would forbid (report-only)"."""
        return in_both(f"diff.{self.effect}{'_marked' if self.report_only else ''}")


class CaseChange(msgspec.Struct, frozen=True, kw_only=True):
    """One case that is not as it was."""

    kind: Kind
    file: str
    name: str
    statements: tuple[Sentence, ...] = ()


class TemplateChange(msgspec.Struct, frozen=True, kw_only=True):
    """One template that is not as it was; what its links mean stands with the policies."""

    kind: Kind
    id: str
    title: Sentence


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two bundles."""

    before: str
    """Version."""
    after: str
    policies: tuple[PolicyChange, ...]
    templates: tuple[TemplateChange, ...]
    cases: tuple[CaseChange, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing of all that differs: at most comments, order and layout do."""
        return not (self.policies or self.templates or self.cases)


def difference(before: Bundle, after: Bundle, cases: tuple[Sequence[Case], Sequence[Case]] = ((), ())) -> Difference:
    """Say what differs from `before` to `after`; `cases` are those of both, in this order."""
    return Difference(
        before=before.version,
        after=after.version,
        policies=tuple(_policies({one.id: one for one in before.policies}, {one.id: one for one in after.policies})),
        templates=tuple(_templates(before, after)),
        cases=tuple(_cases(*cases)),
    )


# ---------------------------------------------------------------- policies


def _policies(before: Mapping[str, Policy], after: Mapping[str, Policy]) -> list[PolicyChange]:
    gone = {name: policy for name, policy in before.items() if name not in after}
    come = {name: policy for name, policy in after.items() if name not in before}
    changes = [_whole(policy, "added", gone) for policy in come.values()]
    changes += [_whole(policy, "removed", come) for policy in gone.values()]
    changes += [change for name, policy in after.items() if name in before and (change := _changed(before[name], policy))]
    return changes


def _whole(policy: Policy, kind: Kind, opposite: Mapping[str, Policy]) -> PolicyChange:
    """A policy that is only on one side, beside those that are only on the other."""
    same = [one.id for one in opposite.values() if _meaning(one) == _meaning(policy) and one.report_only == policy.report_only]
    return PolicyChange(
        kind=kind,
        id=policy.id,
        effect=policy.effect,
        report_only=policy.report_only,
        title=Sentence(policy.title_ja, policy.title_en),
        statements=(in_both(f"diff.same_{kind}", other=_value(same[0])),) if same else (),
        when=tuple(phrases(conditions_of(pst_of(policy)))) or (in_both("diff.always"),),
    )


def _changed(before: Policy, after: Policy) -> PolicyChange | None:
    conditions = _conditions(before, after)
    statements = [*_statements(before, after)]
    if not conditions and _meaning(before)[1:] != _meaning(after)[1:]:
        statements.append(in_both("diff.written"))
    if not conditions and not statements:
        return None
    return PolicyChange(
        kind="changed",
        id=after.id,
        effect=after.effect,
        report_only=after.report_only,
        title=Sentence(after.title_ja, after.title_en),
        statements=tuple(statements),
        conditions=tuple(conditions),
    )


def _statements(before: Policy, after: Policy) -> list[Sentence]:
    said = []
    if before.effect != after.effect:
        said.append(in_both(f"diff.effect_{after.effect}"))
    if before.report_only != after.report_only:
        said.append(in_both("diff.report_only" if after.report_only else "diff.enforced"))
    if (before.title_ja, before.title_en) != (after.title_ja, after.title_en):
        old, new = (_quoted(Sentence(one.title_ja, one.title_en)) for one in (before, after))
        said.append(in_both("diff.title", before=old, after=new))
    pairs: list[tuple[str, str, str]] = [
        ("guideline", ", ".join(before.guidelines), ", ".join(after.guidelines)),
        ("template", before.template, after.template),
        ("file", before.file.rpartition("/")[2], after.file.rpartition("/")[2]),
    ]
    none = in_both("diff.no_template")
    said += [in_both(f"diff.{key}", before=old or none, after=new or none) for key, old, new in pairs if old != new]
    if before.lease_seconds != after.lease_seconds:
        said.append(in_both("diff.lease", before=str(before.lease_seconds), after=str(after.lease_seconds)))
    old_values, new_values = dict(before.values), dict(after.values)
    for name in sorted(old_values.keys() | new_values.keys()):
        old_value, new_value = (_value(values.get(name)) for values in (old_values, new_values))
        if old_value != new_value and before.template == after.template:
            said.append(in_both("diff.value", name=name, before=old_value, after=new_value))
    return said


def _quoted(sentence: Sentence) -> Sentence:
    return in_both("join.quoted", value=sentence)


def _value(value: str | int | None) -> Sentence:
    return in_both("diff.no_template") if value is None else _quoted(Sentence(str(value), str(value)))


def _meaning(policy: Policy) -> tuple[object, ...]:
    template = pst_of(policy)
    return template.effect, template.principal, template.action, template.resource, template.clauses


def _conditions(before: Policy, after: Policy) -> list[ConditionChange]:
    old, new = _unguarded(before), _unguarded(after)
    gone = _without(old, new)
    come = _without(new, old)
    changes = []
    for expr in list(gone):
        other = next((one for one in come if _same_subject(expr, one)), None)
        if other is not None:
            gone.remove(expr)
            come.remove(other)
            changes.append(ConditionChange(kind="changed", before=phrase(expr), after=phrase(other), reach=_reach(expr, other)))
    changes += [ConditionChange(kind="removed", before=phrase(expr), reach="wider") for expr in gone]
    changes += [ConditionChange(kind="added", after=phrase(expr), reach="narrower") for expr in come]
    if before.effect != after.effect:
        return [msgspec.structs.replace(change, reach="") for change in changes]
    return changes


def _unguarded(policy: Policy) -> list[pst.Expr]:
    every = conditions_of(pst_of(policy))
    return [expr for place, expr in enumerate(every) if not guards(expr, every[place + 1 :])]


def _without(these: Sequence[pst.Expr], those: Sequence[pst.Expr]) -> list[pst.Expr]:
    """These, without as many of each as there are among those."""
    left, result = list(those), []
    for expr in these:
        if expr in left:
            left.remove(expr)
        else:
            result.append(expr)
    return result


def _same_subject(one: pst.Expr, other: pst.Expr) -> bool:
    """Whether two conditions are about the same facts."""
    facts = facts_in(one)
    return bool(facts) and facts == facts_in(other)


def _reach(before: pst.Expr, after: pst.Expr) -> Reach:
    """What a change of one condition on one fact does to the policy, where that follows."""
    old, new = _any_of(before), _any_of(after)
    if old is None or new is None or (old.fact, old.op) != (new.fact, new.op):
        return ""
    if old.op in _UP | _DOWN:
        more = int(str(new.values[0])) > int(str(old.values[0]))
        return "wider" if more is (old.op in _UP) else "narrower"
    more, less = set(new.values) > set(old.values), set(new.values) < set(old.values)
    if old.op in _ANY_OF and (more or less):
        return "wider" if more else "narrower"
    if old.op in _NONE_OF and (more or less):
        return "narrower" if more else "wider"
    return ""


def _any_of(expr: pst.Expr) -> Atom | None:
    """A condition on one fact, also one that is written as `a || b`."""
    if isinstance(expr, pst.BinaryOp) and expr.op == "or":
        left, right = _any_of(expr.left), _any_of(expr.right)
        if left is None or right is None or (left.fact, left.op) != (right.fact, right.op) or left.op not in _ANY_OF:
            return None
        return msgspec.structs.replace(left, values=tuple(dict.fromkeys(left.values + right.values)))
    return atom_of(expr)


# ---------------------------------------------------------------- templates and cases


def _templates(before: Bundle, after: Bundle) -> list[TemplateChange]:
    old, new = ({one.id: one for one in bundle.templates} for bundle in (before, after))
    changes = [(name, "added", one) for name, one in new.items() if name not in old]
    changes += [(name, "removed", one) for name, one in old.items() if name not in new]
    changes += [(name, "changed", one) for name, one in new.items() if name in old and one.text != old[name].text]
    return [
        TemplateChange(kind=msgspec.convert(kind, Kind), id=name, title=Sentence(one.title_ja, one.title_en))
        for name, kind, one in changes
    ]


def _cases(before: Sequence[Case], after: Sequence[Case]) -> list[CaseChange]:
    old, new = ({(case.file.rpartition("/")[2], case.name): case for case in cases} for cases in (before, after))
    changes = [CaseChange(kind="added", file=file, name=name) for file, name in new if (file, name) not in old]
    changes += [CaseChange(kind="removed", file=file, name=name) for file, name in old if (file, name) not in new]
    for key, case in new.items():
        if key in old and (said := _case_statements(old[key], case)):
            changes.append(CaseChange(kind="changed", file=key[0], name=key[1], statements=tuple(said)))
    return changes


def _case_statements(before: Case, after: Case) -> list[Sentence]:
    said = []
    if before.expect.outcome != after.expect.outcome:
        outcomes = {"before": in_both(f"diff.{before.expect.outcome}"), "after": in_both(f"diff.{after.expect.outcome}")}
        said.append(in_both("diff.case_expects", **outcomes))
    elif before.expect != after.expect:
        said.append(in_both("diff.case_details"))
    if (before.facts, before.outcomes) != (after.facts, after.outcomes):
        said.append(in_both("diff.case_asks"))
    return said

"""A decision's record, explained again by the policies that it names. Pure: records come as the log's plain values.

What a record of an older version does not hold is told, never made up: the answer that is computed now then proves nothing.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from gateway.policy.evaluate import Answer, Bundle
from gateway.policy.explain import Explanation, explain
from gateway.policy.facts import Facts
from gateway.policy.steps import Outcomes
from gateway.policy.words import fact_names

Verdict = Literal["same", "differs", "not_comparable"]
MAY_BE_ABSENT: Final = frozenset(name for name, hint in fact_names().items() if type(None) in getattr(hint, "__args__", ()))
"""Facts of which a record that leaves them out says no more than that they were not known."""


_NOT_KNOWN: Final[dict[str, Any]] = {"grants": (), "situation": "normal"}
"""What stands for the facts that a record leaves out where nobody knew them and the answer was the same whatever they were."""


class NoFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A record that no policy was asked for, or whose facts can't be read."""

    why: Literal["challenge", "refuse", "unavailable", "no_facts", "unreadable"]
    what: str = ""


class RecordedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a record."""

    facts: Facts
    missing: tuple[str, ...]
    """Facts that this version knows and the record does not hold: an earlier one wrote it, or nobody knew them.
    In `facts` they have a value that stands for nothing."""


class Reexplained(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded decision and its explanation by the same policies."""

    explanation: Explanation
    missing: tuple[str, ...]
    """Of those facts that a record leaves out, the ones that these policies read."""
    verdict: Verdict
    """Whether the answer computed now is the recorded one. `not_comparable`: the record holds too little."""


def facts_in_record(record: Mapping[str, Any]) -> RecordedFacts | NoFacts:
    """Return the facts that a decision's record holds."""
    raw = record.get("facts")
    if not isinstance(raw, Mapping) or not raw:
        outcome = record.get("outcome")
        return NoFacts(why=outcome if outcome in {"challenge", "refuse", "unavailable"} else "no_facts")
    try:
        facts = msgspec.convert(_NOT_KNOWN | dict(raw), Facts)
    except (msgspec.ValidationError, ValueError) as error:
        return NoFacts(why="unreadable", what=str(error))
    return RecordedFacts(facts=facts, missing=tuple(name for name in fact_names() if not _holds(raw, name)))


def explain_record(
    record: Mapping[str, Any],
    held: RecordedFacts,
    bundle: Bundle,
    outcomes: Outcomes = Outcomes(),  # noqa: B008  frozen
) -> Reexplained:
    """Explain a record by the policies that decided it: the caller has found those of the version that it names."""
    explanation = explain(bundle, held.facts, outcomes)
    read = {*bundle.reads.exact, *bundle.reads.thresholds, "principal.id", "principal.roles", "principal.organization"}
    read |= {name for name in held.missing if name.startswith("target.")}
    missing = tuple(name for name in held.missing if name in read and name not in MAY_BE_ABSENT)
    verdict: Verdict = "not_comparable" if missing else "same" if _same(record, explanation.answer) else "differs"
    return Reexplained(explanation=explanation, missing=missing, verdict=verdict)


def _holds(raw: Mapping[str, Any], name: str) -> bool:
    part, _, attribute = name.partition(".")
    value = raw.get(part)
    return part in raw if not attribute else isinstance(value, Mapping) and attribute in value


def _same(record: Mapping[str, Any], answer: Answer) -> bool:
    """Whether the record says of the policies what they answer now."""
    recorded = (record.get("outcome") == "allow", *(sorted(record.get(key) or ()) for key in ("policies", "errors")))
    return recorded == (answer.allowed, sorted(answer.policies), sorted(answer.errors))

"""A recorded decision and its explanation as lines of text: for a terminal, and for a ticket at the help desk. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.kernel.i18n import Language
from gateway.kernel.web.show import visible
from gateway.policy.explained import lines_of
from gateway.policy.recorded import NoFacts, Reexplained
from gateway.policy.words import TEXTS, has, name_of, several

Reason = Callable[[str], str]
"""Returns the words of a closed reason ("no_route")."""
Local = Callable[[str], str]
"""Returns a record's time in the hospital's zone; what is no time as it is, made visible."""
_SHORT: Final = 80
_OUTCOMES: Final = frozenset({"allow", "challenge", "deny", "refuse", "unavailable"})


def text_of(language: Language, key: str, **values: object) -> str:
    """Return a text about records."""
    return TEXTS.text(language, f"recorded.{key}", **values)


def record_lines(record: Mapping[str, Any], language: Language, local: Local, reason: Reason) -> list[str]:
    """Return who asked for what, when, and what the answer was: what a help desk needs, and no patient."""
    return [f"{key}: {value}" for key, value in _fields(record, language, local, reason) if value]


def verdict_lines(said: Reexplained | NoFacts, language: Language, reason: str, *, ticket: bool = False) -> list[str]:
    """Return the explanation, after what is to be said of the record itself. `reason`: the recorded one in words."""
    if isinstance(said, NoFacts):
        return [text_of(language, f"why_{said.why}", value=visible(said.what or reason, 200))]
    return [*notes(said, language), "", *lines_of(said.explanation, language, ticket=ticket)]


def notes(said: Reexplained, language: Language) -> list[str]:
    """Return whether the answer is the recorded one, and what the record does not hold."""
    missing = ", ".join(name_of(name).text(language) for name in said.missing)
    return [text_of(language, said.verdict, value=missing) if said.missing else text_of(language, said.verdict)]


def _fields(record: Mapping[str, Any], language: Language, local: Local, reason: Reason) -> Iterator[tuple[str, str]]:
    def text(key: str) -> str:
        return text_of(language, key)

    given = record.get("actor")
    actor: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    person = " ".join(visible(actor[key], _SHORT) for key in ("login", "name") if actor.get(key))
    outcome = str(record.get("outcome"))
    yield text("decision"), visible(record.get("id", ""), 64)
    yield text("at"), local(str(record.get("at", "")))
    yield text("person"), person or text("nobody")
    roles = _texts(actor.get("roles"))
    yield text("roles"), several("principal.roles", roles, "join.comma").text(language) if roles else ""
    yield text("device"), visible(actor.get("device", ""), _SHORT)
    yield text("request"), _request(record, language)
    stream = f" ({text('stream')})" if record.get("phase") == "stream" else ""
    yield text("outcome"), (text(outcome) if outcome in _OUTCOMES else visible(outcome, _SHORT)) + stream
    yield text("reason"), reason(str(record["reason"])) if record.get("reason") else ""
    yield text("policies"), ", ".join(visible(one, _SHORT) for one in _texts(record.get("policies")))
    trial = record.get("trial")
    yield text("trial"), text("allow" if trial.get("allowed") is True else "deny") if isinstance(trial, Mapping) else ""
    yield text("break_glass"), visible(record.get("break_glass") or "", 64)
    yield text("remedy"), ", ".join(_step(one, language) for one in _texts(record.get("remedy")))


def _request(record: Mapping[str, Any], language: Language) -> str:
    action = str(record.get("action", ""))
    key = f"word.target.action.{action}"
    said = TEXTS.text(language, key) if has(key) else visible(action, _SHORT)
    return " ".join(filter(None, (visible(record.get("app", ""), _SHORT), visible(record.get("route", ""), _SHORT), said)))


def _step(step: str, language: Language) -> str:
    key = f"step.{step}"
    if not has(key):
        return visible(step, _SHORT)
    # The record does not name the grant.
    return " ".join(TEXTS.text(language, key, value="").split()) if step == "grant" else TEXTS.text(language, key)


def _texts(value: object) -> Sequence[str]:
    return [str(one) for one in value[:20]] if isinstance(value, list | tuple) else ()

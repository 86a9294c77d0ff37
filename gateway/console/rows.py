"""Log records as the live page shows them: translated, times local, nothing invisible. Pure."""

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from gateway.domain.record import DecisionRecord, EventRecord, Record
from gateway.kernel.web.events import Event
from gateway.kernel.web.show import visible

Text = Callable[[str], str]
"""Returns the text of a key (`reason.no_route`); the code after the first dot when there is no text of it."""

_QUIET = frozenset({"console.view"})
"""Events that the page itself causes each time it is looked at."""


def row_event(position: str, record: Record, text: Text, zone: timezone) -> Event | None:
    """Return the live page's event for a record, which names the `position` after it; None for one that it does not show."""
    if isinstance(record, DecisionRecord):
        return Event(name="decision", id=position, data=_decision(record, text, zone))
    if isinstance(record, EventRecord) and record.event not in _QUIET:
        return Event(name="happening", id=position, data=_happening(record, text, zone))
    return None


def local(at: str, zone: timezone) -> str:
    """Return an RFC 3339 time in `zone`, to the second; what is no time as it is."""
    try:
        return datetime.fromisoformat(at).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return visible(at, 40)


def _decision(record: DecisionRecord, text: Text, zone: timezone) -> dict[str, Any]:
    return {
        "at": local(record.at, zone),
        "outcome": record.outcome,
        "outcome_text": text(f"outcome.{record.outcome}"),
        "person": visible(record.actor.name or record.actor.login, 60),
        "login": visible(record.actor.login, 60),
        "roles": [visible(role, 40) for role in record.actor.roles[:8]],
        "app": visible(record.app, 60),
        "route": visible(record.route, 80),
        "action": text(f"action.{record.action}") if record.action else "",
        "method": visible(record.method, 20),
        "path": visible(record.path, 200),
        "host": visible(record.host, 120),
        "reason": text(f"reason.{record.reason}") if record.reason else "",
        "policies": [visible(policy, 100) for policy in record.policies[:10]],
        "errors": [visible(error, 200) for error in record.errors[:5]],
        "remedy": [text(f"remedy.{step}") for step in record.remedy[:8]],
        "device": visible(record.actor.device, 60),
        "address": visible(record.source.address, 60),
        "stream": record.phase == "stream",
        "glass": visible(record.break_glass, 60) if isinstance(record.break_glass, str) else "",
        "id": visible(record.id, 60),
    }


def _happening(record: EventRecord, text: Text, zone: timezone) -> dict[str, Any]:
    return {
        "at": local(record.at, zone),
        "outcome": record.outcome,
        "outcome_text": text(f"outcome.{record.outcome}"),
        "event": text(f"event.{record.event}"),
        "person": visible(record.actor.name or record.actor.login, 60),
        "target": visible(record.target, 120),
        "address": visible(record.source.address, 60),
    }

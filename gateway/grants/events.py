"""What the log is told of grants and of the emergency. Pure: the time comes in."""

from datetime import UTC, datetime

from gateway.domain.record import Actor, EventName, EventRecord
from gateway.grants.model import Emergency, Grant
from gateway.kernel.ids import new_id
from gateway.kernel.moments import moment


def grant_detail(grant: Grant) -> dict[str, str]:
    """Whom a grant is for, what and when: for every event about it. Why it is asked for stays out: it may name a patient."""
    return {
        "name": grant.name,
        "subject": grant.holder.subject,
        "login": grant.holder.login,
        "from": moment(grant.begins),
        "until": moment(grant.until),
    }


def grant_over(grant: Grant, now: float) -> EventRecord:
    """The event of a grant that has ended by itself; of a request that waited until it was of no use."""
    asked_only = grant.decided_by is None
    event: EventName = "grant.declined" if asked_only else "grant.ended"
    return _event(event, grant.id, {**grant_detail(grant), "how": "nobody decided in time" if asked_only else "time"}, now)


def situation_over(emergency: Emergency, now: float) -> EventRecord:
    """The event of an emergency that has ended by itself."""
    return _event("situation.changed", emergency.id, {"situation": "normal", "how": "time"}, now)


def _event(event: EventName, target: str, detail: dict[str, str], now: float) -> EventRecord:
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return EventRecord(id=new_id("evt"), at=at, event=event, outcome="success", actor=Actor(), target=target, detail=detail)

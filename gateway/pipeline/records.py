"""From values to log records. Pure: the time comes in."""

import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import unquote_plus

import msgspec

from gateway.domain.connection import Connection
from gateway.domain.decision import Allow, Challenge, Decision, Deny, Refuse, Unavailable
from gateway.domain.identity import Handle
from gateway.domain.record import Actor, Beside, DecisionRecord, Source
from gateway.domain.route import Match
from gateway.kernel.ids import new_id
from gateway.policy.facts import Facts

MAX_TARGET: Final = 2048
MAX_NAMES: Final = 32
MAX_NAME: Final = 64

_encode: Final = msgspec.json.Encoder(order="sorted").encode

_OUTCOME: Final[dict[type, Literal["allow", "challenge", "deny", "refuse", "unavailable"]]] = {
    Allow: "allow",
    Challenge: "challenge",
    Deny: "deny",
    Refuse: "refuse",
}


def timestamp(now: float) -> str:
    """RFC 3339 UTC with milliseconds. Microseconds are rounded, the rest is cut, as `datetime` does."""
    micro = round(math.modf(now)[0] * 1_000_000)
    second = int(now)
    if micro >= 1_000_000:  # noqa: PLR2004  a second
        second, micro = second + 1, 0
    return f"{_second(second)}{micro // 1000:03d}Z"


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", ".")


def recorded_facts(facts: Facts) -> msgspec.Raw | dict[str, Any]:
    """Facts as they stand in the log: JSON with sorted names, encoded once. Plain values where they hold what UTF-8 can't: the
    log knows what to do with that.
    """
    try:
        return msgspec.Raw(_encode(facts))
    except UnicodeEncodeError:
        plain: dict[str, Any] = msgspec.to_builtins(facts)
        return plain


def without_guesses(facts: Facts) -> dict[str, Any]:
    """Facts for the log where nobody knew which grants are in force and what is declared, and it made no difference: what was not
    known is left out, and replay and explanations count it as lacking. Break-glass is of the session, so that is known.
    """
    plain: dict[str, Any] = msgspec.to_builtins(facts)
    del plain["grants"]
    if facts.situation != "break_glass":
        del plain["situation"]
    return plain


def printable(text: str, limit: int = MAX_TARGET) -> str:
    """Text from outside as printable ASCII, everything else backslash-escaped, cut at `limit`."""
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    escaped = text.encode("ascii", "backslashreplace").decode("ascii")
    safe = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in escaped)
    return safe if len(safe) <= limit else f"{safe[: limit - 3]}..."


def actor_of(handle: Handle | None, device: str = "") -> Actor:
    """The person behind a handle."""
    if handle is None:
        return Actor()
    identity = handle.session.identity
    return Actor(
        subject=identity.subject,
        login=identity.login,
        name=identity.name,
        roles=identity.roles,
        department=identity.department,
        session=handle.session.id,
        device=device,
    )


def source_of(connection: Connection, door: str) -> Source:
    """Where a request came from."""
    return Source(address=connection.peer_address, port=connection.peer_port, door=door, tls=connection.tls_version)


def decision_record(
    decision: Decision,
    *,
    now: float,
    source: Source,
    host: str,
    method: str,
    target: str,
    match: Match | None = None,
    facts: msgspec.Raw | dict[str, Any] | None = None,
    bundle: str = "",
    report_only: Beside | msgspec.UnsetType = msgspec.UNSET,
    trial: Beside | msgspec.UnsetType = msgspec.UNSET,
    phase: Literal["request", "stream"] = "request",
    request_id: str = "",
) -> DecisionRecord:
    """Describe a decision for the log. Query values never enter: they may hold what a search was for.

    `facts`: as `recorded_facts` gave them.
    """
    path, _, query = target.partition("?")
    allow = decision if isinstance(decision, Allow) else None
    deny = decision if isinstance(decision, Deny) else None
    known = allow or deny
    device = known.posture.device if known is not None else None
    return DecisionRecord(
        # A re-decided stream is a decision of its own: the id that its completion record carries stays unique.
        id=decision.id if phase == "request" else new_id("dec"),
        at=timestamp(now),
        outcome=_OUTCOME.get(type(decision), "unavailable"),
        reason=_reason(decision),
        actor=actor_of(known.handle if known is not None else None, device.id if device else ""),
        source=source,
        host=printable(host, 255),
        method=printable(method, 32),
        path=printable(path),
        query_names=_names(query),
        app=match.app.id if match else "",
        route=match.route.id if match else "",
        action=match.route.action if match else "",
        patient=printable(match.patient, 128) if match else "",
        policies=known.policies if known is not None else (),
        errors=() if allow is not None else _errors(decision),
        remedy=tuple(str(step) for step in deny.remedy) if deny is not None else (),
        bundle=bundle,
        facts=facts,
        request_id=request_id or decision.id,
        phase=phase,
        lease_seconds=allow.lease_seconds if allow is not None else 0,
        report_only=report_only,
        trial=trial,
        break_glass=(known.break_glass or msgspec.UNSET) if known is not None else msgspec.UNSET,
    )


def _reason(decision: Decision) -> str:
    return "policy_permits" if isinstance(decision, Allow) else str(decision.reason)


def _errors(decision: Decision) -> tuple[str, ...]:
    if isinstance(decision, Deny):
        return decision.errors
    detail = decision.detail if isinstance(decision, Refuse | Unavailable) else ""
    return (printable(detail, 512),) if detail else ()


def _names(query: str) -> tuple[str, ...]:
    if not query:
        return ()
    names = dict.fromkeys(
        printable(unquote_plus(part.partition("=")[0], errors="replace"), MAX_NAME) for part in query.split("&") if part
    )
    return tuple(names)[:MAX_NAMES]

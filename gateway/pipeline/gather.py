"""From what is known to the facts that policies can read. Pure: the time comes in."""

from functools import lru_cache
from typing import Any, Final, get_args

import msgspec

from gateway.domain.connection import Connection
from gateway.domain.identity import AuthEvent, AuthKind, Handle, Proofing
from gateway.domain.network import Zones
from gateway.domain.posture import STRENGTH, Attribute, Posture, PostureName
from gateway.domain.route import Match
from gateway.pipeline.calendar import Calendar
from gateway.policy.facts import (
    AuthenticationFacts,
    DeviceFacts,
    Facts,
    NetworkFacts,
    PrincipalFacts,
    ProofingFacts,
    TargetFacts,
    TimeFacts,
    count_factors,
)
from gateway.ports import HospitalSituation

MAX_SKEW_SECONDS: Final = 60
"""An event further in the future than this is not believed at all."""
SECONDS_A_DAY: Final = 86_400
_AGE: Final[dict[PostureName, str]] = {name: f"{name}_age_seconds" for name in get_args(PostureName)}
"""How facts call the age of each attribute of a device's state."""


def gather(
    *,
    handle: Handle,
    posture: Posture,
    target: TargetFacts,
    connection: Connection,
    zones: Zones,
    now: float,
    calendar: Calendar,
    situation: HospitalSituation = "normal",
    grants: tuple[str, ...] = (),
) -> Facts:
    """Build the closed set of facts for one request at time `now` (epoch seconds).

    `situation` is the whole hospital's; break-glass in the session goes before it. `grants`: names of those in force, sorted.
    """
    identity = handle.session.identity
    return Facts(
        principal=PrincipalFacts(id=identity.subject, roles=identity.roles, organization=identity.organization),
        authentication=authentication_facts(handle.events(), now),
        proofing=proofing_facts(handle.proofing(), now, bound=handle.authenticator_bound(now + MAX_SKEW_SECONDS)),
        device=device_facts(posture, now),
        network=NetworkFacts(zone=zones.zone_of(connection.peer_address), tls=connection.tls),
        time=_time_facts(int(now), calendar),
        situation="break_glass" if handle.emergency(now) is not None else situation,
        grants=grants,
        target=target,
    )


def target_facts(match: Match) -> TargetFacts:
    """What is asked for, once the route is known."""
    return TargetFacts(
        app=match.app.id,
        route=match.route.id,
        action=match.route.action,
        sensitivity=match.route.sensitivity,
        patient=match.patient,
    )


@lru_cache(maxsize=16)
def _time_facts(second: int, calendar: Calendar) -> TimeFacts:
    return calendar.at(second)


class _Proved(msgspec.Struct, frozen=True, kw_only=True):
    """What events prove, whatever the time."""

    kinds: tuple[AuthKind, ...]
    factors: int
    phishing_resistant: bool
    newest: int
    """0 without any: as old as can be, so that no "younger than" can hold."""
    newest_touch: int | None


@lru_cache(maxsize=4096)
def _proved(events: tuple[AuthEvent, ...]) -> _Proved:
    kinds = tuple(sorted({event.kind for event in events}))
    return _Proved(
        kinds=kinds,
        factors=count_factors(kinds),
        phishing_resistant=any(event.phishing_resistant for event in events),
        newest=max((event.at for event in events), default=0),
        newest_touch=max((event.at for event in events if event.kind == "fido2"), default=None),
    )


def authentication_facts(events: tuple[AuthEvent, ...], now: float) -> AuthenticationFacts:
    """Summarise what was proved. Events from the future (beyond clock skew) do not count."""
    proved = _proved(events)
    if proved.newest > now + MAX_SKEW_SECONDS:
        proved = _proved(tuple(event for event in events if event.at <= now + MAX_SKEW_SECONDS))
    return AuthenticationFacts(
        kinds=proved.kinds,
        factors=proved.factors,
        phishing_resistant=proved.phishing_resistant,
        age_seconds=_age(proved.newest, now),
        key_touch_age_seconds=_age(proved.newest_touch, now) if proved.newest_touch is not None else None,
    )


def newest(events: tuple[AuthEvent, ...]) -> int:
    """When the newest of these was (epoch seconds); 0 without any."""
    return _proved(events).newest


def proofing_facts(proofing: Proofing | None, now: float, *, bound: bool = False) -> ProofingFacts:
    """Proofing in force at `now`; expired or absent proofing is level 0, and nothing is bound to it. `bound`: as
    `Handle.authenticator_bound` says.
    """
    if proofing is None or (proofing.expires_at is not None and proofing.expires_at <= now):
        return ProofingFacts(level=0, method="none", age_days=0)
    return ProofingFacts(
        level=proofing.level,
        method=proofing.method,
        age_days=_age(proofing.verified_at, now) // SECONDS_A_DAY,
        expires_in_days=(proofing.expires_at - int(now)) // SECONDS_A_DAY if proofing.expires_at is not None else None,
        authenticator_bound=bound,
    )


def device_facts(posture: Posture, now: float) -> DeviceFacts:
    """What the device showed; without an active registered device everything is at its weakest."""
    device = posture.device
    if device is None or device.status != "active":
        return DeviceFacts(
            registered=False,
            compliant=False,
            evidence="none",
            evidence_strength=0,
            ownership="",
            compliance_age_seconds=None,
        )
    return DeviceFacts(
        registered=True,
        compliant=device.compliance == "compliant",
        evidence=posture.evidence,
        evidence_strength=STRENGTH[posture.evidence],
        ownership=device.ownership,
        compliance_age_seconds=_age(device.compliance_at, now),
        **(_attributes(device.attributes, now) if device.attributes else {}),
    )


def _attributes(said: tuple[Attribute, ...], now: float) -> dict[str, Any]:
    """What was said of the device's state, and how long ago. A word from the future (beyond clock skew) is none."""
    facts: dict[str, Any] = {}
    for attribute in said:
        if attribute.at <= now + MAX_SKEW_SECONDS:
            facts[attribute.name] = attribute.value
            facts[_AGE[attribute.name]] = _age(attribute.at, now)
    return facts


def _age(at: int, now: float) -> int:
    return max(0, int(now) - at)

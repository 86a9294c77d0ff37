"""Whether the officers could still change the policies under another bundle: found out by asking that bundle. Pure.

Asked is for each officer, with the best facts that they can reach: signed in with a key just touched, proofed, on a registered
and compliant device of the hospital, from each zone, at ordinary hours. Where none of it lets them do everything that a change
takes, in the normal situation and in an emergency of the hospital, they are out.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from gateway.domain.posture import STRENGTH
from gateway.domain.route import Route
from gateway.policy.cache import AnswerCache
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import (
    Action,
    AuthenticationFacts,
    DeviceFacts,
    Evidence,
    Facts,
    NetworkFacts,
    PrincipalFacts,
    ProofingFacts,
    Sensitivity,
    Situation,
    TargetFacts,
    TimeFacts,
)

CONSOLE: Final = "console"
OFFICER_ROLE: Final = "security_officer"
NEEDED: Final = 2
"""One who edits and one who approves."""
OTHER_ZONE: Final = "other"
_PAGES: Final = "policies"
"""First segment of the console's pages about policies."""
_ACTIONS: Final[tuple[Action, ...]] = ("read", "write", "administer")
_SITUATIONS: Final[tuple[Situation, ...]] = ("normal", "emergency")

ORDINARY: Final = tuple(
    TimeFacts(hour=hour, weekday=weekday, date=f"2026-11-{day}", day=20261100 + day)
    for day, weekday in ((24, 2), (27, 5))
    for hour in (9, 14)
)
"""Working hours of two working days, where nobody says better."""


class Officer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may change policies: as policies know them."""

    subject: str
    login: str
    roles: tuple[str, ...] = (OFFICER_ROLE,)
    organization: str = ""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What officers can reach at this hospital."""

    zones: tuple[str, ...] = ()
    """Configured network zones. Where there are some, an officer has to be let in from one of them: that a stranger's address
    would do is no comfort to who sits in the hospital. Where there are none, everywhere is `other`.
    """
    times: tuple[TimeFacts, ...] = ORDINARY
    evidence: Evidence = "key"
    """The strongest proof of a device that there is here."""
    proofing_level: int = 3
    proofing_method: str = "jpki_sign"


class Locked(msgspec.Struct, frozen=True, kw_only=True):
    """Too few officers would be left."""

    left: int
    out: tuple[str, ...]
    """Logins of those who would be out, with the first thing that they could do nowhere: `login (route)`."""

    @property
    def what(self) -> str:
        """What is wrong, for people."""
        return (
            f"under these policies {self.left} of the security officers could still edit, approve and publish policies, "
            f"and it takes {NEEDED}; out would be {', '.join(self.out[:5])}"
        )


TODO: Final = (
    "Leave two officers a way in: with a fresh key touch, a good device of the hospital, a configured zone, at ordinary hours, "
    "in an emergency, too"
)


def locked_out(bundle: Bundle, officers: Sequence[Officer], routes: Sequence[Route], reach: Reach = Reach()) -> Locked | None:  # noqa: B008  frozen
    """Return who would be out when fewer than two officers could do everything at the console; None when two could.

    Of officers that are not known, ones of the role alone stand in: a bundle is judged on a fresh installation, too. Where the
    routes know no console, nobody can be kept out of it.
    """
    if all(route.app != CONSOLE for route in routes):
        return None
    wanted = list(_wanted(routes))
    answers = AnswerCache(bundle)
    left = 0
    out: list[str] = []
    for officer in _at_least(officers):
        missing = _missing(answers, officer, wanted, reach)
        if missing is None:
            left += 1
            if left == NEEDED:
                return None
        else:
            out.append(f"{officer.login} ({missing})")
    return Locked(left=left, out=tuple(out))


def _at_least(officers: Sequence[Officer]) -> Iterator[Officer]:
    yield from officers
    for number in range(len(officers) + 1, NEEDED + 1):
        yield Officer(subject=f"usr_officer_{number}", login=f"officer {number}")


def _wanted(routes: Sequence[Route]) -> Iterator[TargetFacts]:
    """What changing policies takes: every page about them, and each action once where the console has no such page (yet)."""
    found = [route for route in routes if route.app == CONSOLE and route.pattern[0] == _PAGES and route.action in _ACTIONS]
    for route in found:
        yield TargetFacts(app=CONSOLE, route=route.id, action=route.action, sensitivity=route.sensitivity, patient="")
    for action in _ACTIONS:
        if all(route.action != action for route in found):
            sensitivity: Sensitivity = "high" if action == "administer" else "normal"
            yield TargetFacts(app=CONSOLE, route="console.policies", action=action, sensitivity=sensitivity, patient="")


def _missing(policies: AnswerCache, officer: Officer, wanted: Sequence[TargetFacts], reach: Reach) -> str | None:
    """The first route that the officer can reach from nowhere, or never together with the others; None: they can do everything.

    One place and time must do for all of it: nobody walks to another ward between editing and submitting. All of it in a declared
    emergency of the hospital, too: it is at the console that it is ended.
    """
    for situation in _SITUATIONS:
        places = [(zone, time) for zone in reach.zones or (OTHER_ZONE,) for time in reach.times]
        for target in wanted:
            hypotheses = [_facts(officer, target, zone, time, situation, reach) for zone, time in places]
            places = [place for place, allowed in zip(places, policies.allowed(hypotheses), strict=True) if allowed]
            if not places:
                return target.route if situation == "normal" else f"{target.route} in an emergency"
    return None


def _facts(officer: Officer, target: TargetFacts, zone: str, time: TimeFacts, situation: Situation, reach: Reach) -> Facts:
    return Facts(
        principal=PrincipalFacts(id=officer.subject, roles=officer.roles, organization=officer.organization),
        authentication=AuthenticationFacts(
            kinds=("fido2", "otp", "pwd"), factors=2, phishing_resistant=True, age_seconds=0, key_touch_age_seconds=0
        ),
        proofing=ProofingFacts(level=reach.proofing_level, method=reach.proofing_method, age_days=0, authenticator_bound=True),
        device=DeviceFacts(
            registered=True,
            compliant=True,
            evidence=reach.evidence,
            evidence_strength=STRENGTH[reach.evidence],
            ownership="hospital",
            compliance_age_seconds=0,
            disk_encrypted=True,
            disk_encrypted_age_seconds=0,
            screen_lock=True,
            screen_lock_age_seconds=0,
            antivirus=True,
            antivirus_age_seconds=0,
            os_supported=True,
            os_supported_age_seconds=0,
        ),
        network=NetworkFacts(zone=zone, tls=True),
        time=time,
        situation=situation,
        grants=(),
        target=target,
    )

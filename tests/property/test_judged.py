"""What is kept for a second is what would be gathered now: in any order of people, devices, routes, times, policies."""

from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.connection import Connection
from gateway.domain.identity import AuthEvent, Handle, Identity, Proofing, Session
from gateway.domain.network import Zones
from gateway.domain.posture import Posture
from gateway.domain.route import RouteTable
from gateway.pipeline.calendar import Calendar
from gateway.pipeline.finder import Finder, Found
from gateway.pipeline.gather import gather
from gateway.pipeline.judge import Judge
from gateway.policy.bundle import load_bundle
from gateway.policy.evaluate import Bundle
from tests.support.policy import STARTER, bundle, policy
from tests.support.world import World, ehr

NOW = 1_800_000_000
ZONES = Zones({"ward": ["192.0.2.0/24"]})
CALENDAR = Calendar(ZoneInfo("Asia/Tokyo"))
BUNDLES = (
    load_bundle(STARTER),
    bundle(policy(when="context.authentication.age_seconds < 2")),
    bundle(policy(when='context.network.zone == "ward" && context.network.tls')),
)


def session(number: int) -> Session:
    proofing = Proofing(level=3, method="m", verified_at=NOW, expires_at=NOW + 2, verifier="v", transaction="t")
    return Session(
        id=f"ses_{number}",
        identity=Identity(subject=f"usr_{number}", login="l", name="n", roles=("physician",), proofing=proofing),
        events=(
            AuthEvent(kind="pwd", at=NOW - 1, generation=1),
            AuthEvent(kind="otp", at=NOW + 62, generation=1),
            AuthEvent(kind="fido2", at=NOW, generation=2),
        ),
        generation=2,
        created_at=NOW - 9,
        last_seen_at=NOW,
        expires_at=NOW + 99,
        idle_seconds=9,
        device_id="dev_1",
        device_evidence="cookie",
    )


def found(target: str) -> Found:
    answer = Finder(RouteTable([ehr()])).find(World().request(target))
    assert isinstance(answer, Found)
    return answer


DEVICE = World().device(compliance_at=NOW - 1)
SESSIONS = [session(0), replace(session(0), last_seen_at=NOW + 1), session(1)]
POSTURES = [
    Posture(),
    Posture(device=DEVICE, evidence="cookie"),
    Posture(device=DEVICE, evidence="certificate"),
    Posture(device=replace(DEVICE, compliance="non_compliant", version=2), evidence="cookie"),
    Posture(note="blocked"),
]
FOUND = [found("/patients"), found("/patients/p1"), found("/patients/p2"), found("/notices/stream")]
CONNECTIONS = [
    Connection(peer_address="192.0.2.1"),
    Connection(peer_address="192.0.2.1", tls_version="TLSv1.3"),
    Connection(peer_address="198.51.100.1"),
]
_steps = st.tuples(
    st.sampled_from(BUNDLES),
    st.sampled_from(SESSIONS),
    st.sampled_from([1, 2]),
    st.sampled_from(POSTURES),
    st.sampled_from(FOUND),
    st.sampled_from(CONNECTIONS),
    st.sampled_from([0.0, 0.4, 0.999, 1.0, 1.5, 1.9999999, 2.0, 2.5, 3.0, -0.5, 59.5]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_steps, min_size=2, max_size=20))
def test_what_is_kept_is_what_would_be_gathered(
    steps: list[tuple[Bundle, Session, int, Posture, Found, Connection, float]],
) -> None:
    judge = Judge(BUNDLES[0], zones=ZONES, calendar=CALENDAR)
    for made, who, generation, posture, where, connection, later in steps:
        handle = Handle(session=who, host="ehr.localhost", generation=generation)
        now = NOW + later
        judged = judge.judge(made, handle, posture, where, connection, now)
        expected = gather(
            handle=handle,
            posture=posture,
            target=where.target,
            connection=connection,
            zones=ZONES,
            now=now,
            calendar=CALENDAR,
        )
        assert judged.facts == expected
        assert judged.answer == made.evaluate(expected)
        assert judged.bundle is made

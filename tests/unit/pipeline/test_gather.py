from typing import get_args
from zoneinfo import ZoneInfo

import msgspec
import pytest

from gateway.domain.connection import Connection
from gateway.domain.identity import AuthEvent, Handle, Identity, Proofing, Session
from gateway.domain.network import Zones
from gateway.domain.posture import Attribute, Device, Posture, PostureName
from gateway.domain.route import App, Match, Route
from gateway.pipeline.calendar import Calendar
from gateway.pipeline.gather import authentication_facts, device_facts, gather, proofing_facts, target_facts
from gateway.policy.facts import ProofingFacts

NOW = 1_800_000_000  # 2027-01-15 17:00:00 in Tokyo, a Friday
PROOFED = Proofing(level=3, method="m", verified_at=NOW - 86_399, expires_at=None, verifier="v", transaction="t")


def event(kind: str, at: int, generation: int = 1) -> AuthEvent:
    return AuthEvent(kind=kind, at=at, phishing_resistant=kind == "fido2", generation=generation)  # type: ignore[arg-type]  # a literal


def session(*events: AuthEvent, proofing: Proofing | None = None) -> Session:
    identity = Identity(subject="usr_1", login="dr.sato", name="佐藤", roles=("physician",), organization="h", proofing=proofing)
    return Session(
        id="ses_1", identity=identity, events=events, generation=2, created_at=NOW - 100, last_seen_at=NOW, expires_at=NOW + 1,
        idle_seconds=900,
    )  # fmt: skip


def device(**changes: str) -> Device:
    return Device(
        id="dev_1", label="x", status=changes.get("status", "active"), ownership="hospital",  # type: ignore[arg-type]  # a literal
        compliance=changes.get("compliance", "compliant"), compliance_at=NOW - 5, compliance_source="test",  # type: ignore[arg-type]
        registered_at=NOW - 50, registered_by="usr_1",
    )  # fmt: skip


def test_password_and_code_are_two_factors_and_a_key_is_two_by_itself() -> None:
    assert authentication_facts((event("pwd", NOW),), NOW).factors == 1
    assert authentication_facts((event("pwd", NOW), event("otp", NOW)), NOW).factors == 2
    assert authentication_facts((event("fido2", NOW),), NOW).factors == 2
    assert authentication_facts((event("otp", NOW), event("recovery", NOW)), NOW).factors == 1


def test_the_newest_touch_counts_and_ages_are_never_negative() -> None:
    facts = authentication_facts((event("fido2", NOW - 400), event("fido2", NOW - 30), event("pwd", NOW + 5)), NOW)
    assert facts.key_touch_age_seconds == 30
    assert facts.age_seconds == 0


def test_an_event_from_the_far_future_proves_nothing() -> None:
    facts = authentication_facts((event("fido2", NOW + 3600),), NOW)
    assert (facts.factors, facts.key_touch_age_seconds, facts.phishing_resistant) == (0, None, False)
    assert facts.age_seconds == NOW


def test_a_handle_does_not_see_what_was_proved_after_it_was_issued() -> None:
    both = session(event("pwd", NOW - 90), event("otp", NOW - 80), event("fido2", NOW - 1, generation=2))
    assert [e.kind for e in Handle(session=both, host="imaging", generation=1).events()] == ["pwd", "otp"]
    assert [e.kind for e in Handle(session=both, host="ehr", generation=2).events()] == ["pwd", "otp", "fido2"]


@pytest.mark.parametrize(("expires", "level"), [(None, 3), (NOW + 1, 3), (NOW, 0), (NOW - 1, 0)])
def test_expired_proofing_is_none(expires: int | None, level: int) -> None:
    proofing = Proofing(level=3, method="m", verified_at=NOW - 86_400 * 2, expires_at=expires, verifier="v", transaction="t")
    facts = proofing_facts(proofing, NOW)
    assert facts.level == level
    assert facts.age_days == (2 if level else 0)


@pytest.mark.parametrize("status", ["pending", "blocked"])
def test_a_device_that_is_not_active_is_no_device(status: str) -> None:
    facts = device_facts(Posture(device=device(status=status), evidence="certificate"), NOW)
    assert (facts.registered, facts.compliant, facts.evidence_strength) == (False, False, 0)


def test_unknown_compliance_is_not_compliance() -> None:
    assert not device_facts(Posture(device=device(compliance="unknown"), evidence="key"), NOW).compliant


def test_time_is_the_hospitals() -> None:
    route = Route(id="ehr.home", app="ehr", methods=("GET",), pattern=(), action="read")
    app = App(id="ehr", host="ehr.localhost", upstream="http://127.0.0.1:1", title_ja="電", title_en="E", routes=(route,))
    facts = gather(
        handle=Handle(session=session(event("pwd", NOW)), host="ehr.localhost", generation=2),
        posture=Posture(),
        target=target_facts(Match(app=app, route=route, places={})),
        connection=Connection(peer_address="192.0.2.7"),
        zones=Zones({"ward": ["192.0.2.0/24"]}),
        now=NOW,
        calendar=Calendar(ZoneInfo("Asia/Tokyo")),
    )
    assert (facts.time.hour, facts.time.weekday, facts.time.date) == (17, 5, "2027-01-15")
    assert facts.network.zone == "ward"


def test_the_narrowest_zone_wins_and_what_cannot_be_read_is_other() -> None:
    zones = Zones({"hospital": ["10.0.0.0/8", "fd00::/8"], "ward": ["10.1.0.0/16"]})
    assert zones.zone_of("10.1.2.3") == "ward"
    assert zones.zone_of("10.2.2.3") == "hospital"
    assert zones.zone_of("::ffff:10.1.2.3") == "ward"
    assert zones.zone_of("fd00::1%eth0") == "hospital"
    assert zones.zone_of("203.0.113.1") == "other"
    assert zones.zone_of("not an address") == "other"


def test_a_handle_from_before_a_proofing_does_not_see_it_and_one_after_it_does() -> None:
    proofing = Proofing(level=3, method="m", verified_at=NOW, expires_at=None, verifier="v", transaction="t")
    proofed = msgspec.structs.replace(session(proofing=proofing), generation=3, proofing_generation=2)
    assert Handle(session=proofed, host="a", generation=1).proofing() is None
    assert Handle(session=proofed, host="a", generation=2).proofing() == proofing


def bound(*events: AuthEvent, generation: int = 1, latest: int = NOW, proofing: Proofing | None = PROOFED) -> bool:
    whole = msgspec.structs.replace(session(*events, proofing=proofing), generation=9)
    return Handle(session=whole, host="a", generation=generation).authenticator_bound(latest)


def used(kind: str, at: int, *, bound: int = 0, generation: int = 1) -> AuthEvent:
    """An event; `bound`: the generation in which it was first said that its authenticator is, 0: it is not."""
    return msgspec.structs.replace(event(kind, at, generation), bound=bound > 0, bound_generation=bound)


def test_the_newest_of_the_strongest_kind_says_whether_the_authenticator_is_bound() -> None:
    assert not bound()
    assert bound(used("pwd", NOW - 9, bound=1))
    assert not bound(used("pwd", NOW, bound=1), used("otp", NOW - 9))
    assert bound(used("pwd", NOW), used("otp", NOW - 9, bound=1))
    assert not bound(used("pwd", NOW, bound=1), used("recovery", NOW - 9))
    assert not bound(used("otp", NOW, bound=1), used("fido2", NOW - 9)), "a key that is not bound outweighs a code that is"
    assert bound(used("fido2", NOW - 9), used("fido2", NOW - 8, bound=1))
    assert not bound(used("fido2", NOW - 9, bound=1), used("fido2", NOW - 8)), "another key was touched since"
    assert not bound(used("pwd", NOW, bound=1), proofing=None), "bound to nothing"


def test_a_handle_does_not_see_what_was_bound_or_proved_after_it_was_issued() -> None:
    late = used("otp", NOW, bound=3)
    assert not bound(late, generation=2)
    assert bound(late, generation=3)
    after = used("fido2", NOW, bound=4, generation=4)
    assert not bound(used("otp", NOW - 9), after, generation=3)
    assert bound(used("otp", NOW - 9), after, generation=4)
    assert bound(used("pwd", NOW, bound=1), used("otp", NOW + 100), latest=NOW + 60), "from the future: it does not count"


@pytest.mark.parametrize(
    ("seconds", "days"), [(None, None), (1, 0), (86_399, 0), (86_400, 1), (86_400 * 1826 - 1, 1825), (0, None), (-1, None)]
)
def test_days_until_a_proofing_ends_are_whole_ones_and_none_without_an_end(seconds: int | None, days: int | None) -> None:
    ends = NOW + seconds if seconds is not None else None
    facts = proofing_facts(msgspec.structs.replace(PROOFED, expires_at=ends), NOW, bound=True)
    assert facts.expires_in_days == days
    assert facts.authenticator_bound is (seconds is None or seconds > 0), "nothing is bound to a proofing that has ended"


def test_what_policies_read_of_a_proofing_in_a_session() -> None:
    signed_in = session(used("pwd", NOW, bound=1), proofing=msgspec.structs.replace(PROOFED, expires_at=NOW + 86_400 * 3))
    route = Route(id="ehr.home", app="ehr", methods=("GET",), pattern=(), action="read")
    app = App(id="ehr", host="ehr.localhost", upstream="http://127.0.0.1:1", title_ja="電", title_en="E", routes=(route,))
    facts = gather(
        handle=Handle(session=signed_in, host="ehr.localhost", generation=2), posture=Posture(),
        target=target_facts(Match(app=app, route=route, places={})), connection=Connection(peer_address="192.0.2.7"),
        zones=Zones({}), now=NOW, calendar=Calendar(ZoneInfo("Asia/Tokyo")),
    )  # fmt: skip
    assert facts.proofing == ProofingFacts(level=3, method="m", age_days=0, expires_in_days=3, authenticator_bound=True)


def test_a_session_that_was_stored_before_there_were_bindings_is_read() -> None:
    old = msgspec.json.decode(msgspec.json.encode(session(event("pwd", NOW), proofing=PROOFED)))
    for stored in old["events"]:
        del stored["bound"], stored["bound_generation"]
    del old["identity"]["bound_kinds"]
    read = msgspec.json.decode(msgspec.json.encode(old), type=Session)
    assert not Handle(session=read, host="a", generation=1).authenticator_bound(NOW)
    assert read == session(event("pwd", NOW), proofing=PROOFED)


SAID = (
    Attribute(name="antivirus", value=False, at=NOW - 30, source="officer:sec.abe"),
    Attribute(name="disk_encrypted", value=True, at=NOW - 86_400, source="inventory:mdm"),
    Attribute(name="os_supported", value=True, at=NOW + 60, source="inventory:mdm"),
    Attribute(name="screen_lock", value=True, at=NOW + 61, source="inventory:mdm"),
)


def test_what_was_said_of_a_device_has_its_age_and_a_word_from_the_future_is_none() -> None:
    facts = device_facts(Posture(device=msgspec.structs.replace(device(), attributes=SAID), evidence="key"), NOW)
    assert (facts.antivirus, facts.antivirus_age_seconds) == (False, 30)
    assert (facts.disk_encrypted, facts.disk_encrypted_age_seconds) == (True, 86_400)
    assert (facts.os_supported, facts.os_supported_age_seconds) == (True, 0), "within the skew of clocks"
    assert (facts.screen_lock, facts.screen_lock_age_seconds) == (None, None)


@pytest.mark.parametrize("status", ["pending", "blocked"])
def test_what_was_said_of_a_device_that_is_not_active_does_not_count(status: str) -> None:
    shut = msgspec.structs.replace(device(status=status), attributes=SAID)
    facts = device_facts(Posture(device=shut, evidence="certificate"), NOW)
    assert {getattr(facts, name) for name in get_args(PostureName)} == {None}
    assert facts.disk_encrypted_age_seconds is None


def test_of_a_device_of_which_nobody_said_anything_nothing_is_known() -> None:
    facts = device_facts(Posture(device=device(), evidence="key"), NOW)
    assert {value for name, value in msgspec.structs.asdict(facts).items() if name.startswith(get_args(PostureName))} == {None}


def test_a_device_that_was_stored_before_there_were_attributes_is_read() -> None:
    old = msgspec.json.decode(msgspec.json.encode(device()))
    del old["attributes"]
    assert msgspec.json.decode(msgspec.json.encode(old), type=Device).attributes == ()

"""Facts that somebody supposes: from an ordinary beginning, with what follows from what they say."""

import msgspec
import pytest
from hypothesis import given, settings

from gateway.policy.facts import Facts
from gateway.policy.suppose import DEVICES, NO_PROOFING, ORDINARY, SIGN_INS, NotSupposable, as_typed, suppose
from gateway.policy.words import fact_names
from tests.support.policy import all_facts


def test_the_beginning_is_one_that_holds_together() -> None:
    assert msgspec.convert(msgspec.to_builtins(ORDINARY), Facts) == ORDINARY
    assert suppose(ORDINARY, {}) == ORDINARY


@settings(max_examples=100, deadline=None)
@given(all_facts())
def test_every_fact_can_be_set(facts: Facts) -> None:
    ordered = msgspec.structs.replace(facts.principal, roles=tuple(sorted(facts.principal.roles)))
    expected = msgspec.structs.replace(facts, principal=ordered)
    assert suppose(ORDINARY, {name: as_typed(facts, name) for name in fact_names()}) == expected


def test_what_follows_from_a_sign_in() -> None:
    touched = suppose(ORDINARY, {"authentication.key_touch_age_seconds": "30"}).authentication
    assert (touched.kinds, touched.factors, touched.phishing_resistant, touched.age_seconds) == (
        ("fido2", "otp", "pwd"),
        2,
        True,
        30,
    )
    password = suppose(ORDINARY, SIGN_INS["password"]).authentication
    assert (password.factors, password.phishing_resistant, password.key_touch_age_seconds) == (1, False, None)
    key = suppose(ORDINARY, {"authentication.kinds": "fido2"}).authentication
    assert (key.phishing_resistant, key.key_touch_age_seconds) == (True, 600)
    told = suppose(ORDINARY, {"authentication.kinds": "pwd", "authentication.factors": "2"}).authentication
    assert told.factors == 2


def test_what_follows_from_a_device() -> None:
    assert suppose(ORDINARY, DEVICES["certificate"]).device.evidence_strength == 3
    nothing = suppose(ORDINARY, DEVICES["none"]).device
    assert (nothing.registered, nothing.evidence_strength, nothing.compliance_age_seconds) == (False, 0, None)


def test_every_choice_is_possible() -> None:
    for changes in (*SIGN_INS.values(), *DEVICES.values(), NO_PROOFING):
        suppose(ORDINARY, changes)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("device.complaint", "no", "Did you mean device.compliant?"),
        ("compliant", "no", "Did you mean device.compliant?"),
        ("zzz", "1", "README"),
        ("device", "x", "is no fact"),
        ("", "x", "is no fact"),
        ("device\u202e.compliant", "no", "is no fact"),
        ("device.compliant", "perhaps", "yes or no"),
        ("time.hour", "noon", "whole number"),
        ("time.hour", "²", "whole number"),
        ("device.evidence", "certifcate", "Did you mean certificate?"),
        ("authentication.kinds", "pwd,sms", "is never 'sms'"),
        ("situation", "panic", "It is one of: normal, emergency, break_glass"),
        ("network.zone", "ward\u202e", "invisible"),
        ("network.zone", "w" * 200, "At most 128"),
        ("device.registered", "unknown", "yes or no"),
        ("time.hour", "9" * 5000, "At most"),
    ],
)
def test_what_cannot_be_supposed(name: str, value: str, says: str) -> None:
    with pytest.raises(NotSupposable) as refused:
        suppose(ORDINARY, {name: value})
    assert says in str(refused.value)
    assert str(refused.value).isprintable()

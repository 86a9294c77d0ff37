"""The rules of binding, by themselves. Over HTTP: tests/integration/test_idp_bindings.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.remedy import CEREMONY_SECONDS
from idp.model import AuthEvent, AuthKind
from idp.protocol.binding import FRESH_SECONDS, authenticator, confirms, kinds, sitting, used
from idp.protocol.claims import auth_events

NOW = 1_800_000_000
SINCE = NOW - FRESH_SECONDS


def event(kind: AuthKind, ago: int = 0, key: str = "") -> AuthEvent:
    return AuthEvent(kind=kind, at=NOW - ago, authenticator=f"fido2:{key}" if key else "")


PWD, OTP, RECOVERY, A, B = event("pwd"), event("otp"), event("recovery"), event("fido2", key="A"), event("fido2", key="B")
LATE = FRESH_SECONDS + 1


def test_what_is_never_bound_has_no_name() -> None:
    assert [authenticator(one) for one in (PWD, OTP, A)] == ["pwd", "otp", "fido2:A"]
    assert authenticator(RECOVERY) == ""
    assert authenticator(event("fido2")) == "", "a touch of before, when keys were not told apart"
    assert authenticator(AuthEvent(kind="fido2", at=NOW, authenticator="pwd")) == "", "no key may pass as a password"
    assert used((PWD, RECOVERY, event("fido2"))) == {"pwd"}


def test_a_sitting_reaches_a_little_into_the_session() -> None:
    old, recent = event("pwd", LATE), event("otp", FRESH_SECONDS)
    assert sitting((A,), (old, recent), SINCE) == (recent, A)


@pytest.mark.parametrize(
    ("events", "bound", "expected"),
    [
        ((PWD, OTP, A), {"pwd", "otp"}, True),
        ((event("pwd", LATE), OTP, A), {"pwd", "otp"}, True),  # the password of the sign-in, the code of now
        ((PWD, event("otp", LATE), A), {"pwd", "otp"}, False),  # what one has must be shown now
        ((PWD, OTP), set(), False),
        ((PWD, A), {"pwd"}, False),  # a password alone is no authentication
        ((OTP, A), {"otp"}, False),
        ((PWD, OTP), {"pwd"}, False),
        ((A, B), {"fido2:A"}, True),
        ((event("fido2", LATE, "A"), B), {"fido2:A"}, False),
        ((B,), {"fido2:A"}, False),
        ((PWD, OTP, B), {"pwd", "otp", "fido2:A"}, False),  # with a bound key only a key
        ((PWD, OTP, A), {"pwd", "otp", "fido2:A"}, True),
        ((PWD, OTP, RECOVERY), {"pwd", "otp"}, False),
        ((PWD, OTP, event("recovery", LATE)), {"pwd", "otp"}, True),  # that was another sitting
        ((A, RECOVERY), {"fido2:A"}, False),
        ((PWD, RECOVERY), {"pwd", "recovery"}, False),
    ],
)
def test_what_confirms(events: tuple[AuthEvent, ...], bound: set[str], expected: bool) -> None:
    assert confirms(events, bound, SINCE) is expected


EVENTS = st.lists(
    st.builds(
        event, st.sampled_from(["pwd", "otp", "recovery", "fido2"]), st.integers(0, 2 * FRESH_SECONDS), st.sampled_from("AB")
    ),
    max_size=5,
)
BOUND = st.sets(st.sampled_from(["pwd", "otp", "fido2:A", "fido2:B"]))


@given(EVENTS, BOUND)
def test_without_a_bound_authenticator_of_now_nothing_confirms(events: list[AuthEvent], bound: set[str]) -> None:
    if confirms(events, bound, SINCE):
        assert [one for one in events if authenticator(one) in bound - {"pwd"} and one.at >= SINCE]
        assert not any(one.kind == "recovery" and one.at >= SINCE for one in events)
        if any(name.startswith("fido2:") for name in bound):
            assert any(one.kind == "fido2" and authenticator(one) in bound and one.at >= SINCE for one in events)


@given(EVENTS, BOUND)
def test_the_token_says_of_each_event_what_is_stored_and_nothing_of_which_key(events: list[AuthEvent], bound: set[str]) -> None:
    said = auth_events(events, bound)
    assert [item["bound"] for item in said] == [authenticator(one) in bound for one in events]
    assert all(set(item) == {"kind", "at", "phishing_resistant", "bound"} for item in said)
    assert kinds(bound) == sorted({name.split(":")[0] for name in bound})


def test_what_the_gateway_takes_for_fresh_the_provider_binds() -> None:
    """The remedy promises that a sign-in so old is bound; between the promise and the ceremony there is the way to it."""
    assert CEREMONY_SECONDS < FRESH_SECONDS

"""Was done what was asked for?"""

from typing import Any

import pytest

from gateway.domain.identity import AuthEvent, AuthKind, Proofing
from gateway.rp.asked import SKEW_SECONDS, left_out
from gateway.rp.flows import Purpose

ASKED = 1_800_000_000


def event(kind: AuthKind, at: int, *, resistant: bool = True) -> AuthEvent:
    return AuthEvent(kind=kind, at=at, phishing_resistant=resistant and kind == "fido2")


def proofed(expires_at: int | None) -> Proofing:
    return Proofing(level=3, method="m", verified_at=ASKED, expires_at=expires_at, verifier="v", transaction="t")


def check(
    purpose: Purpose, *events: AuthEvent, anew: bool = False, proofing: Proofing | None = None, **claims: Any
) -> str | None:
    return left_out(
        purpose, anew=anew, asked_at=ASKED, claims=claims, events=events, proofing=proofing, now=ASKED + 30
    )  # fmt: skip


@pytest.mark.parametrize("purpose", ["sign_in", "register_device"])
def test_a_sign_in_that_the_provider_remembered_is_what_was_asked_for(purpose: Purpose) -> None:
    assert check(purpose) is None


@pytest.mark.parametrize("at", [ASKED, ASKED - SKEW_SECONDS, ASKED + 9])
def test_anew_means_since_we_asked(at: int) -> None:
    assert check("sign_in", anew=True, auth_time=at) is None


@pytest.mark.parametrize(
    "claims", [{}, {"auth_time": ASKED - SKEW_SECONDS - 1}, {"auth_time": "now"}, {"auth_time": True}, {"auth_time": None}]
)
def test_anew_without_a_time_is_not_anew(claims: dict[str, Any]) -> None:
    assert check("sign_in", anew=True, **claims) is not None
    assert check("key_touch", event("fido2", ASKED), anew=True, **claims) is not None


def test_a_touch_is_fresh_and_of_a_key_that_resists_phishing() -> None:
    assert check("key_touch", event("fido2", ASKED)) is None
    assert check("key_touch", event("fido2", ASKED - SKEW_SECONDS)) is None
    for events in [(), (event("fido2", ASKED - SKEW_SECONDS - 1),), (event("fido2", ASKED, resistant=False),),
                   (event("pwd", ASKED), event("otp", ASKED))]:  # fmt: skip
        assert check("key_touch", *events) == "no fresh touch of a security key"


def test_two_factors_are_two_and_fresh() -> None:
    assert check("second_factor", event("pwd", ASKED), event("otp", ASKED)) is None
    assert check("second_factor", event("fido2", ASKED)) is None
    for events in [(), (event("pwd", ASKED),), (event("otp", ASKED), event("recovery", ASKED)),
                   (event("pwd", ASKED - SKEW_SECONDS - 1), event("otp", ASKED))]:  # fmt: skip
        assert check("second_factor", *events) == "no two fresh factors"


def test_proofing_is_there_and_in_force() -> None:
    assert check("identity_proofing", proofing=proofed(None)) is None
    assert check("identity_proofing", proofing=proofed(ASKED + 31)) is None
    assert check("identity_proofing", proofing=proofed(ASKED + 30)) is not None
    assert check("identity_proofing") is not None

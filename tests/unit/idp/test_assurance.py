"""What events amount to."""

from hypothesis import given
from hypothesis import strategies as st

from idp.model import ACR_MFA, ACR_PHR, ACR_PROOFED, ACR_VALUES, AuthEvent, AuthKind
from idp.protocol.assurance import best, counting, merged, methods, missing, reached_at


def at(kind: AuthKind, when: int) -> AuthEvent:
    return AuthEvent(kind=kind, at=when, phishing_resistant=kind == "fido2")


events = st.lists(st.builds(at, st.sampled_from(("pwd", "otp", "fido2", "recovery")), st.integers(0, 20)), max_size=6).map(tuple)


def test_the_older_of_two_factors_counts_and_a_key_counts_alone() -> None:
    assert reached_at([at("pwd", 5), at("otp", 9)], ACR_MFA) == 5
    assert reached_at([at("pwd", 5), at("otp", 1), at("recovery", 4)], ACR_MFA) == 4
    assert reached_at([at("pwd", 5), at("otp", 9)], ACR_PHR) is None
    assert reached_at([at("fido2", 3)], ACR_PHR) == 3
    assert reached_at([at("fido2", 3), at("pwd", 5), at("otp", 9)], ACR_MFA) == 5
    assert reached_at([at("fido2", 7), at("pwd", 5), at("otp", 9)], ACR_PROOFED) == 7


def test_two_of_the_same_factor_are_one() -> None:
    for kinds in ((), ("pwd",), ("otp",), ("recovery",), ("pwd", "pwd"), ("otp", "recovery")):
        assert reached_at([at(kind, 1) for kind in kinds], ACR_MFA) is None  # type: ignore[arg-type]  # tuples of literals


@given(events, st.sampled_from(ACR_VALUES), st.integers(0, 21))
def test_reached_at_is_exactly_the_age_limit_that_still_holds(found: tuple[AuthEvent, ...], acr: str, since: int) -> None:
    reached = reached_at(found, acr)
    young = [event for event in found if event.at >= since]
    assert (reached_at(young, acr) is not None) == (reached is not None and reached >= since)


@given(events, events, st.sampled_from(ACR_VALUES))
def test_a_session_remembers_all_that_matters(older: tuple[AuthEvent, ...], newer: tuple[AuthEvent, ...], acr: str) -> None:
    kept = merged(older, newer)
    assert reached_at(kept, acr) == reached_at(older + newer, acr)
    assert len({event.kind for event in kept}) == len(kept)
    assert list(kept) == sorted(kept, key=lambda event: event.at)


@given(events)
def test_the_stated_class_is_reached(found: tuple[AuthEvent, ...]) -> None:
    stated = best(found)
    assert (stated == "") == (reached_at(found, ACR_MFA) is None)
    if stated:
        assert reached_at(found, stated) == reached_at(found, ACR_MFA)
    assert ("mfa" in methods(found)) == bool(stated)


def test_missing_names_what_is_missing_in_order() -> None:
    assert missing("", (), known=False, proofed=False) == ("user", "mfa")
    assert missing(ACR_PROOFED, (), known=False, proofed=False) == ("user", "mfa", "proofing")
    assert missing(ACR_PHR, (at("pwd", 1), at("otp", 1)), known=True, proofed=False) == ("phr",)
    assert missing(ACR_PROOFED, (at("fido2", 1),), known=True, proofed=True) == ()
    assert missing("", (at("fido2", 1),), known=True, proofed=False) == ()


def test_what_counts_of_a_session() -> None:
    found = (at("pwd", 10), at("otp", 20))
    assert counting(found, fresh=False, max_age=None, now=10**6) == found
    assert counting(found, fresh=False, max_age=10, now=25) == (at("otp", 20),)
    assert counting(found, fresh=False, max_age=10, now=30) == (at("otp", 20),)
    assert counting(found, fresh=False, max_age=10, now=31) == ()
    assert counting(found, fresh=True, max_age=0, now=20) == ()


def test_methods_use_registered_names() -> None:
    assert methods([at("pwd", 1), at("recovery", 1)]) == ["pwd", "otp", "mfa"]
    assert methods([at("fido2", 1)]) == ["pop", "user", "mfa"]
    assert methods([at("pwd", 1)]) == ["pwd"]

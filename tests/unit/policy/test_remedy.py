"""What each step is supposed to yield, and the order of offers."""

from typing import Any

import pytest

from gateway.policy.evaluate import Bundle
from gateway.policy.remedy import CEREMONY_SECONDS, Enrolment, Outcomes, Proofing, Step, apply_steps, find_remedy
from tests.support.policy import bundle, facts, policy

PASSWORD = {"kinds": ("pwd",), "factors": 1, "phishing_resistant": False, "age_seconds": 900, "key_touch_age_seconds": None}
NO_DEVICE = {
    "registered": False,
    "compliant": False,
    "evidence": "none",
    "evidence_strength": 0,
    "ownership": "",
    "compliance_age_seconds": None,
}


def wants(condition: str) -> Bundle:
    return bundle(policy(when=condition))


def after(*steps: Step, outcomes: Outcomes = Outcomes(), **parts: Any) -> Any:  # noqa: B008  frozen
    return apply_steps(facts(**parts), steps, outcomes)


def test_a_key_touch_is_two_factors_by_itself_and_fresh() -> None:
    now = after("key_touch", authentication=PASSWORD).authentication
    assert (now.kinds, now.factors, now.phishing_resistant) == (("fido2", "pwd"), 2, True)
    assert (now.age_seconds, now.key_touch_age_seconds) == (0, 0)


def test_a_second_factor_is_what_is_missing() -> None:
    def kinds(*have: str) -> tuple[str, ...]:
        now = after("second_factor", authentication=PASSWORD | {"kinds": have}).authentication
        assert (now.factors, now.age_seconds, now.phishing_resistant, now.key_touch_age_seconds) == (2, 0, False, None)
        return tuple(now.kinds)

    assert kinds("pwd") == ("otp", "pwd")
    assert kinds("otp") == ("otp", "pwd")
    assert kinds("recovery") == ("pwd", "recovery")
    again = after("second_factor").authentication
    assert (again.kinds, again.age_seconds) == (("otp", "pwd"), 0), "two are there: they are fresh now"


def test_a_registered_device_has_what_enrolment_gives() -> None:
    device = after("register_device", device=NO_DEVICE).device
    assert (device.registered, device.compliant, device.evidence, device.evidence_strength) == (True, True, "key", 2)
    assert (device.ownership, device.compliance_age_seconds) == ("personal", 0)
    weak = Outcomes(enrolment=Enrolment(compliant=False, evidence="cookie", ownership="hospital"))
    device = after("register_device", outcomes=weak, device=NO_DEVICE).device
    assert (device.compliant, device.evidence, device.evidence_strength, device.ownership) == (False, "cookie", 1, "hospital")


def test_a_certificate_shown_already_stays_the_stronger_evidence() -> None:
    device = after("register_device", device=NO_DEVICE | {"evidence": "certificate", "evidence_strength": 3}).device
    assert (device.evidence, device.evidence_strength) == ("certificate", 3)


def test_steps_that_are_not_possible_are_no_steps() -> None:
    assert after("register_device") is None, "registered already"
    assert after("device_compliance") is None, "compliant already"
    assert after("device_compliance", device=NO_DEVICE) is None, "no device to bring into compliance"
    assert after("key_touch", outcomes=Outcomes(key_touch=False)) is None
    assert after("register_device", outcomes=Outcomes(enrolment=None), device=NO_DEVICE) is None
    assert after("device_compliance", outcomes=Outcomes(compliance=False), device={"compliant": False}) is None
    assert after("identity_proofing", outcomes=Outcomes(proofing=None)) is None
    assert after("identity_proofing", outcomes=Outcomes(proofing=Proofing(level=2))) is None, "level 3 is in force"


def test_proofing_is_what_the_service_gives() -> None:
    given = after(
        "identity_proofing",
        proofing={"level": 0, "method": "", "age_days": 0},
        outcomes=Outcomes(proofing=Proofing(level=2, method="x")),
    )
    assert (given.proofing.level, given.proofing.method, given.proofing.age_days) == (2, "x", 0)


UNBOUND = {"authenticator_bound": False}
TOUCHED = {"kinds": ("fido2", "otp", "pwd"), "phishing_resistant": True}


def test_a_proofing_is_bound_to_what_the_person_signed_in_with_lately() -> None:
    def bound(**authentication: object) -> bool:
        return bool(after("identity_proofing", proofing=UNBOUND, authentication=authentication).proofing.authenticator_bound)

    assert bound(), "password and code are asked for again when they are old"
    assert bound(**TOUCHED, key_touch_age_seconds=CEREMONY_SECONDS - 1)
    assert not bound(**TOUCHED, key_touch_age_seconds=CEREMONY_SECONDS), "an old touch is not asked for again"
    assert not bound(kinds=("pwd", "recovery")), "a recovery code is never bound"
    none = Outcomes(proofing=Proofing(binds=False))
    assert not after("identity_proofing", proofing=UNBOUND, outcomes=none).proofing.authenticator_bound


def test_a_step_shows_a_bound_authenticator_to_those_who_have_one() -> None:
    wanted = wants("context.proofing.authenticator_bound")
    recovered = facts(proofing=UNBOUND, authentication={"kinds": ("pwd", "recovery")})
    assert find_remedy(wanted, recovered, Outcomes(bound=("fido2",))) == ("key_touch",)
    assert find_remedy(wanted, recovered, Outcomes(bound=("otp", "pwd"))) == ("key_touch", "identity_proofing")
    assert find_remedy(wanted, facts(proofing=UNBOUND), Outcomes(bound=())) == ("identity_proofing",)
    assert find_remedy(wanted, facts(proofing=UNBOUND), Outcomes(bound=(), proofing=None)) == ()
    password = facts(proofing=UNBOUND, authentication=PASSWORD)
    assert find_remedy(wanted, password, Outcomes(key_touch=False, bound=("otp",))) == ("second_factor",)
    unproofed = facts(proofing={"level": 0, "authenticator_bound": False})
    assert find_remedy(wanted, unproofed) == ("identity_proofing",), "nothing is bound to no proofing"


def test_a_key_that_is_not_bound_takes_the_place_of_a_bound_code() -> None:
    given = after("key_touch", outcomes=Outcomes(bound=("otp", "pwd")))
    assert not given.proofing.authenticator_bound
    assert after("key_touch", authentication=TOUCHED, outcomes=Outcomes(bound=())).proofing.authenticator_bound, "it was bound"


@pytest.mark.parametrize(
    ("condition", "remedy"),
    [
        ("context.authentication.factors >= 2", ("key_touch",)),
        ('context.authentication.kinds.contains("otp")', ("second_factor",)),
        ("context.device.registered", ("register_device",)),
        ("context.device.compliant", ("register_device",)),
        ("context.proofing.level >= 2", ("identity_proofing",)),
        ("context.authentication.factors >= 2 && context.device.registered", ("key_touch", "register_device")),
        ('context.authentication.kinds.contains("otp") && context.authentication.phishing_resistant', ()),
        ('context.network.zone == "moon"', ()),
        ('principal in Role::"nurse"', ()),
    ],
)
def test_the_cheapest_that_helps_is_offered(condition: str, remedy: tuple[Step, ...]) -> None:
    given = facts(authentication=PASSWORD, device=NO_DEVICE, proofing={"level": 0, "method": "", "age_days": 0})
    assert find_remedy(wants(condition), given) == remedy


def test_one_dear_step_comes_before_two_cheap_ones() -> None:
    given = facts(authentication=PASSWORD, device=NO_DEVICE, proofing={"level": 0})
    either = "context.proofing.level >= 2 || (context.authentication.factors >= 2 && context.device.registered)"
    assert find_remedy(wants(either), given) == ("identity_proofing",)


def test_a_device_that_must_be_approved_is_registered_and_then_approved() -> None:
    given = facts(device=NO_DEVICE)
    outcomes = Outcomes(enrolment=Enrolment(compliant=False))
    assert find_remedy(wants("context.device.compliant"), given, outcomes) == ("register_device", "device_compliance")


def test_allowed_has_no_remedy() -> None:
    assert find_remedy(wants("context.network.tls"), facts()) == ()


def test_a_forbid_is_looked_through_as_well() -> None:
    made = bundle(policy(), policy("stop", "!context.device.compliant", effect="forbid"))
    assert find_remedy(made, facts(device={"compliant": False})) == ("device_compliance",)


def test_a_step_that_hurts_is_not_offered() -> None:
    made = bundle(
        policy(when="context.authentication.factors >= 2"),
        policy("no-keys", "context.authentication.phishing_resistant", effect="forbid"),
    )
    assert find_remedy(made, facts(authentication=PASSWORD)) == ("second_factor",)


def test_facts_that_can_not_be_evaluated_have_no_remedy() -> None:
    assert find_remedy(wants("context.device.compliant"), facts(authentication={"age_seconds": 2**63})) == ()
    assert find_remedy(wants("context.device.compliant"), facts(principal={"id": "\ud800"})) == ()


def test_an_erring_policy_has_a_remedy_only_when_a_step_ends_the_error() -> None:
    made = bundle(policy(), policy("stop", "context.proofing.age_days + 9223372036854775807 == 0", effect="forbid"))
    assert find_remedy(made, facts()) == ("identity_proofing",)
    assert find_remedy(made, facts(), Outcomes(proofing=None)) == ()


def test_report_only_policies_have_no_say() -> None:
    made = bundle(policy(), policy("trial", effect="forbid", more='@mode("report-only")\n'))
    assert find_remedy(made, facts()) == ()
    assert made.evaluate(facts()).allowed

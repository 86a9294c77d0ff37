"""Which grants policies ask for, for whom; and what could be in force where nobody knows."""

import pytest

from gateway.policy.granted import ANY_GRANT, names_for, names_of, possibilities
from gateway.policy.remedy import MAX_EVALUATIONS, Outcomes, Remedy, search
from tests.support.policy import bundle, facts, policy

ANYBODY = "principal, action, resource"


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ('context.grants.contains("a")', ("a",)),
        ('context.grants.containsAny(["b", "a"])', ("a", "b")),
        ('context.grants.containsAll(["b", "a"])', ("a", "b")),
        ('!context.grants.contains("a") || context.device.registered', ("a",)),
        ("!context.grants.isEmpty()", (ANY_GRANT,)),
        ('context.grants.isEmpty() || context.grants.contains("z")', ("z", ANY_GRANT)),
        ('context.grants == ["a"]', ("a",)),
        ("context.device.registered", ()),
        ('["normal"].contains(resource.sensitivity)', ()),
    ],
)
def test_names_are_found_in_conditions(condition: str, names: tuple[str, ...]) -> None:
    made = bundle(policy(when=condition))
    assert names_for(made.reads.grants, facts()) == names
    assert set(names_of(made.reads.grants)) == set(names)


@pytest.mark.parametrize(
    ("scope", "concerns"),
    [
        (ANYBODY, True),
        ('principal in Role::"physician", action, resource', True),
        ('principal in Role::"vendor", action, resource', False),
        ('principal in Organization::"第一病院", action, resource', True),
        ('principal == User::"usr_2", action, resource', False),
        ('principal, action in [Action::"read", Action::"write"], resource', True),
        ('principal, action == Action::"write", resource', False),
        ('principal, action, resource in App::"ehr"', True),
        ('principal, action, resource == Route::"ehr.chart"', True),
        ('principal, action, resource in App::"imaging"', False),
    ],
)
def test_only_policies_for_this_person_and_target_count(scope: str, concerns: bool) -> None:
    made = bundle(policy(when='context.grants.contains("a")', scope=scope))
    assert names_for(made.reads.grants, facts()) == (("a",) if concerns else ())


def test_what_is_in_force_already_does_not_help() -> None:
    made = bundle(policy(when='context.grants.containsAny(["a", "b"])'))
    assert names_for(made.reads.grants, facts(grants=("a",))) == ("b",)


def test_a_person_is_shown_no_names_of_policies_for_others() -> None:
    made = bundle(
        policy("one", 'context.grants.contains("vendors-only")', scope='principal in Role::"vendor", action, resource'),
        policy("two", 'context.grants.contains("for-all")', scope=ANYBODY),
    )
    assert names_of(made.reads.grants, facts().principal) == ("for-all",)
    assert names_of(made.reads.grants) == ("for-all", "vendors-only")


# ---------------------------------------------------------------- the remedy carries the name


def test_the_remedy_names_the_grant_that_helps() -> None:
    made = bundle(
        policy("one", 'context.grants.contains("a") && context.network.zone == "moon"'),
        policy("two", 'context.grants.contains("b")'),
    )
    assert search(made, facts(), Outcomes()) == Remedy(steps=("grant",), grant="b")
    assert search(made, facts(), Outcomes(grants=False)) == Remedy()


def test_of_many_names_the_one_that_helps_is_found() -> None:
    names = [f"g{number:03d}" for number in range(40)]
    made = bundle(
        *(policy(name, f'context.grants.contains("{name}") && context.time.hour == 99') for name in names),
        policy("helps", 'context.grants.contains("zz") && context.device.registered'),
    )
    assert search(made, facts(), Outcomes()) == Remedy(steps=("grant",), grant="zz")
    away = facts(device={"registered": False, "compliant": False})
    assert search(made, away, Outcomes()) == Remedy(steps=("register_device", "grant"), grant="zz")


def test_what_a_person_can_do_alone_comes_before_a_grant_and_break_glass_last() -> None:
    alone = policy("alone", "context.device.registered && context.authentication.phishing_resistant")
    grant = policy("grant", "!context.grants.isEmpty()")
    last = policy("last", 'context.situation == "break_glass"')
    away = facts(device={"registered": False, "compliant": False})
    assert search(bundle(alone, grant, last), away, Outcomes()).steps == ("key_touch", "register_device")
    assert search(bundle(grant, last), away, Outcomes()) == Remedy(steps=("grant",), grant=ANY_GRANT)
    assert search(bundle(last), away, Outcomes()).steps == ("break_glass",)
    assert search(bundle(last), away, Outcomes(break_glass=False)).steps == ()
    slow = policy("slow", 'context.situation == "break_glass" && context.proofing.level >= 3')
    assert search(bundle(slow), facts(proofing={"level": 0}), Outcomes()).steps == (), "no chain with what takes a card"


def test_the_number_of_evaluations_is_bounded() -> None:
    names = [f"g{number}" for number in range(200)]
    made = bundle(*(policy(name, f'context.grants.contains("{name}") && context.time.hour == 99') for name in names))

    class Counted:
        asked = 0
        reads = made.reads

        def evaluate(self, given):  # type: ignore[no-untyped-def]
            self.asked += 1
            return made.evaluate(given)

        def allowed(self, hypotheses):  # type: ignore[no-untyped-def]
            self.asked += len(hypotheses)
            return made.allowed(hypotheses)

    counted = Counted()
    nothing = facts(
        device={"registered": False, "compliant": False}, proofing={"level": 0},
        authentication={"kinds": ("pwd",), "factors": 1, "phishing_resistant": False},
    )  # fmt: skip
    assert search(counted, nothing, Outcomes()) == Remedy()
    assert counted.asked <= MAX_EVALUATIONS


# ---------------------------------------------------------------- where nobody knows


def test_all_that_could_be_in_force() -> None:
    made = bundle(policy(when='context.grants.contains("a") || !context.grants.isEmpty()'))
    found = possibilities(made.reads.grants, facts())
    assert found is not None
    assert {(one.situation, one.grants) for one in found} == {
        (situation, grants)
        for situation in ("normal", "emergency")
        for grants in ((), ("a",), (ANY_GRANT,), tuple(sorted((ANY_GRANT, "a"))))
    }
    session = possibilities(made.reads.grants, facts(situation="break_glass"))
    assert session is not None
    assert {one.situation for one in session} == {"break_glass"}, "the session's own is known"


@pytest.mark.parametrize(
    "condition",
    [
        'context.grants == ["a"]',
        '["a"].containsAll(context.grants)',
        "context.grants.contains(context.network.zone)",
        " || ".join(f'context.grants.contains("g{number}")' for number in range(5)),
    ],
)
def test_what_can_not_be_tried_out_is_not_known(condition: str) -> None:
    assert possibilities(bundle(policy(when=condition)).reads.grants, facts()) is None


def test_policies_for_others_make_nothing_unknown() -> None:
    made = bundle(policy(when='context.grants == ["a"]', scope='principal in Role::"vendor", action, resource'))
    found = possibilities(made.reads.grants, facts())
    assert found is not None
    assert {one.grants for one in found} == {()}

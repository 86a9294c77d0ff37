"""What Cedar reads is what the Facts structs hold: by name, by type, by value."""

import re
from typing import get_args

import cedarpy
import msgspec
import pytest

from gateway.domain import identity, posture, reason, route
from gateway.policy import facts as words
from gateway.policy.facts import Facts, count_factors
from gateway.policy.remedy import EVIDENCE_STRENGTH, STEPS
from gateway.policy.schema import SCHEMA, cedar_context, cedar_entities, cedar_request, cedar_schema, closed_words
from gateway.policy.source import tokenize
from tests.support.policy import STARTER, facts


def test_the_shipped_schema_says_what_the_structs_say() -> None:
    shipped = (STARTER / "schema.cedarschema").read_text("utf-8")
    assert [token.text for token, *_ in tokenize(shipped, "")] == [token.text for token, *_ in tokenize(cedar_schema(), "")]
    assert str(cedarpy.Schema.from_str(shipped)) == str(SCHEMA)


def test_every_attribute_of_the_structs_is_in_the_schema_and_no_other() -> None:
    typed = set(re.findall(r"(\w+)\??: (?:Long|Bool|String|Set)", str(SCHEMA)))
    held = set()
    for part in Facts.__struct_fields__:
        value = getattr(facts(), part)
        held |= set(value.__struct_fields__) if isinstance(value, msgspec.Struct) else {part}
    # These are entities, not attributes.
    assert held - typed == {"id", "roles", "organization", "app", "route", "action"}
    assert typed - held == set()


def test_each_value_arrives_under_its_name() -> None:
    given = facts(authentication={"key_touch_age_seconds": 7, "kinds": ("fido2",)}, grants=("grt_1",))
    context = msgspec.json.decode(cedar_context(given))
    plain = msgspec.json.decode(msgspec.json.encode(given))
    del plain["principal"], plain["target"]
    assert context == plain
    request = cedar_request(given)
    assert request["principal"] == {"type": "User", "id": "usr_1"}
    assert request["action"] == {"type": "Action", "id": "read"}
    assert request["resource"] == {"type": "Route", "id": "ehr.chart"}


def test_what_is_not_known_is_absent() -> None:
    context = msgspec.json.decode(cedar_context(facts(device={"compliance_age_seconds": None})))
    assert "key_touch_age_seconds" not in context["authentication"]
    assert "compliance_age_seconds" not in context["device"]


def test_parents_are_roles_organisation_and_app() -> None:
    entities = str(cedar_entities(facts().principal, facts().target))
    for parent in ('"physician"', '"第一病院"', '"ehr"', '"p001"'):
        assert parent in entities
    assert "Organization" not in str(cedar_entities(facts(principal={"organization": ""}).principal, facts().target))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (words.AuthKind, identity.AuthKind),
        (words.Evidence, posture.Evidence),
        (words.Action, route.Action),
        (words.Sensitivity, route.Sensitivity),
    ],
)
def test_closed_words_are_those_of_the_domain(ours: object, theirs: object) -> None:
    assert get_args(ours) == get_args(theirs)


def test_ownership_is_the_domains_or_empty() -> None:
    assert set(get_args(words.Ownership)) == {*get_args(posture.Ownership), ""}


def test_steps_are_the_domains_in_its_order() -> None:
    assert tuple(step.value for step in reason.RemedyStep) == STEPS


def test_attributes_of_a_device_are_the_domains_each_with_its_age() -> None:
    names = [
        name for name in words.DeviceFacts.__struct_fields__ if name.removesuffix("_age_seconds") in get_args(posture.PostureName)
    ]
    assert names == [f"{name}{age}" for name in get_args(posture.PostureName) for age in ("", "_age_seconds")]


def test_strengths_are_the_domains() -> None:
    assert EVIDENCE_STRENGTH == posture.STRENGTH


def test_closed_words_are_found_where_they_are() -> None:
    assert set(closed_words()) == {
        ("context", "situation"),
        ("context", "authentication", "kinds"),
        ("context", "device", "evidence"),
        ("context", "device", "ownership"),
        ("resource", "sensitivity"),
    }


@pytest.mark.parametrize(
    ("kinds", "factors"),
    [
        ((), 0),
        (("pwd",), 1),
        (("otp",), 1),
        (("recovery",), 1),
        (("otp", "recovery"), 1),  # both are something one has
        (("pwd", "otp"), 2),
        (("pwd", "recovery"), 2),
        (("fido2",), 2),
        (("fido2", "otp", "pwd", "recovery"), 2),
    ],
)
def test_factors(kinds: tuple[words.AuthKind, ...], factors: int) -> None:
    assert count_factors(kinds) == factors

"""A decision's record explained again, and what is said of one that can't be."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from gateway.kernel.i18n import LANGUAGES
from gateway.kernel.web.show import visible
from gateway.policy.bundle import load_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.recorded import NoFacts, RecordedFacts, Reexplained, explain_record, facts_in_record
from gateway.policy.recorded_text import notes, record_lines, verdict_lines
from tests.support.policy import STARTER, all_facts, bundle, facts, policy

BUNDLE = load_bundle(STARTER)


def recorded(made: Bundle, facts: Facts) -> dict[str, Any]:
    """What the log says of a decision by `made`."""
    answer = made.evaluate(facts)
    record = {
        "id": f"dec_{1:032x}",
        "at": "2027-01-15T08:00:00.000Z",
        "outcome": "allow" if answer.allowed else "deny",
        "reason": "policy_permits",
        "actor": {"login": "dr.sato", "name": "佐藤 恵", "roles": ["physician"], "device": "dev_1"},
        "app": "ehr",
        "route": "ehr.chart",
        "action": "read",
        "patient": "P0099",
        "policies": answer.policies,
        "errors": answer.errors,
        "bundle": made.version,
        "facts": facts,
    }
    return msgspec.json.decode(msgspec.json.encode(record))  # type: ignore[no-any-return]  # a dict went in


def explained(record: dict[str, Any], made: Bundle) -> Reexplained:
    held = facts_in_record(record)
    assert isinstance(held, RecordedFacts)
    return explain_record(record, held, made)


@settings(max_examples=100, deadline=None)
@given(all_facts())
def test_the_same_policies_answer_the_same(facts: Facts) -> None:
    said = explained(recorded(BUNDLE, facts), BUNDLE)
    assert (said.verdict, said.missing) == ("same", ())


def test_another_answer_is_told() -> None:
    record = recorded(BUNDLE, facts())
    assert explained({**record, "outcome": "deny", "policies": []}, BUNDLE).verdict == "differs"
    assert explained({**record, "policies": ["ehr-read-everybody"]}, BUNDLE).verdict == "differs"
    said = explained({**record, "outcome": "deny", "policies": []}, BUNDLE)
    assert "must not be" in notes(said, "en")[0]


def test_facts_that_an_older_record_lacks_are_named_and_never_made_up() -> None:
    made = bundle(policy(when="!context.time.holiday && context.time.hour < 20"), policy("other", "context.network.tls"))
    record = recorded(made, facts())
    del record["facts"]["time"]["holiday"]
    del record["facts"]["time"]["shifts"]
    said = explained(record, made)
    assert (said.verdict, said.missing) == ("not_comparable", ("time.holiday",))
    assert "the holiday" in notes(said, "en")[0]
    # What no policy reads, and what may be absent anyway, is not missed.
    careless = bundle(policy(when="context.time.hour < 20"))
    assert explained({**record, "policies": ["read"]}, careless).verdict == "same"


@pytest.mark.parametrize("outcome", ["challenge", "refuse", "unavailable"])
def test_records_without_facts(outcome: str) -> None:
    held = facts_in_record({"outcome": outcome, "reason": "no_route", "facts": None})
    assert held == NoFacts(why=msgspec.convert(outcome, Any))
    for language in LANGUAGES:
        (line,) = verdict_lines(held, language, "reason in words")
        assert line
    assert isinstance(facts_in_record({"outcome": "deny"}), NoFacts)


def test_facts_that_this_version_cannot_read() -> None:
    record = recorded(BUNDLE, facts())
    record["facts"]["time"]["hour"] = "noon\u202e"
    held = facts_in_record(record)
    assert isinstance(held, NoFacts)
    assert held.why == "unreadable"
    del record["facts"]["device"]
    assert isinstance(facts_in_record(record), NoFacts)
    several: tuple[object, ...] = ([], "x", 3, {"x": {}}, {"principal": None})
    for nonsense in several:
        assert isinstance(facts_in_record({**record, "facts": nonsense}), NoFacts)


def test_what_the_help_desk_gets() -> None:
    record = recorded(BUNDLE, facts(device={"compliant": False}))
    lines = record_lines(record, "en", visible, lambda reason: f"<{reason}>")
    assert lines[:5] == [
        f"Decision: dec_{1:032x}",
        "Time: 2027-01-15T08:00:00.000Z",
        "Person: dr.sato 佐藤 恵",
        "Roles: physician",
        "Device: dev_1",
    ]
    assert "Request: ehr ehr.chart read" in lines
    assert "Recorded answer: denied" in lines
    ticket = "\n".join([*lines, *verdict_lines(explained(record, BUNDLE), "en", "", ticket=True)])
    assert "the device is not compliant" in ticket
    assert "P0099" not in ticket
    assert "permit (" not in ticket


def test_what_else_a_record_says() -> None:
    record = recorded(BUNDLE, facts())
    lines = record_lines({**record, "trial": {"allowed": False}, "break_glass": "brk_1"}, "en", visible, str)
    assert "By the policies on trial: denied" in lines
    assert "Under break-glass: brk_1" in lines
    assert not any("trial" in line for line in record_lines(record, "en", visible, str))


def test_hostile_records_stay_on_their_lines() -> None:
    hostile = {
        "id": "dec_\u202ex\nTime: never",
        "at": "yesterday\x1b[2J",
        "outcome": "allow\u200b",
        "reason": "no_route\n",
        "actor": {"login": "a\nb", "name": ["x"], "roles": ["nurse\u202e", 3], "device": {"x": 1}},
        "app": "<b>",
        "policies": "all",
        "remedy": ["key_touch", "x\n"],
        "phase": "stream",
    }
    for language in LANGUAGES:
        for line in record_lines(hostile, language, visible, str.strip):
            assert line.isprintable(), line
    for odd in ({}, {"actor": None, "at": None}, {"actor": "x", "policies": {"a": 1}, "remedy": 3}):
        assert record_lines(odd, "ja", visible, str)

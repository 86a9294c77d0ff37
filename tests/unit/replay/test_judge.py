"""Counting single records."""

from typing import Any

import msgspec
import pytest

from gateway.domain.record import CompletionRecord, Source, UseRecord
from gateway.kernel.canonical import canonical_json
from gateway.policy.evaluate import Bundle
from gateway.replay.judge import Seen, read
from gateway.replay.report import SAMPLES_A_ROUTE, UNKNOWN_HOUR
from gateway.replay.tally import Tally
from tests.support.policy import bundle, facts, policy
from tests.support.replay import AT, counted, record, seen

ANY = "principal, action, resource"
ALL = policy("read", "context.network.tls", scope=ANY)
NURSES = policy("nurses", scope='principal in Role::"nurse", action, resource')


def counts(before: Bundle, after: Bundle, *records: Any, since: str = "") -> dict[str, int]:
    return counted(before, after, records, since=since).tally.counts


def use(number: int = 1, began: str = AT) -> Seen:
    one = UseRecord(
        id=f"dec_{number:032x}",
        at=AT,
        began=began,
        source=Source(),
        method="GET",
        host="h",
        path="/",
        status=200,
        bytes_in=0,
        bytes_out=0,
        duration_ms=1,
        process=1,
        connection=1,
        number=1,
    )
    return read(canonical_json(one))


def test_who_loses_and_who_gains() -> None:
    nurse = facts(principal={"id": "usr_2", "roles": ("nurse", "clerk")})
    tally = counted(bundle(ALL), bundle(NURSES), [record(), record(nurse, 2)]).tally
    assert tally.counts == {"lost": 1, "still_allowed": 1}
    assert [(line.key, line.login, line.name, line.lost) for line in tally.people.values()] == [
        ("usr_1", "dr.sato", "佐藤 恵", 1)
    ]
    assert [(line.key, line.lost) for line in tally.roles.values()] == [("physician", 1)]
    assert [(line.key, line.lost) for line in tally.routes.values()] == [("ehr.chart", 1)]
    back = counted(bundle(NURSES), bundle(ALL), [record(), record(nurse, 2)]).tally
    assert back.counts == {"gained": 1, "still_allowed": 1}
    assert [(line.key, line.gained) for line in back.people.values()] == [("usr_1", 1)]


def test_somebody_with_two_roles_counts_under_both() -> None:
    both = facts(principal={"roles": ("nurse", "clerk")}, target={"action": "write"})
    tally = counted(bundle(NURSES), bundle(policy("p")), [record(both)]).tally
    assert {line.key: line.lost for line in tally.roles.values()} == {"nurse": 1, "clerk": 1}
    assert sum(line.lost for line in tally.people.values()) == 1


def test_the_hour_is_the_hospitals() -> None:
    tally = counted(bundle(ALL), bundle(NURSES), [record(), record(number=2, at="2027-01-15T15:30:00.000Z")]).tally
    assert tally.lost_hours[17] == 1
    assert tally.lost_hours[0] == 1


@pytest.mark.parametrize("at", ["", "yesterday", "2027-13-45T99:00:00.000Z", "2027-01-15T08:00:00.000+09:00", "9" * 500])
def test_a_time_that_cannot_be_read_is_no_reason_to_leave_a_record_out(at: str) -> None:
    tally = counted(bundle(ALL), bundle(NURSES), [record(at=at)], since="2027-01-01T00:00:00.000Z").tally
    assert tally.counts == {"lost": 1}
    assert tally.lost_hours[UNKNOWN_HOUR] == 1
    assert tally.hours()[-1].key == "?"


def test_older_decisions_are_left_out_and_counted() -> None:
    tally = counted(bundle(ALL), bundle(ALL), [record(), record(number=2, at="2027-01-01T00:00:00.000Z")], since=AT).tally
    assert tally.counts == {"still_allowed": 1}
    assert tally.older == 1


@pytest.mark.parametrize("outcome", ["challenge", "refuse", "unavailable"])
def test_decisions_without_facts_are_no_requests(outcome: str) -> None:
    tally = counted(bundle(ALL), bundle(ALL), [record(outcome=outcome, facts=None)]).tally
    assert (tally.counts, tally.undecided) == ({}, 1)


def test_events_and_completions_are_passed_over() -> None:
    done = CompletionRecord(id="dec_1", at=AT, status=200, bytes_in=0, bytes_out=0, duration_ms=0)
    tally = counted(bundle(ALL), bundle(ALL), [read(canonical_json(done))]).tally
    assert (tally.counts, tally.undecided, tally.older) == ({}, 0, 0)


def test_streams_count_like_requests() -> None:
    assert counts(bundle(ALL), bundle(NURSES), record(phase="stream", outcome="deny")) == {"lost": 1}


# ---------------------------------------------------------------- what a record lacks


READS_DISK = policy("disk", "context.device has disk_encrypted && context.device.disk_encrypted", scope=ANY)


def old(*names: str) -> dict[str, Any]:
    """Facts of a version that did not know these of a device."""
    plain: dict[str, Any] = msgspec.to_builtins(facts())
    for name in names:
        del plain["device"][name]
    return plain


def test_a_fact_that_the_draft_newly_reads_is_counted_apart_by_name() -> None:
    tally = counted(bundle(ALL), bundle(READS_DISK), [record(old("disk_encrypted"))]).tally
    assert (tally.counts, tally.lacks) == ({"lacking": 1}, {"device.disk_encrypted": 1})
    assert not tally.people


def test_a_fact_that_is_known_to_be_unknown_is_there() -> None:
    assert counts(bundle(ALL), bundle(READS_DISK), record(facts(device={"disk_encrypted": None}))) == {"lost": 1}


def test_a_fact_that_nobody_reads_may_be_missing() -> None:
    assert counts(bundle(ALL), bundle(NURSES), record(old("disk_encrypted", "screen_lock"))) == {"lost": 1}


def test_a_fact_that_is_read_only_under_a_condition_is_not_guessed_either() -> None:
    after = bundle(policy("p", 'context.network.zone == "nowhere" && context.time.holiday', scope=ANY), ALL)
    plain = msgspec.to_builtins(facts())
    del plain["time"]["holiday"]
    tally = counted(bundle(ALL), after, [record(plain)]).tally
    assert (tally.counts, tally.lacks) == ({"lacking": 1}, {"time.holiday": 1})


def test_a_fact_that_only_policies_about_others_read_may_be_missing() -> None:
    vendors = policy("vendors", "context.time.holiday", effect="forbid", scope='principal in Role::"vendor", action, resource')
    plain = msgspec.to_builtins(facts())
    del plain["time"]["holiday"]
    assert counts(bundle(ALL), bundle(ALL, vendors), record(plain)) == {"still_allowed": 1}
    plain["principal"]["roles"] = ["vendor"]
    assert counts(bundle(ALL), bundle(ALL, vendors), record(plain)) == {"lacking": 1}


def test_a_whole_part_that_is_missing() -> None:
    plain = msgspec.to_builtins(facts())
    del plain["device"]
    tally = counted(bundle(ALL), bundle(READS_DISK), [record(plain)]).tally
    assert tally.lacks == {"device.disk_encrypted": 1}
    assert counts(bundle(ALL), bundle(ALL), record({})) == {"lacking": 1}


def test_facts_that_only_a_later_version_knows_are_passed_over() -> None:
    plain = msgspec.to_builtins(facts())
    plain["weather"] = {"rain": True}
    plain["device"]["battery"] = 12
    assert counts(bundle(ALL), bundle(ALL), record(plain)) == {"still_allowed": 1}


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("device", "registered", "yes"),
        ("device", "compliant", 1),
        ("authentication", "factors", "2"),
        ("authentication", "factors", True),
        ("authentication", "kinds", "pwd"),
        ("authentication", "kinds", ["smoke"]),
        ("authentication", "age_seconds", 2**63),
        ("time", "hour", None),
        ("principal", "roles", [1]),
    ],
)
def test_a_fact_of_a_wrong_type_is_unreadable(part: str, name: str, value: Any) -> None:
    plain = msgspec.to_builtins(facts())
    plain[part][name] = value
    tally = counted(bundle(ALL), bundle(NURSES), [record(plain)]).tally
    assert tally.counts == {"unreadable": 1}
    assert name in tally.newest("unreadable")[0].why


# ---------------------------------------------------------------- what was recorded


def test_an_outcome_that_the_policies_in_force_do_not_give_is_counted_apart() -> None:
    before = bundle(ALL)
    tally = counted(before, bundle(NURSES), [record(bundle=before.version, outcome="deny"), record(number=2)]).tally
    assert tally.counts == {"not_reproduced": 1, "lost": 1}
    sample = tally.newest("not_reproduced")[0]
    assert (sample.recorded, sample.allowed_before, sample.before) == ("deny", True, ("read",))


def test_what_other_policies_decided_the_other_way_is_said_beside() -> None:
    tally = counted(
        bundle(ALL), bundle(NURSES), [record(bundle="earlier", outcome="deny"), record(bundle="earlier", number=2)]
    ).tally
    assert (tally.counts, tally.otherwise) == ({"lost": 2}, 1)
    assert {sample.recorded for sample in tally.newest("lost")} == {"allow", "deny"}


def test_an_error_denies() -> None:
    overflow = "context.authentication.age_seconds + 9223372036854775807 > 0"
    errs = policy("errs", overflow, effect="forbid", scope=ANY)
    tally = counted(bundle(ALL), bundle(ALL, errs), [record()]).tally
    assert tally.counts == {"lost": 1}
    assert tally.newest("lost")[0].errors[0].startswith("errs:")


def test_samples_name_the_policies_and_what_would_help() -> None:
    touch = policy("touch", "context.authentication.phishing_resistant", scope=ANY)
    sample = counted(bundle(ALL), bundle(touch), [record()]).tally.newest("lost")[0]
    assert (sample.id, sample.login, sample.before, sample.after) == (f"dec_{1:032x}", "dr.sato", ("read",), ())
    assert sample.remedy == ("key_touch",)


def test_samples_are_the_newest_of_each_route() -> None:
    records = [record(number=number, at=f"2027-01-15T08:00:{number:02d}.000Z") for number in range(20)]
    records.append(record(facts(target={"route": "ehr.home"}), 30))
    samples = counted(bundle(ALL), bundle(NURSES), records).tally.newest("lost")
    assert [sample.at[17:19] for sample in samples if sample.route == "ehr.chart"] == ["19", "18", "17"][:SAMPLES_A_ROUTE]
    assert any(sample.route == "ehr.home" for sample in samples)


# ---------------------------------------------------------------- uses under a lease


def test_a_use_counts_as_its_decision_does() -> None:
    tally = counted(
        bundle(ALL), bundle(NURSES), [record(lease_seconds=1), use(), use(began="2027-01-15T09:30:00.000Z"), use(7)]
    ).tally
    assert tally.counts == {"lost": 3}
    assert (tally.uses, tally.loose_uses) == (2, 1)
    assert (tally.lost_hours[17], tally.lost_hours[18]) == (2, 1)
    assert next(iter(tally.people.values())).lost == 3


def test_a_use_of_a_decision_that_lacks_something_lacks_it_too() -> None:
    tally = counted(bundle(ALL), bundle(READS_DISK), [record(old("disk_encrypted"), lease_seconds=1), use()]).tally
    assert (tally.counts, tally.lacks) == ({"lacking": 2}, {"device.disk_encrypted": 2})


# ---------------------------------------------------------------- equal facts


def test_what_no_policy_can_tell_apart_is_asked_once() -> None:
    many = [
        record(facts(principal={"id": f"usr_{number}"}, authentication={"age_seconds": number}), number) for number in range(50)
    ]
    tally = counted(bundle(ALL), bundle(NURSES), many).tally
    assert tally.questions == 1
    assert len(tally.people) == 50


def test_somebody_whom_a_policy_names_is_somebody_else() -> None:
    named = policy("named", scope='principal == User::"usr_7", action, resource')
    many = [record(facts(principal={"id": f"usr_{number}"}), number) for number in range(10)]
    tally = counted(bundle(ALL), bundle(named), many).tally
    assert tally.counts == {"lost": 9, "still_allowed": 1}
    assert tally.questions == 2


def test_tallies_put_together_are_one() -> None:
    nurse = facts(principal={"id": "usr_2", "roles": ("nurse",)})
    every = [record(number=number) if number % 2 else record(nurse, number) for number in range(20)]
    whole = counted(bundle(ALL), bundle(NURSES), every).tally
    parts = Tally()
    for begin in range(0, 20, 5):
        parts.take(counted(bundle(ALL), bundle(NURSES), every[begin : begin + 5]).tally)
    assert msgspec.structs.replace(parts, questions=whole.questions) == whole
    assert [seen(every[19]).id] == [sample.id for sample in parts.newest("lost")][:1]

"""Replay's counts are those of putting each record to both bundles, one by one, by Cedar itself; and nothing is guessed."""

from collections import Counter
from functools import cache
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.schema import facts_paths
from gateway.replay.recorded import decode, filled
from tests.support.policy import all_facts, policy
from tests.support.replay import compiled, counted, record, starter

ANY = "principal, action, resource"
EXTRA = (
    policy("night", "context.time.hour < 7 || context.time.hour >= 20", effect="forbid", scope=ANY),
    policy("one", "context.proofing.level >= 2", scope='principal == User::"usr_1", action, resource'),
    policy("chart", 'resource == Route::"ehr.chart" && context.network.zone == "ward"', scope=ANY),
    policy("patient", 'resource.patient == "p001"', effect="forbid", scope='principal in Role::"nurse", action, resource'),
    policy(
        "disk",
        "context.device has disk_encrypted && context.device.disk_encrypted",
        scope='principal, action == Action::"read", resource in App::"imaging"',
    ),
    policy(
        "touch",
        "context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds + 1 < 301",
        scope='principal, action == Action::"write", resource',
    ),
    policy(
        "errs",
        "context.authentication.age_seconds * 9223372036854775807 > 1",
        effect="forbid",
        scope=ANY,
    ),
    policy("shift", 'context.time.shifts.contains("night")', scope='principal in Role::"clerk", action, resource'),
    policy("watch", "context.device.registered", effect="forbid", more='@mode("report-only")\n', scope=ANY),
)


@cache
def bundle(dropped: frozenset[int], added: frozenset[int]) -> Bundle:
    """The starter bundle without some files' policies, with some of ours."""
    given = starter()
    names = sorted(name for name, data in given.items() if name.endswith(".cedar") and b"?" not in data)
    for number in dropped:
        given.pop(names[number % len(names)], None)
    given["zz.cedar"] = "\n".join([EXTRA[number] for number in sorted(added)] + [policy("zz-base")]).encode()
    return compiled(given)


bundles = st.builds(
    bundle,
    st.frozensets(st.integers(0, 8), max_size=1),
    st.frozensets(st.integers(0, len(EXTRA) - 1), max_size=2),
)


def outcome(before: bool, after: bool) -> str:
    if before:
        return "still_allowed" if after else "lost"
    return "gained" if after else "still_denied"


@settings(max_examples=60, deadline=None)
@given(before=bundles, after=bundles, every=st.lists(all_facts(), min_size=1, max_size=12))
def test_counts_are_those_of_asking_for_each_record(before: Bundle, after: Bundle, every: list[Facts]) -> None:
    records = [record(facts, number) for number, facts in enumerate(every)] * 2
    expected = Counter(outcome(before.evaluate(facts).allowed, after.evaluate(facts).allowed) for facts in every * 2)
    tally = counted(before, after, records).tally
    assert Counter(tally.counts) == expected
    assert sum(tally.lost_hours) == sum(line.lost for line in tally.people.values()) == expected["lost"]
    assert sum(line.gained for line in tally.routes.values()) == expected["gained"]
    for sample in [one for routes in tally.samples.values() for samples in routes.values() for one in samples]:
        facts = every[int(sample.id.removeprefix("dec_"), 16)]
        assert (sample.before, sample.allowed_before) == (before.evaluate(facts).policies, before.evaluate(facts).allowed)
        assert (sample.after, sample.allowed_after) == (after.evaluate(facts).policies, after.evaluate(facts).allowed)


def without(facts: Facts, names: frozenset[str]) -> dict[str, Any]:
    """Facts as a version wrote them that did not know these."""
    plain: dict[str, Any] = msgspec.to_builtins(facts)
    for name in names:
        *parts, last = name.split(".")
        place = plain
        for part in parts:
            place = place[part]
        place.pop(last, None)
    return plain


@settings(max_examples=120, deadline=None)
@given(
    before=bundles,
    after=bundles,
    facts=all_facts(),
    other=all_facts(),
    names=st.frozensets(st.sampled_from(sorted(facts_paths().values())), min_size=1, max_size=4),
)
def test_what_a_record_does_not_say_is_never_guessed(
    before: Bundle, after: Bundle, facts: Facts, other: Facts, names: frozenset[str]
) -> None:
    plain = without(facts, names)
    tally = counted(before, after, [record(plain)]).tally
    assert sum(tally.counts.values()) == 1
    # Whatever stood in the places that the record leaves open, the outcome is the same; or the record was counted apart.
    if "lacking" not in tally.counts:
        for filling in (facts, other):
            whole = msgspec.convert(_merged(msgspec.to_builtins(filling), plain), Facts)
            assert outcome(before.evaluate(whole).allowed, after.evaluate(whole).allowed) in tally.counts
    else:
        assert {name for key in tally.lacks for name in key.split()} <= names


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        merged[name] = _merged(under[name], value) if isinstance(value, dict) else value
    return merged


@given(facts=all_facts())
def test_facts_come_back_from_a_record_as_they_were(facts: Facts) -> None:
    assert filled(decode(msgspec.json.encode(facts))) == facts

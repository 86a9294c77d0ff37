"""From values to log records: the bytes that a record's quick ways give are those of the plain ones."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.encoding import encode_record
from gateway.domain.decision import Refuse
from gateway.domain.reason import RefuseReason
from gateway.domain.record import Actor, DecisionRecord, Source
from gateway.kernel.canonical import canonical_json
from gateway.pipeline.records import decision_record, printable, recorded_facts, timestamp
from gateway.policy.evaluate import facts_of_record
from gateway.policy.facts import Facts
from tests.support.policy import all_facts, facts


def record(recorded: object, path: str = "/") -> DecisionRecord:
    plain = DecisionRecord(
        id="dec_1", at="", outcome="allow", reason="", actor=Actor(), source=Source(), host="", method="", path=path
    )
    return msgspec.structs.replace(plain, facts=recorded)


@given(all_facts())
def test_facts_are_written_as_ever(given_facts: Facts) -> None:
    recorded = recorded_facts(given_facts)
    assert isinstance(recorded, msgspec.Raw)
    assert bytes(recorded) == canonical_json(msgspec.to_builtins(given_facts))
    assert encode_record(record(recorded)) == encode_record(record(msgspec.to_builtins(given_facts)))
    assert facts_of_record(recorded) == given_facts


def test_a_long_record_is_cut_as_ever() -> None:
    many = facts(principal={"roles": tuple(f"role-{number}" for number in range(100))})
    line = encode_record(record(recorded_facts(many), path="/x" * 2000))
    assert line == encode_record(record(msgspec.to_builtins(many), path="/x" * 2000))
    assert "…[cut: 4000 characters]".encode() in line
    assert "…[cut: 100 entries]".encode() in line


def test_facts_that_no_utf8_holds_are_written_all_the_same() -> None:
    recorded = recorded_facts(facts(principal={"roles": ("\ud800",)}))
    assert b"\\\\ud800" in encode_record(record(recorded))


@given(
    st.one_of(
        st.floats(0, 4e9, allow_nan=False),
        st.builds(
            lambda second, part: second + part,
            st.integers(0, 4_000_000_000),
            st.sampled_from([0, 0.0005, 0.001, 0.9995, 0.9999994, 0.9999996]),
        ),
    )
)
def test_times_are_those_of_datetime(now: float) -> None:
    plain = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert timestamp(now) == plain


@given(st.text(max_size=40), st.integers(4, 30))
def test_text_from_outside_is_printable_ascii_and_no_longer_than_allowed(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= limit


def test_a_refusal_has_no_facts() -> None:
    refused = decision_record(
        Refuse(id="dec_1", reason=RefuseReason.NO_ROUTE), now=0, source=Source(), host="h", method="GET", target="/a?b=c&d=e"
    )
    assert (refused.facts, refused.path, refused.query_names, refused.lease_seconds) == (None, "/a", ("b", "d"), 0)

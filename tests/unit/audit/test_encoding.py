import json

import msgspec
import pytest

from gateway.audit.encoding import MAX_ENTRIES, MAX_TEXT, encode_record, open_line, rfc3339, safe_json, seal, visible
from gateway.domain.record import Actor, EventRecord
from gateway.kernel.errors import AuditError
from tests.support.logs import decision


def event(**detail: str) -> EventRecord:
    return EventRecord(
        id="evt_1", at="2027-01-15T08:00:00.000Z", event="signin.failed", outcome="failure", actor=Actor(), detail=detail
    )


def test_a_line_is_opened_as_it_was_sealed() -> None:
    encoded = encode_record(decision(7))
    line, digest = seal(7, "ab" * 32, encoded)
    assert line.endswith(b"}\n")
    opened = open_line(line[:-1])
    assert opened is not None
    assert (opened.index, opened.previous, opened.hash, opened.record) == (7, "ab" * 32, digest, encoded)
    assert json.loads(line) == {"hash": digest.hex(), "index": 7, "previous": "ab" * 32, "record": json.loads(encoded)}


@pytest.mark.parametrize("at", [0, 9, 40, 75, 84, 160, -2, -3])
def test_a_changed_byte_closes_the_line(at: int) -> None:
    line, _ = seal(7, "ab" * 32, encode_record(decision(7)))
    changed = bytearray(line[:-1])
    changed[at] ^= 1
    assert open_line(bytes(changed)) is None


def test_japanese_names_stay_readable_and_variation_selectors_whole() -> None:
    encoded = encode_record(event(name="葛\U000e0100飾 太郎"))
    assert "葛\U000e0100飾 太郎" in encoded.decode()


@pytest.mark.parametrize(
    "character",
    [
        "\x00", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\u00ad", "\u061c", "\u180e", "\u200b", "\u2028", "\u2029", "\u202e",
        "\u2066", "\ufeff", "\ufff9", "\uffff", "\U000e0041",
    ],
)  # fmt: skip
def test_unsafe_characters_are_escapes_of_the_same_value(character: str) -> None:
    encoded = encode_record(event(what=f"a{character}b", name="佐藤"))
    assert character.encode() not in encoded
    assert json.loads(encoded)["detail"] == {"what": f"a{character}b", "name": "佐藤"}
    assert character not in visible(f"a{character}b")


def test_a_lone_surrogate_becomes_six_characters() -> None:
    encoded = encode_record(event(what="a\ud800b\udcff"))
    assert json.loads(encoded)["detail"]["what"] == "a\\ud800b\\udcff"


def test_a_huge_text_is_cut_and_says_so() -> None:
    value = json.loads(encode_record(event(what="x" * 1_000_000)))["detail"]["what"]
    assert value == "x" * MAX_TEXT + "…[cut: 1000000 characters]"


def test_a_text_at_the_limit_is_not_cut() -> None:
    assert json.loads(encode_record(event(what="x" * MAX_TEXT)))["detail"]["what"] == "x" * MAX_TEXT


def test_a_long_list_is_cut_and_says_so() -> None:
    record = msgspec.structs.replace(decision(1), query_names=tuple(f"name{number}" for number in range(500)))
    names = json.loads(encode_record(record))["query_names"]
    assert len(names) == MAX_ENTRIES + 1
    assert names[-1] == "…[cut: 500 entries]"


def test_a_long_table_and_deep_nesting_are_cut() -> None:
    deep: object = "end"
    for _ in range(20):
        deep = {"in": deep}
    record = msgspec.structs.replace(decision(1), facts={"deep": deep, **{f"key{number}": "x" * 50 for number in range(100)}})
    facts = json.loads(encode_record(record))["facts"]
    assert facts["…"] == "[cut: 101 entries]"
    assert "nested too deeply" in json.dumps(facts["deep"], ensure_ascii=False)


def test_the_worst_query_that_a_request_line_can_hold_is_still_a_record() -> None:
    record = msgspec.structs.replace(decision(1), query_names=tuple("\x01" * 900 for _ in range(70)), path="\x1b" * 2048)
    assert open_line(seal(0, "0" * 64, encode_record(record))[0][:-1]) is not None


def test_what_can_not_be_json_is_refused() -> None:
    with pytest.raises(AuditError, match="can't be written as JSON"):
        encode_record(msgspec.structs.replace(decision(1), facts={"what": object()}))


def test_a_record_over_the_limit_is_refused() -> None:
    facts = {f"a{i}": {f"b{j}": "\x01" * 2000 for j in range(60)} for i in range(10)}
    with pytest.raises(AuditError, match="over the limit"):
        encode_record(msgspec.structs.replace(decision(1), facts=facts))


def test_times_are_utc_with_milliseconds() -> None:
    assert rfc3339(1_800_000_000.0) == "2027-01-15T08:00:00.000Z"
    assert rfc3339(1_800_000_000.25) == "2027-01-15T08:00:00.250Z"


def test_safe_json_leaves_harmless_text_alone() -> None:
    text = '{"name":"佐藤 ー(全角)"}'.encode()
    assert safe_json(text) == text

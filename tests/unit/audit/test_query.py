import csv
import io
import json
from datetime import UTC, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from gateway.audit.export import Export, export_csv, export_jsonl
from gateway.audit.formats import table
from gateway.audit.formats.table import COLUMNS, cell
from gateway.audit.query import JAPAN, Filters, parse_moment, parse_offset
from gateway.domain.reason import ChallengeReason, DenyReason, RefuseReason, RemedyStep, UnavailableReason, UpstreamProblem
from gateway.domain.record import Actor, DecisionRecord, EventName, EventRecord, Record, Source, UseRecord
from gateway.kernel.errors import AuditError
from tests.support.logs import Place, completion, decision, sign_in, until_signed


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    other = msgspec.structs.replace(
        decision(3, at="2027-01-16T00:30:00.000Z"),
        actor=Actor(login="nurse.suzuki", name="鈴木 次郎"),
        patient="20001",
        app="imaging",
    )
    records: list[Record] = [
        sign_in(),
        decision(0, at="2027-01-15T08:00:00.000Z"),
        decision(1, at="2027-01-15T09:00:00.000Z", outcome="deny"),
        decision(2, at="2027-01-15T10:00:00.000Z"),
        completion(0),
        other,
        EventRecord(
            id="evt_2",
            at="2027-01-16T01:00:00.000Z",
            event="signin.failed",
            outcome="failure",
            actor=Actor(),
            target="dr.sato",
            detail={"why": "password"},
        ),
        completion(2, at="2027-01-16T02:00:00.000Z"),
    ]
    await place.write(records)
    return place


def taken(place: Place, filters: Filters) -> list[int]:
    return [json.loads(line)["index"] for line in export_jsonl(place.folder, filters)]


def table_of(place: Place, language: str = "en") -> list[dict[str, str]]:
    text = b"".join(export_csv(place.folder, Filters(), language="ja" if language == "ja" else "en")).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows[1:]]


def test_a_decision_and_its_completion_are_one_row(place: Place) -> None:
    rows = [json.loads(line) for line in export_jsonl(place.folder, Filters())]
    assert [row["index"] for row in rows] == [0, 1, 2, 3, 5, 6]
    assert [row["completion"] and row["completion"]["status"] for row in rows] == [None, 200, None, 200, None, None]
    assert rows[1]["record"]["facts"]["authentication"]["factors"] == 2
    assert {row["integrity"] for row in rows} == {"signed"}
    assert rows[1]["signed_in_at"] == "2027-01-15T07:59:00.000Z"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), [0, 1, 2, 3, 5, 6]),
        (Filters(person="dr.sato"), [0, 1, 2, 3, 6]),
        (Filters(person="DR.SATO"), [0, 1, 2, 3, 6]),
        (Filters(person="usr_1"), [0, 1, 2, 3]),
        (Filters(person="鈴木 次郎"), [5]),
        (Filters(person="sato"), []),
        (Filters(patient="10023"), [1, 2, 3]),
        (Filters(app="imaging"), [5]),
        (Filters(outcome="deny"), [2]),
        (Filters(outcome="failure"), [6]),
        (Filters(person="dr.sato", outcome="allow", patient="10023"), [1, 3]),
        (Filters(since=parse_moment("2027-01-15T09:00:00", UTC)), [2, 3, 5, 6]),
        (Filters(until=parse_moment("2027-01-15T09:00:00", UTC)), [0, 1]),
        (Filters(since=parse_moment("2027-01-16", JAPAN), until=parse_moment("2027-01-16", JAPAN, end=True)), [5, 6]),
    ],
)
def test_filters(place: Place, filters: Filters, expected: list[int]) -> None:
    assert taken(place, filters) == expected


async def test_who_asks_for_a_person_is_shown_what_was_done_to_their_session(tmp_path: Path) -> None:
    place = Place(tmp_path)
    revoked = EventRecord(
        id="evt_1",
        at="2027-01-15T08:00:00.000Z",
        event="session.revoked",
        outcome="success",
        actor=Actor(subject="usr_9", login="sec.yamamoto"),
        target="ses_1",
        detail={"subject": "usr_1", "login": "dr.sato"},
    )
    await place.write([revoked])
    for person in ("dr.sato", "usr_1", "sec.yamamoto"):
        assert taken(place, Filters(person=person)) == [0]
    assert taken(place, Filters(person="nurse.suzuki")) == []


def test_a_completion_whose_decision_is_not_in_the_log_is_a_row(place: Place) -> None:
    with Export(place.folder) as export:
        assert len(list(export.jsonl(Filters()))) == 6
    broken = place.records().read_bytes().splitlines(keepends=True)
    place.records().write_bytes(b"".join([broken[0], *broken[2:]]))
    with Export(place.folder) as export:
        rows = [json.loads(line) for line in export.jsonl(Filters())]
    assert [row["index"] for row in rows] == [0, 2, 3, 4, 5, 6]
    assert rows[3]["record"]["type"] == "completion"


async def test_a_second_completion_of_a_decision_is_a_row_of_its_own(place: Place) -> None:
    log = await place.open()
    await log.append(msgspec.structs.replace(completion(0), status=500))
    await log.close()
    rows = table_of(place)
    assert [row["status"] for row in rows if row["id"] == decision(0).id] == ["200", "500"]
    assert rows[-1]["type"] == "completion"


async def test_a_use_of_a_lease_has_the_person_and_patient_of_its_decision(tmp_path: Path) -> None:
    place = Place(tmp_path)
    leased = msgspec.structs.replace(decision(0), lease_seconds=2)
    use = UseRecord(
        id=leased.id, at="2027-01-15T08:00:02.000Z", began="2027-01-15T08:00:01.000Z",
        source=Source(address="10.20.0.9", door="nginx"), method="GET", host=leased.host, path=leased.path, status=304,
        bytes_in=10, bytes_out=20, duration_ms=1500, process=7, connection=3, number=2,
    )  # fmt: skip
    unknown = msgspec.structs.replace(use, id="dec_unknown")
    await place.write([leased, completion(0), use, unknown])
    assert taken(place, Filters()) == [0, 2, 3]
    assert taken(place, Filters(patient=leased.patient)) == [0, 2], "asking for a patient shows each look at the chart"
    assert taken(place, Filters(person=leased.actor.login)) == [0, 2]
    assert taken(place, Filters(outcome="allow")) == [0, 2]
    row = table_of(place)[1]
    assert (row["type"], row["login"], row["patient"], row["route"]) == (
        "use of a decision (lease)", leased.actor.login, leased.patient, leased.route,
    )  # fmt: skip
    assert (row["status"], row["bytes_out"], row["duration"], row["address"]) == ("304", "20", "1.500", "10.20.0.9")
    assert table_of(place)[2]["login"] == ""


def test_a_log_that_is_not_whole_is_exported_and_every_row_says_so(place: Place) -> None:
    place.records().write_bytes(place.records().read_bytes().replace(b"dr.sato", b"dr.mori"))
    with Export(place.folder) as export:
        assert not export.report.whole
        rows = [json.loads(line) for line in export.jsonl(Filters())]
    assert {row["integrity"] for row in rows} == {"not_verified"}
    assert {row["integrity"] for row in table_of(place, "ja")} == {"未検証:ログに欠損または改変あり"}


async def test_records_that_are_not_signed_yet_say_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    log = await place.open(checkpoint_seconds=60.0)
    await log.append(decision(0))
    await until_signed(log, 1)
    await log.append(decision(1))
    with Export(place.folder) as export:
        rows = [json.loads(line) for line in export.jsonl(Filters())]
    assert [row["integrity"] for row in rows] == ["signed", "unsigned"]
    await log.close()


def test_the_table_opens_in_a_japanese_excel(place: Place) -> None:
    content = b"".join(export_csv(place.folder, Filters()))
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert rows[0][:6] == ["記録番号", "種別", "事象", "日時(UTC+09:00)", "ログイン時刻(UTC+09:00)", "アクセス時間(秒)"]
    first = dict(zip(COLUMNS, rows[2], strict=True))
    expected = {
        "index": "1", "type": "アクセス判定", "at": "2027-01-15 17:00:00.000", "signed_in_at": "2027-01-15 16:59:00.000",
        "duration": "1.234", "login": "dr.sato", "name": "佐藤 花子", "roles": "医師", "department": "内科",
        "patient": "10023", "app": "ehr", "action": "参照", "path": "/patients/10023", "outcome": "許可", "reason": "",
        "situation": "通常時", "address": "192.0.2.7", "device": "dev_1", "device_compliant": "はい",
        "factor_kinds": "otp; pwd", "factors": "2", "phishing_resistant": "いいえ", "proofing_level": "3",
        "status": "200", "bytes_out": "4321", "policies": "ehr.read", "integrity": "検証済み(署名あり)",
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    assert {len(row) for row in rows} == {len(COLUMNS)}


def test_the_table_in_english_and_utc(place: Place) -> None:
    with Export(place.folder) as export:
        text = b"".join(export.csv(Filters(), language="en", zone=UTC)).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0][3] == "Time (UTC)"
    denied = dict(zip(COLUMNS, rows[3], strict=True))
    assert (denied["at"], denied["outcome"], denied["reason"]) == ("2027-01-15 09:00:00.000", "denied", "no policy permits it")
    failed = dict(zip(COLUMNS, rows[-1], strict=True))
    assert (failed["event"], failed["detail"], failed["target"]) == ("sign-in failed", "why=password", "dr.sato")


def test_both_languages_have_a_word_for_everything_that_may_be_logged() -> None:
    known = table._texts.keys()
    wanted = {f"event.{name}" for name in get_args(EventName)}
    wanted |= {f"column.{column}" for column in COLUMNS}
    wanted |= {f"outcome.{name}" for name in (*get_args(DecisionRecord.__annotations__["outcome"]), "success", "failure")}
    reasons: list[type[StrEnum]] = [ChallengeReason, DenyReason, RefuseReason, UnavailableReason]
    wanted |= {f"reason.{reason}" for kind in reasons for reason in kind}
    wanted |= {f"remedy.{step}" for step in RemedyStep} | {f"problem.{problem}" for problem in UpstreamProblem if problem}
    assert wanted <= known, wanted - known


def test_a_code_without_a_word_is_shown_as_it_is() -> None:
    assert table._translated("ja", "reason.brand_new", "brand_new") == "brand_new"


@pytest.mark.parametrize(
    ("text", "shown"), [("dr.sato", "dr.sato"), ("a=b", "a=b"), ("-", "'-"), ("=1", "'=1"), ("", ""), ("a\tb", "a\\u0009b")]
)
def test_cells(text: str, shown: str) -> None:
    assert cell(text) == shown


def test_moments() -> None:
    assert parse_moment("2027-01-15", JAPAN) == parse_moment("2027-01-14T15:00:00Z", UTC)
    assert parse_moment("2027-01-15", JAPAN, end=True) == parse_moment("2027-01-16", JAPAN)
    assert parse_moment("2027-01-15T09:30", JAPAN, end=True) == parse_moment("2027-01-15T00:30", UTC)
    assert parse_moment("2027-01-15T09:30+09:00", UTC) == parse_moment("2027-01-15T09:30", JAPAN)
    for wrong in ("yesterday", "9999-12-31", "2027-02-30", ""):
        with pytest.raises(ValueError, match="no date or time; write 2027-01-31"):
            parse_moment(wrong, JAPAN, end=True)


def test_offsets() -> None:
    assert parse_offset("Z") == UTC
    assert parse_offset("+09:00") == JAPAN
    assert parse_offset("-03:30") == timezone(-timedelta(hours=3, minutes=30))
    for wrong in ("JST", "+9", "+25:00"):
        with pytest.raises(ValueError, match=r"offset|timedelta"):
            parse_offset(wrong)


def test_no_log_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="does not exist"):
        next(export_csv(tmp_path / "nothing", Filters()))
    with pytest.raises(AuditError, match="holds no log"):
        Export(tmp_path)

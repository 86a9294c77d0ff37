"""From lines to records: marks, uses, completions, findings."""

import json
from typing import Any

import pytest

from gateway.domain.record import CompletionRecord, EventRecord, Record, UseRecord
from gateway.leases.ingest import Ingest
from gateway.leases.mark import Mark, Marks

MARKS = Marks(b"k" * 32)
ID = "dec_" + "1" * 32
UNTIL = 2_000_000_000
AT = "2026-11-23T00:00:00.000Z"


def marked(
    until: int = UNTIL, *, allowed: bool = True, method: str = "GET", marks: Marks = MARKS, address: str = "10.0.0.9"
) -> str:
    mark = Mark(id=ID, until=until, allowed=allowed)
    return marks.make(mark, method=method, host="ehr.localhost", path="/x", address=address)


def line(n: int = 1, **changes: Any) -> bytes:
    content = {
        "at": f"{UNTIL - 1}.500", "pid": "7", "connection": "3", "n": str(n), "address": "10.0.0.9",
        "method": "GET", "host": "ehr.localhost", "path": "/x", "status": "200", "in": "10", "out": "20", "seconds": "0.250",
        "way": "ask", "use": marked(), "lease": "HIT",
    }  # fmt: skip
    return json.dumps(content | changes).encode()


def taken(*lines: bytes) -> list[Record]:
    ingest = Ingest(MARKS)
    return [record for data in lines for record in ingest.take(data, at=AT)[1]]


def found(records: list[Record]) -> list[str]:
    return [record.detail["what"] for record in records if isinstance(record, EventRecord) and record.event == "front.suspicious"]


def test_a_use_and_a_completion() -> None:
    [completion, use] = taken(line(1, lease="MISS"), line(2))
    assert completion == CompletionRecord(id=ID, at=AT, status=200, bytes_in=10, bytes_out=20, duration_ms=250)
    assert isinstance(use, UseRecord)
    assert (use.id, use.path, use.source.address, use.process, use.connection, use.number) == (ID, "/x", "10.0.0.9", 7, 3, 2)
    assert use.began == "2033-05-18T03:33:19.250Z"


def test_a_no_and_our_own_proxy_have_their_records_already() -> None:
    refused = marked(0, allowed=False)
    assert taken(line(1, use=refused, status="403", lease=""), line(2, use="", way="whole"), line(3, use="", way="plain")) == []
    # Whatever the refused request looked like: its decision holds what was seen of it.
    assert found(taken(line(1, use=refused, path="/\ufffd", method="FOO", status="400"))) == []


def test_what_nginx_refuses_by_itself_is_recorded() -> None:
    [event] = taken(line(use="", status="400", path="/%zz", lease=""))
    assert isinstance(event, EventRecord)
    assert (event.event, event.target, event.detail, event.source.address) == (
        "front.refused", "GET ehr.localhost/%zz", {"status": "400"}, "10.0.0.9",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("no_line", {"n": "x"}),
        ("no_decision", {"use": ""}),
        ("no_decision", {"use": "", "status": "304"}),
        ("mark", {"path": "/y"}),
        ("mark", {"host": "lab.localhost"}),
        ("mark", {"method": "HEAD"}),
        ("mark", {"address": "10.0.0.8"}),
        ("mark", {"address": "10.0.0.8", "lease": "MISS"}),
        ("mark", {"address": ""}),
        ("mark", {"address": "2001:db8::2", "use": marked(address="2001:db8::1")}),
        ("mark", {"use": marked(marks=Marks(b"l" * 32))}),
        ("mark", {"use": marked().replace(str(UNTIL), str(UNTIL + 9))}),
        ("mark", {"use": marked(0, allowed=False).replace(".n.", ".a.")}),
        ("mark", {"use": f"{ID}.0.a"}),
        ("no_lease", {"use": marked(0)}),
        ("after_lease", {"at": f"{UNTIL}.250"}),
        ("not_read", {"method": "POST", "use": marked(method="POST")}),
    ],
)
def test_what_can_not_be(what: str, change: dict[str, Any]) -> None:
    assert found(taken(line(**change))) == [what]


@pytest.mark.parametrize(
    ("said", "logged"),
    [("10.0.0.9", "::ffff:10.0.0.9"), ("2001:db8::1", "2001:db8:0:0:0:0:0:1"), ("::ffff:a00:9", "10.0.0.9")],
)
def test_one_address_in_two_spellings(said: str, logged: str) -> None:
    assert found(taken(line(address=logged, use=marked(address=said)))) == []


def test_a_lease_is_over_to_the_millisecond() -> None:
    assert found(taken(line(at=f"{UNTIL}.249"))) == []


def test_what_comes_twice() -> None:
    assert found(taken(line(1), line(1))) == ["repeated"]
    # Two decisions of their own can't have one id, on whatever connection.
    assert found(taken(line(1, lease="MISS"), line(1, connection="4", lease="EXPIRED"))) == ["repeated"]

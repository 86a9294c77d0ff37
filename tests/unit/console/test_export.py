import asyncio
import threading
from collections.abc import Iterator
from urllib.parse import urlencode

import aiohttp
import pytest

from gateway.audit.query import Filters
from gateway.kernel.errors import AuditError
from tests.support.console import World
from tests.unit.console.conftest import Client


async def test_without_a_format_it_is_a_form(officer: Client, world: World) -> None:
    page = await (await officer.get("/export")).text()
    assert 'method="get" action="/export"' in page
    assert world.exported == []


@pytest.mark.parametrize(("form", "kind"), [("csv", "text/csv"), ("jsonl", "application/x-ndjson")])
async def test_the_file_comes_as_a_download(auditor: Client, world: World, form: str, kind: str) -> None:
    reply = await auditor.get("/export", params={"format": form})
    assert (reply.status, reply.content_type) == (200, kind)
    assert reply.headers["Content-Disposition"] == f'attachment; filename="gateway-log-20270115T080000Z.{form}"'
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert await reply.read() == b"first\nsecond\n"
    assert world.exported == [(form, Filters(), "ja")]
    [event] = world.events()
    assert (event.event, event.outcome, event.target, event.actor.login) == ("console.export", "success", "log", "audit.nakamura")
    assert event.detail == {"format": form, "decision": "dec_1"}


async def test_filters_reach_the_exporter_and_the_log(auditor: Client, world: World) -> None:
    dates = {"since": "2027-01-10", "until": "2027-01-15"}
    asked = {"format": "csv", **dates, "person": " dr.sato ", "patient": "P1001", "app": "ehr", "outcome": "deny"}
    reply = await auditor.get("/export", params=asked, headers={"Accept-Language": "en"})
    assert reply.status == 200
    [(_, filters, language)] = world.exported
    # Whole days of Japan: from 2027-01-09T15:00Z up to 2027-01-15T15:00Z.
    expected = Filters(since=1_799_506_800, until=1_800_025_200, person="dr.sato", patient="P1001", app="ehr", outcome="deny")
    assert filters == expected
    assert language == "en"
    assert world.events()[0].detail == {**asked, "person": "dr.sato", "decision": "dec_1"}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"format": "xlsx"}, "format"),
        ({"format": "CSV"}, "format"),
        ({"format": "csv", "since": "yesterday"}, "since"),
        ({"format": "csv", "since": "2027-13-01"}, "since"),
        ({"format": "csv", "until": "9" * 5000}, "until"),
        ({"format": "csv", "until": "9999-12-31"}, "until"),
        ({"format": "csv", "since": "2027-01-15", "until": "2027-01-14"}, "until"),
        ({"format": "csv", "person": "x" * 201}, "person"),
        ({"format": "csv", "outcome": "maybe"}, "outcome"),
    ],
)
async def test_a_wrong_condition_is_named_and_nothing_leaves(
    auditor: Client, world: World, asked: dict[str, str], field: str
) -> None:
    reply = await auditor.get("/export", params=asked)
    assert reply.status == 422
    assert f'id="{field}-wrong"' in await reply.text()
    assert world.exported == []
    assert [event.event for event in world.events()] == ["console.view"]


async def test_markup_in_a_condition_stays_text(auditor: Client) -> None:
    nasty = '"><script>alert(1)</script>'
    reply = await auditor.get("/export", params={"format": "x", "person": nasty, "patient": nasty, "app": nasty, "since": nasty})
    assert "<script>alert" not in await reply.text()


async def test_the_record_is_there_before_the_first_byte_is_read(auditor: Client, world: World) -> None:
    recorded = []

    def steps() -> Iterator[bytes]:
        recorded.append([event.event for event in world.events()])
        yield b"x"

    world.export_steps = steps()
    assert await (await auditor.get("/export?format=csv")).read() == b"x"
    assert recorded == [["console.export"]]


async def test_a_log_that_cannot_be_read_is_an_error_page(auditor: Client, world: World) -> None:
    class Unreadable(Iterator[bytes]):
        def __next__(self) -> bytes:
            raise AuditError("unreadable")

    world.export_steps = Unreadable()
    reply = await auditor.get("/export?format=csv")
    assert reply.status == 503
    assert [event.outcome for event in world.events()] == ["success", "failure"]


async def test_a_file_that_breaks_off_is_seen_to_be_broken(auditor: Client, world: World) -> None:
    def steps() -> Iterator[bytes]:
        yield b"x" * 200_000
        raise AuditError("a segment vanished")

    world.export_steps = steps()
    reply = await auditor.get("/export?format=jsonl")
    assert reply.status == 200
    with pytest.raises(aiohttp.ClientPayloadError):
        await reply.read()
    assert [(event.outcome, event.detail.get("why")) for event in world.events()] == [
        ("success", None),
        ("failure", "stopped half-way: AuditError"),
    ]


async def test_an_empty_log_is_an_empty_file(auditor: Client, world: World) -> None:
    world.export_steps = iter([])
    reply = await auditor.get("/export?format=jsonl")
    assert (reply.status, await reply.read()) == (200, b"")


async def test_a_reader_who_leaves_ends_the_reading_and_closes_the_files(auditor: Client, world: World) -> None:
    closed = threading.Event()
    taken = 0

    def steps() -> Iterator[bytes]:
        nonlocal taken
        try:
            while True:
                taken += 1
                yield bytes(65_536)
        finally:
            closed.set()

    world.export_steps = steps()
    reply = await auditor.get("/export?format=csv")
    await reply.content.readexactly(100_000)
    reply.close()
    assert await asyncio.to_thread(closed.wait, 10)
    # Bounded by what sockets and buffers hold, not by the (endless) log.
    assert taken < 1000


async def test_steps_run_outside_the_event_loop(auditor: Client, world: World) -> None:
    loop_thread = threading.get_ident()
    threads = []

    def steps() -> Iterator[bytes]:
        threads.append(threading.get_ident())
        yield b"x"

    world.export_steps = steps()
    await (await auditor.get("/export?" + urlencode({"format": "csv"}))).read()
    assert threads
    assert loop_thread not in threads

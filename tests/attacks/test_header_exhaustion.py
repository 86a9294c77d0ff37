"""Heads that are too large, too many or too slow."""

import asyncio
import contextlib
import ssl
import time
from pathlib import Path

import pytest

from gateway.doors.proxy import ProxyLimits
from tests.support.gate import PORTAL, Gate, assert_refused, read_answer


async def test_a_header_of_one_megabyte(gate: Gate) -> None:
    await assert_refused(gate, gate.head("/x", "X-A: " + "a" * 1_000_000), reason="headers_too_large", status=431)


async def test_a_header_name_of_one_megabyte(gate: Gate) -> None:
    await assert_refused(gate, gate.head("/x", "X" * 1_000_000 + ": a"), reason="headers_too_large", status=431)


async def test_very_many_headers(gate: Gate) -> None:
    await assert_refused(gate, gate.head("/x", *[f"X-{n}: a" for n in range(5_000)]), reason="headers_too_large", status=431)


async def test_headers_that_are_too_large_together(gate: Gate) -> None:
    await assert_refused(
        gate, gate.head("/x", *[f"X-{n}: {'a' * 9_000}" for n in range(9)]), reason="headers_too_large", status=431
    )


async def test_a_request_line_of_one_megabyte(gate: Gate) -> None:
    await assert_refused(gate, gate.head("/" + "a" * 1_000_000), reason="target_too_long", status=414)


async def test_a_head_that_comes_byte_by_byte(gate: Gate) -> None:
    started = time.monotonic()
    async with gate.connect() as (reader, writer):

        async def drip() -> None:
            writer.write(b"GET /slow HTTP/1.1\r\nHo")
            for byte in b"st: ehr.localhost\r\nX-A: " + b"a" * 1000:
                writer.write(bytes((byte,)))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        answer = await read_answer(reader)
        dripping.cancel()
        rest = await reader.read()
    assert time.monotonic() - started < 3
    assert answer.status == 408
    assert rest == b""
    [record] = gate.decisions()
    assert (record.outcome, record.reason, record.method, record.path) == ("refuse", "headers_too_slow", "GET", "/slow")
    assert gate.upstream.hits == []


async def test_a_second_head_that_never_ends(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x"))
        assert (await read_answer(reader)).status == 200
        writer.write(b"GET /y HTTP/1.1\r\nHo")
        answer = await read_answer(reader)
    assert answer.status == 408
    assert [record.reason for record in gate.decisions()][1:] == ["headers_too_slow"]


async def test_a_connection_that_says_nothing_is_closed_without_a_record(gate: Gate) -> None:
    async with gate.connect() as (reader, _), asyncio.timeout(3):
        assert await reader.read() == b""
    assert gate.decisions() == []


async def test_a_slow_body_is_not_a_slow_head(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Content-Length: 3", method="POST"))
        for _ in range(3):
            await asyncio.sleep(0.5)
            writer.write(b"a")
        assert (await read_answer(reader)).status == 200
    assert gate.upstream.hits[0].body == b"aaa"


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_small_segments_do_not_raise_the_limit(gate: Gate, size: int) -> None:
    data = gate.head("/x", "X-A: " + "a" * 20_000)
    async with gate.connect() as (reader, writer):
        for start in range(0, len(data), size * 100):
            writer.write(data[start : start + size * 100])
            await asyncio.sleep(0)
        assert (await read_answer(reader)).status == 431
    assert gate.upstream.hits == []


async def test_a_body_for_the_portal_that_never_comes(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    await gate.open(limits=ProxyLimits(page_seconds=0.5))
    answer = await gate.get("/", "Content-Length: 10", method="POST", host=PORTAL)
    assert answer.status == 503
    await gate.close()


async def test_a_body_for_the_application_that_never_comes(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    await gate.open(limits=ProxyLimits(body_seconds=0.3))
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Content-Length: 10", method="POST") + b"abc")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    [completion] = await gate.completions()
    assert (completion.status, completion.bytes_in, completion.problem) == (0, 3, "client_gone")
    await gate.close()


async def test_a_tls_handshake_that_never_ends(gate: Gate) -> None:
    port = await gate.door.listen("127.0.0.1", 0, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01")
    async with asyncio.timeout(3):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()

"""Two requests in one: messages whose end two servers see in different places (RFC 9112 §11.2, CVE-2026-111750, ...)."""

import asyncio

import pytest

from tests.support.gate import Gate, assert_refused, read_answer

SECOND = b"GET /admin HTTP/1.1\r\nHost: ehr.localhost\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Content-Length: 4", "Content-Length: 4"),
        ("Content-Length: 4, 4",),
        ("Content-Length: +4",),
        ("Content-Length: -1",),
        ("Content-Length: 0x4",),
        ("Content-Length: 4 4",),
        ("Content-Length: ",),
        ("Content-Length: ４",),
        ("Content-Length: 99999999999999999999999",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: identity",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: ",),
        ("Transfer-Encoding: chun\u212aed",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding:\x0bchunked",),
        ("Content-Length : 4",),
    ],
)
async def test_a_doubtful_end(gate: Gate, lines: tuple[str, ...]) -> None:
    before = len(gate.decisions())
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", *lines, method="POST") + b"0\r\n\r\n" + SECOND)
        answer = await read_answer(reader)
        assert await reader.read() == b"", "what follows must not be read as a request"
    # An empty Transfer-Encoding is no body to the parser, so what follows it is a request line that is none.
    assert answer.status in {400, 405}
    records = gate.decisions()[before:]
    assert [record.outcome for record in records] == ["refuse"]
    assert records[0].reason in {"framing", "header_malformed", "method"}
    assert gate.upstream.hits == []


async def test_chunked_in_http_1_0(gate: Gate) -> None:
    data = gate.head("/x", "Transfer-Encoding: chunked", method="POST").replace(b"HTTP/1.1", b"HTTP/1.0")
    await assert_refused(gate, data + b"0\r\n\r\n" + SECOND, reason="framing", status=400)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /x HTTP/1.1\n",
        b"GET /x HTTP/2.0\r\n",
        b"GET /x HTTP/1.10\r\n",
        b"GET /x\r\n",
        b"GET /x HTTP/1.1 \r\n",
        b"GET /x http/1.1\r\n",
        b"\x00GET /x HTTP/1.1\r\n",
        b"GET\t/x HTTP/1.1\r\n",
        b"GET /x HTTP/0.9\r\n",
    ],
)
async def test_a_request_line_that_is_none(gate: Gate, line: bytes) -> None:
    answer = await gate.send(line + b"Host: ehr.localhost\r\nContent-Length: 0\r\n\r\n" + SECOND)
    assert answer.status in {400, 405}
    assert [record.outcome for record in gate.decisions()] == ["refuse"]
    assert gate.upstream.hits == []


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nx\r\n0\r\n\r\n",
        b"5\r\nhelloo\r\n0\r\n\r\n",
        b"5 \nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffffff\r\nhello",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
    ],
)
async def test_a_body_that_is_malformed_in_the_middle(gate: Gate, body: bytes) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Transfer-Encoding: chunked", method="POST") + b"2\r\nok\r\n")
        await asyncio.sleep(0.1)
        writer.write(body + SECOND)
        answer = await read_answer(reader)
        assert await reader.read() == b""
    assert answer.status == 400
    assert [record.outcome for record in gate.decisions()] == ["allow", "refuse"]
    assert gate.decisions()[1].reason == "framing"
    assert all(hit.target != "/admin" for hit in gate.upstream.hits)
    [completion] = await gate.completions()
    assert completion.problem == "client_gone"


async def test_a_malformed_body_that_comes_with_its_head(gate: Gate) -> None:
    data = gate.head("/x", "Transfer-Encoding: chunked", method="POST") + b"2\r\nok\r\nzz\r\n"
    await assert_refused(gate, data + SECOND, reason="framing", status=400)


async def test_a_malformed_body_that_nobody_reads(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Transfer-Encoding: chunked", method="POST", cookie=""))
        await asyncio.sleep(0.1)
        writer.write(b"zz\r\n" + SECOND)
        assert (await read_answer(reader)).status == 401
        rest = await reader.read()
    assert rest.count(b"HTTP/1.1") <= 1
    assert b"HTTP/1.1 401" not in rest
    assert gate.upstream.hits == []


async def test_a_second_request_behind_a_length_that_is_too_short_is_its_own(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Content-Length: 2", method="POST") + b"ok" + SECOND)
        assert (await read_answer(reader)).status == 200
        second = await read_answer(reader)
    assert second.status == 401, "it has no cookie: it is judged by itself"
    assert [hit.target for hit in gate.upstream.hits] == ["/x"]

"""Responses of an application that two readers would delimit differently, or that would carry lines of their own."""

import asyncio

import pytest

from tests.support.gate import Gate, read_answer

OK = b"HTTP/1.1 200 OK\r\n"
MALFORMED = [
    OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    OK + b"Content-Length: +2\r\n\r\nab",
    OK + b"Content-Length: 2, 2\r\n\r\nab",
    OK + b"Transfer-Encoding: gzip\r\n\r\nab",
    OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"X-A: a\rb\r\n\r\n",
    OK + b"X-A: a\nSet-Cookie: evil=1\r\n\r\n",
    OK + b"X-A: a\x00b\r\n\r\n",
    OK + b" folded: x\r\n\r\n",
    OK + b"X-A : b\r\n\r\n",
    OK + b"no colon\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20,
    OK + b"".join(b"X-%d: a\r\n" % n for n in range(300)) + b"\r\n",
    OK + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
]
IN_THE_BODY = [b"zz\r\n", b"-1\r\n", b"2\r\nabc\r\n", b"2\nab\r\n0\r\n\r\n", b"5" * 16 + b"\r\n", b"1;" + b"x" * 100_000]


async def serve(gate: Gate, response: bytes) -> asyncio.Server:
    """Put a server in the application's place that says just this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()
        writer.close()

    await gate.upstream.stop()
    return await asyncio.start_server(answer, "127.0.0.1", gate.upstream.port)


async def finish(gate: Gate, server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()
    await gate.upstream.start()


@pytest.mark.parametrize("response", MALFORMED)
async def test_a_malformed_head_is_a_502(gate: Gate, response: bytes) -> None:
    server = await serve(gate, response)
    answer = await gate.get("/x")
    assert answer.status == 502
    assert b"evil" not in answer.raw
    [completion] = await gate.completions()
    assert (completion.status, completion.problem) == (502, "protocol")
    await finish(gate, server)


@pytest.mark.parametrize("body", IN_THE_BODY)
async def test_a_malformed_body_is_never_ended_well(gate: Gate, body: bytes) -> None:
    server = await serve(gate, OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" + body)
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x"))
        try:
            status = (await read_answer(reader)).status
        except (asyncio.IncompleteReadError, ConnectionError):
            status = 200  # what was seen to be malformed after the head had gone out
    [completion] = await gate.completions()
    assert completion.problem in {"protocol", "reset"}
    assert completion.status == status
    assert status in {200, 502}
    await finish(gate, server)


@pytest.mark.parametrize("body", IN_THE_BODY)
async def test_a_body_that_turns_malformed_later_is_never_ended_well(gate: Gate, body: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await asyncio.sleep(0.1)
        writer.write(body)
        await writer.drain()
        writer.close()

    await gate.upstream.stop()
    server = await asyncio.start_server(answer, "127.0.0.1", gate.upstream.port)
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await read_answer(reader)
    [completion] = await gate.completions()
    assert completion.status == 200
    assert completion.problem in {"protocol", "reset"}
    await finish(gate, server)


@pytest.mark.parametrize("response", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", OK + b"Content-Length: 10\r\n\r\nhalf"])
async def test_an_application_that_breaks_off(gate: Gate, response: bytes) -> None:
    server = await serve(gate, response)
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", method="DELETE"))
        if b"half" in response:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await read_answer(reader)
        else:
            assert (await read_answer(reader)).status == 502
    [completion] = await gate.completions()
    assert completion.problem == "reset"
    await finish(gate, server)


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok",
            b"ok",
        ),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2;ext=1\r\nok\r\n0\r\nX-Trailer: x\r\n\r\n", b"ok"),
        ("HTTP/1.1 200 了解\r\nContent-Length: 0\r\n\r\n".encode("shift_jis"), b""),
    ],
)
async def test_what_is_odd_and_right_passes(gate: Gate, response: bytes, body: bytes) -> None:
    server = await serve(gate, response)
    answer = await gate.get("/x")
    assert (answer.status, answer.body) == (200, body)
    await finish(gate, server)


async def test_header_bytes_pass_as_they_are(gate: Gate) -> None:
    name = 'attachment; filename="紹介状.pdf"'.encode("shift_jis")
    server = await serve(gate, OK + b"content-disposition: " + name + b"\r\nContent-Length: 0\r\n\r\n")
    answer = await gate.get("/x")
    assert b"content-disposition: " + name + b"\r\n" in answer.raw
    await finish(gate, server)

"""Streams: back-pressure, WebSockets, and the end of a stream when its decision changes."""

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from gateway.kernel.ids import new_token
from tests.support.gate import HOST, Gate

HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


async def echo(http: web.BaseRequest) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=["vitals.v2"], autoping=False, compress="compress" in http.raw_path)
    await socket.prepare(http)
    async for message in socket:
        if message.type is web.WSMsgType.PING:
            await socket.pong(message.data)
        elif message.type is web.WSMsgType.TEXT and message.data == "bye":
            await socket.close(code=4001, message=b"as you say")
        elif message.type is web.WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is web.WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


@pytest.fixture
async def browser(gate: Gate) -> AsyncIterator[aiohttp.ClientSession]:
    gate.upstream.answer = echo
    headers = {"Host": f"{HOST}:{gate.port}", "Cookie": gate.cookie}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield session


def url(gate: Gate, path: str = "/ws/x") -> str:
    return f"http://127.0.0.1:{gate.port}{path}"


async def test_messages_pass_both_ways(gate: Gate, browser: aiohttp.ClientSession) -> None:
    async with browser.ws_connect(url(gate)) as socket:
        await socket.send_str("こんにちは")
        assert await socket.receive_str() == "こんにちは"
        await socket.send_bytes(b"x" * 300_000)
        assert await socket.receive_bytes() == b"x" * 300_000
    [completion] = await gate.completions()
    assert (completion.status, completion.problem) == (101, "")
    assert completion.bytes_in > 300_000


async def test_pings_reach_the_application(gate: Gate, browser: aiohttp.ClientSession) -> None:
    async with browser.ws_connect(url(gate), autoping=False) as socket:
        await socket.ping(b"are you there")
        message = await socket.receive()
        assert (message.type, message.data) == (web.WSMsgType.PONG, b"are you there")


async def test_close_codes_reach_the_client(gate: Gate, browser: aiohttp.ClientSession) -> None:
    async with browser.ws_connect(url(gate)) as socket:
        await socket.send_str("bye")
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (web.WSMsgType.CLOSE, 4001, "as you say")


async def test_the_subprotocol_is_the_applications_choice(gate: Gate, browser: aiohttp.ClientSession) -> None:
    async with browser.ws_connect(url(gate), protocols=["vitals.v1", "vitals.v2"]) as socket:
        assert socket.protocol == "vitals.v2"
    assert gate.upstream.hits[0].values("sec-websocket-protocol") == ["vitals.v1,vitals.v2"]


async def test_compression_is_not_offered_for_a_client_that_did_not(gate: Gate, browser: aiohttp.ClientSession) -> None:
    async with browser.ws_connect(url(gate, "/ws/compress")) as socket:
        assert not socket.compress
    assert gate.upstream.hits[0].values("sec-websocket-extensions") == []


async def test_compression_is_between_client_and_application(gate: Gate, browser: aiohttp.ClientSession) -> None:
    async with browser.ws_connect(url(gate, "/ws/compress"), compress=15) as socket:
        assert socket.compress == 15
        await socket.send_str("a" * 10_000)
        assert await socket.receive_str() == "a" * 10_000
    [completion] = await gate.completions()
    assert completion.bytes_out < 1_000


async def test_a_handshake_that_the_application_refuses_is_passed_on(gate: Gate, browser: aiohttp.ClientSession) -> None:
    async def no(http: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=409, text="not now")

    gate.upstream.answer = no
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        await browser.ws_connect(url(gate))
    assert error.value.status == 409


async def test_a_websocket_where_the_route_has_none_is_refused(gate: Gate, browser: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        await browser.ws_connect(url(gate, "/elsewhere"))
    assert error.value.status == 400
    assert gate.upstream.hits == []
    assert gate.decisions()[-1].reason == "upgrade"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://portal.localhost", "null", f"https://{HOST}", f"http://{HOST}.evil"]
)
async def test_a_websocket_from_another_origin_is_refused(gate: Gate, browser: aiohttp.ClientSession, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        await browser.ws_connect(url(gate), origin=origin)
    assert error.value.status == 403
    assert gate.upstream.hits == []
    assert gate.decisions()[-1].reason == "cross_site"


async def test_a_websocket_from_the_same_origin_is_let_in(gate: Gate, browser: aiohttp.ClientSession) -> None:
    async with browser.ws_connect(url(gate), origin=f"http://{HOST}:{gate.port}") as socket:
        await socket.send_str("hi")
        assert await socket.receive_str() == "hi"


async def test_an_open_websocket_ends_within_a_second_of_the_session(gate: Gate, browser: aiohttp.ClientSession) -> None:
    async with browser.ws_connect(url(gate)) as socket:
        await socket.send_str("hi")
        assert await socket.receive_str() == "hi"
        await asyncio.sleep(0.4)
        assert gate.session is not None
        started = time.monotonic()
        await gate.sessions.revoke(gate.session.id)
        message = await socket.receive()
        assert (message.type, message.data) == (web.WSMsgType.CLOSE, 1008)
        assert time.monotonic() - started < 1
    [completion] = await gate.completions()
    assert completion.problem == "cut"
    assert gate.decisions()[-1].phase == "stream"


async def test_after_the_cut_nothing_passes_even_to_who_does_not_answer_it(gate: Gate) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    gone = asyncio.Event()

    async def talking(http: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(http)
        beat = asyncio.create_task(_beat(socket))
        async for message in socket:
            heard.put_nowait(message.data)
        beat.cancel()
        gone.set()
        return socket

    gate.upstream.answer = talking
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/ws/x", *HANDSHAKE))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text_frame("before"))
        assert await heard.get() == "before"
        assert gate.session is not None
        await gate.sessions.revoke(gate.session.id)
        received = await reader.readuntil(CUT)
        writer.write(text_frame("after"))
        assert await reader.read() == b"", "not a byte of the application's after our close frame"
        assert received.count(CUT) == 1
        async with asyncio.timeout(5):
            await gone.wait()
    assert heard.empty()


CUT = b"\x88\x0e\x03\xf0access ended"


def text_frame(text: str) -> bytes:
    """A short masked text frame (RFC 6455 §5.2), with a mask of zeros."""
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text.encode()


async def _beat(socket: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await socket.send_str("beat")
            await asyncio.sleep(0.02)


async def test_a_session_that_ended_before_the_watch_began_ends_the_websocket_too(
    gate: Gate, browser: aiohttp.ClientSession
) -> None:
    async with browser.ws_connect(url(gate)) as socket:
        assert gate.session is not None
        await gate.sessions.revoke(gate.session.id)
        async with asyncio.timeout(1):
            message = await socket.receive()
        assert message.data == 1008


async def test_an_open_event_stream_ends_within_a_second_of_the_session(gate: Gate) -> None:
    gone = asyncio.Event()

    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"data: beat\n\n")
                await asyncio.sleep(0.05)
        gone.set()
        return response

    gate.upstream.answer = answer
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/events"))
        await reader.readuntil(b"data: beat\n\n")
        await asyncio.sleep(0.4)
        assert gate.session is not None
        await gate.sessions.revoke(gate.session.id)
        async with asyncio.timeout(1):
            with contextlib.suppress(ConnectionError):
                rest = await reader.read(1 << 20)
                while more := await reader.read(1 << 20):
                    rest += more
                assert not rest.endswith(b"0\r\n\r\n"), "a stream that was cut must not look complete"
            await gone.wait()
    [completion] = await gate.completions()
    assert completion.problem == "cut"


async def test_an_upload_ends_within_a_second_of_the_session(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/files", "Content-Length: 1000000", method="PUT") + b"x" * 1000)
        await asyncio.sleep(0.4)
        assert gate.session is not None
        await gate.sessions.revoke(gate.session.id)
        async with asyncio.timeout(1):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
    [completion] = await gate.completions()
    assert completion.problem == "cut"


async def test_a_client_that_leaves_ends_the_applications_stream(gate: Gate) -> None:
    gone = asyncio.Event()

    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        await response.write(b"data: beat\n\n")
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(0.02)
                await response.write(b": still there\n\n")
        gone.set()
        return response

    gate.upstream.answer = answer
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/events"))
        await reader.readuntil(b"data: beat\n\n")
    async with asyncio.timeout(2):
        await gone.wait()
    [completion] = await gate.completions()
    assert completion.problem == "client_gone"


async def test_an_application_that_breaks_off_leaves_the_response_unfinished(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(http)
        await response.write(b"half of ")
        assert http.transport is not None
        http.transport.abort()
        return response

    gate.upstream.answer = answer
    got = b""
    with contextlib.suppress(ConnectionError):
        got = await gate.send_all(gate.head("/x"))
    assert not got.endswith(b"0\r\n\r\n")
    [completion] = await gate.completions()
    assert (completion.status, completion.problem) == (200, "reset")


async def test_a_slow_reader_slows_the_application_down(gate: Gate) -> None:
    sent = 0

    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(http)
        for _ in range(1000):
            await response.write(b"x" * 65_536)
            sent += 65_536
        return response

    gate.upstream.answer = answer
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x"))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own client does this when its buffer is full
        await asyncio.sleep(0.5)
        before = sent
        await asyncio.sleep(0.5)
        assert sent == before
        assert sent < 16 << 20  # the kernel's buffers, and little of ours
    await gate.completions()


async def test_closing_the_door_says_goodbye_to_websockets(gate: Gate, browser: aiohttp.ClientSession) -> None:
    async with browser.ws_connect(url(gate)) as socket:
        await socket.send_str("hi")
        await socket.receive_str()
        closing = asyncio.create_task(gate.door.close(0.4))
        message = await socket.receive()
        assert (message.type, message.data) == (web.WSMsgType.CLOSE, 1001)
        await closing
    [completion] = await gate.completions()
    assert completion.problem == "shutdown"


async def test_bytes_that_follow_the_handshake_at_once_are_not_lost(gate: Gate) -> None:
    gate.upstream.answer = echo
    mask = b"\x01\x02\x03\x04"
    payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(b"early"))
    frame = struct.pack("!BB", 0x81, 0x80 | 5) + mask + payload
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/ws/x", *HANDSHAKE) + frame)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        assert await reader.readexactly(7) == b"\x81\x05early"


async def test_an_application_that_answers_the_wrong_key_is_a_502(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        lines = ("HTTP/1.1 101 Switching", *HANDSHAKE[:2], f"Sec-WebSocket-Accept: {new_token()}")
        await http.writer.write("\r\n".join([*lines, "", ""]).encode())
        return web.Response()

    gate.upstream.answer = answer
    answered = await gate.get("/ws/x", *HANDSHAKE)
    assert answered.status == 502
    [completion] = await gate.completions()
    assert completion.problem == "protocol"

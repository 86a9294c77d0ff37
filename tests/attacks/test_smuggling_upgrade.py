"""What hides behind an upgrade or a tunnel (CVE-2026-69243, CVE-2026-71324)."""

import asyncio

import pytest
from aiohttp import web

from tests.support.gate import Gate, assert_refused, read_answer

HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: ehr.localhost\r\nCookie: COOKIE\r\n\r\n"


def second(gate: Gate) -> bytes:
    return SECOND.replace(b"COOKIE", gate.cookie.encode())


async def test_a_body_on_an_upgrade(gate: Gate) -> None:
    body = second(gate)
    data = gate.head("/ws/x", *HANDSHAKE, f"Content-Length: {len(body)}") + body
    await assert_refused(gate, data, reason="framing", status=400)


async def test_a_chunked_body_on_an_upgrade(gate: Gate) -> None:
    data = gate.head("/ws/x", *HANDSHAKE, "Transfer-Encoding: chunked") + b"0\r\n\r\n" + second(gate)
    await assert_refused(gate, data, reason="framing", status=400)


@pytest.mark.parametrize("path", ["/ws/x", "/elsewhere", "/admin"])
async def test_bytes_behind_a_rejected_upgrade_are_no_request(gate: Gate, path: str) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head(path, *HANDSHAKE, cookie="") + second(gate))
        answer = await read_answer(reader)
        assert await reader.read() == b""
    assert answer.status in {400, 401}
    assert len(gate.decisions()) == 1
    assert gate.upstream.hits == []


async def test_bytes_behind_an_upgrade_that_the_application_rejects_are_no_request(gate: Gate) -> None:
    async def no(http: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=403, text="no")

    gate.upstream.answer = no
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/ws/x", *HANDSHAKE) + second(gate))
        answer = await read_answer(reader)
        assert await reader.read() == b""
    assert answer.status == 403
    assert [hit.target for hit in gate.upstream.hits] == ["/ws/x"]
    assert len(gate.decisions()) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("Upgrade: TLS/1.0", "Connection: Upgrade"),
        ("Upgrade: websocket, h2c", *HANDSHAKE[1:]),
        ("Upgrade: websoc\u212aet", *HANDSHAKE[1:]),
        ("Upgrade: websocket",),
        ("Upgrade: websocket", *HANDSHAKE[2:]),
        HANDSHAKE[:3],
        (*HANDSHAKE[:2], HANDSHAKE[3]),
        ("Upgrade:", "Connection: Upgrade"),
        (*HANDSHAKE[:2], "Sec-WebSocket-Version: 8", HANDSHAKE[3]),
        (*HANDSHAKE[:3], "Sec-WebSocket-Key: short"),
        (*HANDSHAKE[:3], "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==@"),
    ],
)
async def test_upgrades_that_are_no_websocket_handshake(gate: Gate, lines: tuple[str, ...]) -> None:
    await assert_refused(gate, gate.head("/ws/x", *lines), reason="upgrade", status=400)


async def test_a_websocket_handshake_by_post(gate: Gate) -> None:
    await assert_refused(gate, gate.head("/ws/x", *HANDSHAKE, method="POST"), reason="upgrade", status=400)


@pytest.mark.parametrize("target", ["ehr.localhost:443", "evil.example:22", "/x"])
async def test_a_tunnel(gate: Gate, target: str) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head(target, method="CONNECT") + second(gate))
        answer = await read_answer(reader)
        assert await reader.read() == b""
    assert answer.status in {400, 405}
    assert [record.outcome for record in gate.decisions()] == ["refuse"]
    assert gate.upstream.hits == []


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "PRI", "get", "G-T", "FOO", "GET\x00", "\x16\x03\x01"])
async def test_methods_that_are_never_forwarded(gate: Gate, method: str) -> None:
    answer = await gate.send(gate.head("/x", method=method))
    assert answer.status in {400, 405}
    assert [record.outcome for record in gate.decisions()] == ["refuse"]
    assert gate.upstream.hits == []


async def test_an_answer_that_nobody_asked_for_is_not_given_to_the_next_person(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(text="first")
        await response.prepare(http)
        await response.write_eof()
        assert http.transport is not None
        http.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        return response

    gate.upstream.answer = answer
    assert (await gate.get("/a")).body == b"first"
    await asyncio.sleep(0.1)
    gate.upstream.answer = None
    assert (await gate.get("/b")).body == b"from the application"

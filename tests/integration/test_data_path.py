"""What an application does to a connection, byte by byte, and what the client of the embedded proxy sees of it."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.domain.route import App, Route
from tests.support.gate import Gate, read_answer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Speak = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class Application:
    """A server that says exactly what a test has it say to each head."""

    def __init__(self, speak: Speak) -> None:
        self.speak = speak
        self.heads: list[bytes] = []
        self.connections = 0
        self.ended = asyncio.Event()
        """Set when the other side has ended a connection."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    head = await reader.readuntil(b"\r\n\r\n")
                    self.heads.append(head)
                    await self.speak(head, reader, writer)
            self.ended.set()
        finally:
            del self._open[task]
            writer.close()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    def accept_no_more(self) -> None:
        """What is open stays open."""
        assert self._server is not None
        self._server.close()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(list(self._open), timeout=5)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def before(folder: Path, *applications: Application, change: Callable[[App], App] = lambda app: app) -> AsyncIterator[Gate]:
    """A door before these instances of one application."""
    gate = Gate(folder)
    for application in applications:
        await application.start()
    first, *others = [f"http://127.0.0.1:{application.port}" for application in applications]
    gate.change = lambda app: change(msgspec.structs.replace(app, upstream=first, upstreams=tuple(others)))
    await gate.open()
    try:
        yield gate
    finally:
        await gate.close()
        for application in applications:
            await application.stop()


def limited(**limits: int) -> Callable[[App], App]:
    """The same application, with limits on every route."""

    def change(app: App) -> App:
        routes: tuple[Route, ...] = tuple(msgspec.structs.replace(route, **limits) for route in app.routes)
        return msgspec.structs.replace(app, routes=routes)

    return change


async def say(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


# ---------------------------------------------------------------- resets


async def test_a_reset_before_the_answer_is_a_502(tmp_path: Path) -> None:
    async def speak(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    application = Application(speak)
    async with before(tmp_path, application) as gate:
        assert (await gate.get("/x")).status == 502
        [completion] = await gate.completions()
        assert (completion.status, completion.problem) == (502, "reset")
        assert len(application.heads) == 1, "a new connection that is reset is not asked again"


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("HEAD", 2), ("OPTIONS", 2), ("POST", 1), ("DELETE", 1)])
async def test_only_what_may_be_repeated_is_asked_again_when_a_kept_connection_has_died(
    tmp_path: Path, method: str, times: int
) -> None:
    async def speak(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET /first"):
            await say(writer, OK)
        else:
            reset(writer)

    application = Application(speak)
    async with before(tmp_path, application) as gate:
        assert (await gate.get("/first")).status == 200
        assert (await gate.send(gate.head("/x", method=method), bodyless=method == "HEAD")).status == 502
        assert len(application.heads) == 1 + times
        assert application.connections == 2, "what may not be repeated gets a connection of its own to begin with"


async def test_half_an_answer_is_not_asked_for_again(tmp_path: Path) -> None:
    async def speak(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, OK if head.startswith(b"GET /first") else b"HTTP/1.1 200 OK\r\nConte")
        if not head.startswith(b"GET /first"):
            writer.close()

    application = Application(speak)
    async with before(tmp_path, application) as gate:
        await gate.get("/first")
        assert (await gate.get("/x")).status == 502
        assert len(application.heads) == 2


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n"]
)
async def test_a_reset_in_the_middle_of_the_body_is_no_end(tmp_path: Path, head: bytes) -> None:
    async def speak(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, head + b"half")
        await asyncio.sleep(0.1)
        reset(writer)

    async with before(tmp_path, Application(speak)) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/x"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await read_answer(reader)
        [completion] = await gate.completions()
        assert (completion.status, completion.problem, completion.bytes_out) == (200, "reset", 4)


# ---------------------------------------------------------------- answers without a body, parts, informational ones, trailers


@pytest.mark.parametrize(
    ("method", "response", "connections"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", 2),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 2),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 1),
        ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n', 1),
        ("GET", b'HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: "1"\r\n\r\n', 2),
    ],
)
async def test_an_answer_without_a_body_ends_with_its_head(
    tmp_path: Path, method: str, response: bytes, connections: int
) -> None:
    async def speak(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, response)

    application = Application(speak)
    async with before(tmp_path, application) as gate, gate.connect() as (reader, writer):
        for _ in range(2):  # nobody waits for a body; the client's connection is kept
            writer.write(gate.head("/x", method=method))
            answer = await read_answer(reader, bodyless=True)
            assert b" %d " % answer.status in response
            assert answer.values("Content-Length") == [length for length in ("0", "1000") if f": {length}\r".encode() in response]
            assert answer.values("Transfer-Encoding") == []
        assert application.connections == connections, "kept unless the answer speaks of a body that may follow"


async def test_parts_of_a_file_pass_as_they_are(tmp_path: Path) -> None:
    body = b"--THIS\r\nContent-Range: bytes 0-1/9\r\n\r\nab\r\n--THIS\r\nContent-Range: bytes 4-5/9\r\n\r\nef\r\n--THIS--\r\n"
    kind = b"multipart/byteranges; boundary=THIS"

    async def speak(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"bytes=99-" in head:
            await say(writer, b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */9\r\nContent-Length: 0\r\n\r\n")
        else:
            length = b"Content-Length: %d\r\n" % len(body)
            await say(writer, b"HTTP/1.1 206 Partial Content\r\nContent-Type: " + kind + b"\r\n" + length + b"\r\n" + body)

    application = Application(speak)
    async with before(tmp_path, application) as gate:
        answer = await gate.get("/x", "Range: bytes=0-1,4-5", 'If-Range: "1"')
        assert (answer.status, answer.body, answer.values("Content-Type")) == (206, body, [kind.decode()])
        assert b'Range: bytes=0-1,4-5\r\nIf-Range: "1"\r\n' in application.heads[0]
        answer = await gate.get("/x", "Range: bytes=99-")
        assert (answer.status, answer.values("Content-Range")) == (416, ["bytes */9"])


async def test_informational_answers_end_at_the_gateway(tmp_path: Path) -> None:
    async def speak(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        await asyncio.sleep(0.05)
        await say(writer, b"HTTP/1.1 102 Processing\r\n\r\n" + OK)

    async with before(tmp_path, Application(speak)) as gate:
        answer = await gate.get("/x")
        assert (answer.status, answer.body) == (200, b"ok")
        assert b"style.css" not in answer.raw


async def test_trailers_of_an_answer_end_at_the_gateway(tmp_path: Path) -> None:
    async def speak(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie\r\n\r\n2\r\nok\r\n0\r\n")
        await say(writer, b"Set-Cookie: __Host-gw-session=evil\r\n\r\n")

    application = Application(speak)
    async with before(tmp_path, application) as gate:
        answer = await gate.get("/x", "TE: trailers")
        assert answer.raw.endswith(b"2\r\nok\r\n0\r\n\r\n") or answer.body == b"ok"
        assert b"evil" not in answer.raw
        assert answer.values("Trailer") == []
        assert b"trailers" not in application.heads[0].lower()


async def test_who_somebody_is_does_not_reach_the_application_in_trailers(tmp_path: Path) -> None:
    got = bytearray()

    async def speak(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not got.endswith(b"0\r\n\r\n"):
            got.extend(await reader.read(1000))
        await say(writer, OK)

    application = Application(speak)
    async with before(tmp_path, application) as gate:
        head = gate.head("/x", "Transfer-Encoding: chunked", "Trailer: X-Remote-User", method="POST")
        answer = await gate.send(head + b"2\r\nok\r\n0\r\nX-Remote-User: evil\r\nX-Gateway-Assertion: evil\r\n\r\n")
        assert answer.status == 200
        assert bytes(got) == b"2\r\nok\r\n0\r\n\r\n"
        assert b"evil" not in application.heads[0]
        assert b"trailer:" not in application.heads[0].lower()


# ---------------------------------------------------------------- Expect, early answers, half-closed connections


async def test_a_client_that_waits_to_be_told_is_told_when_the_application_is_asked(tmp_path: Path) -> None:
    async def speak(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"expect" not in head.lower()
        assert await reader.readexactly(5) == b"hello"
        await say(writer, OK)

    async with before(tmp_path, Application(speak)) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Expect: 100-continue", "Content-Length: 5", method="POST"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        assert (await read_answer(reader)).body == b"ok"


async def test_who_may_not_is_not_told_to_send_the_body(tmp_path: Path) -> None:
    async def speak(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, OK)

    application = Application(speak)
    async with before(tmp_path, application) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/admin", "Expect: 100-continue", "Content-Length: 5", method="POST"))
        assert (await read_answer(reader)).status == 403
    assert application.heads == []


async def test_an_early_answer_ends_the_upload_and_both_connections(tmp_path: Path) -> None:
    async def speak(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")

    application = Application(speak)
    async with before(tmp_path, application) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Content-Length: 1000000", method="PUT") + b"x" * 1000)
        answer = await read_answer(reader)
        assert (answer.status, answer.body, answer.values("Connection")) == (413, b"big", ["close"])
        await asyncio.wait_for(application.ended.wait(), 5)


@pytest.mark.parametrize("more", [(), ("Accept: a", "Accept: b")])
async def test_a_client_that_has_said_all_it_wants_gets_its_answer(tmp_path: Path, more: tuple[str, ...]) -> None:
    async def speak(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        await say(writer, OK)

    async with before(tmp_path, Application(speak)) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/x", *more))
        await asyncio.sleep(0.1)
        writer.write_eof()
        answer = await asyncio.wait_for(read_answer(reader), 5)
        assert answer.body == b"ok"
        assert await asyncio.wait_for(reader.read(), 5) == b"", "and then the connection ends"
        [completion] = await gate.completions()
        assert (completion.status, completion.problem) == (200, "")


async def test_a_client_that_has_sent_a_body_and_no_more_gets_its_answer(tmp_path: Path) -> None:
    async def speak(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        await asyncio.sleep(0.2)
        await say(writer, OK)

    async with before(tmp_path, Application(speak)) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Content-Length: 5", method="POST") + b"hello")
        await asyncio.sleep(0.1)
        writer.write_eof()
        assert (await asyncio.wait_for(read_answer(reader), 5)).body == b"ok"


async def test_half_a_body_and_no_more_is_given_up(tmp_path: Path) -> None:
    async def speak(_head: bytes, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)

    application = Application(speak)
    async with before(tmp_path, application) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Content-Length: 5", method="POST") + b"hel")
        await asyncio.sleep(0.1)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        [completion] = await gate.completions()
        assert completion.problem == "client_gone"
        await asyncio.wait_for(application.ended.wait(), 5)


async def test_events_are_not_sent_to_a_client_that_has_left(tmp_path: Path) -> None:
    async def speak(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()

    application = Application(speak)
    async with before(tmp_path, application) as gate:
        async with gate.connect() as (reader, writer):
            writer.write(gate.head("/events"))
            await reader.readuntil(b"data: 1\n\n")
        [completion] = await gate.completions()
        assert completion.problem == "client_gone"


async def test_requests_that_follow_each_other_are_answered_in_turn(tmp_path: Path) -> None:
    async def speak(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        path = head.split(b" ")[1]
        await say(writer, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    async with before(tmp_path, Application(speak)) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/1"))
        await asyncio.sleep(0.02)
        writer.write(gate.head("/2") + gate.head("/3", "Content-Length: 0", method="POST"))
        await asyncio.sleep(0.02)
        writer.write(gate.head("/4"))
        assert [(await read_answer(reader)).body for _ in range(4)] == [b"/1", b"/2", b"/3", b"/4"]


# ---------------------------------------------------------------- limits of a route


async def test_an_application_that_does_not_answer_in_time_is_a_504(tmp_path: Path) -> None:
    async def speak(_head: bytes, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with before(tmp_path, Application(speak), change=limited(idle_seconds=1)) as gate:
        assert (await gate.get("/x")).status == 504
        [completion] = await gate.completions()
        assert (completion.status, completion.problem) == (504, "timeout")


@pytest.mark.parametrize("kind", [b"text/plain", b"text/event-stream"])
@pytest.mark.parametrize("limit", ["idle_seconds", "total_seconds"])
async def test_a_body_that_takes_too_long_is_cut(tmp_path: Path, kind: bytes, limit: str) -> None:
    async def speak(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        while limit == "total_seconds":  # never silent, and never done
            await asyncio.sleep(0.05)
            await say(writer, b"2\r\nok\r\n")
        await reader.read()

    async with before(tmp_path, Application(speak), change=limited(**{limit: 1})) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/x"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(read_answer(reader), 5)
        [completion] = await gate.completions()
        assert (completion.status, completion.problem) == (200, "timeout")


async def test_a_websocket_that_is_silent_for_too_long_is_cut(tmp_path: Path) -> None:
    async def speak(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, ACCEPTED)
        while data := await reader.read(100):
            await say(writer, data)

    async with before(tmp_path, Application(speak), change=limited(idle_seconds=1)) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/ws/x", *HANDSHAKE))
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(4):  # longer than the limit, and never silent
            writer.write(b"\x89\x00")
            assert await reader.readexactly(2) == b"\x89\x00"
            await asyncio.sleep(0.4)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        [completion] = await gate.completions()
        assert (completion.status, completion.problem) == (101, "timeout")

"""The gRPC door's listener, asked by grpcio, which shares no code with it, and by bytes that no client would send."""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import h2.connection
import h2.events
import pytest

from gateway.domain.reason import RefuseReason
from gateway.domain.request import RawRequest, Refusal
from gateway.doors.envoy.unary import UnaryListener
from gateway.doors.envoy.unary_connection import BadMessageError, Metadata, UnaryLimits
from gateway.doors.tls import mutual_context
from gateway.doors.trust import Fronts
from tests.support.mutual import ServerCa

PATH = "/test.Service/Ask"
NAME = "envoy.hospital.example"


class Service:
    """What the listener calls, and what it was told."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Metadata, str]] = []
        self.refused: list[tuple[RawRequest, Refusal]] = []
        self.answer: Callable[[bytes], Awaitable[bytes]] = self._echo

    async def ask(self, message: bytes, metadata: Metadata, front: str) -> bytes:
        self.asked.append((message, metadata, front))
        return await self.answer(message)

    async def refuse(self, raw: RawRequest, refusal: Refusal) -> None:
        self.refused.append((raw, refusal))

    async def _echo(self, message: bytes) -> bytes:
        return message[::-1]


@pytest.fixture
def service() -> Service:
    return Service()


@contextlib.asynccontextmanager
async def listening(
    service: Service, folder: Path, *, uid: int | None = None, limits: UnaryLimits | None = None
) -> AsyncIterator[UnaryListener]:
    fronts = Fronts(uids=[os.getuid() if uid is None else uid])
    listener = UnaryListener(service.ask, path=PATH, refuse=service.refuse, fronts=fronts, limits=limits or UnaryLimits())
    await listener.listen_unix(str(folder / "door"))
    try:
        yield listener
    finally:
        await listener.close(1.0)


@contextlib.asynccontextmanager
async def channel(folder: Path, **options: int) -> AsyncIterator[grpc.aio.Channel]:
    chosen = [(f"grpc.{name}", value) for name, value in options.items()]
    async with grpc.aio.insecure_channel(f"unix:{folder / 'door'}", options=chosen) as found:
        yield found


async def call(found: grpc.aio.Channel, message: bytes, path: str = PATH, **options: object) -> bytes:
    return await found.unary_unary(path)(message, timeout=10, **options)  # type: ignore[no-any-return]  # grpcio has no types


async def status_of(found: grpc.aio.Channel, message: bytes, path: str = PATH, **options: object) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(found, message, path, **options)
    code: grpc.StatusCode = caught.value.code()
    return code


async def test_a_call_with_its_metadata_and_the_proved_front(service: Service, tmp_path: Path) -> None:
    async with listening(service, tmp_path), channel(tmp_path) as found:
        assert await call(found, b"abc", metadata=(("x-forwarded-proto", "https"), ("x-twice", "1"), ("x-twice", "2"))) == b"cba"
        assert await call(found, b"") == b""
    message, metadata, front = service.asked[0]
    assert (message, front) == (b"abc", f"uid:{os.getuid()}")
    said = [field for field in metadata if field[0].startswith("x-")]
    assert said == [("x-forwarded-proto", "https"), ("x-twice", "1"), ("x-twice", "2")]
    assert not any(name.startswith(":") for name, _ in metadata)


async def test_many_calls_at_once_and_answers_beyond_the_window(service: Service, tmp_path: Path) -> None:
    """An answer that is larger than HTTP/2's window goes out as the window opens."""
    size = 300_000

    async def large(message: bytes) -> bytes:
        return message * size

    service.answer = large
    options = {"max_receive_message_length": -1, "http2.lookahead_bytes": 65_536}
    async with listening(service, tmp_path), channel(tmp_path, **options) as found:
        answers = await asyncio.gather(*(call(found, bytes([number])) for number in range(60)))
    assert answers == [bytes([number]) * size for number in range(60)]


async def test_more_at_once_than_a_connection_may(service: Service, tmp_path: Path) -> None:
    running, most = 0, 0

    async def slow(message: bytes) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return message

    service.answer = slow
    async with listening(service, tmp_path, limits=UnaryLimits(concurrent_calls=4)), channel(tmp_path) as found:
        assert len(await asyncio.gather(*(call(found, b"x") for _ in range(40)))) == 40
    assert most == 4


async def test_what_is_no_question(service: Service, tmp_path: Path) -> None:
    async with listening(service, tmp_path, limits=UnaryLimits(message_size=1000)), channel(tmp_path) as found:
        assert await status_of(found, b"x" * 1001) == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await status_of(found, b"x", "/test.Service/Other") == grpc.StatusCode.UNIMPLEMENTED
        compressed = {"compression": grpc.Compression.Gzip}
        assert await status_of(found, b"x" * 900, **compressed) == grpc.StatusCode.INVALID_ARGUMENT
        assert service.asked == []
        assert await call(found, b"x" * 1000) == b"x" * 1000


async def test_errors_are_errors_of_the_call_and_no_answers(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(message: bytes) -> bytes:
        if message == b"unread":
            raise BadMessageError
        raise RuntimeError("secret words")

    service.answer = fail
    async with listening(service, tmp_path), channel(tmp_path) as found:
        assert await status_of(found, b"unread") == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(found, b"x")
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        assert "secret" not in (caught.value.details() or "")
    assert "a question could not be answered" in caplog.text


async def test_a_front_that_does_not_wait_any_more(service: Service, tmp_path: Path) -> None:
    finished = asyncio.Event()

    async def slow(message: bytes) -> bytes:
        await asyncio.sleep(0.2)
        finished.set()
        return message

    service.answer = slow
    async with listening(service, tmp_path), channel(tmp_path) as found:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await found.unary_unary(PATH)(b"x", timeout=0.05)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(finished.wait(), 5)  # what was begun is decided and recorded to its end
        service.answer = service._echo
        assert await call(found, b"ab") == b"ba"


# ---- who asks


async def test_a_process_of_another_user_is_refused_and_recorded(service: Service, tmp_path: Path) -> None:
    async with listening(service, tmp_path, uid=os.getuid() + 1), channel(tmp_path) as found:
        assert await status_of(found, b"x") == grpc.StatusCode.PERMISSION_DENIED
    assert service.asked == []
    ((raw, refusal),) = service.refused
    assert (raw.method, raw.target, refusal.reason) == ("POST", PATH, RefuseReason.UNTRUSTED_PEER)


async def test_a_stranger_that_says_nothing_is_not_kept(service: Service, tmp_path: Path) -> None:
    limits = UnaryLimits(handshake_seconds=0.1)
    async with listening(service, tmp_path, uid=os.getuid() + 1, limits=limits):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "door"))
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert service.refused == []


async def mutual(service: Service, ca: ServerCa) -> tuple[UnaryListener, int]:
    certificate, key = ca.issue("127.0.0.1")
    listener = UnaryListener(
        service.ask, path=PATH, refuse=service.refuse, fronts=Fronts(names=[NAME]), limits=UnaryLimits(handshake_seconds=2)
    )
    return listener, await listener.listen(
        "127.0.0.1", 0, tls=mutual_context(certificate=certificate, key=key, client_ca=ca.file)
    )


@pytest.mark.parametrize(("name", "code"), [(NAME, None), ("nginx.hospital.example", grpc.StatusCode.PERMISSION_DENIED)])
async def test_mtls(service: Service, tmp_path: Path, name: str, code: grpc.StatusCode | None) -> None:
    ca = ServerCa(tmp_path / "servers")
    certificate, key = ca.issue(name)
    listener, port = await mutual(service, ca)
    try:
        credentials = grpc.ssl_channel_credentials(ca.file.read_bytes(), key.read_bytes(), certificate.read_bytes())
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as found:
            if code is None:
                assert await call(found, b"ab") == b"ba"
                assert service.asked[0][2] == f"cert:{NAME}"
            else:
                assert await status_of(found, b"ab") == code
    finally:
        await listener.close(1.0)
    assert [refusal.reason for _, refusal in service.refused] == ([RefuseReason.UNTRUSTED_PEER] if code else [])


@pytest.mark.parametrize("shown", ["nothing", "of another CA"])
async def test_no_certificate_of_the_ca_no_connection(service: Service, tmp_path: Path, shown: str) -> None:
    ca = ServerCa(tmp_path / "servers")
    listener, port = await mutual(service, ca)
    context = ssl.create_default_context(cafile=ca.file)
    if shown != "nothing":
        context.load_cert_chain(*ServerCa(tmp_path / "others").issue(NAME))

    def ask() -> bytes:
        plain = socket.create_connection(("127.0.0.1", port), 5)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            try:
                tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                return tls.recv(100)  # in TLS 1.3 the client hears of it at its first read
            except OSError:
                return b""

    try:
        assert await asyncio.to_thread(ask) == b""
    finally:
        await listener.close(1.0)
    assert (service.asked, service.refused) == ([], [])


# ---- bytes


async def raw(folder: Path, data: bytes) -> bytes:
    """Send bytes, and return all that comes until the listener hangs up or is silent."""
    reader, writer = await asyncio.open_unix_connection(str(folder / "door"))
    writer.write(data)
    received = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while more := await asyncio.wait_for(reader.read(65_536), 0.3):
            received += more
    writer.close()
    return received


def question(body: bytes, *, end: bool = True, path: str = PATH) -> bytes:
    client = h2.connection.H2Connection()
    client.initiate_connection()
    headers = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "x"), ("te", "trailers")]
    client.send_headers(1, headers)
    client.send_data(1, body, end_stream=end)
    return client.data_to_send()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\0\0\0", b"\0\0\0\0\5abc", b"\0\0\0\0\1abc", b"\1\0\0\0\3abc", b"\0\0\0\0\1a" * 2,
        struct.pack("!BI", 0, 2**32 - 1),
    ],
)  # fmt: skip
async def test_a_message_that_is_none_is_not_asked(service: Service, tmp_path: Path, body: bytes) -> None:
    async with listening(service, tmp_path), channel(tmp_path) as found:
        answered = await raw(tmp_path, question(body))
        assert service.asked == []
        client = h2.connection.H2Connection()
        client.initiate_connection()
        client.send_headers(1, [(":method", "POST"), (":path", PATH), (":scheme", "http"), (":authority", "x")], end_stream=True)
        events = client.receive_data(answered)
        (headers,) = [event.headers for event in events if isinstance(event, h2.events.ResponseReceived)]
        assert (b"grpc-status", b"3") in [tuple(field) for field in headers or []]
        assert await call(found, b"ab") == b"ba"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 9,
        b"\x16\x03\x01\x02\x00",
    ],
)
async def test_bytes_that_are_no_http_2_end_the_connection(service: Service, tmp_path: Path, data: bytes) -> None:
    async with listening(service, tmp_path) as listener, channel(tmp_path) as found:
        await raw(tmp_path, data)
        await asyncio.sleep(0.05)
        assert listener.connections == set()
        assert await call(found, b"ab") == b"ba"
    assert len(service.asked) == 1


# ---- the end


async def test_closing_waits_for_what_runs(service: Service, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def slow(message: bytes) -> bytes:
        begun.set()
        await asyncio.sleep(0.2)
        return message

    service.answer = slow
    async with listening(service, tmp_path) as listener, channel(tmp_path) as found:
        running = asyncio.ensure_future(call(found, b"ab"))
        await begun.wait()
        await listener.close(5.0)
        assert await running == b"ab"
        await listener.close(5.0)


async def test_a_successor_gets_the_calls_and_none_is_lost(service: Service, tmp_path: Path) -> None:
    """While one listener leaves, another takes over the socket; a front that asks all the time hears no error."""
    errors: list[BaseException] = []
    done = asyncio.Event()

    async def ask(found: grpc.aio.Channel) -> None:
        while not done.is_set():
            try:
                await call(found, b"ab")
            except grpc.aio.AioRpcError as error:
                errors.append(error)
            await asyncio.sleep(0.002)

    successor = Service()
    async with listening(service, tmp_path) as first, channel(tmp_path) as found:
        asking = asyncio.ensure_future(ask(found))
        await asyncio.sleep(0.1)
        async with listening(successor, tmp_path):
            await first.close(5.0, idle_seconds=1.0)
            await asyncio.sleep(0.2)
            done.set()
            await asking
            assert first.connections == set()
    assert errors == []
    assert service.asked
    assert successor.asked

"""Connections to applications that are kept: never one on which somebody else's answer may come."""

import asyncio
import contextlib
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.doors.proxy.connection import Body, UpstreamConnection
from gateway.doors.proxy.upstream import Instance, UpstreamLimits
from gateway.kernel.clock import SystemClock
from tests.integration.test_data_path import OK, Application, before, reset, say
from tests.support import tls
from tests.support.gate import read_answer

STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"


@contextlib.asynccontextmanager
async def kept_one() -> AsyncIterator[tuple[Instance, UpstreamConnection, socket.socket]]:
    """An instance with one idle connection, that connection, and the application's end of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        instance = Instance(f"http://127.0.0.1:{server.getsockname()[1]}", limits=UpstreamLimits(), clock=SystemClock(), tls=None)
        connection = await instance.connect()
        peer, _ = server.accept()
        with peer:
            connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert peer.recv(1_000)
            peer.sendall(OK)
            assert await answer_on(connection) == b"ok"
            instance.release(connection, reusable=True)
            yield instance, connection, peer
        instance.close()
        await asyncio.sleep(0)


def arrived(connection: UpstreamConnection) -> None:
    """Wait until something is there to read, while our loop stands still."""
    assert connection._transport is not None
    assert select.select([connection._transport.get_extra_info("socket").fileno()], [], [], 10)[0]


async def answer_on(connection: UpstreamConnection) -> bytes:
    return await Body(connection, await connection.read_head("GET")).read()


async def test_a_quiet_one_is_used_again() -> None:
    async with kept_one() as (instance, connection, peer):
        assert instance.kept() is connection
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        peer.sendall(OK)
        assert await answer_on(connection) == b"ok"
        instance.release(connection, reusable=True)


async def test_bytes_that_our_loop_has_yet_to_see_are_nobodys_answer() -> None:
    async with kept_one() as (instance, connection, peer):
        peer.sendall(STRAY)
        arrived(connection)
        assert instance.kept() is None


async def test_an_end_that_our_loop_has_yet_to_see_is_an_end() -> None:
    async with kept_one() as (instance, connection, peer):
        peer.close()
        arrived(connection)
        assert instance.kept() is None


async def test_to_release_twice_counts_once() -> None:
    async with kept_one() as (instance, connection, _):
        assert instance.under_way == 0
        instance.release(connection, reusable=False)
        assert instance.under_way == 0
        assert instance.kept() is connection, "it is still there, once"
        assert instance.under_way == 1
        instance.release(connection, reusable=False)
        instance.release(connection, reusable=False)
        assert instance.under_way == 0


async def test_what_was_sent_goes_out_before_the_end() -> None:
    size = 8_000_000  # more than the kernel takes
    async with kept_one() as (instance, _, peer):
        connection = instance.kept()
        assert connection is not None
        connection.send(b"x" * size)
        connection.finish()
        instance.release(connection, reusable=False)
        peer.setblocking(False)
        loop, got = asyncio.get_running_loop(), 0
        while piece := await asyncio.wait_for(loop.sock_recv(peer, 1 << 20), 10):
            got += len(piece)
        assert got == size


async def test_one_under_tls_is_used_again_and_not_with_bytes_that_nobody_asked_for(tmp_path: Path) -> None:
    with tls.Certified("localhost", kind="ec") as certified:
        certified.install(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    go, gone, done = threading.Event(), threading.Event(), threading.Event()

    def serve(listener: socket.socket) -> None:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as peer:
            for _ in range(2):
                peer.recv(1_000)
                peer.sendall(OK)
            go.wait(10)
            peer.sendall(STRAY)
            gone.set()
            done.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        origin = f"https://localhost:{server.getsockname()[1]}"
        instance = Instance(origin, limits=UpstreamLimits(), clock=SystemClock(), tls=trusting)
        first = connection = await instance.connect()
        for _ in range(2):
            connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await answer_on(connection) == b"ok"
            instance.release(connection, reusable=True)
            again = instance.kept()
            assert again is first
            connection = again
        instance.release(connection, reusable=True)
        go.set()
        assert gone.wait(10)
        arrived(first)
        assert instance.kept() is None
        done.set()
        instance.close()
        await asyncio.sleep(0)
        thread.join(10)


@pytest.mark.parametrize(
    ("method", "response"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 42\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
)
async def test_a_body_that_should_not_be_there_is_nobodys_answer(tmp_path: Path, method: str, response: bytes) -> None:
    asked_again = asyncio.Event()

    async def speak(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.split(b" ")[1] == b"/mine":
            await say(writer, OK)
            return
        await say(writer, response)
        await asked_again.wait()  # the body follows when the other request is on its way
        await say(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")

    application = Application(speak)
    async with before(tmp_path, application) as gate, gate.connect() as (reader, writer):
        writer.write(gate.head("/x", method=method))
        await read_answer(reader, bodyless=True)
        mine = asyncio.create_task(gate.get("/mine"))
        await asyncio.sleep(0.05)
        asked_again.set()
        assert (await mine).body == b"ok"


async def test_a_connection_that_carried_a_body_is_not_kept(tmp_path: Path) -> None:
    async def speak(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"POST"):
            assert await reader.readexactly(5) == b"hello"
        await say(writer, OK)

    application = Application(speak)
    async with before(tmp_path, application) as gate:
        await gate.send(gate.head("/x", "Content-Length: 5", method="POST") + b"hello")
        assert (await gate.get("/x")).body == b"ok"
        assert application.connections == 2


async def test_a_body_that_is_answered_before_it_is_read_arrives_whole(tmp_path: Path) -> None:
    whole: list[int] = []
    size = 400_000

    async def speak(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        await say(writer, b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        whole.append(len(await reader.readexactly(size)))

    application = Application(speak)
    async with before(tmp_path, application) as gate:
        answer = await gate.send(gate.head("/x", f"Content-Length: {size}", method="POST") + b"x" * size)
        assert answer.status == 202
        await asyncio.wait_for(application.ended.wait(), 5)
        assert whole == [size]


async def test_one_that_dies_and_cannot_be_replaced_is_given_back_once(tmp_path: Path) -> None:
    async def speak(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET /first"):
            await say(writer, OK)
        else:
            application.accept_no_more()
            reset(writer)

    application = Application(speak)
    async with before(tmp_path, application) as gate:
        assert (await gate.get("/first")).status == 200
        assert (await gate.get("/x")).status == 502
        assert application.connections == 1
        assert [i.under_way for upstream in gate.door._upstreams.values() for i in upstream.instances] == [0]

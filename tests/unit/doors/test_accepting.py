"""Accepting on a socket that is shared: evenly, and without losing what was accepted."""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.doors import accepting
from gateway.doors.accepting import Acceptor, bind_tcp, bind_unix
from tests.support.served import write_certificates


class Counted(asyncio.Protocol):
    """Says who took a connection."""

    def __init__(self, name: str, taken: list[str]) -> None:
        self._name, self._taken = name, taken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._taken.append(self._name)
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._name.encode())
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.close()


@pytest.fixture
def shared() -> Iterator[socket.socket]:
    with bind_tcp("127.0.0.1", 0) as sock:
        yield sock


@pytest.fixture
def taken() -> list[str]:
    return []


@contextlib.asynccontextmanager
async def clients(sock: socket.socket, count: int) -> AsyncIterator[list[socket.socket]]:
    found = [socket.create_connection(sock.getsockname(), timeout=5) for _ in range(count)]
    try:
        yield found
    finally:
        for client in found:
            client.close()
        await asyncio.sleep(0.02)  # whoever has them notices


async def until(taken: list[str], count: int) -> None:
    async with asyncio.timeout(5):
        while len(taken) < count:  # noqa: ASYNC110  nobody else could tell when
            await asyncio.sleep(0.01)


def acceptor(sock: socket.socket, name: str, taken: list[str], tls: ssl.SSLContext | None = None) -> Acceptor:
    return Acceptor(sock.dup(), lambda: Counted(name, taken), tls=tls, handshake_seconds=0.5)


async def test_a_burst_is_shared(shared: socket.socket, taken: list[str]) -> None:
    async with clients(shared, 40):
        both = [acceptor(shared, name, taken) for name in "ab"]
        await until(taken, 40)
        assert (taken.count("a"), taken.count("b")) == (20, 20)
        for one in both:
            one.stop()


async def test_what_was_accepted_is_served_and_the_rest_waits_for_another(shared: socket.socket, taken: list[str]) -> None:
    async with clients(shared, 20) as waiting:
        first = acceptor(shared, "a", taken)
        while not first.coming:  # noqa: ASYNC110  the turn of the loop is what matters
            await asyncio.sleep(0)
        first.stop()
        first.stop()
        await asyncio.sleep(0.05)
        served = len(taken)
        assert 0 < served < 20
        second = acceptor(shared, "b", taken)
        await until(taken, 20)
        second.stop()
        assert [await asyncio.to_thread(client.recv, 1) for client in waiting].count(b"a") == served


async def test_handshakes_are_counted_until_they_are_over(tmp_path: Path, shared: socket.socket, taken: list[str]) -> None:
    write_certificates(tmp_path, "x.localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    one = acceptor(shared, "a", taken, context)
    async with clients(shared, 2) as (silent, wrong):
        wrong.sendall(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.1)
        assert one.coming == 1, "the one that says nothing"
        one.stop()
        assert one.coming == 1
        await asyncio.sleep(0.6)
        assert one.coming == 0, "for as long as a handshake may take"
        assert await asyncio.to_thread(silent.recv, 1) == b""
    assert taken == []


async def test_without_room_it_waits_and_goes_on(
    shared: socket.socket, taken: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.1)
    one = acceptor(shared, "a", taken)
    async with clients(shared, 3):
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            await asyncio.sleep(0.3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert taken == []
        assert "no room for another connection" in caplog.text
        assert caplog.text.count("no room") < 10
        await until(taken, 3)
    one.stop()


async def test_stopped_while_it_waits_for_room_it_stays_so(
    shared: socket.socket, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.1)
    one = acceptor(shared, "a", taken)
    async with clients(shared, 1):
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            await asyncio.sleep(0.05)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        one.stop()
        await asyncio.sleep(0.2)
    assert taken == []


def test_a_unix_socket_takes_the_place_of_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bind_unix(str(path)).close()
    with bind_unix(str(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="in use"):
        bind_unix(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"

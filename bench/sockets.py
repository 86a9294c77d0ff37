"""Many open WebSockets through the gateway: what they weigh, and how soon they are cut when their session is revoked."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Final

from bench.children import LOOPBACK, BenchError, Talk
from bench.guarded import APP, STREAM, Site
from bench.rate import quantile
from bench.ws_upstream import HELLO
from gateway.domain.cookies import SESSION_COOKIE

AT_A_TIME: Final = 100
OPEN_SECONDS: Final = 60.0
CUT_SECONDS: Final = 15.0
"""Longer than any target: what is not cut by then counts as this."""
SETTLE_SECONDS: Final = 1.0
SESSIONS: Final = 50
_REQUEST: Final = (
    f"GET {STREAM} HTTP/1.1\r\nHost: {{authority}}\r\nOrigin: {{origin}}\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\nCookie: {cookie}\r\n\r\n"
)
_CLOSE: Final = 0x88


class Socket(asyncio.Protocol):
    """One browser's WebSocket, as far as it matters here: it is open once the application's first message came."""

    __slots__ = ("_request", "_seen", "_transport", "cut_at", "opened", "session")

    def __init__(self, session: str, request: bytes) -> None:
        self.session = session
        self.cut_at: float | None = None
        """When the first sign of its end came: a Close frame, or the end of the connection (monotonic seconds)."""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._seen = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Wait for the upgrade and the first message; then only a Close frame counts."""
        if self.opened.done():
            if self.cut_at is None and data[0] == _CLOSE:
                self.cut_at = time.monotonic()
            return
        self._seen += data
        head, end, rest = self._seen.partition(b"\r\n\r\n")
        if end and not head.startswith(b"HTTP/1.1 101 "):
            self.opened.set_exception(BenchError(f"a WebSocket was not opened: {head[:80]!r}"))
        elif end and rest.startswith(HELLO):
            self._seen = b""
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note when it ended."""
        if self.cut_at is None:
            self.cut_at = time.monotonic()
        if not self.opened.done():
            self.opened.set_exception(BenchError("a WebSocket was closed while it was opened"))

    def close(self) -> None:
        """End it from this side."""
        if self._transport is not None:
            self._transport.abort()


async def open_sockets(site: Site, sessions: Sequence[tuple[str, str]], count: int) -> list[Socket]:
    """Open `count` of them, dealt out to `sessions` (id and token each)."""
    made: list[Socket] = []
    turns = asyncio.Semaphore(AT_A_TIME)
    loop = asyncio.get_running_loop()
    authority, trust = f"{APP}.localhost:{site.port}", site.trust()
    name = f"{APP}.localhost" if trust is not None else None

    async def one(number: int) -> None:
        session, token = sessions[number % len(sessions)]
        origin = f"{site.scheme}://{authority}"
        request = _REQUEST.format(authority=authority, origin=origin, cookie=f"{SESSION_COOKIE}={token}").encode()
        async with turns:
            _, made_one = await loop.create_connection(
                lambda: Socket(session, request), LOOPBACK, site.port, ssl=trust, server_hostname=name
            )
            made.append(made_one)
            await made_one.opened

    try:
        async with asyncio.timeout(OPEN_SECONDS), asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(one(number))
    except BaseException as error:
        close_sockets(made)
        opened = sum(socket.opened.done() for socket in made)
        if isinstance(error, ExceptionGroup):
            raise BenchError(f"only {opened} of {count} WebSockets were opened: {error.exceptions[0]}") from error
        if isinstance(error, TimeoutError):
            raise BenchError(f"only {opened} of {count} WebSockets were opened in {OPEN_SECONDS:.0f} s") from error
        raise
    return made


def close_sockets(sockets: Sequence[Socket]) -> None:
    """End them all."""
    for socket in sockets:
        socket.close()


async def weigh(talk: Talk, site: Site, count: int) -> tuple[float, list[Socket], list[tuple[str, str]]]:
    """Open `count` idle ones; return bytes of the gateway's memory for each, the sockets, and their sessions."""
    sessions = await _sessions(talk)
    warm = await open_sockets(site, sessions, AT_A_TIME)  # what the first ones bring into memory once and for all
    close_sockets(warm)
    await asyncio.sleep(SETTLE_SECONDS)
    before = (await talk.ask("memory"))["rss"]
    sockets = await open_sockets(site, sessions, count)
    await asyncio.sleep(SETTLE_SECONDS)
    after = (await talk.ask("memory"))["rss"]
    return (after - before) / count, sockets, sessions


async def cut_at_once(talk: Talk, sockets: Sequence[Socket], sessions: Sequence[tuple[str, str]]) -> list[float]:
    """Revoke all sessions at once; return how long each socket stayed open, in seconds from the first revocation."""
    answer = await talk.ask("revoke", ids=[session for session, _ in sessions])
    if answer["ended"] != len(sessions):
        raise BenchError(f"only {answer['ended']} of {len(sessions)} sessions were there to revoke")
    await _until_cut(sockets)
    return [_seconds(socket, answer["at"]) for socket in sockets]


async def cut_one_by_one(talk: Talk, sockets: Sequence[Socket], sessions: Sequence[tuple[str, str]], times: int) -> list[float]:
    """Revoke `times` sessions one after the other, while the others' sockets stay open; return as `cut_at_once`."""
    seconds: list[float] = []
    for session, _ in sessions[:times]:
        mine = [socket for socket in sockets if socket.session == session]
        answer = await talk.ask("revoke", ids=[session])
        await _until_cut(mine)
        seconds += [_seconds(socket, answer["at"]) for socket in mine]
    gone = {session for session, _ in sessions[:times]}
    others = [socket for socket in sockets if socket.session not in gone]
    if any(socket.cut_at is not None for socket in others):
        raise BenchError("WebSockets of sessions that were not revoked were cut too")
    return seconds


def spread(seconds: list[float]) -> dict[str, float]:
    """Return p50, p99 and max."""
    return {"p50": quantile(seconds, 0.5), "p99": quantile(seconds, 0.99), "max": max(seconds), "count": len(seconds)}


async def _sessions(talk: Talk) -> list[tuple[str, str]]:
    made = (await talk.ask("clone", count=SESSIONS, host=f"{APP}.localhost"))["made"]
    return [(session, token) for session, token in made]


async def more_sessions(talk: Talk) -> list[tuple[str, str]]:
    """Make as many sessions anew."""
    return await _sessions(talk)


async def _until_cut(sockets: Sequence[Socket]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CUT_SECONDS):
            while any(socket.cut_at is None for socket in sockets):  # noqa: ASYNC110  each notes its own time; this only waits
                await asyncio.sleep(0.05)


def _seconds(socket: Socket, since: float) -> float:
    return CUT_SECONDS if socket.cut_at is None else socket.cut_at - since

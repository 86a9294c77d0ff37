"""The doors as tests meet them: one `Door` for each way in, each with a whole site behind it, started once for the whole run.

`DOORS` names them; a new front is one line there. Every test that takes the fixture `door` runs at each, and afterwards the same
processes must still run and still answer.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest

from tests.support import caddy, envoy, nginx
from tests.support.fronts_certificates import DeviceCa, client_context
from tests.support.fronts_site import HOST, OVER_SECONDS, Made, Site, open_site
from tests.support.raw import PATIENCE, Line, NoReplyError, Reply, head
from tests.support.raw_upstream import Hit

NAVIGATION: Final = ("Accept: text/html", "Sec-Fetch-Mode: navigate", "Accept-Language: ja")
SCRIPT: Final = ("Accept: application/json", "Sec-Fetch-Mode: cors", "Accept-Language: ja")


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """All that is left of one exchange with a door."""

    replies: list[Reply]
    """What came back until the connection ended or went silent; empty when it was just closed."""
    decisions: list[dict[str, Any]]
    hits: list[Hit]
    unjustified: list[Hit]
    """Requests at the application that no decision allowed."""
    stray: list[bytes]
    """Bytes at the application that are no request."""
    closed: bool
    """Whether the door ended the connection."""

    @property
    def status(self) -> int:
        """Of the first reply; 0 for none."""
        return self.replies[0].status if self.replies else 0


class Door:
    """One way in."""

    def __init__(
        self,
        name: str,
        site: Site,
        port: int,
        *,
        asked: bool = False,
        http2: bool = False,
        pids: Callable[[], frozenset[int]] | None = None,
        errors: Callable[[], str] | None = None,
        access: Callable[[], list[dict[str, Any]]] | None = None,
    ) -> None:
        """`asked`: a front asks us, and forwards by itself. `pids`, `errors`: of the front's processes, and what it said.
        `access`: the lines of its access log, where it writes them at once.
        """
        self.name: Final = name
        self.site: Final = site
        self.address: Final = ("127.0.0.1", port)
        self.asked: Final = asked
        self.http2: Final = http2
        self._pids: Final = pids or frozenset
        self.errors: Final = errors or str
        self.access: Final = access
        self.ca: Final = site.ca
        self.others: Final = DeviceCa(site.folder / "device-ca", "strangers")
        """An authority that nobody trusts."""
        self.tls: Final = client_context(site.ca)
        self._sessions: Final[dict[Made, tuple[str, float]]] = {}
        self.before: frozenset[int] = frozenset()

    @property
    def authority(self) -> str:
        """What people see in the address bar for the application."""
        return f"{HOST}:{self.site.port}"

    # ---- a person's session

    def cookie(self, kind: Made = "live") -> str:
        """The Cookie value of a physician's session, made once for each kind."""
        if not self._sessions:
            # All at once, so that the ones that have to grow old do so while others are used.
            self._sessions.update({each: (self.site.cookie(each), time.monotonic()) for each in get_args(Made)})
        value, made = self._sessions[kind]
        if kind in {"idle", "expired"}:
            time.sleep(max(0.0, made + OVER_SECONDS - time.monotonic()))
        return value

    # ---- as a client

    def line(self, *, sni: str | None = HOST, certificate: Path | None = None) -> Line:
        """Connect."""
        tls = self.tls if certificate is None else client_context(self.ca, certificate=certificate)
        return Line(self.address, tls=tls, sni=sni)

    def head(
        self,
        target: str | bytes = "/x",
        *lines: str | bytes,
        method: str = "GET",
        host: str | bytes | None = "",
        cookie: str | None = None,
    ) -> bytes:
        """A request's head: with the live session unless `cookie` is another or empty; without Host when `host` is None."""
        begin: list[str | bytes] = []
        if host is not None:
            begin.append(b"Host: " + host if isinstance(host, bytes) else f"Host: {host or self.authority}")
        if cookie is None:
            cookie = self.cookie()
        if cookie:
            begin.append(f"Cookie: {cookie}")
        return head(method, target, [*begin, *lines])

    def send(self, data: bytes, *, method: str = "GET", wait: float = 0.12, line: Line | None = None) -> Answered:
        """Send bytes on a connection of their own, read all that comes, and collect what they left behind.

        `wait`: how long to listen for more after a reply on a connection that stays open.
        """
        with line or self.line() as connection:
            connection.send(data)
            replies, closed = self._replies(connection, method, wait)
        return self.collect(replies, closed=closed)

    def collect(self, replies: list[Reply] | None = None, *, closed: bool = False) -> Answered:
        """What the requests so far have left behind."""
        decisions = self.site.decisions()
        hits = list(self.site.upstream.hits)
        return Answered(
            replies=replies or [], decisions=decisions, hits=hits, unjustified=self.site.unjustified(decisions, hits),
            stray=list(self.site.upstream.stray), closed=closed,
        )  # fmt: skip

    @staticmethod
    def _replies(connection: Line, method: str, wait: float) -> tuple[list[Reply], bool]:
        replies: list[Reply] = []
        try:
            while connection.more(wait if replies else PATIENCE):
                replies.append(connection.reply(method if not replies else "GET"))
        except NoReplyError as error:
            if error.received.strip(b"\r\n"):
                raise
        return replies, connection.hung_up

    def get(self, target: str | bytes = "/x", *lines: str | bytes, **options: Any) -> Answered:
        """Ask for one thing, take the reply, and hang up."""
        data = self.head(target, *lines, "Connection: close", **options)
        return self.send(data, method=str(options.get("method", "GET")), wait=0)

    # ---- health

    def begin(self) -> None:
        """Forget what was, and remember which processes there are."""
        self.site.forget()
        self.before = self.processes()

    def processes(self) -> frozenset[int]:
        """The gateway's and the front's."""
        return frozenset((*self.site.pids(), *self._pids()))

    def assert_sound(self) -> None:
        """Every process that was there is still the same, and serves."""
        assert self.site.alive(), self.site.output()
        self.site.forget()
        good = self.get("/sound")
        now = self.processes()
        assert now == self.before, f"ended: {self.before - now}, new: {now - self.before}\n{self.errors()}\n{self.site.output()}"
        assert good.status == 200, (good.replies, self.errors()[-2000:], self.site.output()[-2000:])
        # What the test has begun may still have been on its way.
        assert [hit.target for hit in good.hits if hit.target == b"/sound"] == [b"/sound"]


@contextlib.contextmanager
def embedded() -> Iterator[Door]:
    """The embedded proxy door, with TLS of its own."""
    with open_site() as site:
        yield Door("embedded", site, site.port)


@contextlib.contextmanager
def behind_caddy() -> Iterator[Door]:
    """Debian's Caddy, which asks the forward-auth door."""
    with open_site(caddy.SERVER) as site, caddy.with_caddy(site) as running:
        yield Door("caddy", site, site.port, asked=True, http2=True, pids=running.pids, errors=running.output)


@contextlib.contextmanager
def behind_nginx() -> Iterator[Door]:
    """Debian's nginx, which asks the nginx door (`auth_request`)."""
    with open_site(nginx.SERVER) as site, nginx.with_nginx(site) as running:
        yield Door(
            "nginx", site, site.port, asked=True, http2=True, pids=running.pids, errors=running.output, access=running.lines
        )


@contextlib.contextmanager
def behind_envoy(transport: envoy.Transport) -> Iterator[Door]:
    """Envoy, which asks over HTTP or gRPC."""
    with open_site(envoy.by_socket(transport)) as site, envoy.with_envoy(site) as running:
        yield Door(f"envoy-{transport}", site, site.port, asked=True, http2=True, pids=running.pids, errors=running.output)


DOORS: Final[dict[str, Callable[[], AbstractContextManager[Door]]]] = {
    "embedded": embedded,
    "caddy": behind_caddy,
    "envoy-http": functools.partial(behind_envoy, "http"),
    "envoy-grpc": functools.partial(behind_envoy, "grpc"),
    "nginx": behind_nginx,
}


class OpenDoors:
    """Doors by name, opened when first asked for."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._open: dict[str, Door] = {}
        self._failed: dict[str, Exception] = {}

    def __call__(self, name: str) -> Door:
        if name in self._failed:
            raise AssertionError(f"the door {name} did not open") from self._failed[name]
        if name not in self._open:
            try:
                self._open[name] = self._stack.enter_context(DOORS[name]())
            except Exception as error:
                self._failed[name] = error
                raise
        return self._open[name]


@pytest.fixture(scope="session")
def doors() -> Iterator[OpenDoors]:
    """Every door that a test of this run has asked for."""
    with contextlib.ExitStack() as stack:
        yield OpenDoors(stack)


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, doors: OpenDoors) -> Iterator[Door]:
    """Each door in turn; afterwards it must be as sound as before."""
    found = doors(request.param)
    found.begin()
    yield found
    found.assert_sound()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for something that is about to happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)

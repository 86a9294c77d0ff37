"""What `parse_request` accepts is one spelling, and the application receives it byte for byte."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from gateway.domain.connection import Connection
from gateway.domain.headers import strip_client
from gateway.domain.request import Headers, RawRequest, Refusal, Request, parse_request
from gateway.domain.route import Match, RouteTable
from tests.support.gate import HOST, Gate

T = TypeVar("T")
PIECES = st.one_of(
    st.sampled_from(
        [
            "/",
            "//",
            ".",
            "..",
            "%2e",
            "%2E",
            "%2f",
            "%5c",
            "\\",
            ";",
            "%3b",
            "#",
            "%23",
            "?",
            "%3f",
            "%00",
            "%",
            "%2",
            "%zz",
            "%25",
            "%252e",
            "admin",
            "ADMIN",
            "%61",
            "a",
            "~",
            "%7e",
            "%E6%82%A3",
            "%e6%82%a3",
            "%c0%ae",
            "%ff",
            " ",
            "\t",
            "+",
            "%20",
            "&",
            "=",
            "*",
            "http://",
            "@",
            ":",
            "|",
            "é",
        ]
    ),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=4),
    st.text(max_size=2).map(lambda text: quote(text.encode("utf-8", "surrogatepass"), safe="")),
    st.binary(max_size=2).map(lambda data: quote(data, safe="")),
)
TARGETS = st.lists(PIECES, max_size=12).map("".join).map(lambda text: f"/{text}")
LIKELY = st.lists(
    st.text("abcXYZ019-._~!$&'()*+,=:@患者", min_size=1, max_size=5).filter(lambda text: text not in {".", ".."}),
    min_size=1,
    max_size=4,
).map(lambda parts: "/" + "/".join(quote(part, safe="~!$&'()*+,=:@") for part in parts))
QUERIES = st.one_of(st.just(""), st.just("?"), st.text("abc=&;%2F%20?/[]|{}\\^`\"<>'", max_size=12).map(lambda text: f"?{text}"))
NAMES = st.text("abcXYZ019-_.!~", min_size=1, max_size=8)
VALUES = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12).map(lambda text: text.strip(" \t"))
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)


class Wire:
    """A gate in a loop of its own, before an application that keeps what it receives as bytes."""

    def __init__(self, folder: Path) -> None:
        self.gate = Gate(folder)
        self.received: list[bytes] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.server: asyncio.Server

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.received.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def open(self) -> None:
        await self.gate.open()
        await self.gate.upstream.stop()
        self.server = await asyncio.start_server(self._answer, "127.0.0.1", self.gate.upstream.port)

    async def close(self) -> None:
        await self.gate.door.close(0.2)
        await self.gate.pipeline.streams.stop()
        self.server.close()
        await asyncio.sleep(0.05)

    async def ask(self, data: bytes) -> bytes:
        async with self.gate.connect() as (reader, writer):
            writer.write(data)
            return await reader.readuntil(b"\r\n\r\n")


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    wire = Wire(tmp_path_factory.mktemp("wire"))
    wire.thread.start()
    wire.run(wire.open())
    yield wire
    wire.run(wire.close())
    wire.loop.call_soon_threadsafe(wire.loop.stop)
    wire.thread.join(10)
    wire.loop.close()


def accept(target: str, headers: Headers = ()) -> Request | Refusal:
    raw = RawRequest(
        method="GET", target=target, headers=(("Host", HOST), *headers), connection=Connection(peer_address="192.0.2.1")
    )
    return parse_request(raw)


@given(target=st.one_of(TARGETS, st.tuples(LIKELY, QUERIES).map("".join)))
@settings(max_examples=1000, deadline=None)
def test_an_accepted_path_has_no_other_spelling(target: str) -> None:
    request = accept(target)
    assume(isinstance(request, Request))
    assert isinstance(request, Request)
    assert request.target == target
    # Decoding once gives the segments; decoding again, or resolving, changes nothing that could name another resource.
    assert [unquote(part, errors="strict") for part in request.path[1:].split("/")] == list(request.segments)
    assert all(segment not in {".", ".."} and "/" not in segment and "\\" not in segment for segment in request.segments)
    assert "" not in request.segments[:-1]
    canonical = "/" + "/".join(quote(segment, safe="!$&'()*+,;=:@~") for segment in request.segments)
    assert unquote(canonical) == unquote(request.path)
    # The same resource, spelled with one needless escape, is refused.
    for index, char in enumerate(request.path):
        if char.isalnum() and "%" not in request.path[max(0, index - 2) : index]:
            assert isinstance(accept(f"{request.path[:index]}%{ord(char):02x}{request.path[index + 1 :]}"), Refusal)
            break


@given(target=st.one_of(TARGETS, st.tuples(LIKELY, QUERIES).map("".join)), headers=HEADERS)
@example(target="/a?", headers=[])
@example(target="/a??", headers=[])
@example(target="/a?x=%2E%2e%2F&y=|{}\\^`", headers=[("X-A", "é患\u2028"), ("x-a", ""), ("A_b", "c  d")])
@example(target="/%E6%82%A3%E8%80%85/%20", headers=[("Accept-Encoding", "zstd;q=0.3 , br")])
@example(target="/ ", headers=[])
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_application_receives_what_was_decided_byte_for_byte(wire: Wire, target: str, headers: list[tuple[str, str]]) -> None:
    sent: Headers = tuple(headers)
    # Blanks around the target are the request line's (RFC 9112 §3), of which aiohttp's parser takes several: see docs/doors.md.
    decided = target.strip(" ")
    request = accept(decided, sent)
    match = None if isinstance(request, Refusal) else RouteTable([wire.gate.app]).find(request)
    wire.received.clear()
    lines = [f"{name}: {value}" for name, value in headers]
    data = wire.gate.head("/TARGET", *lines).replace(b"/TARGET", target.encode("utf-8", "surrogatepass"))
    answer = wire.run(wire.ask(data))
    if not isinstance(match, Match) or match.route.id.startswith("ehr.admin"):
        assert wire.received == []
        assert answer.split(b" ")[1][:1] == b"4"
        return
    [head] = wire.received
    first, *fields = head[:-4].split(b"\r\n")
    assert first == b"GET " + decided.encode() + b" HTTP/1.1"
    kept = strip_client(sent, wire.gate.pipeline.protected_names())
    expected = [f"{name}: {value}".encode() for name, value in kept if name.lower() not in {"host", "cookie"}]
    assert fields[1 : 1 + len(expected)] == expected

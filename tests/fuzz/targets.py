"""What is fuzzed: functions of bytes that raise AssertionError (or anything else) when something does not hold.

`canonical`: the canonicaliser. `plain`: the reader of requests beyond doubt, against aiohttp's parser. `response`: the head of an
application's response. `names`, `dates`: what cards say of a person, against what the staff ledger says.
"""

import asyncio
import posixpath
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.domain.connection import Connection
from gateway.domain.headers import PROTECTED, fold, strip_client
from gateway.domain.refusal import Refusal
from gateway.domain.request import RawRequest, Request, parse_request
from gateway.domain.route import App, Route, RouteTable
from gateway.doors.plain import PlainReader
from gateway.doors.proxy.response import ResponseError, parse_head
from idp.proofing.dates import read_date
from idp.proofing.matching import Different, Near, Roster, Same, match, sides
from idp.proofing.names import fold as folded_name
from idp.proofing.names import is_unseen, prepared
from idp.proofing.port import Verified
from tests.fuzz.bundles import BUNDLE_TARGETS
from tests.fuzz.jpki import JPKI_TARGETS
from tests.fuzz.operators import operator
from tests.fuzz.verifiers import attributes, id_token

_PEER: Final = Connection(peer_address="192.0.2.1")
_ROUTES: Final = RouteTable(
    [
        App(
            id="ehr",
            host="ehr.localhost",
            upstream="http://127.0.0.1:9",
            title_ja="ehr",
            title_en="ehr",
            routes=tuple(
                Route(
                    id=f"ehr.{name}", app="ehr", methods=("*",), pattern=pattern, action="read", allow_parameters=name == "matrix"
                )
                for name, pattern in (
                    ("admin", ("admin",)),
                    ("admin_page", ("admin", "**")),
                    ("matrix", ("matrix", "**")),
                    ("rest", ("**",)),
                )
            ),
        )
    ]
)


def canonical(data: bytes) -> None:
    """`METHOD TARGET` on the first line, then field lines: what is accepted has one reading, and passes unchanged."""
    first, *lines = data.decode("utf-8", "surrogateescape").split("\n")
    method, _, target = first.partition(" ")
    fields = tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))
    request = parse_request(RawRequest(method=method, target=target, headers=fields, connection=_PEER))
    if isinstance(request, Refusal):
        assert request.detail.isprintable()
        return
    _assert_one_reading(request, target)
    kept = strip_client(request.headers, frozenset())
    assert strip_client(kept, frozenset()) == kept
    assert not {fold(name) for name, _ in kept} & PROTECTED
    assert all("\r" not in name + value and "\n" not in name + value and "\0" not in value for name, value in kept)
    found = _ROUTES.find(request)
    if not isinstance(found, str):  # a reason is one
        lenient = _lenient(request.path)
        assert (lenient == "/admin" or lenient.startswith("/admin/")) == found.route.id.startswith("ehr.admin"), lenient


def _assert_one_reading(request: Request, target: str) -> None:
    assert request.target == target
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target
    assert [unquote(part, errors="strict") for part in request.path[1:].split("/")] == list(request.segments)
    for segment in request.segments:
        assert segment not in {".", ".."}
        assert segment.partition(";")[0] not in {".", ".."}
        assert not set(segment) & {"/", "\\", "\0", "#", "?"}
        assert unquote(segment) == segment or "%" in segment
    assert "" not in request.segments[:-1]
    again = parse_request(
        RawRequest(method=request.method, target=request.target, headers=request.headers, connection=request.connection)
    )
    assert again == request


def _lenient(path: str) -> str:
    """The path as the most careless application reads it: everything decoded, folded and resolved."""
    for _ in range(5):
        path = unquote(path)
    path = "/".join(segment.partition(";")[0] for segment in path.replace("\\", "/").split("/"))
    return posixpath.normpath("/" + path.lstrip("/")).casefold()


class _Transport(asyncio.Transport):
    """Nothing: the parser wants to be able to pause somebody."""


def plain(data: bytes) -> None:
    """Whatever is taken for plain, aiohttp's parser reads as the same one request, to its last byte."""
    read = PlainReader().read(data)
    if read is None:
        return
    method, target, headers = read
    loop = asyncio.new_event_loop()
    try:
        protocol = BaseProtocol(loop)
        protocol.transport = _Transport()
        parser = HttpRequestParser(protocol, loop, 65_536, max_line_size=8_000, max_field_size=16_384, max_headers=100)
        try:
            messages, upgraded, tail = parser.feed_data(data)
        except HttpProcessingError as error:
            raise AssertionError(f"aiohttp refuses what was taken for plain: {error!r}") from error
    finally:
        loop.close()
    assert len(messages) == 1
    assert (upgraded, tail) == (False, b"")
    message, content = messages[0]
    assert isinstance(message, RawRequestMessage)
    assert content is EMPTY_PAYLOAD
    assert (message.method, message.path, tuple(message.version)) == (method, target, (1, 1))
    assert [(name.decode(), value.decode()) for name, value in message.raw_headers] == list(headers)


def response(data: bytes) -> None:
    """A head of an application's: understood or a ResponseError; what the client gets of it is field lines and nothing else."""
    head, mark, _ = data.partition(b"\r\n\r\n")
    for method in ("GET", "HEAD"):
        try:
            read = parse_head(head + b"\r\n\r\n", method=method)
        except ResponseError:
            continue
        assert mark or data == head
        assert 100 <= read.status <= 999
        assert read.passed == b"" or read.passed.endswith(b"\r\n")
        for line in read.passed.split(b"\r\n")[:-1]:
            name = line.partition(b": ")[0].lower()
            assert not set(line) & {0, 10, 13}
            assert name not in {b"content-length", b"transfer-encoding", b"connection", b"alt-svc"}
            assert not (name == b"set-cookie" and line.partition(b": ")[2].lower().lstrip(b" \t=").startswith(b"__host-gw-"))
        if read.framing == "length":
            assert len(set(read.values(b"content-length"))) == 1
            assert read.values(b"transfer-encoding") == []
        if read.framing == "chunked":
            assert read.values(b"content-length") == []


def names(data: bytes) -> None:
    """Six lines (a name and a reading on each side, places of substitutes, former names): the same only where nothing differs."""
    lines = [*data.decode("utf-8", "replace").split("\n"), *[""] * 6][:6]
    ours, cards, kana, reading, places, formers = lines
    born = "1984-05-12"
    roster = Roster(name=ours, kana=kana, birth_date=born, former_names=tuple(formers.split(",")))
    substitutes = tuple(int(place) for place in re.findall("-?[0-9]{1,9}", places))
    verified = Verified(name=cards, kana=reading, birth_date=born, substitutes=substitutes, former_names=roster.former_names)
    result = match(roster, verified, today=date(2026, 11, 23))
    assert not isinstance(result, Different), "an equal day of birth is always looked at"
    assert isinstance(result, Same) or result.differences
    assert not any(is_unseen(char) for row in sides(roster, verified) for char in row.roster + row.card)
    if isinstance(result, Same):
        compared = (kana, reading) if kana and reading else ()
        read = [*(prepared(text) for text in (ours, *compared)), prepared(cards, substitutes)]
        assert "former_name" in result.notes or not any(text.odd or text.misplaced for text in read)
        assert {"former_name", "substitute", "word_order"} & set(result.notes) or folded_name(ours) == folded_name(cards)
    elsewhere = match(roster, msgspec.structs.replace(verified, birth_date="1990-11-30"), today=date(2026, 11, 23))
    assert isinstance(elsewhere, Near | Different)


def dates(data: bytes) -> None:
    """A text is a day or none; a day is read again from every plain form of it."""
    day = read_date(data.decode("utf-8", "replace"))
    if day is not None:
        forms = (day.isoformat(), f"0{day.isoformat().replace('-', '')}", f"{day.year:04}年{day.month}月{day.day}日")
        assert {read_date(form) for form in forms} == {day}


TARGETS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "canonical": canonical, "plain": plain, "response": response, "names": names, "dates": dates,
    "id_token": id_token, "attributes": attributes, "operator": operator, **JPKI_TARGETS, **BUNDLE_TARGETS,
}  # fmt: skip

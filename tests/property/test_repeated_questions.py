"""What a door knows of a client's earlier questions changes no answer.

Each generated question is asked twice at a door that remembers, and once at one that can't (its limits are too tight for that,
and still wider than any of these heads). Reply and record have to be the same, but for ids.
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jose import jwt

from gateway.domain.request import Limits
from gateway.doors.client import GatewayProtocol
from gateway.doors.envoy.http import EnvoyHttpDoor
from gateway.doors.forward_auth import ForwardAuthDoor
from gateway.doors.limits import ListenerLimits
from gateway.doors.nginx import NginxDoor
from gateway.doors.plain import MAX_FIELDS, MAX_HEAD, PlainReader
from gateway.doors.plain_handler import PlainRequest
from gateway.doors.repeated import Cutter
from gateway.doors.said import Says
from gateway.doors.trust import Fronts
from gateway.kernel.clock import ManualClock
from gateway.leases.mark import Marks
from gateway.sessions.memory import MemorySessions
from tests.support.gate import HOST, Answer, Gate, read_answer

Door = NginxDoor | ForwardAuthDoor | EnvoyHttpDoor
SECRET: Final = b"s" * 32
SAYS: Final = Says(tls=True)
TIGHT: Final = ListenerLimits(head=Limits(header_bytes=MAX_HEAD - 1))
KINDS: Final = ("nginx", "forward_auth", "envoy")
CHANGING: Final = ("X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Client-Port")

METHODS = st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "get", "CONNECT", "", "G T"])
TARGETS = st.sampled_from(
    ["/", "/x", "/x?a=1", "/get/a", "/admin", "/admin/b?c", "/write/a?patient=p1", "/ws/a", "/matrix/a;b", "/a;b", "//", "/%2e",
     "/%41", "/a/../b", "x", "http://a/", "", "/a b", "/a\tb", "/é", "*"]
)  # fmt: skip
PORTS = st.sampled_from(["1", "50123", "50124", "65535", "99999", "123456", "x", "", "-1", "1 ", "1, 2", "\u0661"])
USUAL = st.sampled_from(["/", "/x", "/x?a=1", "/get/a", "/admin", "/write/a?patient=p1"])
MORE = st.sampled_from(
    [
        "Accept: text/html", "Accept: text/event-stream", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Connection: keep-alive", "Connection: close", "Connection: Cookie", "content-length: 0", "Content-Length: 5",
        "Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Cookie: a=b", "cookie: c=d; e",
        "X-Remote-User: root", "XRemote-User: root", "X-Forwarded-Bork: 1", "X_Forwarded_Uri: /y", "X-Original-URL: /public",
        "x-forwarded-uri: /y", "X-FORWARDED-METHOD: POST", "x-forwarded-client-port: 1", "X-Forwarded-Client-Port: 1",
        "X-Forwarded-Uri: /x", "X-Forwarded-Uri:/y", "X-Forwarded-Method : GET", "X-Forwarded-For: 10.0.0.1", "User-Agent: a",
        "Host: other.localhost", "Range: bytes=0-1", "a b: c", "no colon", ": c", "X-Empty:", "TE: trailers",
        "X-Forwarded-Tls-Server-Name: other", "Via: 1.1 x", "é: é", "X-Gateway-Route: other", "Transfer-Encoding: identity",
        "Expect: a",
    ]
)  # fmt: skip
HOSTS = st.sampled_from([HOST, HOST, HOST, f"{HOST}:8080", HOST.upper(), "other.localhost", "", "a b", f"{HOST}, {HOST}"])


def base(kind: str, method: str, target: str, port: str, host: str) -> list[str]:
    facts = ["-Proto: https", "-For: 203.0.113.7", f"-Client-Port: {port}", "-Tls-Version: TLSv1.3", f"-Tls-Server-Name: {HOST}"]
    if kind == "envoy":
        return [f"host: {host}", *(f"x-forwarded{fact.lower()}" for fact in facts), "x-gateway-route: ehr.rest"]
    asked = [f"-Method: {method}", f"-Host: {host}", f"-Uri: {target}"]
    return [*(f"X-Forwarded{fact}" for fact in (*asked, *facts)), "Host: gateway"]


@st.composite
def questions(draw: st.DrawFn, kind: str, cookie: str) -> tuple[str, list[str]]:
    """A request line and field lines: mostly usual, and then something done to them."""
    odd = draw(st.booleans())
    method, target = (draw(METHODS), draw(TARGETS)) if odd else ("GET", draw(USUAL))
    port, host = (draw(PORTS), draw(HOSTS)) if odd else (str(draw(st.integers(1, 60_000))), HOST)
    lines = base(kind, method, target, port, host)
    lines += draw(st.sampled_from([[], [f"Cookie: {cookie}"], [f"Cookie: {cookie}"], [f"cookie: a=b; {cookie}; c"]]))
    lines += draw(st.lists(MORE, max_size=2))
    match draw(st.sampled_from(["", "", "drop", "again", "recase", "shuffle", "blanks"])):
        case "drop":
            lines.pop(draw(st.integers(0, len(lines) - 1)))
        case "again":
            lines.append(draw(st.sampled_from(lines)))
        case "recase":
            number = draw(st.integers(0, len(lines) - 1))
            lines[number] = draw(st.sampled_from([str.lower, str.upper, str.title]))(lines[number])
        case "shuffle":
            lines = draw(st.permutations(lines))
        case "blanks":
            number = draw(st.integers(0, len(lines) - 1))
            lines[number] = draw(st.sampled_from(["{} ", "{}\t", "{}\r", "{}\n", "{}\x00"])).format(lines[number])
    if kind == "envoy":
        return f"GET /ask{target} HTTP/1.1", lines
    line = draw(
        st.sampled_from(["GET /decide HTTP/1.1"] * 6 + ["GET /decide?a HTTP/1.1", "GET /other HTTP/1.1", "GET /decide HTTP/1.0"])
    )
    return line, lines


def head(line: str, lines: list[str]) -> bytes:
    return "\r\n".join([line, *lines, "", ""]).encode("utf-8", "surrogateescape")


# ---------------------------------------------------------------- the cutter


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_what_is_cut_is_plain_and_the_same(data: st.DataObject) -> None:
    line, lines = data.draw(questions(data.draw(st.sampled_from(["nginx", "forward_auth"])), "a=b"))
    whole = head(line, lines)
    question = Cutter(CHANGING, asked_at="/decide").cut(whole)
    if question is None:
        return
    read = PlainReader().read(whole)
    assert read is not None, "not plain"
    method, target, fields = read
    assert (question.method, question.target, question.headers()) == (method, target, fields)
    assert Counter(fields) == Counter([*question.repeated.fields, *zip(CHANGING, question.values, strict=True)])
    named = Counter(name.lower() for name, _ in fields)
    assert [named[name.lower()] for name in CHANGING] == [1, 1, 1]


def test_a_usual_question_is_cut_and_what_repeats_is_the_same_object() -> None:
    cutter = Cutter(CHANGING, asked_at="/decide")
    one, two = (
        cutter.cut(head("GET /decide HTTP/1.1", base("nginx", *asked, HOST)))
        for asked in (("GET", "/a", "1"), ("POST", "/b?c", "22"))
    )
    assert one is not None
    assert two is not None
    assert (one.values, two.values) == (["GET", "/a", "1"], ["POST", "/b?c", "22"])
    assert one.repeated is two.repeated


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("change", [str.lower, str.upper, lambda name: name.replace("-", "_"), lambda name: f"{name} "])
def test_a_second_spelling_of_a_line_that_changes_is_not_cut(name: str, change: Callable[[str], str]) -> None:
    usual = base("nginx", "GET", "/a", "1", HOST)
    data = head("GET /decide HTTP/1.1", [*usual, f"{change(name)}: 1"])
    question = Cutter(CHANGING, asked_at="/decide").cut(data)
    # A name that is another one to HTTP is none of these, and the door refuses it with the rest.
    assert (question is not None) == ("_" in change(name))
    assert Cutter(CHANGING, asked_at="/decide").cut(head("GET /decide HTTP/1.1", usual)) is not None


@pytest.mark.parametrize(("count", "taken"), [(MAX_FIELDS, True), (MAX_FIELDS + 1, False)])
def test_as_many_lines_as_the_plain_reader_takes(count: int, taken: bool) -> None:
    usual = base("nginx", "GET", "/a", "1", HOST)
    data = head("GET /decide HTTP/1.1", [*usual, *(f"X-{number}: a" for number in range(count - len(usual)))])
    assert (PlainReader().read(data) is not None) == taken
    assert (Cutter(CHANGING, asked_at="/decide").cut(data) is not None) == taken


# ---------------------------------------------------------------- the doors


class Bench:
    """Both ways of each door, on unix sockets, behind one pipeline whose clock stands still."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = Gate(folder)
        self.gate.clock = ManualClock()  # type: ignore[assignment]  # a clock like any other
        self.gate.sessions = MemorySessions(clock=self.gate.clock)
        self.marks = Marks(SECRET)
        self.doors: dict[str, Door] = {}

    async def open(self) -> None:
        await self.gate.open()
        for kind in KINDS:
            for name, limits in ((f"{kind}.quick", ListenerLimits()), (f"{kind}.slow", TIGHT)):
                door = self.doors[name] = self._door(kind, limits)
                await door.listener.listen_unix(str(self.folder / name))

    def _door(self, kind: str, limits: ListenerLimits) -> Door:
        more: dict[str, Any] = {
            "pipeline": self.gate.pipeline, "present": self.gate.presenter, "fronts": Fronts(uids=[os.getuid()]), "says": SAYS,
            "limits": msgspec.structs.replace(limits, linger_seconds=0.05),
        }  # fmt: skip
        if kind == "nginx":
            return NginxDoor(**more, clock=self.gate.clock, secret=SECRET)
        return EnvoyHttpDoor(**more) if kind == "envoy" else ForwardAuthDoor(**more)

    async def close(self) -> None:
        for door in self.doors.values():
            await door.listener.close(0.1)
        await self.gate.close()

    async def ask(self, name: str, data: bytes) -> tuple[Answer, list[Any]]:
        """The answer, the records that it left, and the client that was decided about."""
        before, shown = len(self.gate.log.records), len(self.gate.posture.connections)
        reader, writer = await asyncio.open_unix_connection(str(self.folder / name))
        try:
            writer.write(data)
            async with asyncio.timeout(10):
                answer = await read_answer(reader)
        finally:
            writer.close()
        records = [_same(msgspec.json.decode(msgspec.json.encode(record))) for record in self.gate.log.records[before:]]
        return answer, [*records, *self.gate.posture.connections[shown:]]

    def knows(self, name: str, data: bytes) -> bool:
        """Whether the door has worked out something that holds for this question."""
        cutter = self.doors[name].listener.cutter
        question = cutter.cut(data) if cutter is not None else None
        return question is not None and question.repeated.known is not None


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Bench]]:
    with asyncio.Runner() as runner:
        bench = Bench(tmp_path_factory.mktemp("repeated"))
        runner.run(bench.open())
        yield runner, bench
        runner.run(bench.close())


def _same(value: Any) -> Any:
    """Without what differs between two decisions about the same."""
    if isinstance(value, dict):
        return {key: _same(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_same(part) for part in value]
    return re.sub(r"dec_[0-9a-f]{32}", "dec", value) if isinstance(value, str) else value


def _shown(answer: Answer) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in answer.headers:
        match name:
            case "X-Gateway-Assertion":
                shown: object = {**jwt.get_unverified_claims(value), "jti": ""}
            case "X-Gateway-Use":
                shown = value.split(".")[1:3]
            case "X-Gateway-Answer" | "Date":
                shown = "differs"
            case _:
                shown = _same(value)
        fields.setdefault(name, []).append(shown)
    return {"status": answer.status, "fields": fields, "body": _same(answer.body.decode())}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_remembered_changes_no_answer(kind: str, bench: tuple[asyncio.Runner, Bench]) -> None:
    runner, site = bench
    seen: Counter[tuple[bool, int]] = Counter()

    async def check(line: str, lines: list[str]) -> None:
        data = head(line, lines)
        slow, expected = await site.ask(f"{kind}.slow", data)
        for _ in range(2):
            quick, records = await site.ask(f"{kind}.quick", data)
            assert _shown(quick) == _shown(slow)
            assert records == expected
            if kind == "nginx":
                await rest(line, lines, quick, slow)
        seen[site.knows(f"{kind}.quick", data), quick.status] += 1

    async def rest(line: str, lines: list[str], quick: Answer, slow: Answer) -> None:
        """A yes is marked for this request; a no opens for it, and for it only, and says the same."""
        sent = {name.lower(): value.strip(" \t") for name, _, value in (field.partition(":") for field in lines)}
        if quick.status == 200:
            about = {"method": sent["x-forwarded-method"], "host": sent["x-forwarded-host"], "address": "203.0.113.7"}
            path = sent["x-forwarded-uri"].partition("?")[0]
            assert site.marks.verify(quick.values("X-Gateway-Use")[0], path=path, **about) is not None
        elif quick.values("X-Gateway-Answer"):
            pages = []
            for answer in (quick, slow):
                opened = head("GET /answer HTTP/1.1", [*lines, f"X-Gateway-Answer: {answer.values('X-Gateway-Answer')[0]}"])
                page, records = await site.ask("nginx.slow", opened)
                pages.append((_shown(page), records))
            assert pages[0] == pages[1]

    @settings(max_examples=250, deadline=None)
    @given(questions(kind, site.gate.cookie))
    def each(question: tuple[str, list[str]]) -> None:
        runner.run(check(*question))

    each()
    # Where a request comes from counts only when it changes something: what its GETs have taught must not let it in.
    if kind != "envoy":
        origin = ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site", f"Cookie: {site.gate.cookie}"]
        for method, status in (("GET", 200), ("POST", 401 if kind == "nginx" else 403), ("GET", 200)):
            line, lines = "GET /decide HTTP/1.1", [*base(kind, method, "/x", "1", HOST), *origin]
            runner.run(check(line, lines))
            answer, _ = runner.run(site.ask(f"{kind}.quick", head(line, lines)))
            assert answer.status == status
    known = {status for remembered, status in seen if remembered}
    assert 200 in known, "nothing was remembered"
    assert {status for _, status in seen} > {200}, "nothing was refused"
    assert site.doors[f"{kind}.slow"].listener.cutter is None, "both ways are the same"


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_front_said_is_not_taken_for_another_fronts_word(kind: str, bench: tuple[asyncio.Runner, Bench]) -> None:
    runner, site = bench
    listener = site.doors[f"{kind}.quick"].listener
    line = "GET /ask/x HTTP/1.1" if kind == "envoy" else "GET /decide HTTP/1.1"
    data = head(line, [*base(kind, "GET", "/x", "1", HOST), f"Cookie: {site.gate.cookie}", f"User-Agent: {kind}"])

    async def said_by(front: str) -> str:
        question = listener.cutter.cut(data) if listener.cutter is not None else None
        assert question is not None
        request = PlainRequest(cast("GatewayProtocol", None), question.method, question.target, (), question)
        assert (await listener.answer_plain(request, front)).status == 200
        assert question.repeated.known is not None
        return site.gate.posture.connections[-1].front

    assert [runner.run(said_by(front)) for front in ("uid:1", "uid:2", "uid:1")] == ["uid:1", "uid:2", "uid:1"]

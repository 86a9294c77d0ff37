"""Who answers for which host; what happens when a part behind the door breaks."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.domain.decision import Decision
from gateway.domain.request import Request
from gateway.doors.limits import ListenerLimits
from gateway.doors.listener import Listener, assert_parser
from gateway.doors.proxy import create_proxy
from gateway.kernel.errors import ConfigError
from gateway.present.mapper import Reply
from tests.support.gate import HOST, IDP, PORTAL, Gate, read_answer


class Provider:
    """An aiohttp application in the identity provider's place."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.life: list[str] = []
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self._handle)
        self.app.on_startup.append(self._start)
        self.app.on_cleanup.append(self._stop)
        self.app.on_response_prepare.append(self._prepare)

    async def _start(self, app: web.Application) -> None:
        self.life.append("start")

    async def _stop(self, app: web.Application) -> None:
        self.life.append("stop")

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Prepared"] = request.path

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        if request.path == "/redirect":
            raise web.HTTPFound("/elsewhere")
        if request.path == "/bug":
            raise ZeroDivisionError
        return web.Response(text=f"provider {await request.text()}")


@pytest.fixture
async def provided(tmp_path: Path) -> AsyncIterator[tuple[Gate, Provider]]:
    gate, provider = Gate(tmp_path), Provider()
    await gate.open(idp=(IDP, provider.app))
    yield gate, provider
    await gate.close()
    assert provider.life == ["start", "stop"]


async def test_the_providers_host_is_the_providers(provided: tuple[Gate, Provider]) -> None:
    gate, provider = provided
    lines = ("X-Forwarded-For: 1.2.3.4", "X-Remote-User: evil", "Content-Length: 2", "Expect: 100-continue")
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/token?a=%2Fb", *lines, method="POST", host=IDP))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok" + gate.head("/again", host=IDP))
        answer = await read_answer(reader)
        assert (answer.status, answer.body) == (200, b"provider ok")
        assert answer.values("X-Prepared") == ["/token"]
        assert answer.values("Server") == ["gateway"]
        assert (await read_answer(reader)).body == b"provider "
    [seen, _] = provider.seen
    assert (seen.raw_path, seen.remote, seen.scheme) == ("/token?a=%2Fb", "127.0.0.1", "http")
    assert "X-Forwarded-For" not in seen.headers
    assert "X-Remote-User" not in seen.headers
    assert gate.upstream.hits == []


async def test_the_providers_exceptions_are_answers(provided: tuple[Gate, Provider]) -> None:
    gate, _ = provided
    answer = await gate.get("/redirect", host=IDP)
    assert (answer.status, answer.values("Location")) == (302, ["/elsewhere"])


async def test_the_providers_bugs_are_a_503(provided: tuple[Gate, Provider], caplog: pytest.LogCaptureFixture) -> None:
    gate, _ = provided
    with caplog.at_level(logging.CRITICAL, "aiohttp.server"):
        answer = await gate.get("/bug", host=IDP)
    assert answer.status == 503
    assert b"ZeroDivision" not in answer.body


async def test_the_provider_gets_canonical_requests_only(provided: tuple[Gate, Provider]) -> None:
    gate, provider = provided
    assert (await gate.get("/a/../b", host=IDP)).status == 400
    assert (await gate.get("/a", "Origin: https://evil.example", method="POST", host=IDP)).status == 403
    assert provider.seen == []


async def test_the_portal_and_its_paths(gate: Gate) -> None:
    assert (await gate.get("/", host=PORTAL)).body == b"portal 0"
    assert (await gate.get("/.gateway/sign-in", cookie="")).body == b"portal 0"
    assert [request.host for request in gate.portal.requests] == [PORTAL, HOST]
    assert gate.upstream.hits == []


@pytest.mark.parametrize("path", ["/.gateway", "/.gatewayx", "/x/.gateway/a", "/.Gateway/x"])
async def test_paths_that_only_look_like_the_portals(gate: Gate, path: str) -> None:
    await gate.get(path, cookie="")
    assert gate.portal.requests == []


async def test_the_portals_paths_on_an_unknown_host_are_nobodys(gate: Gate) -> None:
    assert (await gate.get("/.gateway/x", host="evil.example")).status == 421
    assert gate.portal.requests == []


async def test_the_portal_sees_no_protected_headers(gate: Gate) -> None:
    await gate.get("/", "X-Remote-User: evil", "X-Forwarded-Proto: https", host=PORTAL)
    [request], [http] = gate.portal.requests, gate.portal.seen
    for name in ("X-Remote-User", "X-Forwarded-Proto"):
        assert request.header(name) is None
        assert name not in http.headers


async def test_without_a_record_nothing_passes(gate: Gate) -> None:
    gate.log.fail()
    assert (await gate.get("/x")).status == 503
    assert (await gate.get("/a//b")).status == 503
    assert (await gate.send(gate.head("/x", "Host: b"))).status == 503
    assert gate.upstream.hits == []


async def test_a_bug_in_the_pipeline_is_a_503_and_nothing_passes(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(request: Request, door: str) -> None:
        raise ZeroDivisionError(request.path + door)

    monkeypatch.setattr(gate.pipeline, "decide", broken)
    answer = await gate.get("/x")
    assert answer.status == 503
    assert b"ZeroDivision" not in answer.raw
    assert gate.upstream.hits == []


async def test_a_bug_after_the_decision_is_a_503_with_a_completion(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate.pipeline, "outgoing", lambda allow: [("X-Remote-User", "a\r\nX-Evil: b")])
    answer = await gate.get("/x")
    assert answer.status == 503
    assert gate.upstream.hits == []
    [completion] = await gate.completions()
    assert completion.status == 503


@pytest.fixture
def forms(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]] | None]:
    """What the pages were given of the forms that were being sent."""
    given: list[list[tuple[str, str]] | None] = []
    reply = gate.presenter.reply

    def note(decision: Decision, **more: Any) -> Reply:
        given.append(more.get("form"))
        return reply(decision, **more)

    monkeypatch.setattr(gate.presenter, "reply", note)
    return given


FORM = "Content-Type: application/x-www-form-urlencoded"


@pytest.mark.parametrize("kind", [FORM, f"{FORM}; charset=UTF-8", FORM.upper().replace("CONTENT-TYPE", "content-type")])
@pytest.mark.parametrize(("target", "signed_in", "status"), [("/admin", True, 403), ("/x", False, 401)])
async def test_a_small_form_is_given_back(
    gate: Gate, forms: list[object], kind: str, target: str, signed_in: bool, status: int
) -> None:
    body = "drug=アスピリン&note=a%26b&empty=".encode()
    more = {} if signed_in else {"cookie": ""}
    head = gate.head(target, kind, f"Content-Length: {len(body)}", method="POST", **more)
    assert (await gate.send(head + body)).status == status
    assert forms == [[("drug", "アスピリン"), ("note", "a&b"), ("empty", "")]]


@pytest.mark.parametrize("body", [b"\xff=\xfe", b"a" * 70_000, b"a=b&" * 300])
async def test_a_form_that_can_not_be_given_back(gate: Gate, forms: list[object], body: bytes) -> None:
    answer = await gate.send(gate.head("/admin", FORM, f"Content-Length: {len(body)}", method="POST") + body)
    assert answer.status == 403
    assert forms == [None]


async def test_an_upload_is_not_read_for_a_page(gate: Gate, forms: list[object]) -> None:
    head = gate.head("/admin", "Content-Type: multipart/form-data; boundary=x", "Content-Length: 1000000", method="POST")
    assert (await gate.send(head)).status == 403
    assert forms == [None]


async def test_http_1_0_is_answered_and_closed(gate: Gate) -> None:
    got = await gate.send_all(gate.head("/x").replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b"from the application")


async def test_a_stream_to_http_1_0_ends_with_the_connection(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(http)
        await response.write(b"piece")
        return response

    gate.upstream.answer = answer
    got = await gate.send_all(gate.head("/x").replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert b"Transfer-Encoding" not in got
    assert got.endswith(b"\r\n\r\npiece")


async def test_ranges_conditions_and_encodings_are_the_applications_business(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        if "If-None-Match" in http.headers:
            return web.Response(status=304, headers={"ETag": '"1"'})
        headers = {"Content-Range": "bytes 0-1/5", "Content-Encoding": "gzip"}
        return web.Response(status=206, body=b"\x1f\x8b", headers=headers)

    gate.upstream.answer = answer
    ranged = await gate.get("/x", "Range: bytes=0-1", "Accept-Encoding: gzip, zstd")
    assert (ranged.status, ranged.body, ranged.values("Content-Encoding")) == (206, b"\x1f\x8b", ["gzip"])
    assert gate.upstream.hits[0].values("Range") == ["bytes=0-1"]
    assert gate.upstream.hits[0].values("Accept-Encoding") == ["gzip, zstd"]
    unchanged = await gate.send(gate.head("/x", 'If-None-Match: "1"'), bodyless=True)
    assert (unchanged.status, unchanged.values("ETag")) == (304, ['"1"'])


async def test_redirects_of_the_application_are_not_followed(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/"})

    gate.upstream.answer = answer
    answered = await gate.get("/x")
    assert (answered.status, answered.values("Location")) == (302, ["http://169.254.169.254/"])
    assert len(gate.upstream.hits) == 1


async def test_a_kept_connection_that_the_application_closed_is_replaced(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(text="ok")
        assert http.transport is not None
        asyncio.get_running_loop().call_later(0.05, http.transport.close)
        return response

    gate.upstream.answer = answer
    for method in ("GET", "POST", "GET", "DELETE"):
        assert (await gate.get("/x", method=method)).status == 200
        await asyncio.sleep(0.08)


async def test_an_early_answer_to_a_large_upload_reaches_the_client(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=413, text="too large")

    gate.upstream.answer = answer
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Content-Length: 100000000", method="PUT") + b"x" * 100_000)
        answered = await read_answer(reader)
    assert (answered.status, answered.body) == (413, b"too large")
    assert answered.values("Connection") == ["close"]


async def test_an_application_that_echoes_while_it_reads(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(http)
        async for piece in http.content.iter_any():
            await response.write(piece)
        return response

    gate.upstream.answer = answer
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Content-Length: 6", method="POST") + b"one")
        await reader.readuntil(b"one")
        writer.write(b"two")
        await reader.readuntil(b"two\r\n0\r\n\r\n")


@pytest.mark.parametrize("hosts", [(PORTAL, HOST), (HOST, IDP), (IDP, IDP)])
async def test_two_owners_of_one_host_do_not_start(gate: Gate, hosts: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="same host"):
        create_proxy(
            pipeline=gate.pipeline, present=gate.presenter, portal=gate.portal, portal_host=hosts[0], clock=gate.clock,
            apps=[gate.app], idp=(hosts[1], web.Application()),
        )  # fmt: skip


async def test_limits_that_can_not_be_told_apart_do_not_start(gate: Gate) -> None:
    with pytest.raises(ConfigError, match="told apart"):
        Listener(
            gate.door._handle, on_refused=gate.door._head_refused, on_failed=gate.door._failed,
            limits=ListenerLimits(field_length=8_000),
        )  # fmt: skip


def test_the_c_parser_is_in_use() -> None:
    assert_parser()


def test_without_the_c_parser_nothing_starts() -> None:
    code = "from gateway.doors.listener import assert_parser; assert_parser()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "without its C extension" in done.stderr


async def test_a_malformed_body_for_the_provider_is_refused(provided: tuple[Gate, Provider]) -> None:
    gate, _ = provided
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/token", "Transfer-Encoding: chunked", method="POST", host=IDP))
        await asyncio.sleep(0.1)
        writer.write(b"zz\r\n")
        assert (await read_answer(reader)).status == 400
        assert await reader.read() == b""
    assert [record.reason for record in gate.decisions()] == ["framing"]

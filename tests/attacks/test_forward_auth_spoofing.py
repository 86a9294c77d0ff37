"""The forward-auth door asked by strangers, about nothing, or about two things (CVE-2026-40575, CVE-2026-76835, -34457)."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from jose import jwt

from gateway.doors.forward_auth import ForwardAuthDoor, create_forward_auth
from gateway.kernel.errors import ConfigError
from tests.support.gate import HOST, Answer, Gate, read_answer

SAID = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": HOST,
    "X-Forwarded-Uri": "/x?a=1",
    "X-Forwarded-For": "203.0.113.7",
}


class Asked:
    """A forward-auth door beside the proxy door of a gate."""

    def __init__(self, gate: Gate, door: ForwardAuthDoor, port: int) -> None:
        self.gate = gate
        self.door = door
        self.port = port

    async def ask(self, *more: str, line: str = "GET /decide HTTP/1.1", cookie: str | None = None, **said: str | None) -> Answer:
        fields = {**SAID, **{f"X-Forwarded-{name.title()}": value for name, value in said.items()}}
        lines = [line, "Host: gateway.internal", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
        if cookie is None:
            cookie = self.gate.cookie
        if cookie:
            lines.append(f"Cookie: {cookie}")
        data = "\r\n".join([*lines, *more, "", ""]).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(10):
                return await read_answer(reader)
        finally:
            writer.close()


@pytest.fixture
async def asked(gate: Gate) -> AsyncIterator[Asked]:
    door = create_forward_auth(pipeline=gate.pipeline, present=gate.presenter, trusted_peers=["127.0.0.1"])
    port = await door.listen("127.0.0.1", 0)
    yield Asked(gate, door, port)
    await door.close(0.1)


async def test_a_person_who_may(asked: Asked) -> None:
    answer = await asked.ask()
    assert answer.status == 200
    assert answer.values("X-Remote-User") == ["dr.sato"]
    assert answer.values("X-Remote-Name") == ["%E4%BD%90%E8%97%A4 %E6%81%B5"]
    claims = jwt.get_unverified_claims(answer.values("X-Gateway-Assertion")[0])
    assert (claims["aud"], claims["sub"]) == ("ehr", "usr_1")
    [record] = asked.gate.decisions()
    assert (record.source.door, record.source.address, record.path, record.query_names) == (
        "forward_auth", "203.0.113.7", "/x", ("a",),
    )  # fmt: skip


async def test_a_person_who_may_not(asked: Asked) -> None:
    assert (await asked.ask(uri="/admin")).status == 403
    assert (await asked.ask(cookie="")).status == 401
    browser = await asked.ask("Accept: text/html", "Sec-Fetch-Mode: navigate", cookie="")
    assert (browser.status, browser.values("Location")) == (302, ["/.gateway/sign-in?rd=%2Fx%3Fa%3D1"])


@pytest.mark.parametrize("name", ["method", "proto", "host", "uri", "for"])
async def test_a_front_that_leaves_something_out(asked: Asked, name: str) -> None:
    answer = await asked.ask(line="GET /decide?rd=/public HTTP/1.1", **{name: None})
    assert answer.status == 400
    assert [record.reason for record in asked.gate.decisions()] == ["forwarded_missing"]


@pytest.mark.parametrize("name", ["Method", "Proto", "Host", "Uri", "For"])
async def test_a_client_that_adds_its_own(asked: Asked, name: str) -> None:
    answer = await asked.ask(f"x-forwarded-{name.lower()}: {SAID[f'X-Forwarded-{name}']}")
    assert answer.status == 400
    assert [record.reason for record in asked.gate.decisions()] == ["forwarded_malformed"]


@pytest.mark.parametrize(
    "line",
    [
        "X_Forwarded_Uri: /public",
        "X-Original-URL: /public",
        "X-Rewrite-URL: /public",
        "X-Forwarded_Uri: /public",
        "User-Agent: GoogleHC/1.0",
    ],
)
async def test_a_client_that_names_another_path(asked: Asked, line: str) -> None:
    assert (await asked.ask(line, uri="/admin")).status == 403
    assert asked.gate.decisions()[-1].path == "/admin"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"uri": "/public/../admin"}, "target_dot_segments"),
        ({"uri": "/%61dmin"}, "target_encoding"),
        ({"uri": "//admin"}, "target_empty_segment"),
        ({"uri": "/admin;x"}, "target_parameters"),
        ({"uri": "/public#/admin"}, "target_bytes"),
        ({"uri": "http://ehr.localhost/admin"}, "target_form"),
        ({"uri": ""}, "target_form"),
        ({"uri": "/x, /admin"}, "target_bytes"),
        ({"host": "ehr.localhost."}, "host_malformed"),
        ({"host": "ehr.localhost, evil.example"}, "host_malformed"),
        ({"host": "gateway.internal"}, "host_unknown"),
        ({"method": "get"}, "method"),
        ({"method": "GET, POST"}, "method"),
        ({"method": "CONNECT"}, "method"),
        ({"proto": "javascript"}, "forwarded_malformed"),
        ({"for": "a"}, "forwarded_malformed"),
    ],
)
async def test_what_it_is_asked_about_is_canonical_or_refused(asked: Asked, said: dict[str, str], reason: str) -> None:
    answer = await asked.ask(**said)
    assert 400 <= answer.status < 500
    assert [record.reason for record in asked.gate.decisions()] == [reason]
    assert answer.values("X-Gateway-Assertion") == []


async def test_a_cross_site_request_is_refused_here_too(asked: Asked) -> None:
    answer = await asked.ask("Origin: https://evil.example", method="POST")
    assert answer.status == 403
    assert asked.gate.decisions()[-1].reason == "cross_site"
    assert (await asked.ask(f"Origin: https://{HOST}", method="POST")).status == 200


@pytest.mark.parametrize(
    "line", ["GET / HTTP/1.1", "POST /decide HTTP/1.1", "GET /decide/ HTTP/1.1", "GET /x/../decide HTTP/1.1"]
)
async def test_only_one_endpoint(asked: Asked, line: str) -> None:
    assert (await asked.ask(line=line)).status == 404
    assert asked.gate.decisions()[-1].reason == "no_route"


async def test_framing_and_connection_of_the_subrequest_are_its_own(asked: Asked) -> None:
    answer = await asked.ask("Connection: close, cookie", "Content-Length: 0", "TE: trailers")
    assert answer.status == 200


async def test_a_stranger_who_asks(gate: Gate) -> None:
    door = create_forward_auth(pipeline=gate.pipeline, present=gate.presenter, trusted_peers=["192.0.2.1", "10.0.0.0/8"])
    stranger = Asked(gate, door, await door.listen("127.0.0.1", 0))
    answer = await stranger.ask()
    assert answer.status == 403
    assert answer.values("X-Gateway-Assertion") == []
    [record] = gate.decisions()
    assert (record.outcome, record.reason, record.source.address) == ("refuse", "untrusted_peer", "127.0.0.1")
    await door.close(0.1)


async def ask_by_socket(gate: Gate, folder: Path, uids: list[int]) -> Answer:
    door = create_forward_auth(pipeline=gate.pipeline, present=gate.presenter, trusted_uids=uids)
    path = str(folder / "decide.sock")
    await door.listen_unix(path)
    reader, writer = await asyncio.open_unix_connection(path)
    lines = ["GET /decide HTTP/1.1", "Host: x", f"Cookie: {gate.cookie}", *(f"{name}: {value}" for name, value in SAID.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await read_answer(reader)
    writer.close()
    await door.close(0.1)
    return answer


async def test_a_trusted_user_on_a_unix_socket(gate: Gate, tmp_path: Path) -> None:
    assert (await ask_by_socket(gate, tmp_path, [os.getuid()])).status == 200


async def test_another_user_on_a_unix_socket(gate: Gate, tmp_path: Path) -> None:
    assert (await ask_by_socket(gate, tmp_path, [os.getuid() + 1])).status == 403
    assert gate.decisions()[-1].reason == "untrusted_peer"


@pytest.mark.parametrize(
    "peers",
    [
        [],
        ["0.0.0.0/0"],
        ["::/0"],
        ["0.0.0.0/1", "128.0.0.0/1"],
        ["10.0.0.1", "0.0.0.0/0"],
        ["front"],
        ["10.0.0.1/8"],
        ["*"],
        [""],
    ],
)
async def test_it_does_not_start_without_a_real_list(gate: Gate, peers: list[str]) -> None:
    with pytest.raises(ConfigError, match="forward_auth"):
        create_forward_auth(pipeline=gate.pipeline, present=gate.presenter, trusted_peers=peers)

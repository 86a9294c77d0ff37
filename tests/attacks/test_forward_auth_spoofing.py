"""The forward-auth door asked by strangers, about nothing, or about two things (CVE-2026-40575, CVE-2026-76835, -34457)."""

import asyncio
import base64
import contextlib
import datetime as dt
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from jose import jwt

from gateway.doors.forward_auth import ForwardAuthDoor
from gateway.doors.said import Says
from gateway.doors.trust import Fronts
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

    def __init__(self, gate: Gate, path: str) -> None:
        self.gate = gate
        self.path = path

    async def ask(self, *more: str, line: str = "GET /decide HTTP/1.1", cookie: str | None = None, **said: str | None) -> Answer:
        fields = {**SAID, **{f"X-Forwarded-{name.title()}": value for name, value in said.items()}}
        lines = [line, "Host: gateway.internal", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
        if cookie is None:
            cookie = self.gate.cookie
        if cookie:
            lines.append(f"Cookie: {cookie}")
        data = "\r\n".join([*lines, *more, "", ""]).encode()
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(data)
            async with asyncio.timeout(10):
                return await read_answer(reader)
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def opened(gate: Gate, folder: Path, uid: int, says: Says | None = None) -> AsyncIterator[Asked]:
    fronts = Fronts(uids=[uid])
    door = ForwardAuthDoor(pipeline=gate.pipeline, present=gate.presenter, fronts=fronts, says=says or Says())
    path = str(folder / "decide.sock")
    await door.listener.listen_unix(path)
    try:
        yield Asked(gate, path)
    finally:
        await door.listener.close(0.1)


@pytest.fixture
async def asked(gate: Gate, tmp_path: Path) -> AsyncIterator[Asked]:
    async with opened(gate, tmp_path, os.getuid()) as asked:
        yield asked


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
    answer = await asked.ask(line, uri="/admin")
    # Another spelling of what a front says: the front would pass it on, so it is refused.
    assert answer.status == (400 if "_" in line else 403)
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


async def test_a_stranger_who_asks(gate: Gate, tmp_path: Path) -> None:
    async with opened(gate, tmp_path, os.getuid() + 1) as stranger:
        answer = await stranger.ask()
    assert answer.status == 403
    assert answer.values("X-Gateway-Assertion") == []
    [record] = gate.decisions()
    assert (record.outcome, record.reason, record.source.address) == ("refuse", "untrusted_peer", "")


@pytest.mark.parametrize(
    "line",
    [
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-key: x",
        "Accept: text/event-stream",
        "Accept: Text/Event-Stream;q=1, */*",
        "Accept: application/json, text/event-stream",
    ],
)
async def test_streams_that_nobody_could_cut(asked: Asked, line: str) -> None:
    answer = await asked.ask(line)
    assert 400 <= answer.status < 500
    assert [record.reason for record in asked.gate.decisions()] == ["upgrade"]


def certificate_text() -> str:
    """A certificate as RFC 9440 writes it; nobody verified it, which is the point."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stolen")])
    now = dt.datetime.now(dt.UTC)
    end = now + dt.timedelta(days=1)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, end).sign(
        key, hashes.SHA256()
    )
    return f":{base64.b64encode(built.public_bytes(Encoding.DER)).decode()}:"


CERTIFICATE = certificate_text()


@pytest.mark.parametrize("name", ["Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Server-Name"])
async def test_a_client_that_says_what_its_front_never_does(asked: Asked, name: str) -> None:
    """Neither believed nor refused: the front does not speak of it, so whoever wrote it is the client."""
    value = HOST if name.endswith("Name") else CERTIFICATE
    assert (await asked.ask(f"{name}: {value}", "X-Forwarded-Tls-Version: TLSv1.3")).status == 200
    assert asked.gate.posture.connections[-1].client_certificate is None
    assert asked.gate.posture.connections[-1].tls_version == "forwarded"


async def test_a_certificate_in_the_field_that_the_front_does_not_use(gate: Gate, tmp_path: Path) -> None:
    says = Says(tls=True, certificate="x-forwarded-tls-client-cert")
    lines = ("X-Forwarded-Tls-Version: TLSv1.3", f"X-Forwarded-Tls-Server-Name: {HOST}")
    async with opened(gate, tmp_path, os.getuid(), says) as asked:
        assert (await asked.ask(*lines, f"Client-Cert: {CERTIFICATE}")).status == 200
        assert (await asked.ask(*lines, f"X-Forwarded-Tls-Client-Cert: {CERTIFICATE}")).status == 200
        assert [seen.client_certificate is not None for seen in gate.posture.connections] == [False, True]
        twice = (f"X-Forwarded-Tls-Client-Cert: {CERTIFICATE}", f"x-forwarded-tls-client-cert: {CERTIFICATE}")
        assert (await asked.ask(*lines, *twice)).status == 400
    assert gate.decisions()[-1].reason == "forwarded_malformed"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((), "forwarded_malformed"),
        (("X-Forwarded-Tls-Version: TLSv1.1",), "forwarded_malformed"),
        (("X-Forwarded-Tls-Version: ",), "forwarded_malformed"),
        (("X-Forwarded-Tls-Version: TLSv1.3",), "host_sni_mismatch"),
        (("X-Forwarded-Tls-Version: TLSv1.3", "X-Forwarded-Tls-Server-Name: public.localhost"), "host_sni_mismatch"),
        (("X-Forwarded-Tls-Version: TLSv1.3", f"X-Forwarded-Tls-Server-Name: {HOST}", "X-Forwarded-Client-Port: x"),
         "forwarded_malformed"),
        (("X-Forwarded-Tls-Version: TLSv1.3", f"X-Forwarded-Tls-Server-Name: {HOST}", "X-Forwarded-Tls-Client-Cert: :bm8=:"),
         "forwarded_malformed"),
    ],
)  # fmt: skip
async def test_a_front_that_is_unclear_about_tls(gate: Gate, tmp_path: Path, lines: tuple[str, ...], reason: str) -> None:
    says = Says(tls=True, certificate="x-forwarded-tls-client-cert")
    async with opened(gate, tmp_path, os.getuid(), says) as asked:
        assert 400 <= (await asked.ask(*lines)).status < 500
    assert [record.reason for record in gate.decisions()] == [reason]

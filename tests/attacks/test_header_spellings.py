"""Headers that say who somebody is, in every spelling that some server folds together.

CVE-2025-64484, CVE-2026-54763, CVE-2026-88011, CVE-2026-33433, CVE-2026-30851, CVE-2024-45410, CVE-2026-29054.
"""

import pytest
from jose import jwt

from gateway.domain.headers import fold
from tests.support.gate import HOST, Gate

NAMES = ["X-Remote-User", "X-Remote-Name", "X-Gateway-Assertion", "X-Request-Id", "X-Forwarded-Email", "X-Auth-Request-User"]


def spellings(name: str) -> list[str]:
    return [
        name,
        name.lower(),
        name.upper(),
        name.replace("-", "_"),
        name.replace("-", "."),
        name.replace("-", "_", 1),
        name.replace("-", ""),
        f"{name}_",
        f"_{name}",
        name.replace("-", "~"),
        name.replace("-", "--"),
        name.swapcase(),
        name.replace("X-", "X!"),
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST", "HEAD"])
async def test_the_clients_copy_never_arrives(gate: Gate, name: str, method: str) -> None:
    lines = [f"{spelling}: evil" for spelling in spellings(name)]
    await gate.send(gate.head("/x", *lines, *lines, method=method), bodyless=method == "HEAD")
    [hit] = gate.upstream.hits
    found = [(key, value) for key, value in hit.headers if fold(key) == fold(name)]
    assert "evil" not in [value for _, value in found]
    assert len(found) <= 1


@pytest.mark.parametrize(
    "name", ["X-Remote-User", "x-remote-user", "X_Remote_User", "X-Remote-User, X-Gateway-Assertion, close, host"]
)
@pytest.mark.parametrize("connection", ["Connection", "connection", "CONNECTION"])
async def test_a_connection_field_does_not_take_ours_away(gate: Gate, connection: str, name: str) -> None:
    await gate.get("/x", f"{connection}: keep-alive, {name}", "X-Remote-User: evil")
    [hit] = gate.upstream.hits
    assert hit.values("X-Remote-User") == ["dr.sato"]
    assert hit.values("Host") == [f"{HOST}:{gate.port}"]
    [assertion] = hit.values("X-Gateway-Assertion")
    claims = jwt.get_unverified_claims(assertion)
    assert (claims["sub"], claims["aud"], claims["jti"]) == ("usr_1", "ehr", gate.decisions()[-1].id)


async def test_a_connection_field_that_lists_the_cookie_signs_out(gate: Gate) -> None:
    answer = await gate.get("/x", "Connection: cookie")
    assert answer.status == 401
    assert gate.upstream.hits == []


@pytest.mark.parametrize(
    "line",
    [
        "X-Client-Cert: MIIB",
        "Ssl-Client-Cert: MIIB",
        "SSL_CLIENT_S_DN: CN=ward",
        "ssl-client-verify: SUCCESS",
        "X-SSL-Client-Cert: MIIB",
        "X-Forwarded-Client-Cert: By=x",
        "Client-Cert: :MIIB:",
        "X-Forwarded-Tls-Client-Cert: MIIB",
        "X-Client-Verify: SUCCESS",
        "X-Real-IP: 10.0.0.1",
        "True-Client-IP: 10.0.0.1",
        "CF-Connecting-IP: 10.0.0.1",
        "X_Real_Ip: 10.0.0.1",
        "X-Envoy-External-Address: 10.0.0.1",
        "Remote-User: root",
        "Remote_Groups: admin",
        "OIDC_CLAIM_sub: root",
        "OIDC-CLAIM-email: root",
        "X-Authentik-Username: root",
        "X-Pomerium-Claim-Email: root",
        "X-Authenticated-User: root",
        "X.Authenticated.User: root",
        "Proxy: evil.example:80",
        "X-Auth-User: root",
    ],
)
async def test_what_only_a_front_may_say(gate: Gate, line: str) -> None:
    await gate.get("/x", line)
    [hit] = gate.upstream.hits
    assert fold(line.partition(":")[0]) not in [fold(name) for name, _ in hit.headers]


async def test_identity_headers_in_trailers(gate: Gate) -> None:
    head = gate.head("/x", "Transfer-Encoding: chunked", "Trailer: X-Remote-User", "TE: trailers", method="POST")
    await gate.send(head + b"2\r\nok\r\n0\r\nX-Remote-User: evil\r\nX-Gateway-Assertion: evil\r\n\r\n")
    [hit] = gate.upstream.hits
    assert hit.body == b"ok"
    assert hit.values("X-Remote-User") == ["dr.sato"]
    assert hit.values("Trailer") == []
    assert hit.values("TE") == []


@pytest.mark.parametrize(
    "line", ["Content_Length: 100", "Transfer_Encoding: chunked", "Content.Length: 3", "Coo-kie: a=b", "Cookie_: a=b"]
)
async def test_odd_spellings_of_framing_and_cookies(gate: Gate, line: str) -> None:
    await gate.get("/x", line)
    [hit] = gate.upstream.hits
    assert hit.values(line.partition(":")[0]) == []


async def test_hop_by_hop_fields_end_here(gate: Gate) -> None:
    names = [
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "TE",
        "Trailer",
        "HTTP2-Settings",
        "X-Listed",
    ]
    lines = [f"{name}: value" for name in names]
    await gate.get("/x", *lines, "Connection: X-Listed", "X-Kept: value")
    [hit] = gate.upstream.hits
    assert [name for name in names if hit.values(name)] == []
    assert hit.values("X-Kept") == ["value"]
    assert hit.values("Connection") == []


@pytest.mark.parametrize("line", [b"X-A: \xff", b"User-Agent: \xe3\x81", b"X-A: \xed\xa0\x80", b"X-A: a\x01b", b"X-A: a\x7fb"])
async def test_values_that_are_no_text(gate: Gate, line: bytes) -> None:
    data = gate.head("/x", "TO: REPLACE").replace(b"TO: REPLACE", line)
    answer = await gate.send(data)
    assert answer.status == 400
    assert gate.decisions()[-1].outcome == "refuse"
    assert gate.upstream.hits == []


@pytest.mark.parametrize(
    "line", [b"X-A: a\x00b", b"X-A: a\rb", b"X A: b", b"X-A\x00: b", b": b", b"X-\xc3\xa9: b", b" folded", b"X-A: a\r\n folded"]
)
async def test_fields_that_are_none(gate: Gate, line: bytes) -> None:
    data = gate.head("/x", "TO: REPLACE").replace(b"TO: REPLACE", line)
    answer = await gate.send(data)
    assert answer.status == 400
    assert gate.decisions()[-1].outcome == "refuse"
    assert gate.upstream.hits == []


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "Origin", "Content-Type", "Sec-Fetch-Site", "Referer"])
async def test_a_field_that_two_readers_could_take_differently(gate: Gate, name: str) -> None:
    lines = ["Cookie: a=b"] if name == "Cookie" else [f"{name}: a", f"{name.lower()}: b"]
    answer = await gate.get("/x", *lines)
    assert answer.status == 400
    assert gate.decisions()[-1].reason == "header_malformed"
    assert gate.upstream.hits == []

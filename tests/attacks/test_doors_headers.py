"""Facts, section 2, at every door: headers that say who somebody is, or where they come from, sent by the client.

CVE-2025-64484, CVE-2026-54763, -88011, -33433, -30851, -52845, -25748, -39858, -35051, -33495, -57210, -34457, -41181,
CVE-2024-45410, CVE-2026-29054, CVE-2024-47070, CVE-2022-23632, and their like.
"""

import pytest
from jose import jwt

from gateway.domain.cookies import SESSION_COOKIE
from gateway.domain.headers import fold
from tests.support.fronts import SCRIPT, Door
from tests.support.fronts_site import HOST, PORTAL

EVIL = "evil-4711"
NAMES = ["X-Remote-User", "X-Remote-Name", "X-Remote-Department", "X-Gateway-Assertion", "X-Request-Id"]
FOREIGN = ["X-Forwarded-Email", "X-Auth-Request-User", "Remote-Groups", "X-Authenticated-User"]


def spellings(name: str) -> list[str]:
    """The same name to some server: CGI, WSGI, PHP and nginx fold characters."""
    return [
        name,
        name.lower(),
        name.upper(),
        name.swapcase(),
        name.replace("-", "_"),
        name.replace("-", "."),
        name.replace("-", "_", 1),
        name.replace("-", ""),
        f"{name}_",
        f"_{name}",
        name.replace("-", "~"),
        name.replace("-", "--"),
        name.replace("X-", "X!", 1),
        name.replace("-", "+"),
        name.replace("-", "|"),
    ]


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST", "HEAD"])
@pytest.mark.parametrize("name", NAMES + FOREIGN)
def test_the_clients_copy_never_arrives_CVE_2025_64484_2026_54763_88011_33433(door: Door, name: str, method: str) -> None:  # noqa: N802  ids
    for spelling in spellings(name):
        door.site.forget()
        more = ("Content-Length: 0",) if method == "POST" else ()
        answered = door.get("/x", f"{spelling}: {EVIL}", f"{spelling}: {EVIL}", *more, method=method)
        assert answered.unjustified == []
        # A front that refuses the spelling by itself is as good; otherwise the application hears our own word, and once at most.
        assert (answered.status, len(answered.hits)) in {(200, 1), (400, 0)}, (spelling, answered)
        for hit in answered.hits:
            assert EVIL.encode() not in hit.head, (spelling, hit.head)
            found = [value for key, value in hit.fields if fold(key) == fold(name)]
            assert len(found) <= 1
            if name == "X-Remote-User":
                assert found == ["dr.sato"]


def test_a_fact_that_is_empty_leaves_no_room_for_the_clients_CVE_2026_30851_52845(door: Door) -> None:  # noqa: N802  ids
    """The session has no department, so there is nothing to set: the client's own must go all the same."""
    for spelling in spellings("X-Remote-Department"):
        door.site.forget()
        answered = door.get("/x", f"{spelling}: {EVIL}")
        assert all(EVIL.encode() not in hit.head for hit in answered.hits), spelling
        assert all("".join(hit.values("X-Remote-Department")) == "" for hit in answered.hits)


@pytest.mark.parametrize("cookie", ["garbage", "a" * 43, "", "a" * 5000, "%00", "=;=", '"' * 50, "\u3042"])
def test_a_malformed_session_cookie_lets_nobody_in_CVE_2026_25748(door: Door, cookie: str) -> None:  # noqa: N802  an id
    answered = door.get("/x", "X-Remote-User: root", *SCRIPT, cookie=f"{SESSION_COOKIE}={cookie}")
    assert answered.status in {401, 400, 431}
    assert answered.hits == []


@pytest.mark.parametrize(
    "value",
    ["X-Remote-User", "x-remote-user", "X_Remote_User", "X-Gateway-Assertion, X-Request-Id", "close, X-Forwarded-For, host"],
)
@pytest.mark.parametrize("connection", ["Connection", "connection"])
def test_connection_does_not_take_ours_away_CVE_2024_45410_2026_29054(door: Door, connection: str, value: str) -> None:  # noqa: N802  ids
    answered = door.send(door.head("/x", f"{connection}: {value}", f"X-Remote-User: {EVIL}"))
    assert answered.unjustified == []
    assert (answered.status, len(answered.hits)) in {(200, 1), (400, 0)}
    for hit in answered.hits:
        assert hit.values("X-Remote-User") == ["dr.sato"]
        assert hit.values("X-Forwarded-Host") == [door.authority]
        [assertion] = hit.values("X-Gateway-Assertion")
        claims = jwt.get_unverified_claims(assertion)
        assert (claims["sub"], claims["aud"], claims["jti"]) == ("usr_1", "ehr", hit.values("X-Request-Id")[0])


CERTIFICATES = [
    "X-Client-Cert",
    "Ssl-Client-Cert",
    "SSL_CLIENT_S_DN",
    "ssl-client-verify",
    "X-SSL-Client-Cert",
    "X-Forwarded-Client-Cert",
    "Client-Cert",
    "Client-Cert-Chain",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "X-Client-Verify",
    "X-Forwarded-Tls-Version",
    "X-Forwarded-Tls-Server-Name",
    "x-forwarded-client-cert",
    "X_Forwarded_Tls_Client_Cert",
]


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_device_certificate_by_header(door: Door, name: str) -> None:
    """Traefik a669522e: nobody showed a certificate, so nobody has one; and the application hears of none."""
    _, der = door.site.devices.issue("ward-by-header")
    import base64

    text = base64.b64encode(der).decode()
    device = door.site.register(der)
    for value in (text, f":{text}:", f'Cert="{text}"', "SUCCESS", "MIIB"):
        door.site.forget()
        answered = door.get("/ward/1", f"{name}: {value}")
        assert answered.status in {403, 400}, answered
        assert answered.hits == []
        door.site.forget()
        assert all(value.encode() not in hit.head for hit in door.get("/x", f"{name}: {value}").hits)
    door.site.block(device)


ADDRESSES = [
    "X-Forwarded-For: 10.20.0.9",
    "X-Real-IP: 10.20.0.9",
    "True-Client-IP: 10.20.0.9",
    "CF-Connecting-IP: 10.20.0.9",
    "Client-IP: 10.20.0.9",
    "X_Real_Ip: 10.20.0.9",
    "X-Forwarded-For: a",
    "X-Forwarded-For: ",
    "X-Forwarded-For: 10.20.0.9, 127.0.0.1",
    "X-Envoy-External-Address: 10.20.0.9",
    "Forwarded: for=10.20.0.9",
    "x-forwarded-for: 10.20.0.9",
    "X_Forwarded_For: 10.20.0.9",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Proto: javascript",
]


@pytest.mark.parametrize("line", ADDRESSES)
def test_where_the_client_says_it_is_CVE_2024_47070_2026_39858_35051_33495(door: Door, line: str) -> None:  # noqa: N802  ids
    answered = door.get("/x", line, line)
    assert answered.unjustified == []
    assert (answered.status, len(answered.hits)) in {(200, 1), (400, 0)}
    for record in answered.decisions:
        assert record["source"].get("address", "127.0.0.1") == "127.0.0.1"
    for hit in answered.hits:
        assert b"10.20.0.9" not in hit.head
        assert hit.values("X-Forwarded-For") == ["127.0.0.1"]
        assert hit.values("X-Forwarded-Proto") == ["https"]
        assert hit.values("X-Forwarded-Port") in ([], [str(door.site.port)])


HOSTS = [
    f"{HOST}.",
    f"{HOST},evil.example",
    "evil.com,for=127.0.0.1",
    f"{HOST};for=127.0.0.1",
    f"user@{HOST}",
    f"{HOST}:0",
    f"{HOST}:65536",
    f"{HOST}:80a",
    f"{HOST}:80:80",
    f"http://{HOST}",
    f"{HOST}/admin",
    "ehr..localhost",
    f".{HOST}",
    "ehr_x.localhost",
    "[::1]:80",
    f"{HOST} evil",
    "ehr%2elocalhost",
    "ＥＨＲ.localhost",
    "ehr.local\u212aost",
    "evil.example",
    "localhost",
    "127.0.0.1",
    f"{HOST}.evil.example",
    "gateway",
    "unix",
    "default",
    "",
]


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_is_not_ours_CVE_2022_23632_2026_57210(door: Door, host: str) -> None:  # noqa: N802  ids
    answered = door.get("/x", host=host.encode() or b" ")
    assert 400 <= answered.status < 500, answered
    assert answered.hits == []
    assert all(record["outcome"] == "refuse" for record in answered.decisions)


@pytest.mark.parametrize(
    "lines",
    [(f"Host: {HOST}",), ("Host: evil.example",), (f"host: {PORTAL}",), ("Host : evil.example",), (" Host: evil.example",)],
)
def test_two_hosts_CVE_2026_34525(door: Door, lines: tuple[str, ...]) -> None:  # noqa: N802  an id
    answered = door.get("/x", *lines)
    assert 400 <= answered.status < 500
    assert answered.hits == []


def test_no_host(door: Door) -> None:
    for data in (b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET /x HTTP/1.0\r\n\r\n"):
        door.site.forget()
        answered = door.send(data)
        assert 400 <= answered.status < 500
        assert answered.hits == []


@pytest.mark.parametrize(
    "name", ["X-Forwarded-Host", "X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Uri", "X-Forwarded-For"]
)
def test_a_forwarded_field_twice(door: Door, name: str) -> None:
    """Heimdall GHSA-4jgr-pg2m-m988."""
    answered = door.get("/admin", f"{name}: /public", f"{name}: /x")
    assert answered.status in {400, 403}
    assert answered.hits == []


def test_a_health_checkers_user_agent_CVE_2026_34457(door: Door) -> None:  # noqa: N802  an id
    for agent in ("GoogleHC/1.0", "kube-probe/1.29", "ELB-HealthChecker/2.0"):
        for target in ("/x", "/ping", "/oauth2/auth", "/healthz", "/decide"):
            door.site.forget()
            answered = door.get(target, f"User-Agent: {agent}", *SCRIPT, cookie="")
            assert answered.status == 401
            assert answered.hits == []


def test_the_preflight_is_no_way_round_OIDC_CLAIM(door: Door) -> None:  # noqa: N802  a header's name
    lines = (
        "Origin: https://evil.example",
        "Access-Control-Request-Method: DELETE",
        "OIDC_CLAIM_sub: root",
        "X-Remote-User: root",
    )
    answered = door.get("/x", *lines, cookie="", method="OPTIONS")
    assert answered.status in {401, 403}
    assert answered.hits == []
    assert [record["outcome"] for record in answered.decisions] in (["challenge"], ["refuse"])
    door.site.forget()
    answered = door.get("/x", *lines[1:], method="OPTIONS")
    for hit in answered.hits:
        assert b"root" not in hit.head


@pytest.mark.parametrize(
    "line",
    [b"X-A: \xff", b"User-Agent: \xe3\x81", b"X-A: \xed\xa0\x80", b"X-A: a\x01b", b"X-A: a\x7fb", b"X-A: a\x00b", b"X-A: a\rb"],
)
def test_a_value_that_is_no_text_GHSA_9g5w(door: Door, line: bytes) -> None:  # noqa: N802  an id
    answered = door.get("/x", line)
    if door.name.startswith("envoy") and line == b"X-A: a\rb":
        # Envoy drops the CR: what was decided on is what goes on.
        assert [hit.values("X-A") for hit in answered.hits] == [["ab"]]
        return
    assert 400 <= answered.status < 500, answered
    assert answered.hits == []


@pytest.mark.parametrize(
    "line", [b"X A: b", b"X-A\x00: b", b": b", b"X-\xc3\xa9: b", b" folded", b"X-A: a\r\n folded", b"X-A: a\r\n\tfolded", b"X-A"]
)
def test_a_field_that_is_none_and_obs_fold(door: Door, line: bytes) -> None:
    """A front may drop a line that is none, or make a fold one value (RFC 9112 §5.2): then nobody hears of the line."""
    answered = door.get("/x", line)
    assert answered.unjustified == []
    assert 400 <= answered.status < 500 or (answered.status == 200 and door.asked)
    for hit in answered.hits:
        assert b"\r\n folded" not in hit.head
        assert b"\r\n\tfolded" not in hit.head
        assert [value for name, value in hit.fields if value == "b" or not name] == []


def test_a_refusal_shows_the_application_neither_cookie_nor_credentials_CVE_2026_41181(door: Door) -> None:  # noqa: N802  an id
    for target in ("/admin", "/touch/1"):
        door.get(target, "Authorization: Bearer secret-token")
    door.get("/x", "Authorization: Bearer secret-token", cookie="")
    assert door.site.upstream.hits == []


def test_the_applications_never_hear_our_cookies(door: Door) -> None:
    answered = door.get("/x", cookie=f"a=1; {door.cookie()}; __Host-gw-device=zzz; b=2; __Host-gw-bind=yyy")
    assert answered.status == 200
    [hit] = answered.hits
    assert b"__Host-gw-" not in hit.head
    assert [value.replace(" ", "") for value in hit.values("Cookie")] == ["a=1;b=2"]

"""Facts, section 1, at every door: a path that the policy reads in one way and the application in another.

The policy forbids `/admin` and `/admin/**`; everything else is allowed, so whatever spelling of it slips past is served by the
application, and seen there. CVE-2026-33494, -42274, -42272, -41059, -40575, -76835, -73511, -73553, -50559, -27588, -27587,
-32811, -9800, -66490, CVE-2025-54576, CVE-2023-47106, CVE-2021-32779, -32637, CVE-2023-33189, -27487, and their like.
"""

import re

import pytest

from tests.support.fronts import Answered, Door
from tests.support.fronts_site import HOST, IDP, OTHER_HOST, PORTAL

REFUSED: dict[str, list[str | bytes]] = {
    "dot_segments_CVE_2026_33494_66490": [
        "/public/../admin",
        "/public/../admin/secrets",
        "/user/../admin/secrets?param=test",
        "/info/../admin",
        "/./admin",
        "/admin/.",
        "/x;y/../admin",
        "/public/..;/admin",
        "/..;a=b/admin",
        "/..",
        "/../admin",
        "/foo../../admin",
        "/public/..%3b/admin",
    ],
    "encoded_dots_CVE_2026_42274": [
        "/user/%2e%2e/admin",
        "/user/%2E%2E/admin",
        "/foo/.%2e/bar",
        "/foo/%2e./bar",
        "/foo%2f%2e%2e/bar",
        "/user/%2e%2e%2fadmin",
        "/foo/%2e%2e%5cbar",
        "/scripts/%2E%2E%5CWindows/x",
    ],
    "encoded_slash_CVE_2026_42272": ["/public%2fadmin", "/public%2Fadmin", "/public%5cadmin", "/public%5Cadmin"],
    "needless_and_double_encoding": ["/%61dmin", "/%2561dmin", "/public/%252e%252e/admin", "/public%252fadmin", "/adm%69n"],
    "broken_encoding_CVE_2021_32637": [
        "/admin%",
        "/admin%2",
        "/admin%zz",
        "/admin%u002f",
        "/%c0%ae%c0%ae/admin",
        "/%ff",
        "/%ed%a0%80",
    ],
    "encoded_control_characters": ["/admin%00", "/admin%00.png", "/admin%0d%0aX:y", "/admin%09", "/admin%7f", "/admin%c2%85"],
    "fragment_CVE_2026_41059_2023_47106_2021_32779": [
        b"/app1/admin#foo",
        b"/public#/../admin",
        b"/public?x#/admin",
        "/public/secret%23/endpoint",
        "/foo/secret%23/bar",
        "/public%3f/admin",
    ],
    "empty_segments_CVE_2026_2880": ["//admin", "///admin", "/public//admin", "/admin//", "//"],
    "matrix_parameters_CVE_2026_73511_73553": [
        "/admin;x=1/secret",
        "/admin;x=1",
        "/secret;foo=bar",
        "/public;/admin",
        "/;/admin",
    ],
    "encoded_semicolon_CVE_2026_50559": ["/admin%3Bx", "/admin%3bx=1/secret"],
    "backslashes": [b"/public\\..\\admin", b"/public/..\\admin", b"/admin\\"],
    "bytes_that_no_path_has": [b"/admin|x", b'/admin"', b"/<admin>", b"/{admin}", b"/admin^", b"/admin`"],
    "raw_bytes": [
        b"/public/\x01/admin",
        b"/public/\x7f/admin",
        b"/public/\x80",
        b"/\xff",
        "/é",
        "/／admin",
        b"/public\x00/admin",
    ],
    "lookalikes_of_a_route_that_stands_first": ["/ADMIN", "/Admin/x", "/admin.", "/admin%20", "/%EF%BD%81dmin", "/admin/"],
    "other_forms": ["admin", "*", "public/../admin", "?/admin", "http:/admin"],
}


_BROKEN = rb"%(?![0-9A-Fa-f]{2})"
_ENVOY = rb"#|[\x00-\x1f\x7f-\xff]|^[^/]"
OWN = {
    "embedded": rb"(?!)",
    "nginx": _BROKEN + rb"|%00|[\x00-\x1f\x7f]|^/\.\.(/|$)|^[^/]",
    "caddy": _BROKEN + rb"|[\x00-\x1f\x7f]|^(?!/|\*|http:)",
    "envoy-http": _ENVOY,
    "envoy-grpc": _ENVOY,
}
"""What each front refuses before it asks (docs/doors.md). Every other refusal has a record of ours."""


def assert_stopped(door: Door, target: str | bytes, answered: Answered) -> None:
    """A clear no, a record of it unless the front said it by itself, and no touch of the application."""
    assert 400 <= answered.status < 500, answered
    assert answered.hits == []
    assert answered.stray == []
    outcomes = [record["outcome"] for record in answered.decisions]
    sent = target if isinstance(target, bytes) else target.encode()
    assert outcomes == ["refuse"] or (outcomes == [] and re.search(OWN[door.name], sent)), outcomes


@pytest.mark.parametrize("flaw", REFUSED)
def test_a_target_that_two_servers_read_differently(door: Door, flaw: str) -> None:
    for target in REFUSED[flaw]:
        door.site.forget()
        answered = door.get(target)
        try:
            assert_stopped(door, target, answered)
        except AssertionError as error:
            raise AssertionError(f"{target!r}: {error}") from error


@pytest.mark.parametrize(
    "target", [f"https://{HOST}/admin", f"http://{HOST}/admin", "http://evil.example/admin", f"https://{HOST}/public"]
)
def test_absolute_form(door: Door, target: str) -> None:
    """A front may turn it into origin form (RFC 9112 §3.2.2): then the decision must be about that path, for that host."""
    answered = door.get(target)
    assert 400 <= answered.status < 500 or (answered.status == 200 and target.endswith("/public")), answered
    assert answered.unjustified == []
    assert [hit.target for hit in answered.hits] == ([b"/public"] if answered.status == 200 else [])
    assert all(record["host"] in {HOST, ""} or record["outcome"] == "refuse" for record in answered.decisions)


_UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
)
WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "asked": ("/public", ()),
    "page_of_the_gateway": ("/.gateway/sign-in?rd=%2F", ()),
    "question_of_the_front": ("/.gateway/decide", ()),
    "event_stream": ("/public", ("Accept: text/event-stream",)),
    "upgrade": ("/public", _UPGRADE),
}
"""The ways that a front may send a request on: each by other words of the request."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("named", [HOST, OTHER_HOST, PORTAL, IDP, "evil.example"])
def test_an_absolute_form_is_refused_on_every_way(door: Door, way: str, named: str) -> None:
    """It may name another host than `Host` does: whoever goes by the one, and passes on the other, is led around the check."""
    path, lines = WAYS[way]
    port = door.site.port
    for target in (f"https://{named}{path}", f"https://{named}:{port}{path}", f"HTTPS://a@{named.upper()}:{port}{path}"):
        for host in {door.authority, f"{named}:{port}"}:
            for double in (False, True):
                door.site.forget()
                data = door.head(target, *lines, "Connection: close", host=host)
                answered = door.send(data.replace(b" ", b"  ", 1) if double else data, wait=0)
                assert 400 <= answered.status < 500, (target, host, double, answered)
                assert (answered.hits, answered.stray) == ([], [])
                assert {record["outcome"] for record in answered.decisions} <= {"refuse"}, (target, host, double, answered)


@pytest.mark.parametrize("way", WAYS)
def test_two_hosts_are_refused_on_every_way(door: Door, way: str) -> None:
    path, lines = WAYS[way]
    for first, second in ((PORTAL, HOST), (HOST, PORTAL), (HOST, OTHER_HOST), (OTHER_HOST, HOST)):
        door.site.forget()
        answered = door.get(path, f"Host: {second}:{door.site.port}", *lines, host=f"{first}:{door.site.port}")
        assert 400 <= answered.status < 500, (first, second, answered)
        assert (answered.hits, answered.stray) == ([], [])


@pytest.mark.parametrize("target", [f"{HOST}:443", "evil.example:22", "/x"])
def test_authority_form(door: Door, target: str) -> None:
    """CVE-2026-71324: a tunnel is nobody's here."""
    answered = door.send(door.head(target, method="CONNECT") + door.head("/admin"))
    assert 400 <= answered.status < 600, answered
    assert answered.hits == []
    # A front may go on reading: what follows is a request of its own then, and denied.
    assert all(record["outcome"] == ("deny" if record["path"] == "/admin" else "refuse") for record in answered.decisions)


@pytest.mark.parametrize(
    "target",
    ["/admin", "/admin?x=/public", "/admin?/public/x", "/admin/x?next=%2Fpublic", "/admin?", "/admin??", "/admin?error=/denied"],
)
def test_the_query_never_decides_the_route_CVE_2025_54576_2026_9800(door: Door, target: str) -> None:  # noqa: N802  an id
    answered = door.get(target)
    assert answered.status == 403
    assert [(record["outcome"], record["path"]) for record in answered.decisions] == [("deny", target.partition("?")[0])]
    assert answered.hits == []


OTHERS = [
    "X-Forwarded-Uri: /public/x",
    "X-Original-URL: /public",
    "X-Rewrite-URL: /public",
    "X-Original-URI: /public",
    "X-Envoy-Original-Path: /public",
    "X-Envoy-Original-Host: lab.localhost",
    "X-HTTP-Method-Override: DELETE",
    "X-HTTP-Method: DELETE",
    "X-Forwarded-Method: HEAD",
    "X-Original-Method: HEAD",
    "X-Forwarded-Host: lab.localhost",
    "X-Host: lab.localhost",
    "X-Forwarded-Prefix: /public",
    "X-Forwarded-Prefix: %0d//a.com",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Scheme: http",
    "X-Forwarded-Port: 1",
    "Forwarded: host=lab.localhost;proto=http",
    "X_Forwarded_Uri: /public/x",
    "X.Forwarded.Uri: /public/x",
    "x-forwarded-uri: /public/x",
    "X-Auth-Request-Redirect: /public",
    "X-Replaced-Path: /public",
]


@pytest.mark.parametrize("line", OTHERS)
def test_a_header_names_another_path_CVE_2026_40575_76835_2023_27487(door: Door, line: str) -> None:  # noqa: N802  ids
    denied = door.get("/admin", line)
    assert denied.status in {400, 403}
    assert denied.hits == []
    assert [record["path"] for record in denied.decisions if record["outcome"] != "refuse"] in ([], ["/admin"])
    door.site.forget()
    allowed = door.get("/public/y", line, "Content-Length: 0", method="POST")
    assert allowed.unjustified == []
    name, _, value = line.partition(": ")
    for hit in allowed.hits:
        assert (hit.method, hit.target) == ("POST", b"/public/y")
        assert value not in hit.values(name)
        assert hit.values("X-Forwarded-Host") == [door.authority]
    assert [
        (record["host"], record["path"], record["route"]) for record in allowed.decisions if record["outcome"] == "allow"
    ] in (
        [],
        [(HOST, "/public/y", "ehr.rest")],
    )


@pytest.mark.parametrize("host", ["EHR.localhost", "Ehr.LocalHost:9", "ehr.localhost:8080"])
def test_the_case_of_the_host_CVE_2026_42273_27588_48794(door: Door, host: str) -> None:  # noqa: N802  ids
    assert door.get("/admin", host=host).status == 403
    answered = door.get("/x", host=host)
    assert answered.unjustified == []
    assert [hit.values("X-Forwarded-Host") for hit in answered.hits] in ([], [[door.authority]])


def test_a_parameter_where_the_route_asked_for_it_arrives_unchanged(door: Door) -> None:
    answered = door.get("/matrix/page;v=1/x?a=%2F;b")
    assert answered.status == 200
    assert [hit.target for hit in answered.hits] == [b"/matrix/page;v=1/x?a=%2F;b"]

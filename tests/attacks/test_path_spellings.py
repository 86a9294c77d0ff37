"""A path that the policy reads in one way and the application in another (CVE-2026-33494, -42274, -40575 and many more).

The policy forbids `/admin` and `/admin/**`; everything else is allowed. Each spelling below is some server's `/admin`.
"""

import pytest

from tests.support.gate import Gate, assert_refused

DOTS = [
    "/public/../admin",
    "/public/../admin/secrets",
    "/user/../admin/secrets?param=test",
    "/info/../admin",
    "/./admin",
    "/admin/.",
    "/admin/..",
    "/public/..",
    "/public/./../admin",
    "/x;y/../admin",
    "/public/..;/admin",
    "/..;a=b/admin",
    "/.;/admin",
    "/.",
    "/..",
    "/../admin",
    "/public/..%3b/admin",
]
ENCODED = [
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/%41dmin",
    "/adm%69n",
    "/public/%2e%2e/admin",
    "/public/%2E%2E/admin",
    "/user/%2e%2e%2fadmin",
    "/foo/.%2e/admin",
    "/foo/%2e./admin",
    "/foo%2f%2e%2e/admin",
    "/foo/%2e%2e%5cadmin",
    "/scripts/%2E%2E%5CWindows/admin",
    "/public%2f..%2fadmin",
    "/public%2Fadmin",
    "/public%5cadmin",
    "/public%5Cadmin",
    "/admin%00",
    "/admin%00.png",
    "/public%23/../admin",
    "/public/secret%23/endpoint",
    "/foo/secret%23/bar",
    "/public%3f/admin",
    "/public/%252e%252e/admin",
    "/%2561dmin",
    "/public%252fadmin",
    "/admin%2",
    "/admin%",
    "/admin%zz",
    "/admin%u002f",
    "/%c0%ae%c0%ae/admin",
    "/%c0%afadmin",
    "/%ff",
    "/%e3%81",
    "/%ed%a0%80",
    "/admin%0d%0aX:y",
    "/admin%09",
    "/admin%7f",
    "/admin%c2%85",
]
EMPTY = ["//admin", "///admin", "/public//admin", "/admin//", "//", "/public///../admin"]
BYTES = [
    b"/admin#foo",
    b"/app1/admin#foo",
    b"/public#/../admin",
    b"/public\\..\\admin",
    b"/public/..\\admin",
    b"\\admin",
    b"/admin\\",
    b"/admin|x",
    b'/admin"',
    b"/<admin>",
    b"/{admin}",
    b"/admin^",
    b"/admin`",
    b"/public?x#/admin",
]
FORMS = [
    "http://ehr.localhost/admin",
    "http://evil.example/admin",
    "https://ehr.localhost/public",
    "admin",
    "*",
    "public/../admin",
    "http:/admin",
    "?/admin",
]
PARAMETERS = [
    "/admin;x=1/secret",
    "/admin;x=1",
    "/secret;foo=bar",
    "/public;/admin",
    "/admin%3Bx",
    "/admin%3bx=1/secret",
    ";/admin",
    "/;/admin",
]


@pytest.mark.parametrize("target", DOTS)
async def test_dot_segments(gate: Gate, target: str) -> None:
    await assert_refused(gate, gate.head(target), reason="target_dot_segments", status=400)


@pytest.mark.parametrize("target", ENCODED)
async def test_needless_double_and_broken_encoding(gate: Gate, target: str) -> None:
    await assert_refused(gate, gate.head(target), reason="target_encoding", status=400)


@pytest.mark.parametrize("target", EMPTY)
async def test_empty_segments(gate: Gate, target: str) -> None:
    await assert_refused(gate, gate.head(target), reason="target_empty_segment", status=400)


@pytest.mark.parametrize("target", BYTES)
async def test_bytes_that_no_path_has(gate: Gate, target: bytes) -> None:
    data = gate.head("/TARGET").replace(b"/TARGET", target)
    reason = "target_form" if target.startswith(b"\\") else "target_bytes"
    await assert_refused(gate, data, reason=reason, status=400)


@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x0b", b"\x7f", b"\x80", b"\xff", "é".encode(), "／".encode(), b"\t"])
async def test_control_characters_and_raw_unicode(gate: Gate, byte: bytes) -> None:
    data = gate.head("/public/TARGET/admin").replace(b"TARGET", byte)
    before = len(gate.decisions())
    answer = await gate.send(data)
    assert answer.status == 400
    assert [record.outcome for record in gate.decisions()[before:]] == ["refuse"]
    assert gate.upstream.hits == []


@pytest.mark.parametrize("target", FORMS)
async def test_other_forms_than_origin_form(gate: Gate, target: str) -> None:
    before = len(gate.decisions())
    answer = await gate.send(gate.head(target))
    assert answer.status == 400
    records = gate.decisions()[before:]
    assert [(record.outcome, record.reason) for record in records] == [("refuse", "target_form")]
    assert gate.upstream.hits == []


@pytest.mark.parametrize("target", PARAMETERS)
async def test_matrix_parameters_that_servlet_containers_drop(gate: Gate, target: str) -> None:
    before = len(gate.decisions())
    answer = await gate.send(gate.head(target))
    assert answer.status == 400
    [record] = gate.decisions()[before:]
    assert record.outcome == "refuse"
    assert record.reason == ("target_form" if target.startswith(";") else "target_parameters")
    assert gate.upstream.hits == []


@pytest.mark.parametrize(
    "target",
    ["/ADMIN", "/Admin/x", "/admin.", "/admin%20", "/admin%20/x", "/%EF%BD%81dmin", "/%EF%BD%81%EF%BD%84min", "/admin./x"],
)
async def test_lookalikes_of_a_route_that_stands_first(gate: Gate, target: str) -> None:
    await assert_refused(gate, gate.head(target), reason="no_route", status=404)


async def test_a_trailing_slash_between_two_routes(gate: Gate) -> None:
    # `/admin/` is of the route `/admin/**`, and many applications serve `/admin` there, which is another route.
    await assert_refused(gate, gate.head("/admin/"), reason="no_route", status=404)


@pytest.mark.parametrize(
    "target", ["/admin", "/admin?x=/public", "/admin?/public/x", "/admin/x?next=%2Fpublic", "/admin?", "/admin??"]
)
async def test_the_query_never_decides_the_route(gate: Gate, target: str) -> None:
    answer = await gate.get(target)
    assert answer.status == 403
    assert gate.decisions()[-1].route.startswith("ehr.admin")
    assert gate.upstream.hits == []


async def test_a_parameter_where_the_route_asked_for_it_passes_unchanged(gate: Gate) -> None:
    answer = await gate.get("/matrix/page;v=1/x")
    assert answer.status == 200
    assert gate.upstream.hits[0].target == "/matrix/page;v=1/x"


async def test_a_long_target_is_refused(gate: Gate) -> None:
    await assert_refused(gate, gate.head("/" + "a" * 8_000), reason="target_too_long", status=414)


async def test_a_path_of_very_many_segments_is_refused(gate: Gate) -> None:
    await assert_refused(gate, gate.head("/a" * 101), reason="target_too_long", status=414)

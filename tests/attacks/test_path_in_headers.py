"""Headers that name another path, method or host than the request line (CVE-2026-40575, CVE-2026-76835, CVE-2023-27487)."""

import pytest

from tests.support.gate import Gate

OTHERS = [
    "X-Forwarded-Uri: /public/x",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "X-Original-URI: /admin",
    "X-Envoy-Original-Path: /admin",
    "X-HTTP-Method-Override: DELETE",
    "X-HTTP-Method: DELETE",
    "X-Method-Override: DELETE",
    "X-Forwarded-Method: GET",
    "X-Original-Method: GET",
    "X-Forwarded-Host: evil.example",
    "X-Host: evil.example",
    "X-Original-Host: evil.example",
    "X-Forwarded-Server: evil.example",
    "X-Forwarded-Prefix: /admin",
    "X-Forwarded-Prefix: %0d//a.com",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Scheme: https",
    "Forwarded: host=evil.example",
]


@pytest.mark.parametrize("line", OTHERS)
async def test_a_forbidden_path_stays_forbidden(gate: Gate, line: str) -> None:
    answer = await gate.get("/admin", line)
    assert answer.status == 403
    assert gate.decisions()[-1].outcome == "deny"
    assert gate.upstream.hits == []


@pytest.mark.parametrize("line", OTHERS)
async def test_the_application_never_sees_it(gate: Gate, line: str) -> None:
    answer = await gate.get("/public/x", line, method="POST")
    assert answer.status == 200
    name, _, value = line.partition(": ")
    [hit] = gate.upstream.hits
    assert (hit.method, hit.target) == ("POST", "/public/x")
    assert value not in hit.values(name)
    assert gate.decisions()[-1].route == "ehr.rest"


async def test_forwarded_headers_are_ours_only(gate: Gate) -> None:
    lines = [
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "Forwarded: for=203.0.113.9",
    ]
    await gate.get("/x", *lines, *lines)
    [hit] = gate.upstream.hits
    assert hit.values("X-Forwarded-For") == ["127.0.0.1"]
    assert hit.values("X-Forwarded-Proto") == ["http"]
    assert hit.values("X-Forwarded-Host") == [f"ehr.localhost:{gate.port}"]
    assert hit.values("Forwarded") == []
    assert hit.values("Host") == [f"ehr.localhost:{gate.port}"]
    assert gate.decisions()[-1].source.address == "127.0.0.1"

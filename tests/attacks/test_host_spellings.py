"""Host fields that two readers take for two hosts (CVE-2022-23632, CVE-2026-34525, CVE-2026-42273, CVE-2026-57210)."""

import pytest

from tests.support.gate import Gate, assert_refused

MALFORMED = [
    "ehr.localhost.",
    "ehr.localhost,evil.example",
    "ehr.localhost,for=127.0.0.1",
    "ehr.localhost;for=127.0.0.1",
    "user@ehr.localhost",
    "ehr.localhost:",
    "ehr.localhost:0",
    "ehr.localhost:65536",
    "ehr.localhost:80a",
    "ehr.localhost:80:80",
    "http://ehr.localhost",
    "ehr.localhost/admin",
    "ehr..localhost",
    ".ehr.localhost",
    "ehr_x.localhost",
    "[::1]:80",
    "ehr.localhost evil",
    "-ehr.localhost",
    "ehr%2elocalhost",
    "ＥＨＲ.localhost",
    "ehr.local\u212aost",
    "",
]


@pytest.mark.parametrize("host", MALFORMED)
async def test_a_host_that_is_no_dns_name(gate: Gate, host: str) -> None:
    data = gate.head("/x", host="TO-REPLACE").replace(b"TO-REPLACE", host.encode())
    await assert_refused(gate, data, reason="host_malformed", status=400)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost", "127.0.0.1", "ehr.localhost.evil.example", "xehr.localhost", "console.localhost"]
)
async def test_a_host_that_is_nobody_of_ours(gate: Gate, host: str) -> None:
    await assert_refused(gate, gate.head("/x", host=host), reason="host_unknown", status=421)


@pytest.mark.parametrize("host", ["EHR.localhost", "Ehr.LocalHost", "ehr.localhost:9", "EHR.LOCALHOST:8080"])
async def test_case_and_port_do_not_change_who_decides(gate: Gate, host: str) -> None:
    answer = await gate.get("/admin", host=host)
    assert answer.status == 403
    await gate.get("/x", host=host)
    [hit] = gate.upstream.hits
    assert hit.values("Host") == [f"ehr.localhost:{gate.port}"], "the application hears the name that people use, nothing else"


async def test_two_host_fields(gate: Gate) -> None:
    await assert_refused(gate, gate.head("/x", "Host: evil.example"), reason="host_duplicate", status=400)


async def test_two_equal_host_fields(gate: Gate) -> None:
    await assert_refused(gate, gate.head("/x", f"host: ehr.localhost:{gate.port}"), reason="host_duplicate", status=400)


async def test_no_host_field(gate: Gate) -> None:
    await assert_refused(gate, b"GET /x HTTP/1.1\r\n\r\n", reason="host_missing", status=400)


async def test_no_host_field_in_http_1_0(gate: Gate) -> None:
    await assert_refused(gate, b"GET /x HTTP/1.0\r\n\r\n", reason="host_missing", status=400)


async def test_a_space_before_the_colon_does_not_hide_a_host(gate: Gate) -> None:
    await assert_refused(gate, gate.head("/x", "Host : evil.example"), reason="framing", status=400)

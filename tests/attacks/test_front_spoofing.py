"""People who speak as a trusted front, and fronts that say too much or too little (CVE-2026-40575, -57210, CVE-2024-47070)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.doors.trust import Peers
from tests.support.gate import Gate, assert_refused


@pytest.fixture
async def fronted(tmp_path: Path) -> AsyncIterator[Gate]:
    gate = Gate(tmp_path)
    await gate.open(fronts=Peers(["127.0.0.1"]), public_scheme="https", public_port=443)
    yield gate
    await gate.close()


async def test_a_front_speaks_for_the_client(fronted: Gate) -> None:
    lines = ("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https")
    await fronted.get("/x", *lines)
    [hit] = fronted.upstream.hits
    assert hit.values("X-Forwarded-For") == ["203.0.113.7"]
    assert hit.values("X-Forwarded-Proto") == ["https"]
    assert hit.values("X-Forwarded-Host") == ["ehr.localhost"]
    [record] = fronted.decisions()
    assert (record.source.address, record.source.tls) == ("203.0.113.7", "forwarded")


async def test_what_the_client_wrote_before_the_front_does_not_count(fronted: Gate) -> None:
    await fronted.get("/x", "X-Forwarded-For: 10.0.0.1, 203.0.113.7, 127.0.0.1", "X-Forwarded-Proto: https")
    assert fronted.decisions()[0].source.address == "203.0.113.7"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((), "forwarded_missing"),
        (("X-Forwarded-For: 203.0.113.7",), "forwarded_missing"),
        (("X-Forwarded-Proto: https",), "forwarded_missing"),
        (("X-Forwarded-For: a", "X-Forwarded-Proto: https"), "forwarded_malformed"),
        (("X-Forwarded-For: ", "X-Forwarded-Proto: https"), "forwarded_malformed"),
        (("X-Forwarded-For: 203.0.113.7:80", "X-Forwarded-Proto: https"), "forwarded_malformed"),
        (("X-Forwarded-For: 203.0.113.7, unknown", "X-Forwarded-Proto: https"), "forwarded_malformed"),
        (("X-Forwarded-For: fe80::1%eth0", "X-Forwarded-Proto: https"), "forwarded_malformed"),
        (("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: javascript"), "forwarded_malformed"),
        (("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: HTTPS"), "forwarded_malformed"),
        (("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https,http"), "forwarded_malformed"),
        (("X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https"), "forwarded_malformed"),
        (("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "x-forwarded-proto: https"), "forwarded_malformed"),
        (("X_Forwarded_For: 203.0.113.7", "X-Forwarded-Proto: https"), "forwarded_missing"),
    ],
)
async def test_a_front_that_is_unclear(fronted: Gate, lines: tuple[str, ...], reason: str) -> None:
    await assert_refused(fronted, fronted.head("/x", *lines), reason=reason, status=400)


async def test_without_a_list_nobody_is_a_front(gate: Gate) -> None:
    await gate.get("/x", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https")
    [record] = gate.decisions()
    assert (record.source.address, record.source.tls) == ("127.0.0.1", "")

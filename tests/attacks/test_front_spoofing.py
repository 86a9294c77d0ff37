"""People who speak as a trusted front, and fronts that say too much or too little (CVE-2026-40575, -57210, CVE-2024-47070)."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.doors.trust import Fronts
from tests.support.gate import Gate, assert_refused


class FrontedGate(Gate):
    """A gate that is reached through its socket for fronts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = str(folder / "front.sock")

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            yield reader, writer
        finally:
            writer.close()


@pytest.fixture
async def fronted(tmp_path: Path) -> AsyncIterator[Gate]:
    gate = FrontedGate(tmp_path)
    await gate.open(fronts=Fronts(uids=[os.getuid()]), public_scheme="https", public_port=443)
    await gate.door.listen_unix(gate.path)
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
    await fronted.get("/x", "X-Forwarded-For: 10.0.0.1, 127.0.0.1, 203.0.113.7", "X-Forwarded-Proto: https")
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
        (("X-Forwarded-For: 203.0.113.7,", "X-Forwarded-Proto: https"), "forwarded_malformed"),
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


async def test_another_user_on_the_socket(tmp_path: Path) -> None:
    gate = FrontedGate(tmp_path)
    await gate.open(fronts=Fronts(uids=[os.getuid() + 1]), public_scheme="https", public_port=443)
    await gate.door.listen_unix(gate.path)
    lines = ("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https")
    await assert_refused(gate, gate.head("/x", *lines), reason="untrusted_peer", status=403)
    await gate.close()


async def test_who_reaches_the_listener_for_people_is_no_front(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    await gate.open(fronts=Fronts(uids=[os.getuid()]), public_scheme="https", public_port=443)
    await gate.get("/x", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https")
    assert [(record.source.address, record.source.tls) for record in gate.decisions()] == [("127.0.0.1", "")]
    await gate.close()


async def test_without_fronts_nobody_is_one(gate: Gate) -> None:
    await gate.get("/x", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https")
    [record] = gate.decisions()
    assert (record.source.address, record.source.tls) == ("127.0.0.1", "")

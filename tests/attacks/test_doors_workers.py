"""Two workers behind one port: whatever comes, the very same processes go on, and each still serves."""

import random
from collections.abc import Iterator

import pytest

from tests.fuzz.__main__ import corpus_of
from tests.fuzz.mutate import mutated
from tests.support.fronts import Door
from tests.support.fronts_site import DIRECT, open_site

ROUNDS = 150
NASTY = [
    b"\x00" * 1000,
    b"\r\n" * 1000,
    b"GET " + b"/" * 20_000,
    b"GET / HTTP/1.1\r\n" + b"A" * 100_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: ehr.localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"GET /ws/x HTTP/1.1\r\nHost: ehr.localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\xff\xff\xff",
]


@pytest.fixture
def two_workers() -> Iterator[Door]:
    with open_site(DIRECT.replace("[server]\n", "[server]\nworkers = 2\n", 1)) as site:
        yield Door("embedded", site, site.port)


def test_nothing_ends_a_worker(two_workers: Door) -> None:
    door = two_workers
    door.begin()
    assert len(door.processes()) >= 3, "the parent and two workers"
    chance = random.Random(7)  # noqa: S311  inputs need no secret randomness
    corpus = [*NASTY, *corpus_of("plain"), door.head("/x"), door.head("/x", "Content-Length: 4", method="POST") + b"body"]
    for data in [*corpus, *(mutated(chance, corpus) for _ in range(ROUNDS))]:
        with door.line() as line:
            line.send(data)
            line.more(0.02)
    for _ in range(20):
        assert door.get("/x").status == 200
    door.assert_sound()

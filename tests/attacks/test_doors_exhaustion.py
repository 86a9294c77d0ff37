"""Facts, sections 5 and 9, at every door: too much, too many, too slow. Nobody else may notice.

CVE-2024-24814, CVE-2023-28625, CVE-2026-54273, -54277, -22815, -34516, CVE-2025-69228 to -69230, CVE-2026-26998, slow loris.
"""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.domain.cookies import SESSION_COOKIE
from tests.support.fronts import DOORS, SCRIPT, Answered, Door, OpenDoors
from tests.support.raw import Line, NoReplyError
from tests.support.raw_upstream import Hit
from tests.support.served import resident

NO = {0, 400, 405, 413, 414, 431, 501, 502}
SLOW_SECONDS = 10.0
"""What every door gives a head, from its first byte to its last."""


def assert_too_much(answered: Answered) -> None:
    assert answered.status in NO, answered
    assert answered.hits == []
    assert {record["outcome"] for record in answered.decisions} <= {"refuse"}


def test_ten_thousand_headers(door: Door) -> None:
    assert_too_much(door.get("/x", *[f"X-{number}: a" for number in range(10_000)]))


def test_a_header_of_one_megabyte(door: Door) -> None:
    assert_too_much(door.get("/x", "X-A: " + "a" * 1_000_000))


def test_a_header_name_of_one_megabyte(door: Door) -> None:
    assert_too_much(door.get("/x", "X" * 1_000_000 + ": a"))


def test_a_request_line_of_one_megabyte(door: Door) -> None:
    assert_too_much(door.get("/" + "a" * 1_000_000))


def test_a_method_of_one_megabyte(door: Door) -> None:
    assert_too_much(door.get("/x", method="A" * 1_000_000))


def test_headers_that_are_too_large_together(door: Door) -> None:
    assert_too_much(door.get("/x", *[f"X-{number}: {'a' * 9_000}" for number in range(9)]))


def test_a_long_path_and_very_many_segments(door: Door) -> None:
    for target in ("/" + "a" * 8_001, "/a" * 101, "/x?" + "a" * 8_001):
        door.site.forget()
        assert_too_much(door.get(target))


@pytest.mark.parametrize("size", [1, 7])
def test_small_segments_do_not_raise_the_limit_CVE_2026_54277(door: Door, size: int) -> None:  # noqa: N802  an id
    """One byte a TLS record is no way round the limit of a line."""
    data = door.head("/x", "Connection: close", "X-A: " + "a" * 70_000)
    with door.line() as line:
        for start in range(0, 2_000, size):
            line.send(data[start : start + size])
        line.send(data[2_000:])
        try:
            status = line.reply().status
        except NoReplyError:
            status = 0
    assert status in NO
    assert door.collect().hits == []


@pytest.mark.parametrize("kind", ["one of 100 KB", "a hundred of ours", "five thousand", "chunks", "only semicolons"])
def test_oversized_cookies_CVE_2024_24814_2023_28625(door: Door, kind: str) -> None:  # noqa: N802  ids
    cookie = {
        "one of 100 KB": f"{SESSION_COOKIE}=" + "a" * 100_000,
        "a hundred of ours": "; ".join(f"{SESSION_COOKIE}={number:043}" for number in range(100)),
        "five thousand": "; ".join(f"c{number}=1" for number in range(5_000)),
        "chunks": "; ".join(f"{SESSION_COOKIE}_{number}={'a' * 50}" for number in range(150))
        + f"; {SESSION_COOKIE}=chunks:99999999",
        "only semicolons": ";" * 5_000,
    }[kind]
    answered = door.get("/x", *SCRIPT, cookie=cookie)
    assert answered.status in NO | {401}, answered
    assert answered.hits == []


def test_a_planted_second_cookie_of_ours(door: Door) -> None:
    answered = door.get("/x", *SCRIPT, cookie=f"{door.cookie()}; {SESSION_COOKIE}=" + "a" * 43)
    assert (answered.status, answered.hits) == (401, [])


# ---------------------------------------------------------------- slow


def test_heads_that_never_end(doors: OpenDoors) -> None:
    """At all doors at once: a byte every half second. Others are served meanwhile, and after ten seconds it is over."""

    def attack(door: Door) -> tuple[float, int]:
        data = door.head("/x", "X-A: " + "a" * 1_000)
        with door.line() as line:
            started = time.monotonic()
            line.send(data[:40])
            stopped = line.drip(data[40:], 0.5)
            assert not stopped, "a head that takes minutes was read to its end"
            try:
                status = line.reply().status
            except NoReplyError:
                status = 0
            return time.monotonic() - started, status

    every = [doors(name) for name in DOORS]
    for door in every:
        door.begin()
        door.cookie()
    with ThreadPoolExecutor(len(every)) as pool:
        attacks = {door.name: pool.submit(attack, door) for door in every}
        time.sleep(1)
        for door in every:
            assert door.get("/x").status == 200, "somebody slow keeps others waiting"
        results = {name: future.result(60) for name, future in attacks.items()}
    for door in every:
        seconds, status = results[door.name]
        assert status in {0, 400, 408}, (door.name, status)
        assert seconds < SLOW_SECONDS * 2, (door.name, seconds)
        assert [hit.target for hit in door.site.upstream.hits] == [b"/x"], "only the good request"
        door.assert_sound()


def test_bodies_that_never_come(door: Door) -> None:
    """Thirty people who promise a body and send a byte of it."""
    lines = [door.line() for _ in range(30)]
    try:
        for number, line in enumerate(lines):
            line.send(door.head(f"/slow/{number}", "Content-Length: 1000000", method="POST") + b"a")
        answered = door.get("/good")
    finally:
        for line in lines:
            line.close()
    assert (answered.status, answered.unjustified) == (200, [])


def test_replies_that_nobody_reads(door: Door) -> None:
    """Ten people who ask for 16 MiB and read nothing: neither we nor the front keep it all in memory."""
    size = 16 << 20
    block = b"x" * (1 << 16)
    sent = [0]
    lock = threading.Lock()

    def pour(hit: Hit, connection: socket.socket) -> bool:
        if hit.target == b"/good":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return True
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // len(block)):
            connection.sendall(block)
            with lock:
                sent[0] += len(block)
        return True

    door.cookie()
    door.site.upstream.answer = pour
    before = sum(resident(pid) for pid in door.processes())
    lines = [door.line() for _ in range(10)]
    try:
        for number, line in enumerate(lines):
            line.send(door.head(f"/large/{number}"))
        door.site.upstream.wait(10)
        time.sleep(0.5)
        assert door.get("/good").status == 200
        after = sum(resident(pid) for pid in door.processes())
        assert after - before < 48 << 20, f"{(after - before) >> 20} MiB more for {sent[0] >> 20} MiB sent"
        reply = lines[0].reply()
        assert (reply.status, len(reply.body)) == (200, size), "whoever does read gets all of it"
    finally:
        for line in lines:
            line.close()


def test_five_hundred_connections_that_say_nothing(door: Door) -> None:
    idle = [socket.create_connection(door.address, 5) for _ in range(500)]
    try:
        assert door.get("/x").status == 200
    finally:
        for connection in idle:
            connection.close()


def test_connections_that_are_torn_off(door: Door) -> None:
    """Reset in the middle of a handshake, a head, a body, a reply."""
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    for data in (
        b"\x16\x03\x01\x02",
        None,
        b"GET /x HTTP/1.1\r\nHo",
        door.head("/x", "Content-Length: 100", method="POST") + b"a",
        door.head("/x"),
    ):
        for _ in range(5):
            if data is None or data.startswith(b"\x16"):
                plain = socket.create_connection(door.address, 5)
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                plain.sendall(data or b"")
                plain.close()
                continue
            with door.line() as line:
                line.send(data)
                line.reset()
    assert door.collect().unjustified == []


def test_an_upgrade_flood(door: Door) -> None:
    """Two hundred handshakes to a place that takes none."""
    lines = (
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    statuses = {door.send(door.head("/x", *lines), wait=0).status for _ in range(40)}
    assert statuses == {400}
    assert door.collect().hits == []


def test_many_files_are_not_left_open(door: Door) -> None:
    """What attacks leave behind is closed again."""

    def count() -> int:
        return len(list(Path(f"/proc/{door.site.pid}/fd").iterdir()))

    before = count()
    for _ in range(30):
        door.get("/public/../admin")
        with Line(door.address) as line:
            line.send(b"\x00" * 100)
    deadline = time.monotonic() + 10
    while count() > before + 10:
        assert time.monotonic() < deadline, f"{before} files open before, {count()} after"
        time.sleep(0.1)

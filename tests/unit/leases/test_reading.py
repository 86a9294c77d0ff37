"""Following a file and counting: tail, sequence, count, lines."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.leases.count import LOOKS, Count, Status
from gateway.leases.line import LONGEST, read_line
from gateway.leases.sequence import Sequence
from gateway.leases.tail import Position, Tail

LINE: dict[str, Any] = {
    "at": "1795389884.751", "pid": "7", "connection": "3", "n": "1", "address": "127.0.0.1", "method": "GET",
    "host": "ehr.localhost", "path": "/x", "status": "200", "in": "10", "out": "20", "seconds": "0.250", "way": "ask", "use": "",
    "lease": "",
}  # fmt: skip


def taken(tail: Tail, most: int = 1000) -> list[bytes]:
    """Look as often as the follower would."""
    found: list[bytes] = []
    for _ in range(6):
        found += tail.lines(most)
    return found


# ---- tail


def test_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path, None)
    assert taken(tail) == []
    assert tail.position() is None
    path.write_bytes(b"one\ntwo\nthr")
    assert taken(tail) == [b"one", b"two"]
    with path.open("ab") as file:
        file.write(b"ee\n")
    assert taken(tail) == [b"three"]
    position = tail.position()
    assert position is not None
    assert position.offset == path.stat().st_size
    tail.close()


def test_a_rotated_file_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    tail = Tail(path, None)
    assert taken(tail) == [b"one"]
    old = path.rename(tmp_path / "log.1")
    with old.open("ab") as file:
        file.write(b"two\n")
    assert taken(tail) == [b"two"]
    path.write_bytes(b"three\n")
    with old.open("ab") as file:
        file.write(b"late\n")
    assert taken(tail) == [b"late", b"three"]
    assert tail.problems == []
    tail.close()


def test_a_new_file_that_nginx_does_not_use_yet(tmp_path: Path) -> None:
    """logrotate makes it, then compresses for a while, then tells nginx."""
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    tail = Tail(path, None)
    assert taken(tail) == [b"one"]
    old = path.rename(tmp_path / "log.1")
    path.touch()
    for _ in range(20):
        assert taken(tail) == []
    with old.open("ab") as file:
        file.write(b"two\n")
    assert taken(tail) == [b"two"]
    path.write_bytes(b"three\n")
    assert taken(tail) == [b"three"]
    assert tail.problems == []
    tail.close()


@pytest.mark.parametrize("most", [1, 2, 1000])
def test_it_goes_on_where_another_process_stopped(tmp_path: Path, most: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    first = Tail(path, None)
    assert next(iter(first.lines(1))) == b"one"
    position = first.position()
    first.close()
    path.rename(tmp_path / "log.2").touch()
    (tmp_path / "log.1").write_bytes(b"three\n")
    (tmp_path / "log.3.gz").write_bytes(b"old and packed\n")
    path.write_bytes(b"four\n")
    second = Tail(path, position)
    found: list[bytes] = []
    for _ in range(20):
        found += second.lines(most)
    assert found == [b"two", b"three", b"four"]
    assert second.problems == []
    second.close()


def test_what_is_wrong_with_the_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n" * 10)
    tail = Tail(path, None)
    assert len(taken(tail)) == 10
    path.write_bytes(b"new\n")  # the same file, cut
    assert taken(tail) == [b"new"]
    assert tail.problems == ["the file was cut"]
    tail.close()
    gone = Tail(path, Position(device=1, inode=1, offset=5))
    assert gone.problems == ["the file that was read last is gone"]
    assert taken(gone) == [b"new"]
    gone.close()
    path.write_bytes(b"x" * (LONGEST + 10) + b"\nnext\n")
    long = Tail(path, None)
    assert taken(long)[-1] == b"next"
    long.close()


# ---- sequence


def test_a_request_has_one_line() -> None:
    sequence = Sequence()
    assert all(sequence.see(1, 1, n) for n in (1, 2, 3))
    assert not sequence.see(1, 1, 2)
    assert sequence.see(1, 2, 1)
    assert sequence.see(2, 1, 1)
    assert sequence.gaps() == {}


@given(st.permutations(range(1, 9)), st.sets(st.integers(1, 8)))
def test_numbers_that_are_passed_over(order: list[int], lost: set[int]) -> None:
    sequence = Sequence()
    kept = [n for n in order if n not in lost]
    assert all(sequence.see(1, 1, n) for n in kept)
    missing = max(kept, default=0) - len(kept)
    assert sum(sequence.gaps().values()) == missing
    sequence.forget_gaps()
    assert sequence.gaps() == {}
    assert not any(sequence.see(1, 1, n) for n in kept)


# ---- count


def compare(count: Count, *ended: tuple[int, int]) -> list[int | None]:
    """Compare (requests, lines) with two requests running."""
    return [count.compare(Status(requests=requests + 2, running=2), lines) for requests, lines in ended]


def test_lines_that_are_lost_or_too_many() -> None:
    count = Count()
    assert compare(count, (10, 7)) == [0]  # what was before is not ours to say
    assert compare(count, *[(20, 17)] * LOOKS) == [0] * LOOKS
    assert compare(count, *[(30, 25)] * LOOKS)[-1] == 2
    assert compare(count, *[(40, 35)] * LOOKS) == [0] * LOOKS, "said once"
    assert compare(count, *[(41, 39)] * LOOKS)[-1] == -3


def test_what_is_only_on_its_way_is_not_lost() -> None:
    count = Count()
    compare(count, (10, 10))
    looks = [(20 * turn, 20 * turn - late) for turn in range(1, 13) for late in (3, 0)]
    assert set(compare(count, *looks)) == {0}


def test_a_count_that_begins_anew_says_so_and_survives_a_restart_of_ours() -> None:
    count = Count()
    compare(count, (100, 0))
    lines, base, requests = count.kept()
    later = Count(lines=lines, base=base, requests=requests)
    assert compare(later, *[(120, 15)] * LOOKS)[-1] == 5
    assert compare(later, (3, 18)) == [None]


# ---- lines


def test_a_line() -> None:
    line = read_line(json.dumps(LINE).encode())
    assert line is not None
    assert (line.pid, line.code, line.bytes_in, line.bytes_out) == (7, 200, 10, 20)
    assert line.began == pytest.approx(1795389884.501)
    aborted = read_line(json.dumps({**LINE, "status": "000", "path": "/\ufffd"}).encode())
    assert aborted is not None
    assert aborted.code == 0
    raw = read_line(json.dumps({**LINE, "path": "/@"}).encode().replace(b"@", b"\xff\xfe"))
    assert raw is not None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"x", json.dumps({**LINE, "pid": "-"}).encode(), json.dumps({**LINE, "way": "none"}).encode(),
        json.dumps({**LINE, "more": "1"}).encode(), json.dumps({**LINE, "path": "x" * LONGEST}).encode(), b"\xff",
        json.dumps({key: value for key, value in LINE.items() if key != "use"}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_line(data: bytes) -> None:
    assert read_line(data) is None

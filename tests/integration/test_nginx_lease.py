"""Leases with Debian's nginx: what they leave in the log, what ends them, and what is found in a forged access log."""

import collections
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import nginx
from tests.support.fronts import SCRIPT, Door, wait_until
from tests.support.fronts_site import POLICIES, Site, open_site

Running = tuple[Site, nginx.Nginx, Door]
LEASED = POLICIES.replace('@id("everything")', '@id("everything")\n@lease("5s")')
"""As long as it may be."""


@pytest.fixture(scope="module")
def opened() -> Iterator[Running]:
    with open_site(nginx.FOLLOWED, LEASED) as site, nginx.with_nginx(site) as front:
        wait_until(lambda: counts(site), "somebody follows the access log, and has asked nginx for its count")
        yield site, front, Door("nginx", site, site.port, asked=True, pids=front.pids, errors=front.output)


def counts(site: Site) -> bool:
    state = site.folder / "state" / "nginx-log.json"
    return state.exists() and json.loads(state.read_bytes())["base"] is not None


def taken_in(site: Site, front: nginx.Nginx) -> bool:
    """Whether everything that nginx has written so far is in our log."""
    position = json.loads((site.folder / "state" / "nginx-log.json").read_bytes())["position"]
    log = (front.folder / "access.json").stat()
    return (position["inode"], position["offset"]) == (log.st_ino, log.st_size)


@pytest.fixture
def running(opened: Running) -> Running:
    site, front, door = opened
    cookie, probe = site.cookie(), f"/probe/{time.monotonic_ns()}"

    def given() -> bool:
        """What the last test revoked is over, and somebody follows."""
        return leased(door, probe, cookie) == 200 and any(line["lease"] == "HIT" for line in asked(front, probe))

    wait_until(given, "leases are given", 30)
    wait_until(lambda: taken_in(site, front), "its lines are taken in")
    door.site.forget()
    return opened


def records_until(site: Site, done: Callable[[list[dict[str, Any]]], bool], seconds: float = 15.0) -> list[dict[str, Any]]:
    """Gather records until there are the wanted ones."""
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + seconds
    while True:
        found += site.records()
        if done(found):
            return found
        assert time.monotonic() < deadline, "\n".join(map(str, found))
        time.sleep(0.05)


def of_type(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["type"] == kind]


def asked(front: nginx.Nginx, path: str) -> list[dict[str, Any]]:
    """The lines about a path that we were asked about (nginx replies first, and writes its line then)."""
    return [line for line in front.lines() if line["way"] == "ask" and line["path"] == path]


def suspicions(records: list[dict[str, Any]]) -> list[str]:
    return [record["detail"]["what"] for record in records if record.get("event") == "front.suspicious"]


def leased(door: Door, target: str, cookie: str, *lines: str, method: str = "GET") -> int:
    """Ask, and leave the records alone (`Door.get` takes them out)."""
    with door.line() as line:
        line.send(door.head(target, "Connection: close", *lines, method=method, cookie=cookie))
        return line.reply(method).status


# ---------------------------------------------------------------- what a lease is


def test_each_request_under_a_lease_leaves_its_record(running: Running) -> None:
    site, _, door = running
    cookie = site.cookie()
    for _ in range(4):
        assert leased(door, "/leased?q=secret", cookie) == 200
    found = records_until(site, lambda records: len(of_type(records, "use")) == 3 and bool(of_type(records, "completion")))
    [decision] = of_type(found, "decision")
    assert (decision["outcome"], decision["lease_seconds"]) == ("allow", 5)
    [completion] = of_type(found, "completion")
    assert (completion["id"], completion["status"]) == (decision["id"], 200)
    uses = of_type(found, "use")
    assert {use["id"] for use in uses} == {decision["id"]}
    assert {(use["method"], use["path"], use["status"], use["source"]["address"]) for use in uses} == {
        ("GET", "/leased", 200, "127.0.0.1")
    }
    assert len({(use["process"], use["connection"], use["number"]) for use in uses}) == 3
    assert "secret" not in json.dumps(found)
    assert suspicions(found) == []
    # The application heard the same four times.
    assert len(site.upstream.hits) == 4
    assert {hit.values("X-Request-Id")[0] for hit in site.upstream.hits} == {decision["id"]}


@pytest.mark.parametrize(
    ("what", "first", "second"),
    [
        ("another target", {"target": "/one"}, {"target": "/one?x"}),
        ("another cookie of the application", {"target": "/two", "more": "; a=1"}, {"target": "/two", "more": "; a=2"}),
        ("HEAD after GET", {"target": "/three"}, {"target": "/three", "method": "HEAD"}),
        ("a write", {"target": "/write/a", "method": "POST"}, {"target": "/write/a", "method": "POST"}),
        ("a read by POST", {"target": "/four", "method": "POST"}, {"target": "/four", "method": "POST"}),
        ("a no", {"target": "/admin"}, {"target": "/admin"}),
        ("another session", {"target": "/five"}, {"target": "/five", "other": True}),
    ],
)
def test_what_has_a_decision_of_its_own(running: Running, what: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    site, _, door = running
    cookies = {False: site.cookie(), True: site.cookie()}
    for ask in (first, second):
        method = ask.get("method", "GET")
        lines = ("Content-Length: 0", f"Origin: https://{door.authority}") if method == "POST" else ()
        leased(door, ask["target"], cookies[ask.get("other", False)] + ask.get("more", ""), *lines, method=method)
    assert len(site.decisions()) == 2, what


def test_a_refused_header_is_no_way_around(running: Running) -> None:
    """What nginx removes it removes under a lease too; the client's copy of a fact is never part of what was decided."""
    site, _, door = running
    cookie = site.cookie()
    for _ in range(2):
        assert leased(door, "/claims", cookie) == 200
    leased(door, "/claims", cookie, "X-Remote-User: evil", "X-Gateway-Assertion: evil", "X-Forwarded-For: 10.0.0.9")
    assert len(site.upstream.hits) == 3
    assert all(b"evil" not in hit.head and b"10.0.0.9" not in hit.head for hit in site.upstream.hits)


UNUSUAL = (
    "X-Forwarded-Bork: evil", "XRemote-User: evil", "X-Authentik-Is-Superuser: evil", "OIDC-CLAIM-admin: evil",
    "X-Gateway-Anything: evil", "Sec-WebSocket-Key: evil", "X-Unheard-Of: evil",
)  # fmt: skip


def test_fields_that_nobody_was_asked_about_do_not_arrive(running: Running) -> None:
    """Under a lease the gateway can't refuse them, so nginx passes on none but those that it knows."""
    site, front, door = running
    cookie = site.cookie()
    assert leased(door, "/unusual", cookie) == 200
    for line in UNUSUAL:
        assert leased(door, "/unusual", cookie, line, "Accept: text/x-usual", "If-None-Match: usual") == 200
    assert leased(door, "/unusual", cookie, "Accept: text/x-usual", "Accept: text/event-stream", "If-None-Match: usual") == 200
    wait_until(lambda: len(asked(front, "/unusual")) == len(UNUSUAL) + 2, "lines")
    assert [line["lease"] for line in asked(front, "/unusual")][1:] == ["HIT"] * (len(UNUSUAL) + 1)
    hits = site.upstream.hits[1:]
    assert len(hits) == len(UNUSUAL) + 1
    for hit in hits:
        assert b"evil" not in hit.head
        assert b"event-stream" not in hit.head, "what the gateway would have seen, and the application did"
        assert hit.values("Accept") == ["text/x-usual"]
        assert hit.values("If-None-Match") == ["usual"]
        assert len(hit.values("X-Gateway-Assertion")) == 1
    # Asked, it refuses them.
    for line in UNUSUAL[:-1]:
        assert leased(door, "/write/unusual", cookie, line, "Content-Length: 0", f"Origin: {origin(door)}", method="POST") >= 400
    assert len(site.upstream.hits) == len(UNUSUAL) + 2


def origin(door: Door) -> str:
    return f"https://{door.authority}"


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        ("Content-Length: 5", b"hello"),
        ("Transfer-Encoding: chunked", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ("Content-Length: 0", b""),
    ],
)
def test_a_body_is_framed_as_it_was(running: Running, framing: str, sent: bytes) -> None:
    site, _, door = running
    more = ("Content-Type: text/plain", f"Origin: {origin(door)}")
    with door.line() as line:
        for _ in range(2):
            line.send(door.head("/write/a", framing, *more, method="POST", cookie=site.cookie()) + sent)
            assert line.reply("POST").status == 200
    assert [hit.body for hit in site.upstream.hits] == [b"hello" if sent else b""] * 2
    assert site.upstream.stray == []
    for hit in site.upstream.hits:
        assert hit.values("Content-Type") == ["text/plain"]
        assert len(hit.values("Content-Length")) + len(hit.values("Transfer-Encoding")) == 1


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json, Text/Event-Stream;q=0.1"])
def test_event_streams_go_to_the_gateway_itself(running: Running, accept: str) -> None:
    site, front, door = running
    path = f"/stream/{len(accept)}"
    assert leased(door, path, site.cookie(), f"Accept: {accept}") == 200
    wait_until(lambda: [line["way"] for line in front.lines() if line["path"] == path] == ["whole"], "the gateway's own proxy")


def test_a_long_line_is_no_finding(running: Running) -> None:
    """Anybody can have nginx write it: JSON makes two, or six, of what stands in the path and in Host."""
    site, front, door = running
    before = len(front.lines())
    with door.line() as line:
        line.send(door.head("/" + '"' * 15_000, "Connection: close", host='"' * 15_000, cookie=site.cookie()))
        assert line.reply().status >= 400
    with door.line() as line:
        line.send(door.head("/" + '"' * 15_000, "Connection: close", host=b"\x01" * 15_000, cookie=site.cookie()))
        assert line.reply().status >= 400
    wait_until(lambda: len(front.lines()) == before + 2, "lines")
    assert max(map(len, (front.folder / "access.json").read_bytes().splitlines())) > 65_536
    assert leased(door, "/afterwards", site.cookie()) == 200
    assert suspicions(records_until(site, lambda records: bool(of_type(records, "completion")))) == []


def test_what_nginx_refuses_by_itself_is_in_our_log(running: Running) -> None:
    site, _, door = running
    for target, method, status in (("/broken%zz", "GET", 400), ("/traced", "TRACE", 405)):
        assert leased(door, target, site.cookie(), method=method) == status
    found = records_until(site, lambda records: sum(record.get("event") == "front.refused" for record in records) == 2)
    events = [record for record in found if record.get("event") == "front.refused"]
    assert [event["detail"]["status"] for event in events] == ["400", "405"]
    assert events[1]["target"] == f"TRACE {door.authority}/traced"
    assert {event["source"]["address"] for event in events} == {"127.0.0.1"}
    assert suspicions(found) == []


# ---------------------------------------------------------------- what ends it


def test_revocation_beats_the_lease(running: Running) -> None:
    """The answer is still in nginx's cache, and is not used any more. (Where the machine stands still, one more attempt.)"""
    for _ in range(5):
        if revoked_before_the_lease_was_over(running):
            return
    raise AssertionError("the lease was always over first")


def revoked_before_the_lease_was_over(running: Running) -> bool:
    site, front, door = running
    session, cookie = site.sign_in()
    for _ in range(2):
        assert leased(door, "/revoked", cookie) == 200
    assert len(site.decisions()) == 1
    wait_until(lambda: [line["lease"] for line in asked(front, "/revoked")][-1:] == ["HIT"], "the line of the second")
    last = asked(front, "/revoked")[-1]
    site.with_sessions(lambda store: store.revoke(session.id))
    wait_until(lambda: leased(door, "/revoked", cookie, *SCRIPT) == 401, "the lease is over", 10)
    if time.time() >= int(last["use"].split(".")[1]):
        wait_until(lambda: not (site.folder / "run" / "nginx.sock.no-lease").exists(), "leases are given again", 30)
        site.forget()
        return False
    # Nobody else's is used meanwhile either: they have decisions of their own, and go on.
    site.forget()
    other = site.cookie()
    assert [leased(door, "/other", other) for _ in range(2)] == [200, 200]
    assert len(site.decisions()) == 2
    return True


def test_a_blocked_device_ends_its_leases(running: Running) -> None:
    site, _, door = running
    pem, der = site.devices.issue("leased")
    device = site.register(der)
    cookie = site.cookie()

    def status() -> int:
        with door.line(certificate=pem) as line:
            line.send(door.head("/ward/1", *SCRIPT, cookie=cookie))
            return line.reply().status

    assert [status(), status(), status()] == [200, 200, 200]
    # The first may have heard in its middle that the device was registered, and then it left no lease.
    assert len(site.decisions()) <= 2
    site.block(device)
    wait_until(lambda: status() == 403, "the device is blocked", 10)


# ---------------------------------------------------------------- what is found


def test_lines_that_are_lost(running: Running) -> None:
    """Somebody takes lines out of the access log before they are read: numbers are passed over, and nginx has counted them."""
    site, front, door = running
    cookie = site.cookie()
    log = front.folder / "access.json"
    with door.line() as line:

        def ask() -> None:
            line.send(door.head("/lost", cookie=cookie))
            assert line.reply().status == 200

        ask()
        records_until(site, lambda records: bool(of_type(records, "completion")))
        with stopped(site):
            # Under the lease: nginx needs nobody to let these through. It replies first, and writes its line then.
            before = len(front.lines())
            ask()
            wait_until(lambda: len(front.lines()) == before + 1, "a line")
            kept = log.stat().st_size
            ask()
            ask()
            wait_until(lambda: len(front.lines()) == before + 3, "two more")
            os.truncate(log, kept)
            ask()
        found = records_until(site, lambda records: {"lost", "gap"} <= set(suspicions(records)), 60)
    lines = collections.Counter[str]()
    for record in found:
        if record.get("event") == "front.suspicious":
            lines[record["detail"]["what"]] += int(record["detail"]["lines"])
    assert lines == {"lost": 2, "gap": 2}
    assert len(of_type(found, "use")) == 2
    assert len(site.upstream.hits) == 5


@contextlib.contextmanager
def stopped(site: Site) -> Iterator[None]:
    """The gateway stands still meanwhile."""
    for pid in site.pids():
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in site.pids():
            os.kill(pid, signal.SIGCONT)


def test_lines_of_before_a_start_and_of_a_rotated_file_are_taken_in(running: Running) -> None:
    site, front, door = running
    cookie = site.cookie()
    log = front.folder / "access.json"

    def ask() -> None:
        assert leased(door, "/rotated", cookie) == 200

    def taken(records: list[dict[str, Any]], count: int) -> bool:
        """Each request has one record of how it ended."""
        return len(of_type(records, "use")) + len(of_type(records, "completion")) >= count

    ask()
    records_until(site, lambda records: taken(records, 1))
    site.stop_gateway()
    ask()
    log.rename(log.with_name("access.json.1"))
    ask()
    front.signal(signal.SIGUSR1)
    wait_until(log.exists, "nginx writes to a new file")
    ask()
    site.start_gateway()
    found = records_until(site, lambda records: taken(records, 3))
    assert len(of_type(found, "use")) == 3
    log.rename(log.with_name("access.json.2"))
    ask()
    front.signal(signal.SIGUSR1)
    wait_until(log.exists, "nginx writes to a new file")
    ask()
    found += records_until(site, lambda records: taken(records, 2))
    assert taken(found, 5)
    assert not taken(found, 6)
    assert suspicions(found) == []


FORGED: tuple[tuple[str, dict[str, str]], ...] = (
    ("mark", {"path": "/admin"}),
    ("mark", {"method": "POST"}),
    ("mark", {"address": "10.9.9.9"}),
    ("mark", {"use": "dec_" + "0" * 32 + ".0.a." + "A" * 22}),
    ("no_decision", {"use": ""}),
    ("after_lease", {"at": "4102444800.000"}),
)


def test_lines_that_are_forged(running: Running) -> None:
    site, front, door = running
    cookie = site.cookie()
    for _ in range(2):
        assert leased(door, "/forged", cookie) == 200
    records_until(site, lambda records: len(of_type(records, "use")) == 1)
    genuine = asked(front, "/forged")[-1]
    with (front.folder / "access.json").open("a") as log:
        for number, (_, change) in enumerate(FORGED):
            log.write(json.dumps({**genuine, "connection": str(10**6 + number), **change}) + "\n")
    # And nginx has counted fewer requests than there are lines.
    found = records_until(site, lambda records: "too_many" in suspicions(records), 60)
    assert suspicions(found) == [*(what for what, _ in FORGED), "too_many"]
    assert found[-1]["detail"]["lines"] == str(len(FORGED))


def test_a_line_that_comes_twice(running: Running) -> None:
    site, front, door = running
    assert leased(door, "/twice", site.cookie()) == 200
    records_until(site, lambda records: bool(of_type(records, "completion")))
    twice = next(line for line in (front.folder / "access.json").read_bytes().splitlines() if b'"/twice"' in line)
    with (front.folder / "access.json").open("ab") as log:
        log.write(twice + b"\n" + b"no line of nginx\n")
    found = records_until(site, lambda records: "no_line" in suspicions(records))
    assert "repeated" in suspicions(found)
    records_until(site, lambda records: "too_many" in suspicions(records), 60)


def test_several_workers_share_leases_and_their_end() -> None:
    """Whichever worker gave a lease hears of the revocation; one of them reads the access log."""
    with (
        open_site(nginx.FOLLOWED.replace("[server]\n", "[server]\nworkers = 2\n"), LEASED) as site,
        nginx.with_nginx(site) as front,
    ):
        wait_until(lambda: counts(site), "somebody follows the access log")
        door = Door("nginx", site, site.port, asked=True)
        people = [site.sign_in() for _ in range(4)]

        def all_leased() -> bool:
            statuses = [leased(door, "/shared", cookie) for _, cookie in people]
            return statuses == [200] * 4 and [line["lease"] for line in asked(front, "/shared")[-4:]] == ["HIT"] * 4

        wait_until(all_leased, "leases are given")
        for session, cookie in people:
            site.with_sessions(lambda store, name=session.id: store.revoke(name))  # type: ignore[misc]  # a default, not an argument
            wait_until(lambda cookie=cookie: leased(door, "/shared", cookie, *SCRIPT) == 401, "revoked")  # type: ignore[misc]  # the same
        lines = [line for line in front.lines() if line["way"] == "ask"]
        found = records_until(
            site,
            lambda records: (
                len(of_type(records, "use")) + len(of_type(records, "completion"))
                >= sum(line["status"] == "200" for line in lines)
            ),
        )
        assert suspicions(found) == []

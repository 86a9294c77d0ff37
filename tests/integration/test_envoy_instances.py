"""A real Envoy before an application of two instances: one is drained, dies and comes back; and the limits of routes."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from gateway.config import load_config
from gateway.config.model import Config, HealthConfig
from gateway.frontconf.envoy import Options, render
from tests.support.envoy import Envoy, by_socket
from tests.support.fronts import SCRIPT, Door, wait_until
from tests.support.fronts_site import HOST, Site, open_site
from tests.support.ports import free_port
from tests.support.raw import Line, Reply
from tests.support.raw_upstream import Answer, Hit, RawUpstream, answer_plainly

HEALTH = HealthConfig(path="/up", interval_seconds=1, unhealthy_after=1, healthy_after=1)
LIMITS = {"ehr.get": {"idle_seconds": 1}, "ehr.rest": {"total_seconds": 1}}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with open_site(by_socket("http")) as found:
        yield found


@contextlib.contextmanager
def fronted(site: Site, change: Callable[[Config], Config], address: str = "127.0.0.1") -> Iterator[Door]:
    """An Envoy whose configuration has what the gateway's need not have."""
    site.forget()
    tls = site.folder / "tls"
    options = Options(address=address, certificate=str(tls / "server.pem"), key=str(tls / "server.key"))
    envoy = Envoy(site, text=render(change(load_config(site.config, os.environ)), options))
    try:
        envoy.start()
        yield Door("envoy-http", site, site.port, asked=True, pids=envoy.pids, errors=envoy.output)
    finally:
        envoy.stop()


def several(*ports: int, health: HealthConfig | None = None) -> Callable[[Config], Config]:
    """The first application with other instances beside its own."""
    origins = tuple(f"http://127.0.0.1:{port}" for port in ports)

    def change(config: Config) -> Config:
        first, *others = config.apps
        return msgspec.structs.replace(config, apps=(msgspec.structs.replace(first, upstreams=origins, health=health), *others))

    return change


def limited(config: Config) -> Config:
    first, *others = config.apps
    routes = tuple(msgspec.structs.replace(route, **LIMITS.get(route.id, {})) for route in first.routes)
    return msgspec.structs.replace(config, apps=(msgspec.structs.replace(first, routes=routes), *others))


def asked(door: Door, target: str = "/x", method: str = "GET") -> Reply:
    with door.line() as line:
        line.send(door.head(target, *SCRIPT, method=method))
        return line.reply(method)


def served(instance: RawUpstream) -> list[bytes]:
    """What people asked of it."""
    return [hit.target for hit in list(instance.hits) if hit.target != b"/up"]


# ---- instances


def test_one_is_drained_and_dies_and_comes_back_while_requests_go_on(site: Site) -> None:
    one, two = site.upstream, RawUpstream()
    with contextlib.ExitStack() as stack:
        stack.callback(two.close)
        door = stack.enter_context(fronted(site, several(two.port, health=HEALTH)))
        wait_until(lambda: asked(door).status == 200 and bool(served(one) and served(two)), "not both are used")
        assert {hit.values("Host")[0] for hit in two.hits if hit.target == b"/up"} == {"ehr.localhost"}
        # Its health path says that it wants no more.
        two.answer = lambda hit, connection: unwell(hit, connection) if hit.target == b"/up" else answer_plainly(hit, connection)
        two.hits.clear()
        two.wait(2)
        two.hits.clear()
        assert {asked(door, method=method).status for method in ("GET", "POST") * 6} == {200}
        assert served(two) == []
        two.answer = None
        wait_until(lambda: asked(door).status == 200 and bool(served(two)), "it is not used again")
        # It dies: nobody who reads notices.
        two.close()
        assert {asked(door, f"/dies/{number}").status for number in range(12)} == {200}
        wait_until(lambda: {asked(door, method="POST").status for _ in range(6)} == {200}, "it is still asked")
        two = stack.enter_context(contextlib.closing(RawUpstream(two.port)))
        wait_until(lambda: asked(door).status == 200 and bool(served(two)), "it is not used again")


def unwell(hit: Hit, connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    return True


def test_without_a_health_check_refused_connections_are_enough(site: Site) -> None:
    """A write that nobody took is not sent elsewhere; after the second one the instance is left alone."""
    with fronted(site, several(free_port())) as door:
        lost = 0
        for _ in range(64):
            reply = asked(door, "/write/a", "POST")
            lost += reply.status == 502
            if lost == 2:
                break
        assert lost == 2
        before = len(served(site.upstream))
        assert {asked(door, "/write/b", "POST").status for _ in range(12)} == {200}
        assert len(served(site.upstream)) == before + 12


def test_reads_go_to_the_other_instance_when_one_refuses(site: Site) -> None:
    with fronted(site, several(free_port())) as door:
        assert {asked(door, f"/x/{number}").status for number in range(8)} == {200}
    assert len(served(site.upstream)) == 8


def test_what_was_sent_is_never_sent_again(site: Site) -> None:
    def hang_up(hit: Hit, connection: socket.socket) -> bool:
        connection.shutdown(socket.SHUT_RDWR)
        return False

    two = RawUpstream()
    with contextlib.closing(two), fronted(site, several(two.port)) as door:
        site.upstream.answer = two.answer = hang_up
        for number, method in enumerate(("GET", "POST"), 1):
            assert asked(door, method=method).status == 502
            assert len(served(site.upstream)) + len(served(two)) == number


# ---- limits of routes


def test_silence_and_the_whole_exchange_are_limited_by_route(site: Site) -> None:
    """All at once, for each takes its time."""
    answers = {
        b"/get/late": dripping(first=2.0, pause=0.0, count=1),
        b"/get/slow": dripping(first=0.4, pause=0.4, count=4),  # longer than the limit as a whole, but never silent for so long
        b"/get/stuck": dripping(first=0.0, pause=2.0, count=2),
        b"/total": dripping(first=0.0, pause=0.25, count=7),
        b"/matrix/other": dripping(first=0.0, pause=0.25, count=7),
    }
    with fronted(site, limited) as door, ThreadPoolExecutor(len(answers)) as threads:
        assert asked(door).status == 200
        site.upstream.answer = lambda hit, connection: answers[hit.target](hit, connection)
        replies = threads.map(lambda target: asked(door, target.decode()), answers)
        late, slow, stuck, total, other = replies
    assert (late.status, json.loads(late.body)["error"]) == (504, "upstream")
    assert (slow.whole, slow.body) == (True, b"x" * 4)
    assert (other.whole, other.body) == (True, b"x" * 7)
    assert (stuck.status, stuck.whole) == (total.status, total.whole) == (200, False)


def dripping(*, first: float, pause: float, count: int) -> Answer:
    """An answer of `count` bytes, with a pause before each but the first, which comes with the head after `first`."""

    def answer(hit: Hit, connection: socket.socket) -> bool:
        time.sleep(first)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\nx".encode())
        for _ in range(count - 1):
            time.sleep(pause)
            connection.sendall(b"x")
        return True

    return answer


# ---- IPv6


def test_one_wildcard_takes_both_kinds_of_addresses(site: Site) -> None:
    with fronted(site, lambda config: config, address="[::]") as door:
        addresses: list[str] = []
        for host in ("127.0.0.1", "::1"):
            door.site.forget()
            with Line((host, site.port), tls=door.tls, sni=HOST) as line:
                line.send(door.head("/x"))
                assert line.reply().status == 200
            addresses.append(door.collect().decisions[0]["source"]["address"])
        assert addresses == ["127.0.0.1", "::1"]

import asyncio
import json
import re

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from gateway.demo.assertion import FRESH_SECONDS, RETRY_SECONDS, STALE_SECONDS, AssertionVerifier, KeysUnavailable, fetch_jwks
from gateway.kernel.assertion import NotVerified
from gateway.kernel.clock import ManualClock
from tests.support.assertions import PORTAL, TestSigner


class Portal:
    """Serves a signer's keys, and counts how often it is asked."""

    def __init__(self, signer: TestSigner) -> None:
        self.signer = signer
        self.asked = 0
        self.down = False

    async def __call__(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            raise KeysUnavailable("down")
        return msgspec.json.encode(self.signer.jwks())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000)


@pytest.fixture
def portal() -> Portal:
    return Portal(TestSigner("first"))


@pytest.fixture
def verify(portal: Portal, clock: ManualClock) -> AssertionVerifier:
    return AssertionVerifier(portal, issuer=PORTAL, audience="ehr", clock=clock)


def token(portal: Portal, clock: ManualClock) -> str:
    return portal.signer.sign(portal.signer.claims(clock.now()))


async def test_keys_are_fetched_once_and_kept(verify: AssertionVerifier, portal: Portal, clock: ManualClock) -> None:
    claims = await asyncio.gather(*(verify(token(portal, clock)) for _ in range(20)))
    assert {each.login for each in claims} == {"dr.sato"}
    clock.advance(FRESH_SECONDS)
    await verify(token(portal, clock))
    assert portal.asked == 1
    clock.advance(1)
    await verify(token(portal, clock))
    assert portal.asked == 2


async def test_a_new_key_is_found_and_the_old_one_forgotten(
    verify: AssertionVerifier, portal: Portal, clock: ManualClock
) -> None:
    await verify(token(portal, clock))
    old = portal.signer
    portal.signer = TestSigner("second")
    clock.advance(RETRY_SECONDS)
    await verify(token(portal, clock))
    with pytest.raises(NotVerified, match="unknown_key"):
        await verify(old.sign(old.claims(clock.now())))


async def test_invented_key_ids_do_not_flood_the_portal(verify: AssertionVerifier, portal: Portal, clock: ManualClock) -> None:
    await verify(token(portal, clock))
    for number in range(50):
        forger = TestSigner(f"invented-{number}")
        with pytest.raises(NotVerified, match="unknown_key"):
            await verify(forger.sign(forger.claims(clock.now())))
        clock.advance(0.1)
    assert portal.asked <= 2


async def test_a_portal_that_is_down_is_survived_for_an_hour_and_no_longer(
    verify: AssertionVerifier, portal: Portal, clock: ManualClock
) -> None:
    await verify(token(portal, clock))
    portal.down = True
    clock.advance(STALE_SECONDS)
    await verify(token(portal, clock))
    clock.advance(1)
    with pytest.raises(KeysUnavailable):
        await verify(token(portal, clock))
    portal.down = False
    clock.advance(RETRY_SECONDS)
    await verify(token(portal, clock))


async def test_nobody_gets_in_before_the_first_keys(verify: AssertionVerifier, portal: Portal, clock: ManualClock) -> None:
    portal.down = True
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            await verify(token(portal, clock))
    assert portal.asked == 1


# ------------------------------------------------------------------ over HTTP


async def elsewhere(_request: web.Request) -> web.Response:
    return web.json_response({"keys": []})


async def serve(handler: Handler) -> TestServer:
    app = web.Application()
    app.router.add_get("/.gateway/jwks.json", handler)
    app.router.add_get("/elsewhere", elsewhere)
    server = TestServer(app)
    await server.start_server()
    return server


async def test_the_key_set_comes_from_a_localhost_name() -> None:
    hosts = []

    async def keys(request: web.Request) -> web.Response:
        hosts.append(request.host)
        return web.json_response({"keys": [1]})

    server = await serve(keys)
    body = await fetch_jwks(f"http://portal.localhost:{server.port}/.gateway/jwks.json")
    assert json.loads(body) == {"keys": [1]}
    assert hosts == [f"portal.localhost:{server.port}"]
    await server.close()


async def redirecting(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/elsewhere")


async def failing(_request: web.Request) -> web.Response:
    return web.Response(status=500)


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(200):
        await response.write(b" " * 1024)
    return response


@pytest.mark.parametrize(
    ("handler", "said"), [(redirecting, "answered 302"), (failing, "answered 500"), (endless, "larger than 64 KiB")]
)
async def test_a_portal_that_answers_wrongly(handler: Handler, said: str) -> None:
    server = await serve(handler)
    with pytest.raises(KeysUnavailable, match=re.escape(said)):
        await fetch_jwks(f"http://127.0.0.1:{server.port}/.gateway/jwks.json")
    await server.close()


async def test_a_portal_that_is_not_there(unused_tcp_port: int) -> None:
    with pytest.raises(KeysUnavailable, match="does not answer"):
        await fetch_jwks(f"http://portal.localhost:{unused_tcp_port}/.gateway/jwks.json")

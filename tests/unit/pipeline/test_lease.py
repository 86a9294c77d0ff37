"""What may be reused: only plain reads that policies allow to be, in the normal situation; and the record says so."""

import msgspec
import pytest

from gateway.domain.decision import Allow, Deny
from gateway.domain.identity import Session
from gateway.domain.request import Request
from gateway.pipeline.decide import _lease
from gateway.policy.evaluate import Answer
from tests.support.policy import bundle, facts, policy
from tests.support.world import HOST, World, stepped_up

ANY = "principal, action, resource"
LEASED = '@lease("3s")\n'


async def decided(world: World, target: str = "/patients", method: str = "GET", **headers: str) -> Allow:
    _, token = await world.sign_in()
    decision = await world.pipeline.decide(world.request(target, method, cookie=token, **headers), "proxy")
    assert isinstance(decision, Allow)
    assert world.decisions()[-1].lease_seconds == decision.lease_seconds
    return decision


@pytest.fixture
def world() -> World:
    world = World()
    world.policies.current = bundle(policy("all", "context.proofing.level == 3", scope=ANY, more=LEASED))
    return world


async def test_the_default_is_none() -> None:
    world = World()
    world.good_device()
    assert (await decided(world)).lease_seconds == 0


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_has_its_policys_lease(world: World, method: str) -> None:
    assert (await decided(world, method=method)).lease_seconds == 3


@pytest.mark.parametrize(("left", "seconds"), [(60, 3), (3, 3), (2, 2), (1, 1)])
async def test_no_lease_goes_beyond_the_end_of_the_proofing(world: World, left: int, seconds: int) -> None:
    session, _ = await world.sign_in()
    proofing = msgspec.structs.replace(world.proofing(), expires_at=world.now + left)

    def ends_soon(old: Session) -> Session:
        return msgspec.structs.replace(
            old, identity=msgspec.structs.replace(old.identity, proofing=proofing), generation=2, proofing_generation=2
        )

    fresh = await world.sessions.change(session.id, ends_soon, HOST)
    assert fresh is not None
    decision = await world.pipeline.decide(world.request(cookie=fresh.reveal()), "proxy")
    assert isinstance(decision, Allow)
    assert decision.lease_seconds == seconds
    world.clock.advance(left)
    after = await world.pipeline.decide(world.request(cookie=fresh.reveal()), "proxy")
    assert isinstance(after, Deny), "at the very second"


async def test_one_policy_without_a_lease_ends_it(world: World) -> None:
    world.policies.current = bundle(policy("all", "context.proofing.level == 3", scope=ANY, more=LEASED), policy("too"))
    assert (await decided(world)).lease_seconds == 0


async def test_a_write_has_none(world: World) -> None:
    assert (await decided(world, "/patients/p1/documents", "POST", Content_Length="0")).lease_seconds == 0


async def test_a_websocket_has_none(world: World) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec_WebSocket_Version": "13",
    }
    assert (await decided(world, "/patients/p1/vitals/stream", **upgrade)).lease_seconds == 0


async def test_a_deny_says_none(world: World) -> None:
    world.policies.current = bundle(
        policy("all", "context.proofing.level == 3", scope=ANY, more=LEASED), policy("no", effect="forbid", more=LEASED)
    )
    session, _ = await world.sign_in()
    token = await world.sessions.change(session.id, stepped_up(world.now), HOST)
    assert token is not None
    decision = await world.pipeline.decide(world.request(cookie=token.reveal()), "proxy")
    assert isinstance(decision, Deny)
    assert world.decisions()[-1].lease_seconds == 0


@pytest.mark.parametrize(
    ("seconds", "change", "errors"),
    [
        (3, {}, ()),
        (0, {"situation": "emergency"}, ()),
        (0, {"situation": "break_glass"}, ()),
        (0, {"target": {"action": "export"}}, ()),
        (0, {}, ("p: overflow",)),
    ],
)
def test_nothing_out_of_the_ordinary_is_leased(seconds: int, change: dict[str, object], errors: tuple[str, ...]) -> None:
    answer = Answer(allowed=True, forbidden=False, policies=("all",), lease_seconds=3, errors=errors)
    assert _lease(answer, plain_get(), facts(**change), None, 0) == seconds


def plain_get() -> Request:
    return World().request()

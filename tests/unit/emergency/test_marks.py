"""Whatever is decided under a break-glass says so: records, what nginx logs, what the app is told."""

import msgspec
import pytest

from gateway.domain.decision import Allow, Deny
from gateway.domain.identity import Emergency, Session
from gateway.kernel.assertion import Verifier
from gateway.leases.mark import Mark, Marks
from gateway.pipeline.outgoing import ASSERTION_HEADER
from tests.support.world import HOST, World

BREAK = "brk_" + "a" * 32


async def lifted(world: World, *, seconds: int = 3600) -> tuple[str, str]:
    """A physician without a proofing on a good device; the token of before, and the one that sees the break-glass."""
    world.good_device()
    session, before = await world.sign_in(proofed=False)
    now = world.now
    emergency = Emergency(id=BREAK, began_at=now, until=now + seconds, reason="critical", patient="P1001")

    def change(old: Session) -> Session:
        generation = old.generation + 1
        return msgspec.structs.replace(old, emergency=emergency, emergency_generation=generation, generation=generation)

    await world.sessions.change(session.id, change, "portal.localhost")
    token = await world.sessions.attach(session.id, HOST)
    assert token is not None
    return before, token.reveal()


async def test_decision_completion_and_assertion_carry_its_id() -> None:
    world = World()
    _, token = await lifted(world)
    allow = await world.pipeline.decide(world.request("/patients/P1001", cookie=token), "proxy")
    assert isinstance(allow, Allow)
    world.pipeline.completed(allow, status=200, bytes_in=0, bytes_out=1, started=world.clock.monotonic())
    assert world.decisions()[-1].break_glass == BREAK
    assert world.completions()[-1].break_glass == BREAK
    assert allow.lease_seconds == 0
    said = dict(world.pipeline.outgoing(allow))[ASSERTION_HEADER]
    verify = Verifier(world.signer.jwks, issuer="http://portal.localhost:8080", audience="ehr", clock=world.clock)
    claims = verify(said)
    assert (claims.situation, claims.break_glass) == ("break_glass", BREAK)


async def test_a_completion_after_its_end_is_still_of_what_was_allowed_under_it() -> None:
    world = World()
    _, token = await lifted(world, seconds=60)
    allow = await world.pipeline.decide(world.request("/patients/P1001", cookie=token), "proxy")
    assert isinstance(allow, Allow)
    world.clock.advance(61)
    world.pipeline.completed(allow, status=200, bytes_in=0, bytes_out=1, started=world.clock.monotonic())
    assert world.completions()[-1].break_glass == BREAK


async def test_what_is_denied_under_it_is_marked_and_what_came_after_is_not() -> None:
    world = World()
    _, token = await lifted(world, seconds=60)
    denied = await world.pipeline.decide(world.request("/patients/P1001/prescriptions", "POST", cookie=token), "proxy")
    assert isinstance(denied, Deny)
    assert world.decisions()[-1].break_glass == BREAK
    world.clock.advance(60)
    denied = await world.pipeline.decide(world.request("/patients/P1001", cookie=token), "proxy")
    assert isinstance(denied, Deny)
    assert world.decisions()[-1].break_glass is msgspec.UNSET


async def test_an_older_handle_is_neither_lifted_nor_marked() -> None:
    world = World()
    before, _ = await lifted(world)
    decision = await world.pipeline.decide(world.request("/patients/P1001", cookie=before), "proxy")
    assert not isinstance(decision, Allow)
    assert world.decisions()[-1].break_glass is msgspec.UNSET


async def test_without_one_records_and_assertion_are_as_ever() -> None:
    world = World()
    world.good_device()
    _, token = await world.sign_in()
    allow = await world.pipeline.decide(world.request("/patients/P1001", cookie=token), "proxy")
    assert isinstance(allow, Allow)
    assert b"break_glass" not in msgspec.json.encode(world.decisions()[-1]).replace(b'"situation":"normal"', b"")
    claims = Verifier(world.signer.jwks, issuer="http://portal.localhost:8080", audience="ehr", clock=world.clock)(
        dict(world.pipeline.outgoing(allow))[ASSERTION_HEADER]
    )
    assert (claims.situation, claims.break_glass) == ("", "")


@pytest.mark.parametrize("break_glass", ["", BREAK])
def test_the_mark_in_nginxs_log_says_it_and_can_not_be_changed(break_glass: str) -> None:
    marks = Marks(b"s" * 32)
    about = {"method": "GET", "host": "ehr.localhost", "path": "/x", "address": "192.0.2.1"}
    mark = Mark(id="dec_" + "0" * 32, until=0, allowed=True, break_glass=break_glass)
    made = marks.make(mark, **about)
    assert marks.verify(made, **about) == mark
    parts = made.split(".")
    for kind in ("a", "n", BREAK, "brk_" + "b" * 32):
        forged = ".".join([*parts[:2], kind, parts[3]])
        assert (marks.verify(forged, **about) is None) is (forged != made)

"""Answers that go through nginx: whole, for one request, for a minute, and for us alone."""

import msgspec
import pytest

from gateway.domain.connection import Connection
from gateway.domain.decision import Challenge, Decision, Deny, Refuse, Unavailable
from gateway.domain.reason import RefuseReason, UnavailableReason
from gateway.domain.request import RawRequest
from gateway.doors.nginx.sealed import GOOD_SECONDS, Answers
from gateway.kernel.clock import ManualClock
from tests.support.world import World

SECRET = b"s" * 32
RAW = RawRequest(
    method="GET", target="/x?q=1", headers=(("Host", "ehr.localhost"), ("Cookie", "__Host-gw-session=abc; other=1")),
    connection=Connection(peer_address="127.0.0.1"),
)  # fmt: skip


async def no_of(kind: str) -> Decision:
    world = World()
    _, token = await world.sign_in(roles=("clerk",))
    if kind == "refuse":
        return Refuse(id="dec_1", reason=RefuseReason.NO_ROUTE, detail="because")
    if kind == "unavailable":
        return Unavailable(id="dec_1", reason=UnavailableReason.AUDIT_LOG)
    return await world.pipeline.decide(world.request(cookie=token if kind == "deny" else None), "nginx")


@pytest.mark.parametrize("kind", ["challenge", "deny", "refuse", "unavailable"])
async def test_a_decision_arrives_with_all_that_its_page_shows(kind: str) -> None:
    decision = await no_of(kind)
    assert isinstance(decision, Challenge | Deny | Refuse | Unavailable)
    clock = ManualClock()
    # Another worker opens it.
    opened = Answers(SECRET, clock).open(Answers(SECRET, clock).seal(decision, canonical=True, raw=RAW), raw=RAW)
    assert opened is not None
    assert opened.canonical
    again = opened.decision
    assert type(again) is type(decision)
    assert (again.id, again.reason) == (decision.id, decision.reason)
    if isinstance(decision, Deny) and isinstance(again, Deny):
        assert (again.remedy, again.posture) == (decision.remedy, decision.posture)
        assert again.handle.session.identity == decision.handle.session.identity


async def test_it_holds_no_token() -> None:
    decision = await no_of("deny")
    assert isinstance(decision, Deny)
    session = msgspec.structs.replace(decision.handle.session, id_token="id-token-4711" * 50)
    decision = msgspec.structs.replace(decision, handle=msgspec.structs.replace(decision.handle, session=session))
    sealed = Answers(SECRET, ManualClock()).seal(decision, canonical=True, raw=RAW)
    assert len(sealed) < 2_000
    opened = Answers(SECRET, ManualClock()).open(sealed, raw=RAW)
    assert opened is not None
    assert "4711" not in repr(opened)
    assert "__Host" not in repr(opened)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "POST"}, {"target": "/x?q=2"}, {"headers": (("Host", "lab.localhost"), RAW.headers[1])},
        {"headers": (RAW.headers[0],)}, {"headers": (RAW.headers[0], ("Cookie", "__Host-gw-session=abd; other=1"))},
    ],
)  # fmt: skip
def test_it_is_for_one_request(change: dict[str, object]) -> None:
    answers = Answers(SECRET, ManualClock())
    sealed = answers.seal(Refuse(id="dec_1", reason=RefuseReason.NO_ROUTE), canonical=True, raw=RAW)
    assert answers.open(sealed, raw=RAW) is not None
    assert answers.open(sealed, raw=msgspec.structs.replace(RAW, **change)) is None


def test_it_ages_and_can_not_be_made_by_others() -> None:
    clock = ManualClock()
    answers = Answers(SECRET, clock)
    sealed = answers.seal(Refuse(id="dec_1", reason=RefuseReason.NO_ROUTE), canonical=False, raw=RAW)
    for forged in (Answers(b"t" * 32, clock).seal(Refuse(id="dec_1", reason=RefuseReason.NO_ROUTE), canonical=False, raw=RAW),
                   sealed[:-1], sealed[1:], sealed[:40], "", "ü", "=", "A" * 4000):  # fmt: skip
        assert answers.open(forged, raw=RAW) is None
    clock.advance(GOOD_SECONDS + 1)
    assert answers.open(sealed, raw=RAW) is None

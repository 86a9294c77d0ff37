"""Open streams under their decision, when things go wrong, all at once, or in great number."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import msgspec
import pytest

from gateway.domain.decision import Allow, Decision, Deny, Unavailable
from gateway.domain.posture import Posture
from gateway.domain.reason import RemedyStep, UnavailableReason
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import StoreUnavailable
from gateway.pipeline import streams as module
from gateway.pipeline.streams import AT_A_TIME, Streams, StreamWatch
from gateway.ports import SessionChange
from tests.support.world import World

NO = Unavailable(id="dec_no", reason=UnavailableReason.INTERNAL)


class Feed:
    """A feed of session changes that can be told what to do next."""

    def __init__(self) -> None:
        self.opened = 0
        self.next: asyncio.Queue[SessionChange | Exception | None] = asyncio.Queue()

    async def changes(self) -> AsyncIterator[SessionChange]:
        self.opened += 1
        yield SessionChange(session_id="*", kind="changed")
        while (item := await self.next.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item


class Judge:
    """Decides as told, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Decision | Exception | None] = {}
        self.gate: asyncio.Event | None = None
        self.running = 0
        self.most = 0

    async def __call__(self, allow: Allow) -> Decision | None:
        self.asked.append(allow.id)
        self.running += 1
        self.most = max(self.most, self.running)
        answer = self.answers.get(allow.id)  # what it was when the decision began
        try:
            if self.gate is not None:
                await self.gate.wait()
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self.running -= 1


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
async def streams(judge: Judge, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Streams]:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    streams = Streams(judge, cast("Any", feed), ManualClock())
    streams.start()
    yield streams
    await streams.stop()


@pytest.fixture
async def allows() -> Callable[[str], Any]:
    world = World()
    world.good_device()

    async def allow(name: str) -> Allow:
        _, token = await world.sign_in()
        decision = await world.pipeline.decide(world.request("/notices/stream", cookie=token), "proxy")
        assert isinstance(decision, Allow)
        return msgspec.structs.replace(decision, id=name)

    return allow


@contextlib.contextmanager
def watching(streams: Streams, allow: Allow) -> Iterator[StreamWatch]:
    with streams.watch(allow) as watch:
        yield watch


async def cut(watch: StreamWatch, within: float = 1.0) -> str:
    async with asyncio.timeout(within):
        await watch.cut.wait()
    return watch.why


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  what is waited for is a plain counter
            await asyncio.sleep(0)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_unexpected_error_cuts_its_stream_and_no_other_goes_unwatched(
    streams: Streams, judge: Judge, allows: Callable[[str], Any]
) -> None:
    judge.answers["bad"] = ZeroDivisionError("a bug")
    good = await allows("good")
    with watching(streams, await allows("bad")) as bad, watching(streams, good) as other:
        assert await cut(bad) == "undecided"
        assert not other.cut.is_set()
        judge.answers["good"] = NO
        streams.look_again(good.handle.session.id)
        assert await cut(other) == "internal"


async def test_a_decision_that_does_not_come_cuts_its_stream_and_delays_no_other(
    streams: Streams, judge: Judge, allows: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DECIDE_SECONDS", 0.3)
    judge.gate = asyncio.Event()
    with watching(streams, await allows("slow")) as slow:
        await settled()
        judge.gate, judge.answers["quick"] = None, NO
        with watching(streams, await allows("quick")) as quick:
            await cut(quick, within=0.2)
            assert not slow.cut.is_set()
        assert await cut(slow) == "undecided"


async def test_what_happens_while_a_stream_is_being_decided_is_not_missed(
    streams: Streams, judge: Judge, allows: Callable[[str], Any]
) -> None:
    allow = await allows("a")
    judge.gate = asyncio.Event()
    with watching(streams, allow) as watch:
        await settled()
        assert judge.asked == ["a"]  # it is being decided on what was true then
        judge.answers["a"] = NO
        for _ in range(5):
            streams.look_again(allow.handle.session.id)
            streams.look_again()
            await settled()
        assert judge.running == 1  # one at a time for each, however often it is asked for
        judge.gate.set()
        assert await cut(watch) == "internal"
    assert len(streams) == 0


@pytest.mark.parametrize("error", [StoreUnavailable("gone", where="session_store"), ValueError("a bug"), OSError("gone"), None])
async def test_a_feed_that_breaks_is_followed_again_and_everything_is_looked_at(
    streams: Streams, judge: Judge, feed: Feed, allows: Callable[[str], Any], error: Exception | None
) -> None:
    allow = await allows("a")
    with watching(streams, allow) as watch:
        await settled()
        judge.answers["a"] = NO  # happened while the feed was broken
        feed.next.put_nowait(error)
        assert await cut(watch) == "internal"
    await until(lambda: feed.opened >= 2)
    other = await allows("b")
    with watching(streams, other) as watch:
        await settled()
        judge.answers["b"] = NO
        feed.next.put_nowait(SessionChange(session_id=other.handle.session.id, kind="revoked"))
        await cut(watch)


async def test_time_alone_brings_another_decision(
    judge: Judge, feed: Feed, allows: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECHECK_SECONDS", 0.1)
    streams = Streams(judge, cast("Any", feed), ManualClock())
    streams.start()
    with watching(streams, await allows("a")) as watch:
        await asyncio.sleep(0.05)
        judge.answers["a"] = NO
        assert await cut(watch) == "internal"
    await streams.stop()


async def test_thousands_of_streams_leave_room_for_requests_and_the_one_that_matters_comes_first(
    streams: Streams, judge: Judge, allows: Callable[[str], Any]
) -> None:
    many, last = await allows("many"), await allows("last")
    with contextlib.ExitStack() as stack:
        for number in range(2_000):
            stack.enter_context(watching(streams, msgspec.structs.replace(many, id=f"many{number}")))
        watch = stack.enter_context(watching(streams, last))
        await until(lambda: len(judge.asked) >= 2_001)
        assert judge.most <= AT_A_TIME
        judge.asked.clear()
        streams.look_again()
        judge.answers["last"] = NO
        await asyncio.sleep(0)
        streams.look_again(last.handle.session.id)
        await cut(watch)
        assert len(judge.asked) < 10 * AT_A_TIME
        assert len(streams) == 2_001
    assert len(streams) == 0


async def test_the_streams_of_a_device_that_changed_come_first(
    streams: Streams, judge: Judge, allows: Callable[[str], Any]
) -> None:
    world = World()
    many, one, bound = await allows("many"), await allows("one"), await allows("bound")
    many = msgspec.structs.replace(many, posture=Posture())
    one = msgspec.structs.replace(one, posture=Posture(device=world.device(id="dev_x"), evidence="certificate"))
    session = msgspec.structs.replace(bound.handle.session, device_id="dev_x")
    bound = msgspec.structs.replace(bound, posture=Posture(), handle=msgspec.structs.replace(bound.handle, session=session))
    with contextlib.ExitStack() as stack:
        for number in range(200):
            stack.enter_context(watching(streams, msgspec.structs.replace(many, id=f"many{number}")))
        stack.enter_context(watching(streams, one))
        stack.enter_context(watching(streams, bound))
        await until(lambda: len(judge.asked) >= 202)
        judge.asked.clear()
        streams.device_changed("dev_x")
        await until(lambda: len(judge.asked) >= 202)
        assert set(judge.asked[:2]) == {"one", "bound"}
        assert len(set(judge.asked)) == 202


async def test_a_stream_that_ended_is_not_decided_any_more(streams: Streams, judge: Judge, allows: Callable[[str], Any]) -> None:
    allow = await allows("a")
    with watching(streams, allow):
        streams.look_again()
    streams.look_again()
    streams.look_again(allow.handle.session.id)
    await settled()
    assert judge.asked == []


async def test_stopping_ends_what_is_open_also_in_the_middle_of_a_decision(
    judge: Judge, feed: Feed, allows: Callable[[str], Any]
) -> None:
    judge.gate = asyncio.Event()
    streams = Streams(judge, cast("Any", feed), ManualClock())
    streams.start()
    with watching(streams, await allows("a")) as watch:
        await settled()
        assert judge.running == 1
        await streams.stop()
        assert (watch.why, watch.cut.is_set(), judge.running) == ("shutdown", True, 0)


async def test_a_stream_that_cannot_be_recorded_as_cut_is_cut() -> None:
    world = World()
    world.good_device()
    session, token = await world.sign_in()
    allow = await world.pipeline.decide(world.request("/notices/stream", cookie=token), "proxy")
    assert isinstance(allow, Allow)
    world.pipeline.streams.start()

    world.log.fail()
    with world.pipeline.watch(allow) as watch:
        await world.sessions.revoke(session.id)
        assert await cut(watch) == "audit_log"
    await world.pipeline.streams.stop()


async def test_a_cut_stream_is_recorded_without_a_remedy_that_nobody_would_see() -> None:
    world = World()
    world.good_device()
    _, token = await world.sign_in()
    allow = await world.pipeline.decide(world.request("/notices/stream", cookie=token), "proxy")
    assert isinstance(allow, Allow)
    world.posture.posture = Posture()
    decision = await world.pipeline.recheck(allow)
    assert isinstance(decision, Deny)
    assert decision.remedy == ()
    assert world.decisions()[-1].facts is not None
    page = await world.pipeline.decide(world.request("/notices/stream", cookie=token), "proxy")
    assert isinstance(page, Deny)
    assert page.remedy == (RemedyStep.REGISTER_DEVICE,)


def proofed_until(allow: Allow, expires_at: int | None) -> Allow:
    """Return the same, of a person whose identity proofing ends then."""
    session = allow.handle.session
    assert session.identity.proofing is not None
    proofing = msgspec.structs.replace(session.identity.proofing, expires_at=expires_at)
    session = msgspec.structs.replace(session, identity=msgspec.structs.replace(session.identity, proofing=proofing))
    return msgspec.structs.replace(allow, handle=msgspec.structs.replace(allow.handle, session=session))


async def test_a_stream_is_decided_when_its_persons_proofing_ends(judge: Judge, feed: Feed, allows: Callable[[str], Any]) -> None:
    clock = ManualClock(start=1_800_000_000.75)
    streams = Streams(judge, cast("Any", feed), clock)
    streams.start()
    ending, lasting = proofed_until(await allows("dec_ending"), 1_800_000_001), proofed_until(await allows("dec_lasting"), None)
    with watching(streams, ending) as watch, watching(streams, lasting) as other:
        await until(lambda: {"dec_ending", "dec_lasting"} <= set(judge.asked))
        judge.asked.clear()
        clock.advance(0.25)
        judge.answers["dec_ending"] = NO
        # Nothing is announced, and it is long before the half minute after which everything is looked at.
        await cut(watch, within=5)
        assert not other.cut.is_set()
        assert set(judge.asked) == {"dec_ending"}
    await streams.stop()


async def test_a_stream_that_is_gone_leaves_no_timer(judge: Judge, feed: Feed, allows: Callable[[str], Any]) -> None:
    clock = ManualClock(start=1_800_000_000.0)
    streams = Streams(judge, cast("Any", feed), clock)
    streams.start()
    allow = proofed_until(await allows("dec_1"), 1_800_000_030)
    with watching(streams, allow):
        await until(lambda: bool(streams._timers))
        with watching(streams, proofed_until(await allows("dec_2"), 1_800_000_030 + 86_400)):
            await until(lambda: "dec_2" in judge.asked)
            await asyncio.sleep(0)
            assert len(streams._timers) == 1, "nobody waits a day: it is decided often enough before"
    assert not streams._timers
    await streams.stop()

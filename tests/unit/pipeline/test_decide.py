import asyncio

import pytest
from jose import jwt

from gateway.domain.decision import Allow, Challenge, Deny, Refuse, Unavailable
from gateway.domain.reason import ChallengeReason, DenyReason, RefuseReason, RemedyStep, UnavailableReason, UpstreamProblem
from tests.support.policy import bundle, policy
from tests.support.world import HOST, World, stepped_up


@pytest.fixture
def world() -> World:
    return World()


async def test_nobody_is_challenged_and_recorded(world: World) -> None:
    decision = await world.pipeline.decide(world.request("/patients?name=yamada&lang=ja"), "proxy")
    assert isinstance(decision, Challenge)
    assert decision.reason is ChallengeReason.SIGN_IN_REQUIRED
    (record,) = world.decisions()
    assert (record.id, record.outcome, record.route, record.path) == (decision.id, "challenge", "ehr.patients", "/patients")
    assert record.query_names == ("name", "lang")
    assert "yamada" not in str(record)


@pytest.mark.parametrize("cookie", ["", "forged", "x" * 43, "x" * 100_0])
async def test_a_forged_cookie_is_challenged(world: World, cookie: str) -> None:
    decision = await world.pipeline.decide(world.request(cookie=cookie), "proxy")
    assert isinstance(decision, Challenge)
    assert decision.reason is ChallengeReason.COOKIE_UNKNOWN


async def test_a_truncated_cookie_and_another_hosts_cookie_are_challenged(world: World) -> None:
    world.good_device()
    _, token = await world.sign_in()
    _, elsewhere = await world.sign_in(host="imaging.localhost")
    for cookie in (token[:-1], token + "x", elsewhere):
        assert isinstance(await world.pipeline.decide(world.request(cookie=cookie), "proxy"), Challenge)
    assert isinstance(await world.pipeline.decide(world.request(cookie=token), "proxy"), Allow)


async def test_two_different_session_cookies_are_no_session(world: World) -> None:
    world.good_device()
    _, token = await world.sign_in()
    planted = world.request(cookie=f"{token}; __Host-gw-session=planted")
    assert isinstance(await world.pipeline.decide(planted, "proxy"), Challenge)


async def test_the_remedy_names_every_missing_step_in_order(world: World) -> None:
    _, token = await world.sign_in(proofed=False)
    decision = await world.pipeline.decide(world.request(cookie=token), "proxy")
    assert isinstance(decision, Deny)
    assert decision.remedy == (RemedyStep.REGISTER_DEVICE, RemedyStep.IDENTITY_PROOFING)
    assert world.decisions()[0].remedy == ("register_device", "identity_proofing")


async def test_prescribing_wants_a_touch_and_a_touch_grows_old(world: World) -> None:
    world.good_device()
    session, _ = await world.sign_in()
    token = await world.sessions.change(session.id, stepped_up(world.now), HOST)
    assert token is not None
    request = world.request("/patients/p1/prescriptions", "POST", cookie=token.reveal(), Content_Length="0")
    assert isinstance(await world.pipeline.decide(request, "proxy"), Allow)
    world.clock.advance(301)
    decision = await world.pipeline.decide(request, "proxy")
    assert isinstance(decision, Deny)
    assert decision.remedy == (RemedyStep.KEY_TOUCH,)


async def test_a_token_from_before_the_step_up_gains_nothing_by_it(world: World) -> None:
    world.good_device()
    session, _ = await world.sign_in()
    other = await world.sessions.attach(session.id, HOST)
    assert other is not None
    await world.sessions.change(session.id, stepped_up(world.now), "portal.localhost")
    decision = await world.pipeline.decide(
        world.request("/patients/p1/prescriptions", "POST", cookie=other.reveal(), Content_Length="0"), "proxy"
    )
    assert isinstance(decision, Deny)


async def test_a_clerk_sees_no_chart_and_nothing_would_help(world: World) -> None:
    world.good_device()
    _, token = await world.sign_in("pwd", "otp", "fido2", roles=("clerk",))
    decision = await world.pipeline.decide(world.request("/patients/p1", cookie=token), "proxy")
    assert isinstance(decision, Deny)
    assert decision.remedy == ()
    assert decision.reason in {DenyReason.NO_POLICY_PERMITS, DenyReason.POLICY_FORBIDS}


@pytest.mark.parametrize("note", ["pending", "blocked"])
async def test_a_blocked_device_is_not_helped_by_registering_again(world: World, note: str) -> None:
    import msgspec

    from gateway.domain.posture import Posture

    world.posture.posture = msgspec.convert({"note": note}, Posture)
    _, token = await world.sign_in()
    decision = await world.pipeline.decide(world.request(cookie=token), "proxy")
    assert isinstance(decision, Deny)
    assert RemedyStep.REGISTER_DEVICE not in decision.remedy


async def test_a_new_bundle_forgets_the_answers_of_the_old_one(world: World) -> None:
    world.good_device()
    _, token = await world.sign_in()
    request = world.request(cookie=token)
    old = world.policies.current
    for made, kind in ((old, Allow), (bundle(policy(when='principal in Role::"nurse"')), Deny), (old, Allow)):
        world.policies.current = made
        for _ in range(2):
            assert isinstance(await world.pipeline.decide(request, "proxy"), kind)
            assert world.decisions()[-1].bundle == made.version


async def test_a_remembered_answer_ends_with_the_second_that_a_policy_names(world: World) -> None:
    world.policies.current = bundle(policy(when="context.authentication.age_seconds < 300"))
    _, token = await world.sign_in()
    request = world.request(cookie=token)
    for seconds, kind in ((0, Allow), (299, Allow), (1, Deny)):
        world.clock.advance(seconds)
        assert isinstance(await world.pipeline.decide(request, "proxy"), kind)


async def test_no_route_is_refused(world: World) -> None:
    decision = await world.pipeline.decide(world.request("/admin"), "proxy")
    assert isinstance(decision, Refuse)
    assert decision.reason is RefuseReason.NO_ROUTE
    assert world.decisions()[0].outcome == "refuse"


async def test_fails_closed_when_a_store_breaks(world: World) -> None:
    world.good_device()
    _, token = await world.sign_in()
    world.posture.broken = True
    decision = await world.pipeline.decide(world.request(cookie=token), "proxy")
    assert isinstance(decision, Unavailable)
    assert decision.reason is UnavailableReason.DEVICE_REGISTRY
    world.breakable.broken = True
    decision = await world.pipeline.decide(world.request(cookie=token), "proxy")
    assert isinstance(decision, Unavailable)
    assert decision.reason is UnavailableReason.SESSION_STORE
    world.breakable.bug = True
    decision = await world.pipeline.decide(world.request(cookie=token), "proxy")
    assert isinstance(decision, Unavailable)
    assert decision.reason is UnavailableReason.INTERNAL
    assert [record.outcome for record in world.decisions()] == ["unavailable"] * 3


async def test_no_record_no_access(world: World) -> None:
    world.good_device()
    _, token = await world.sign_in()
    world.log.fail()
    decision = await world.pipeline.decide(world.request(cookie=token), "proxy")
    assert isinstance(decision, Unavailable)
    assert decision.reason is UnavailableReason.AUDIT_LOG


async def test_the_record_holds_every_fact_so_that_it_can_be_decided_again(world: World) -> None:
    from gateway.policy.evaluate import facts_of_record

    world.good_device()
    _, token = await world.sign_in()
    decision = await world.pipeline.decide(world.request("/patients/p-123", cookie=token), "proxy")
    assert isinstance(decision, Allow)
    (record,) = world.decisions()
    assert record.facts is not None
    assert record.patient == "p-123"
    assert record.bundle == world.policies.current.version
    again = world.policies.current.evaluate(facts_of_record(record.facts))
    assert again.allowed
    assert again.policies == record.policies


async def test_the_assertion_is_for_that_app_and_an_independent_library_agrees(world: World) -> None:
    world.good_device()
    _, token = await world.sign_in()
    world.clock.advance(0)
    decision = await world.pipeline.decide(world.request("/patients", cookie=token), "proxy")
    assert isinstance(decision, Allow)
    headers = dict(world.pipeline.outgoing(decision))
    keys = world.signer.jwks()["keys"]
    assert isinstance(keys, list)
    (key,) = keys
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}  # the test's clock is not the library's
    issuer = "http://portal.localhost:8080"
    claims = jwt.decode(headers["X-Gateway-Assertion"], key, algorithms=["ES256"], audience="ehr", issuer=issuer, options=options)
    assert claims["sub"] == "usr_1"
    assert claims["jti"] == decision.id == headers["X-Request-Id"]
    assert claims["exp"] - claims["iat"] == 60
    assert headers["X-Remote-User"] == "dr.sato"
    assert headers["X-Remote-Name"] == "%E4%BD%90%E8%97%A4 %E6%81%B5"
    assert "d" not in key
    assert {"xgatewayassertion", "xremoteuser", "xremotename", "xrequestid"} <= world.pipeline.protected_names()


async def test_a_completion_survives_cancellation_and_carries_the_id(world: World) -> None:
    world.good_device()
    _, token = await world.sign_in()
    decision = await world.pipeline.decide(world.request(cookie=token), "proxy")
    assert isinstance(decision, Allow)

    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            world.pipeline.completed(
                decision, status=0, bytes_in=1, bytes_out=2, started=world.clock.monotonic(), problem=UpstreamProblem.CLIENT_GONE
            )

    task = asyncio.create_task(handler())
    await asyncio.sleep(0)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (record,) = world.completions()
    assert (record.id, record.bytes_out, record.problem) == (decision.id, 2, "client_gone")


async def test_an_open_stream_is_cut_when_its_session_is_revoked(world: World) -> None:
    world.good_device()
    session, token = await world.sign_in()
    world.pipeline.streams.start()
    allow = await world.pipeline.decide(world.request("/notices/stream", cookie=token), "proxy")
    assert isinstance(allow, Allow)
    with world.pipeline.watch(allow) as watch:
        await asyncio.sleep(0.05)
        assert not watch.cut.is_set()
        await world.sessions.revoke(session.id)
        async with asyncio.timeout(1):
            await watch.cut.wait()
    assert watch.why == "session_revoked"
    assert len(world.pipeline.streams) == 0
    assert [record.phase for record in world.decisions()] == ["request", "stream"]
    assert world.decisions()[1].request_id == allow.id
    await world.pipeline.streams.stop()


async def test_a_revocation_between_decision_and_watch_is_not_missed(world: World) -> None:
    world.good_device()
    session, token = await world.sign_in()
    world.pipeline.streams.start()
    allow = await world.pipeline.decide(world.request("/notices/stream", cookie=token), "proxy")
    assert isinstance(allow, Allow)
    await world.sessions.revoke(session.id)
    with world.pipeline.watch(allow) as watch:
        async with asyncio.timeout(1):
            await watch.cut.wait()
    await world.pipeline.streams.stop()


async def test_streams_are_cut_when_a_device_is_blocked_or_a_store_breaks(world: World) -> None:
    world.good_device()
    _, token = await world.sign_in()
    world.pipeline.streams.start()
    for spoil in ("device", "store"):
        world.good_device()
        world.breakable.broken = False
        allow = await world.pipeline.decide(world.request("/notices/stream", cookie=token), "proxy")
        assert isinstance(allow, Allow)
        with world.pipeline.watch(allow) as watch:
            if spoil == "device":
                world.posture.posture = type(world.posture.posture)(note="blocked")
            else:
                world.breakable.broken = True
            world.pipeline.streams.look_again()
            async with asyncio.timeout(1):
                await watch.cut.wait()
    await world.pipeline.streams.stop()

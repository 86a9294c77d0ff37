"""Guessing with many spellings, many tries at once, and the password in hand (Authelia CVE-2026-47203, CVE-2025-24806; ZITADEL
CVE-2025-64102): one account, one counter, charged before the try.
"""

import asyncio

import msgspec
import pytest

from tests.support.oidc import World

SPELLINGS = [
    "dr.sato",
    "DR.SATO",
    " Dr.Sato\t",
    "ＤＲ．ｓａｔｏ",
    "dr.sato@hospital.example",
    "Dr.Sato@Hospital.Example ",
    "dr.ſato",
]


async def people(oidc: World) -> None:
    user = await oidc.person()
    await oidc.parts.store.users.update(user.id, lambda old: msgspec.structs.replace(old, email="dr.sato@hospital.example"))


async def test_every_spelling_shares_one_counter(oidc: World) -> None:
    await people(oidc)
    attempts = oidc.parts.store.attempts
    for spelling in SPELLINGS[:5]:
        assert (await attempts.begin(spelling, "192.0.2.1", oidc.now)).allowed
    user = await oidc.parts.store.users.by_login("dr.sato")
    assert user is not None
    for spelling in [*SPELLINGS, user.id]:
        refused = await attempts.begin(spelling, "192.0.2.2", oidc.now)
        assert (refused.allowed, refused.retry_after) == (False, 30), spelling


async def test_parallel_guesses_do_not_slip_through(oidc: World) -> None:
    await people(oidc)
    tries = await asyncio.gather(
        *(oidc.parts.store.attempts.begin(SPELLINGS[number % 5], f"192.0.2.{number}", oidc.now) for number in range(60))
    )
    assert sum(attempt.allowed for attempt in tries) == 5


async def test_waits_double_and_end_in_a_lock_that_ends(oidc: World) -> None:
    await people(oidc)
    attempts, waits, locked = oidc.parts.store.attempts, [], []
    for _ in range(10):
        attempt = await attempts.begin("dr.sato", "192.0.2.1", oidc.now)
        if not attempt.allowed:
            waits.append(attempt.retry_after)
            locked.append(attempt.locked)
            oidc.clock.advance(attempt.retry_after)
            assert (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed
    assert waits == [30, 60, 120, 240, 480]
    final = await attempts.begin("dr.sato", "192.0.2.1", oidc.now)
    assert (final.allowed, final.locked, final.retry_after) == (False, True, 1800)
    oidc.clock.advance(1799)
    assert (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).locked
    oidc.clock.advance(1)
    assert (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed
    assert (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).locked, "one try, and locked again"


async def test_knowing_the_password_does_not_buy_endless_codes(oidc: World) -> None:
    await people(oidc)
    attempts = oidc.parts.store.attempts
    codes = 0
    for _ in range(20):
        if not (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed:
            break
        await attempts.succeeded("dr.sato", "192.0.2.1")  # the password was right
        if not (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed:
            break
        codes += 1  # the code was wrong
    assert codes == 5


async def test_a_whole_sign_in_clears_and_half_of_one_does_not(oidc: World) -> None:
    user = await oidc.person()
    attempts = oidc.parts.store.attempts
    for _ in range(4):
        await attempts.begin("dr.sato", "192.0.2.1", oidc.now)
    await oidc.sign_in(oidc.browser(), user, "fido2")
    await attempts.begin("dr.sato", "192.0.2.1", oidc.now)
    assert not (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed, "a key was not what was being guessed at"
    await oidc.sign_in(oidc.browser(), user, "pwd", "otp")
    assert (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed


async def test_a_fresh_password_beside_an_older_code_does_not_clear(oidc: World) -> None:
    """At a browser that somebody left signed in, the password alone must not wipe out the guesses at the code."""
    user, browser, attempts = await oidc.person(), oidc.browser(), oidc.parts.store.attempts
    reply = await browser.get("/authorize", oidc.ask().pairs)
    await oidc.prove(browser, reply.location, user, "pwd")
    oidc.clock.advance(30)
    await oidc.prove(browser, reply.location, user, "otp")
    assert (await oidc.finish(browser, reply.location)).status == 303
    oidc.clock.advance(20)
    for _ in range(4):
        await attempts.begin("dr.sato", "192.0.2.1", oidc.now)
    await oidc.sign_in(browser, user, "pwd", ask=oidc.ask(max_age="40"))
    assert (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed
    assert not (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed


async def test_an_officer_can_unlock(oidc: World) -> None:
    user = await oidc.person()
    attempts = oidc.parts.store.attempts
    while (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed:
        pass
    assert await oidc.provider.unlock_user(user.id, by="sec.yamamoto")
    assert (oidc.events.seen[-1].name, oidc.events.seen[-1].by) == ("account.unlocked", "sec.yamamoto")
    assert (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed


async def test_accounts_that_do_not_exist_behave_alike(oidc: World) -> None:
    await people(oidc)
    attempts = oidc.parts.store.attempts

    async def pattern(name: str) -> list[tuple[bool, int, bool]]:
        found = [await attempts.begin(name, "192.0.2.9", oidc.now) for _ in range(8)]
        return [(attempt.allowed, attempt.retry_after, attempt.locked) for attempt in found]

    assert await pattern("dr.sato") == await pattern("nobody.at.all")


async def test_one_address_can_not_try_all_accounts(oidc: World) -> None:
    attempts = oidc.parts.store.attempts
    allowed = [(await attempts.begin(f"user{number}", "192.0.2.7", oidc.now)).allowed for number in range(80)]
    assert sum(allowed) == 50
    assert (await attempts.begin("user1", "192.0.2.8", oidc.now)).allowed
    oidc.clock.advance(300)
    assert (await attempts.begin("user2", "192.0.2.7", oidc.now)).allowed


async def test_failures_are_forgotten_after_a_day(oidc: World) -> None:
    attempts = oidc.parts.store.attempts
    for _ in range(4):
        await attempts.begin("dr.sato", "192.0.2.1", oidc.now)
    oidc.clock.advance(86_400)
    for _ in range(5):
        assert (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed


@pytest.mark.parametrize(
    "login", ["dr.ѕato", "dr.sаto", "dr sato", "dr.sato ", "DR.SATO", "ｄr.sato", "dr.sato\u200b", "usr_x", ".", "", "a@b"]
)
async def test_no_account_can_look_like_another(oidc: World, login: str) -> None:
    user = await oidc.person()
    twin = msgspec.structs.replace(user, id="usr_twin", login=login)
    with pytest.raises(ValueError, match="not acceptable"):
        await oidc.parts.store.users.add(twin)
    assert len(await oidc.provider.list_users()) == 1


async def test_one_persons_e_mail_address_can_not_be_anothers_login_or_address(oidc: World) -> None:
    await people(oidc)
    nurse = await oidc.person("nurse.suzuki")
    with pytest.raises(ValueError, match="taken"):
        await oidc.parts.store.users.update(nurse.id, lambda old: msgspec.structs.replace(old, email="dr.sato@hospital.example"))
    kept = await oidc.parts.store.users.get(nurse.id)
    assert kept == nurse
    for bad in (
        "attacker@evil.example@hospital.example",
        "a＠hospital.example",
        "A@hospital.example",
        "@x.example",
        "a@localhost",
    ):
        with pytest.raises(ValueError, match="not acceptable"):
            await oidc.parts.store.users.update(nurse.id, lambda old, bad=bad: msgspec.structs.replace(old, email=bad))  # type: ignore[misc]

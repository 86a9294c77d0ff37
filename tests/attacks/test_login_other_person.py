"""A step-up is for the person that it names: nobody else can complete it, with whatever is theirs."""

from idp.web.cookies import SESSION_COOKIE
from tests.support.authenticator import SoftKey
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import PASSWORD, Browser, IdpSite


async def with_key(browser: Browser, login: str, key: SoftKey) -> str:
    """Sign in, register a key, return the ID token."""
    token = (await browser.tokens(await browser.sign_in(login)))["_id_token"]
    await browser.register(await browser.get("/account"), key, "/account/keys")
    return str(token)


async def test_another_persons_key_does_not_answer_a_step_up(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    sato_key, suzuki_key = SoftKey(b"sato"), SoftKey(b"suzuki")
    token = await with_key(browser, "dr.sato", sato_key)
    await with_key(await open_browser(), "nurse.suzuki", suzuki_key)
    page = await browser.step_up(token)
    page = await browser.touch(page, suzuki_key)
    assert page.status == 403
    assert site.events.last("signin.failed").detail == {"factor": "fido2", "reason": "credential_of_other"}
    assert (await browser.touch(page, sato_key)).location.startswith(site.callback)


async def test_another_persons_session_does_not_answer_a_step_up(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    sato_key, suzuki_key = SoftKey(b"sato"), SoftKey(b"suzuki")
    token = await with_key(browser, "dr.sato", sato_key)
    shared = await open_browser()
    await with_key(shared, "nurse.suzuki", suzuki_key)
    page = await shared.step_up(token)
    assert "/login/start-over" not in page.actions
    assert "佐藤 恵" in page.text
    fields = {name: page.form("/login/cancel")[name] for name in ("tx", "csrf")}
    again = await shared.post("/login/password", fields | {"login": "nurse.suzuki", "password": PASSWORD})
    assert again.actions == page.actions  # it wants Dr. Sato's key: no password, no name is taken
    assert (await shared.touch(page, suzuki_key)).status == 403


async def test_start_over_keeps_the_named_person(site: IdpSite, browser: Browser) -> None:
    token = (await browser.tokens(await browser.sign_in()))["_id_token"]
    page = await browser.step_up(token)
    fields = {name: page.form("/login/cancel")[name] for name in ("tx", "csrf")}
    page = await browser.post("/login/start-over", fields)
    assert "佐藤 恵" in page.text
    page = await browser.submit(page, "/login/password", login="nurse.suzuki", password=PASSWORD)
    assert "佐藤 恵" in page.text
    assert "鈴木" not in page.text


async def test_a_new_person_at_a_shared_terminal_ends_the_old_session(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    """CVE-2026-34454: the sign-in page is shown, and the cookie of before still opens everything."""
    await browser.sign_in()
    old = browser.cookie(SESSION_COOKIE)
    page = await browser.authorize(prompt="login")
    page = await browser.submit(page, "/login/start-over")
    page = await browser.submit(page, "/login/password", login="nurse.suzuki", password=PASSWORD)
    redirect = await browser.submit(page, "/login/code", code=site.code())
    assert (await browser.tokens(redirect))["preferred_username"] == "nurse.suzuki"
    assert browser.cookie(SESSION_COOKIE) != old
    assert await site.store.sessions.resolve(old, int(site.clock.now())) is None


async def test_the_session_token_changes_at_every_step_up(site: IdpSite, browser: Browser) -> None:
    """Session fixation (mod_auth_openidc 2026, CVE-2024-28197): no token from before a change of privilege lives on."""
    key = SoftKey()
    token = await with_key(browser, "dr.sato", key)
    before = browser.cookie(SESSION_COOKIE)
    await browser.touch(await browser.step_up(token), key)
    after = browser.cookie(SESSION_COOKIE)
    assert after != before
    assert await site.store.sessions.resolve(before, int(site.clock.now())) is None
    assert await site.store.sessions.resolve(after, int(site.clock.now())) is not None


async def test_a_session_that_ended_meanwhile_takes_back_what_it_brought(site: IdpSite, browser: Browser) -> None:
    """With the session goes the password that it stood for: the one-time code alone registers no key."""
    token = (await browser.tokens(await browser.sign_in()))["_id_token"]
    page = await browser.step_up(token)
    assert page.actions[0] == "/login/code"
    session = await site.store.sessions.resolve(browser.cookie(SESSION_COOKIE), int(site.clock.now()))
    assert session is not None
    await site.store.sessions.revoke(session.id)
    site.later(30)
    page = await browser.submit(page, "/login/code", code=site.code())
    assert page.actions[0] == "/login/password"
    page = await browser.submit(page, "/login/password", password=PASSWORD)
    assert page.actions[0] == "/login/code"

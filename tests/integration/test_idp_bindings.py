"""Which authenticators a proofing is bound to, over HTTP: in the ceremony, after it, on the account page, and when it ends."""

import re
from typing import Any

from gateway.kernel.errors import AuditError
from gateway.kernel.secret import Secret
from idp.model import PasswordCredential, TotpCredential
from idp.protocol.binding import FRESH_SECONDS
from tests.support.authenticator import SoftKey
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import HASHED, PASSWORD, TOTP, Browser, IdpSite, Reply

PROOFED, ANEW, MFA = (f"urn:zt-gateway:acr:{name}" for name in ("proofed", "proofed-anew", "mfa"))


async def prove(browser: Browser, page: Reply) -> dict[str, Any]:
    """Do the proofing that a page asks for, and go on to the token."""
    assert "/login/proofing" in page.actions, page.text
    page = await browser.submit(page, "/login/proofing")
    page = await browser.submit(page, "/login/proofing/answer", outcome="success")
    link = re.search(r'href="(/login\?tx=[^"]+)"', page.text)
    assert link is not None, page.text
    return await browser.tokens(await browser.get(link[1]))


async def token(browser: Browser, **asked: str) -> dict[str, Any]:
    """Ask again without showing anything."""
    return await browser.tokens(await browser.authorize(**asked))


def bound(claims: dict[str, Any]) -> dict[str, bool]:
    return {event["kind"]: event["bound"] for event in claims["auth_events"]}


async def with_key(site: IdpSite, browser: Browser, key: SoftKey) -> dict[str, Any]:
    """Sign in, and have a key registered and touched, without any proofing."""
    page = await browser.step_up((await browser.tokens(await browser.sign_in()))["_id_token"])
    site.later(60)
    page = await browser.submit(page, "/login/code", code=site.code())
    return await browser.tokens(await browser.touch(await browser.register(page, key), key))


async def test_what_was_used_in_the_ceremony_is_bound(site: IdpSite, browser: Browser) -> None:
    assert bound(await browser.tokens(await browser.sign_in())) == {"pwd": False, "otp": False}
    claims = await prove(browser, await browser.authorize(acr_values=PROOFED))
    assert bound(claims) == {"pwd": True, "otp": True}
    assert claims["bound_kinds"] == ["otp", "pwd"]
    told = [event.detail for event in site.events.all if event.name == "proofing.bound"]
    transaction = claims["proofing"]["transaction"]
    assert told == [{"kind": kind, "how": "ceremony", "transaction": transaction} for kind in ("otp", "pwd")]


async def test_a_key_registered_just_before_is_bound_and_one_of_long_ago_is_not(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    key = SoftKey()
    await with_key(site, browser, key)
    assert bound(await prove(browser, await browser.authorize(acr_values=PROOFED))) == {"pwd": True, "otp": True, "fido2": True}
    # The same once more, with a proofing much later in the session.
    nurse = await open_browser()
    page = await nurse.authorize()
    page = await nurse.submit(page, "/login/password", login="nurse.suzuki", password=PASSWORD)
    page = await nurse.step_up((await nurse.tokens(await nurse.submit(page, "/login/code", code=site.code())))["_id_token"])
    site.later(60)
    page = await nurse.submit(page, "/login/code", code=site.code())
    other = SoftKey(b"the-key-of-suzuki")
    await nurse.touch(await nurse.register(page, other), other)
    for _ in range(2):
        site.later(FRESH_SECONDS / 2 + 1)
        await token(nurse)  # the session lives on
    claims = await prove(nurse, await nurse.authorize(acr_values=PROOFED))
    assert bound(claims) == {"pwd": False, "otp": False, "fido2": False}, "nothing of it was proved lately"
    assert claims["bound_kinds"] == []


async def test_an_older_key_is_not_bound_until_it_is_used_with_what_is(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    key = SoftKey()
    await with_key(site, browser, key)
    site.later(3600)
    other = await open_browser()
    page = await other.sign_in(acr_values=PROOFED)
    await prove(other, page)
    # The key alone, at another terminal: it may be anybody's who has it.
    alone = await open_browser()
    page = await alone.authorize()
    assert bound(await alone.tokens(await alone.touch(page, key))) == {"fido2": False}
    # Where password and code are bound, and fresh.
    page = await other.step_up((await token(other))["_id_token"])
    assert bound(await other.tokens(await other.touch(page, key))) == {"pwd": True, "otp": True, "fido2": True}
    assert site.events.last("proofing.bound").detail["how"] == "confirmed"
    # From then on everywhere.
    assert bound(await token(alone)) == {"fido2": True}


async def test_with_a_bound_key_only_a_key_binds(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    key = SoftKey()
    page = await browser.submit(await browser.authorize(), "/login/password", login="dr.sato", password=PASSWORD)
    await browser.submit(page, "/login/code", code=site.code())
    await with_key_here(site, browser, key)
    await prove(browser, await browser.authorize(acr_values=PROOFED))
    # A second key comes to the account: confirmed with the bound one, it is bound at once.
    second = SoftKey(b"second-of-sato")
    page = await browser.get("/account")
    page = await browser.register(page, second, "/account/keys")
    keys = {event.detail["key"] for event in site.events.all if event.name == "proofing.bound" and "key" in event.detail}
    assert len(keys) == 2
    # Registered with a recovery code, it is not: neither at once nor by password and code, though these are bound.
    shown = await browser.submit(await browser.get("/account"), "/account/recovery")
    code = re.findall(r"<li>([0-9A-Z-]{19})</li>", shown.text)[0]
    site.later(60)
    thief = await open_browser()
    page = await thief.step_up((await thief.tokens(await thief.sign_in()))["_id_token"])
    page = await thief.submit(page, "/login/lost-key")
    page = await thief.submit(page, "/login/code", code=code)
    third = SoftKey(b"third-of-sato")
    claims = await thief.tokens(await thief.touch(await thief.register(page, third), third))
    assert bound(claims) == {"pwd": True, "otp": True, "recovery": False, "fido2": False}
    site.later(60)
    clean = await open_browser()
    page = await clean.step_up((await clean.tokens(await clean.sign_in()))["_id_token"])
    assert bound(await clean.tokens(await clean.touch(page, third)))["fido2"] is False


async def with_key_here(site: IdpSite, browser: Browser, key: SoftKey) -> None:
    page = await browser.step_up((await token(browser))["_id_token"])
    site.later(60)
    page = await browser.submit(page, "/login/code", code=site.code())
    await browser.tokens(await browser.touch(await browser.register(page, key), key))


async def test_a_new_app_takes_the_place_of_the_old_one_and_is_bound_by_what_confirmed_it(
    site: IdpSite, browser: Browser
) -> None:
    await prove(browser, await browser.sign_in(acr_values=PROOFED))
    page = await browser.submit(await browser.get("/account"), "/account/totp")
    secret = re.search(r'<p class="mono">([A-Z2-7 ]+)</p>', page.text)
    assert secret is not None, page.text
    await browser.submit(page, "/account/totp/confirm", code=site.code_of(secret[1].replace(" ", "")))
    user = await site.store.users.by_login("dr.sato")
    assert user is not None
    record = await site.store.proofing.latest(user.id)
    assert record is not None
    assert await site.store.bindings.of(record.number) == {"pwd", "otp"}
    # Whoever replaces it by other ways (an administrator's reset writes it, too) leaves it unbound.
    await site.store.credentials.set_totp(TotpCredential(user_id=user.id, secret=Secret(TOTP), created_at=0))
    assert await site.store.bindings.of(record.number) == {"pwd"}


async def test_a_removed_key_is_not_bound_when_it_comes_back(site: IdpSite, browser: Browser) -> None:
    key = SoftKey()
    claims = await with_key(site, browser, key)
    await prove(browser, await browser.authorize(acr_values=PROOFED))
    (known,) = await site.store.credentials.fido2(claims["sub"])
    record = await site.store.proofing.latest(claims["sub"])
    assert record is not None
    assert f"fido2:{known.id}" in await site.store.bindings.of(record.number)
    assert await site.store.credentials.remove_fido2(claims["sub"], known.id)
    await site.store.credentials.add_fido2(known)
    assert await site.store.bindings.of(record.number) == {"pwd", "otp"}
    await site.store.bindings.bind(record.number, {"fido2:nobodys", "otp"}, 1)
    assert await site.store.bindings.of(record.number) == {"pwd", "otp"}, "only what the person has"


async def test_a_reset_ends_all_of_it(site: IdpSite, browser: Browser) -> None:
    claims = await prove(browser, await browser.sign_in(acr_values=PROOFED))
    password = PasswordCredential(user_id=claims["sub"], encoded=HASHED, changed_at=0)
    generator = TotpCredential(user_id=claims["sub"], secret=Secret(TOTP), created_at=0)
    await site.store.accounts.reset(claims["sub"], password=password, totp=generator, by="root", at=int(site.clock.now()))
    site.later(60)
    again = await browser.tokens(await browser.sign_in())
    assert bound(again) == {"pwd": False, "otp": False}
    assert "proofing" not in again
    assert "bound_kinds" not in again


async def test_another_proofing_is_asked_for_though_one_is_in_force_and_old_bindings_end(site: IdpSite, browser: Browser) -> None:
    first = await prove(browser, await browser.sign_in(acr_values=PROOFED))
    assert (await token(browser, acr_values=PROOFED))["proofing"] == first["proofing"]
    assert "interaction_required" in (await browser.authorize(acr_values=ANEW, prompt="none")).location
    site.later(700)
    page = await browser.authorize(acr_values=f"{ANEW} {PROOFED}", max_age="600")
    page = await browser.submit(page, "/login/password", password=PASSWORD)
    second = await prove(browser, await browser.submit(page, "/login/code", code=site.code()))
    assert second["proofing"]["transaction"] != first["proofing"]["transaction"]
    assert second["acr"] == ANEW
    assert bound(second) == {"pwd": True, "otp": True}
    # And what is asked for in the next sign-in is asked for anew.
    assert "/login/proofing" in (await browser.authorize(acr_values=ANEW)).actions


async def test_nothing_is_bound_when_the_log_does_not_take_it(site: IdpSite, browser: Browser) -> None:
    page = await browser.submit(await browser.sign_in(acr_values=PROOFED), "/login/proofing")
    record = site.events.record

    async def broken(event: Any) -> None:
        if event.name == "proofing.bound":
            raise AuditError("disk full")
        await record(event)

    site.events.record = broken  # type: ignore[method-assign]  # the log fails at this very event
    assert (await browser.submit(page, "/login/proofing/answer", outcome="success")).status == 503
    user = await site.store.users.by_login("dr.sato")
    assert user is not None
    kept = await site.store.proofing.latest(user.id)
    assert kept is not None
    assert await site.store.bindings.of(kept.number) == frozenset()

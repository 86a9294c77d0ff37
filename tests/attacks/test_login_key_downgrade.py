"""A key is worth as much as the easiest way to add one: with a key on the account, a one-time code does not add another."""

import pytest

from idp.factors import fido2
from idp.factors.fido2 import RelyingParty
from idp.model import Fido2Credential
from tests.support.authenticator import SoftKey
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import PASSWORD, Browser, IdpSite


async def test_who_has_a_key_can_not_register_another_with_a_code(site: IdpSite, browser: Browser) -> None:
    token = (await browser.tokens(await browser.sign_in()))["_id_token"]
    await browser.register(await browser.get("/account"), SoftKey(), "/account/keys")
    page = await browser.step_up(token)
    fields = {name: page.form("/login/cancel")[name] for name in ("tx", "csrf")}
    site.later(30)
    assert (await browser.post("/login/code", fields | {"code": site.code()})).actions == page.actions
    assert (await browser.post("/login/register/begin", fields)).status == 409
    page = await browser.submit(page, "/login/lost-key")
    assert "使える回復コードもありません" in page.text
    assert (await browser.post("/login/code", fields | {"code": site.code()})).actions == page.actions
    assert (await browser.post("/login/register/begin", fields)).status == 409


async def test_the_account_page_wants_the_key_not_the_code(site: IdpSite, browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.register(await browser.get("/account"), SoftKey(), "/account/keys")
    csrf = page.form("/account/confirm/key")["csrf"]
    site.later(30)
    assert (await browser.post("/account/confirm/code", {"csrf": csrf, "code": site.code()})).status == 400
    for path in ("/account/keys", "/account/keys/remove", "/account/totp", "/account/totp/confirm", "/account/recovery"):
        fields = {"csrf": csrf, "label": "x", "ceremony": "x", "response": "{}", "key": "x", "code": site.code()}
        reply = await browser.post(path, fields)
        assert "/account/confirm/key" in reply.actions
    assert (await browser.post("/account/keys/begin", {"csrf": csrf})).status == 409
    assert [event.detail["kind"] for event in site.events.all if event.name.startswith("factor")] == ["fido2"]


async def test_another_persons_key_confirms_nothing(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    sato, suzuki = SoftKey(b"sato"), SoftKey(b"suzuki")
    other = await open_browser()
    await other.sign_in("nurse.suzuki")
    await other.register(await other.get("/account"), suzuki, "/account/keys")
    await browser.sign_in()
    page = await browser.register(await browser.get("/account"), sato, "/account/keys")
    assert (await browser.touch(page, suzuki, "/account/confirm/key")).status == 403


async def test_nobody_removes_somebody_elses_key_or_their_own_last_factor(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    ito = await site.person("vendor.ito", "伊藤 健", roles=("vendor",), totp=False)
    suzuki_key, ito_key = SoftKey(b"suzuki"), SoftKey(b"ito")
    other = await open_browser()
    await other.sign_in("nurse.suzuki")
    await other.register(await other.get("/account"), suzuki_key, "/account/keys")
    user = await site.store.users.by_login("nurse.suzuki")
    assert user is not None
    theirs = (await site.store.credentials.fido2(user.id))[0].id
    # Ito has a key and nothing else.
    await site.store.credentials.add_fido2(await a_key(site, ito_key, ito.id))
    await browser.touch(await browser.authorize(), ito_key)
    page = await browser.get("/account")
    own = page.form("/account/keys/remove")
    assert (await browser.post("/account/keys/remove", own | {"key": theirs})).status == 404
    reply = await browser.post("/account/keys/remove", own)
    assert reply.status == 409
    assert "二要素での認証ができなくなる" in reply.text
    assert len(await site.store.credentials.fido2(user.id)) == 1


async def test_without_any_second_factor_the_sign_in_ends(site: IdpSite, browser: Browser) -> None:
    await site.person("vendor.ito", "伊藤 健", roles=("vendor",), totp=False)
    page = await browser.submit(await browser.authorize(), "/login/password", login="vendor.ito", password=PASSWORD)
    assert "二要素目の認証" in page.text
    redirect = await browser.submit(page, "/login/cancel")
    assert "error=unmet_authentication_requirements" in redirect.location


@pytest.mark.parametrize("acr", ["phr", "urn:zt-gateway:acr:mfa"])
async def test_a_fresh_step_up_is_not_met_by_what_was_proved_before(site: IdpSite, browser: Browser, acr: str) -> None:
    """CVE-2024-45042 (Kratos): the required level ignores a factor."""
    token = (await browser.tokens(await browser.sign_in()))["_id_token"]
    site.later(5)
    page = await browser.authorize(acr_values=acr, max_age="0", id_token_hint=token)
    assert page.status == 200
    assert page.actions[0] in {"/login/code", "/login/password"}


async def a_key(site: IdpSite, key: SoftKey, user_id: str) -> Fido2Credential:
    """A key as if an officer had registered it."""
    user = await site.store.users.get(user_id)
    assert user is not None
    party = RelyingParty(id="id.localhost", origin=site.issuer, name="x")
    options, ceremony = fido2.begin_registration(party, user, [], bytes(32))
    return fido2.complete_registration(party, ceremony, key.create(options, site.issuer).encode(), "x", 0)

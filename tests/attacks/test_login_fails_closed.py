"""What can't be logged or stored does not happen, and the person is told that it is not their fault."""

import pytest

from gateway.kernel.errors import AuditError, StoreUnavailable
from tests.support.authenticator import SoftKey
from tests.support.idp_site import PASSWORD, Browser, IdpSite


@pytest.mark.parametrize(
    "problem", [AuditError("the disk is full"), StoreUnavailable("no answer"), OSError("odd"), ValueError("bug")]
)
async def test_an_event_that_can_not_be_written_ends_the_sign_in(site: IdpSite, browser: Browser, problem: Exception) -> None:
    page = await browser.submit(await browser.authorize(), "/login/password", login="dr.sato", password=PASSWORD)
    site.events.fail = problem
    reply = await browser.submit(page, "/login/code", code=site.code())
    assert reply.status in {500, 503}
    assert "location" not in {name.lower() for name in reply.headers}
    assert "Set-Cookie" not in reply.headers
    assert str(problem) not in reply.text
    assert "サインインできません" in reply.text


async def test_a_key_whose_registration_can_not_be_logged_is_not_registered(site: IdpSite, browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.get("/account")
    site.events.fail = AuditError("the disk is full")
    reply = await browser.register(page, SoftKey(), "/account/keys")
    assert reply.status == 503
    user = await site.store.users.by_login("dr.sato")
    assert user is not None
    assert await site.store.credentials.fido2(user.id) == []
    reply = await browser.submit(page, "/account/recovery")
    assert reply.status == 503
    assert await site.store.credentials.recovery(user.id) is None


async def test_a_wrong_password_that_can_not_be_logged_is_no_answer_at_all(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    site.events.fail = AuditError("the disk is full")
    assert (await browser.submit(page, "/login/password", login="dr.sato", password="wrong-4821")).status == 503


async def test_a_closed_store_is_not_a_wrong_password(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    await site.store.close()
    reply = await browser.submit(page, "/login/password", login="dr.sato", password=PASSWORD)
    assert reply.status == 503
    assert "患者さんの安全" in reply.text

"""A challenge is good once, in one browser, for one flow, for a few minutes; a counter that stands still ends the key's word."""

import asyncio

from tests.support.authenticator import SoftKey
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import Browser, IdpSite


async def with_key(browser: Browser, key: SoftKey) -> None:
    await browser.sign_in()
    await browser.register(await browser.get("/account"), key, "/account/keys")


async def test_a_replayed_assertion_is_refused(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    key = SoftKey()
    await with_key(browser, key)
    other = await open_browser()
    page = await other.authorize()
    begun = await other.json(page, "/login/key")
    answer = key.get(begun["options"], site.issuer)
    fields = {"ceremony": begun["ceremony"], "response": answer}
    assert (await other.submit(page, "/login/key", **fields)).status == 303
    page = await other.authorize(prompt="login")
    reply = await other.submit(page, "/login/key", **fields)
    assert reply.status == 403
    assert site.events.last("signin.failed").detail["reason"] == "challenge"
    begun = await other.json(page, "/login/key")
    reply = await other.submit(page, "/login/key", ceremony=begun["ceremony"], response=answer)
    assert reply.status == 403
    assert site.events.last("signin.failed").detail["reason"] == "challenge"


async def test_the_same_assertion_twice_at_once_counts_once(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    key = SoftKey()
    await with_key(browser, key)
    other = await open_browser()
    page = await other.authorize()
    begun = await other.json(page, "/login/key")
    fields = {"ceremony": begun["ceremony"], "response": key.get(begun["options"], site.issuer)}
    replies = await asyncio.gather(*(other.submit(page, "/login/key", **fields) for _ in range(4)))
    assert [reply.status for reply in replies].count(303) == 1
    assert site.events.names().count("signin.succeeded") == 2  # the enrolment's, and one


async def test_a_challenge_of_another_browser_is_refused_and_spent(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    key = SoftKey()
    await with_key(browser, key)
    victim, attacker = await open_browser(), await open_browser()
    victims = await victim.authorize()
    begun = await victim.json(victims, "/login/key")
    answer = key.get(begun["options"], site.issuer)
    attackers = await attacker.authorize()
    stolen = await attacker.submit(attackers, "/login/key", ceremony=begun["ceremony"], response=answer)
    assert stolen.status == 403
    assert (await victim.submit(victims, "/login/key", ceremony=begun["ceremony"], response=answer)).status == 403


async def test_a_challenge_of_another_flow_of_the_same_browser_is_refused(site: IdpSite, browser: Browser) -> None:
    key = SoftKey()
    await with_key(browser, key)
    first, second = await browser.authorize(prompt="login"), await browser.authorize(prompt="login")
    begun = await browser.json(first, "/login/key")
    answer = key.get(begun["options"], site.issuer)
    assert (await browser.submit(second, "/login/key", ceremony=begun["ceremony"], response=answer)).status == 403


async def test_a_challenge_of_the_account_page_does_not_sign_in(site: IdpSite, browser: Browser) -> None:
    key = SoftKey()
    await with_key(browser, key)
    begun = await browser.json(await browser.get("/account"), "/account/confirm/key")
    page = await browser.authorize(prompt="login")
    answer = key.get(begun["options"], site.issuer)
    assert (await browser.submit(page, "/login/key", ceremony=begun["ceremony"], response=answer)).status == 403


async def test_an_old_challenge_is_refused(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    key = SoftKey()
    await with_key(browser, key)
    other = await open_browser()
    page = await other.authorize()
    begun = await other.json(page, "/login/key")
    site.later(301)
    answer = key.get(begun["options"], site.issuer)
    assert (await other.submit(page, "/login/key", ceremony=begun["ceremony"], response=answer)).status == 403


async def test_a_copied_key_is_noticed_by_its_counter(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    key = SoftKey()
    await with_key(browser, key)
    other = await open_browser()
    page = await other.authorize()
    assert (await other.touch(page, key, counter=40)).status == 303
    third = await open_browser()
    page = await third.touch(await third.authorize(), key, counter=40)
    assert page.status == 403
    assert site.events.last("signin.failed").detail == {"factor": "fido2", "reason": "counter"}
    assert site.events.last("signin.failed").login == "dr.sato"


async def test_a_key_that_is_registered_already_is_not_taken_by_another_person(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    key = SoftKey()
    await with_key(browser, key)
    other = await open_browser()
    await other.sign_in("nurse.suzuki")
    page = await other.register(await other.get("/account"), key, "/account/keys")
    assert page.status == 403
    assert site.events.names().count("factor.registered") == 1


async def test_a_removed_key_signs_in_no_more(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    key = SoftKey()
    await with_key(browser, key)
    page = await browser.touch(await browser.get("/account"), key, "/account/confirm/key")
    await browser.submit(page, "/account/keys/remove")
    other = await open_browser()
    assert (await other.touch(await other.authorize(), key)).status == 403
    assert site.events.last("signin.failed").detail["reason"] == "credential_unknown"


async def test_a_deactivated_persons_key_signs_in_no_more(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    key = SoftKey()
    await with_key(browser, key)
    user = await site.store.users.by_login("dr.sato")
    assert user is not None
    await site.provider.deactivate_user(user.id, by="sec.yamamoto")
    other = await open_browser()
    page = await other.touch(await other.authorize(), key)
    assert page.status == 403
    assert "続くときは" in page.text


async def test_a_subdomain_or_other_port_can_not_answer(site: IdpSite, browser: Browser, open_browser: OpenBrowser) -> None:
    key = SoftKey()
    await with_key(browser, key)
    other = await open_browser()
    page = await other.authorize()
    for origin in ("http://ehr.localhost:1", site.issuer + "1", site.issuer.replace("http:", "https:"), "http://id.localhost"):
        assert (await other.touch(page, key, origin=origin)).status == 403
        assert site.events.last("signin.failed").detail["reason"] == "origin"

"""Identity proofing can't be skipped, replayed, answered from elsewhere, or turned from an outage into a verdict."""

from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import Browser, IdpSite, Reply

PROOFED = "urn:zt-gateway:acr:proofed"


async def at_choice(browser: Browser, login: str = "dr.sato") -> Reply:
    page = await browser.sign_in(login, acr_values=PROOFED)
    return await browser.submit(page, "/login/proofing")


async def test_success_without_a_begun_proofing_is_refused(site: IdpSite, browser: Browser) -> None:
    page = await browser.sign_in(acr_values=PROOFED)
    fields = {name: page.form("/login/cancel")[name] for name in ("tx", "csrf")}
    for name in ("", "x", "A" * 43):
        reply = await browser.post("/login/proofing/answer", fields | {"proofing": name, "outcome": "success"})
        assert reply.status == 403
        assert "無効になりました" in reply.text
    assert site.events.last("proofing.refused").detail["reason"] == "stale"
    assert (await browser.get(page.url)).actions[0] == "/login/proofing"


async def test_a_state_is_used_once_whatever_came_of_it(site: IdpSite, browser: Browser) -> None:
    page = await at_choice(browser)
    assert (await browser.submit(page, "/login/proofing/answer", outcome="expired")).status == 403
    reply = await browser.submit(page, "/login/proofing/answer", outcome="success")
    assert "無効になりました" in reply.text
    assert "proofing.succeeded" not in site.events.names()


async def test_a_state_of_another_person_or_browser_is_refused(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    satos = await at_choice(browser)
    site.later(30)
    same_person = await open_browser()
    own = await at_choice(same_person)
    name = satos.form("/login/proofing/answer")["proofing"]
    assert (await same_person.submit(own, "/login/proofing/answer", proofing=name, outcome="success")).status == 403
    suzuki = await open_browser()
    suzukis = await at_choice(suzuki, "nurse.suzuki")
    name = suzukis.form("/login/proofing/answer")["proofing"]
    assert (await browser.submit(satos, "/login/proofing/answer", proofing=name, outcome="success")).status == 403
    assert "proofing.succeeded" not in site.events.names()


async def test_an_old_state_is_refused(site: IdpSite, browser: Browser) -> None:
    page = await at_choice(browser)
    site.later(601)
    assert "無効になりました" in (await browser.submit(page, "/login/proofing/answer", outcome="success")).text


async def test_an_answer_that_makes_no_sense_is_no_success(site: IdpSite, browser: Browser) -> None:
    page = await at_choice(browser)
    reply = await browser.submit(page, "/login/proofing/answer", level="3", outcome="SUCCESS")
    assert reply.status == 403
    assert site.events.last("proofing.refused").detail["reason"] == "unusable_answer"


async def test_an_outage_is_logged_and_shown_as_one(site: IdpSite, browser: Browser) -> None:
    reply = await browser.submit(await at_choice(browser), "/login/proofing/answer", outcome="down")
    assert reply.status == 503
    assert "proofing.broken" in site.events.names()
    assert "proofing.refused" not in site.events.names()


async def test_without_consent_nothing_begins(site: IdpSite, browser: Browser) -> None:
    page = await browser.sign_in(acr_values=PROOFED)
    fields = {name: value for name, value in page.form("/login/proofing").items() if name != "consent"}
    assert (await browser.post("/login/proofing", fields)).status == 400
    assert "proofing.started" not in site.events.names()


async def test_an_expired_proofing_is_asked_for_again(site: IdpSite, browser: Browser) -> None:
    page = await browser.submit(await at_choice(browser), "/login/proofing/answer", outcome="success")
    assert "本人確認ができました" in page.text
    site.later(366 * 86_400)
    page = await browser.sign_in(acr_values=PROOFED)
    assert page.actions[0] == "/login/proofing"

"""The proofing's pages are there in the other language too, lose nothing by it, and show nobody else's."""

import html
import re

import pytest

from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import Browser, IdpSite, Reply

PROOFED = "urn:zt-gateway:acr:proofed"


def switch(page: Reply) -> str:
    """Where the language link leads, from where the page is."""
    found = re.search(r'<a class="langs" href="([^"]+)"', page.text)
    assert found is not None
    href = html.unescape(found[1])
    return page.url.partition("?")[0] + href if href.startswith("?") else href


async def at_choice(browser: Browser) -> Reply:
    return await browser.submit(await browser.sign_in(acr_values=PROOFED), "/login/proofing")


async def test_the_verifiers_page_goes_on_in_the_other_language(site: IdpSite, browser: Browser) -> None:
    page = await at_choice(browser)
    assert "本人確認サービス(模擬)" in page.text
    english = await browser.get(switch(page))
    assert "Verification service (simulated)" in english.text
    assert english.form("/login/proofing/answer") == page.form("/login/proofing/answer")
    assert "本人確認サービス(模擬)" in (await browser.get(switch(english))).text
    done = await browser.submit(english, "/login/proofing/answer", outcome="success")
    told = [
        name for name in site.events.names() if name.startswith("proofing") and name not in {"proofing.bound", "proofing.added"}
    ]
    assert told == ["proofing.started", "proofing.succeeded"]
    again = await browser.get(switch(done))
    assert again.status == 200
    for shown in (done, again):
        assert site.events.last("proofing.succeeded").detail["transaction"] in shown.text
    assert "本人確認ができました" in (done.text + again.text)
    assert "Your identity is confirmed" in (done.text + again.text)
    link = re.search(r'<a class="button full" href="([^"]+)"', again.text)
    assert link is not None
    assert (await browser.get(link[1])).location.startswith(f"{site.callback}?code=")


@pytest.mark.parametrize(
    ("outcome", "status", "ja", "en"),
    [
        ("wrong_person", 403, "ご本人のカードではありません", "This is not your card"),
        ("expired", 403, "カードの有効期限が切れています", "The card has expired"),
        ("down", 503, "確認サービスが応答しません", "The verification service does not answer"),
    ],
)
async def test_how_it_ended_is_told_in_the_other_language(
    site: IdpSite, browser: Browser, outcome: str, status: int, ja: str, en: str
) -> None:
    page = await browser.submit(await at_choice(browser), "/login/proofing/answer", outcome=outcome)
    assert (page.status, ja in page.text) == (status, True)
    before = site.events.names()
    english = await browser.get(switch(page))
    assert (english.status, en in english.text) == (status, True)
    assert ja in (await browser.get(switch(english))).text
    assert site.events.names() == before  # looking is not trying


async def test_a_used_answer_keeps_its_message_and_changes_nothing(browser: Browser) -> None:
    page = await at_choice(browser)
    await browser.submit(page, "/login/proofing/answer", outcome="expired")
    stale = await browser.submit(page, "/login/proofing/answer", outcome="success")
    assert "無効になりました" in stale.text
    assert (await browser.get(switch(stale))).actions[0] == "/login/proofing"


async def test_a_proofing_page_can_not_be_looked_at_before_its_time_or_from_elsewhere(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    page = await browser.authorize(acr_values=PROOFED)
    tx = page.form("/login/password")["tx"]
    assert (await browser.get(f"/login/proofing?tx={tx}")).actions[0] == "/login/password"
    page = await browser.sign_in(acr_values=PROOFED)
    tx = page.form("/login/proofing")["tx"]
    assert (await browser.get(f"/login/proofing?tx={tx}")).actions[0] == "/login/proofing"  # not begun: consent first
    chosen = await browser.submit(page, "/login/proofing")
    thief = await open_browser()
    await thief.authorize()
    assert (await thief.get(switch(chosen))).status == 410
    await browser.submit(chosen, "/login/proofing/answer", outcome="success")
    seen = await thief.get(f"/login/proofing?tx={tx}")
    assert (seen.status, "佐藤" in seen.text) == (410, False)


async def test_who_starts_over_is_shown_nothing_of_the_one_before(browser: Browser) -> None:
    page = await browser.sign_in(acr_values=PROOFED)
    tx = page.form("/login/proofing")["tx"]
    chosen = await browser.submit(page, "/login/proofing")
    await browser.submit(chosen, "/login/proofing/answer", outcome="success")
    await browser.post("/login/start-over", {"tx": tx, "csrf": page.form("/login/proofing")["csrf"]})
    seen = await browser.get(f"/login/proofing?tx={tx}")
    assert seen.actions[0] == "/login/password"
    assert "佐藤" not in seen.text

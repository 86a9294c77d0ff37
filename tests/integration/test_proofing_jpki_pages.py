"""The whole sign-in with a card's signature, over HTTP and without JavaScript: the page's text, the pasted answer, the token."""

import base64
import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode, urljoin

import pytest

from gateway.kernel.clock import ManualClock
from idp.proofing.rehearsal import Rehearsal
from tests.support.idp_site import Browser, IdpSite, Reply, idp_site
from tests.support.jpki import NOW, JpkiSite
from tests.support.jpki_ca import Card, Kind, attributes, challenge_of

PROOFED = "urn:zt-gateway:acr:proofed"


@pytest.fixture(params=["sign"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def jpki(tmp_path: Path) -> JpkiSite:
    site = JpkiSite(tmp_path / "jpki")
    site.publish("sign")
    site.publish("auth")
    return site


@pytest.fixture
async def site(tmp_path: Path, jpki: JpkiSite, kind: Kind) -> AsyncIterator[IdpSite]:
    clock = ManualClock(NOW)
    async with idp_site(tmp_path, clock=clock, backend=jpki.backend(kind, clock=clock)) as running:
        await running.person(birth_date="1984-05-12", kana="サトウ メグミ")
        yield running


@pytest.fixture
async def browser(site: IdpSite) -> AsyncIterator[Browser]:
    async with Browser(site) as made:
        yield made


async def asked(browser: Browser) -> Reply:
    """The page with the text to sign."""
    page = await browser.sign_in(acr_values=PROOFED)
    return await browser.submit(page, "/login/proofing")


def request_of(page: Reply) -> str:
    """What the page hands to the card client, copied out of it."""
    found = re.search(r'<textarea[^>]*id="request"[^>]*>(.*?)</textarea>', page.text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


async def answered(browser: Browser, page: Reply, card: Card) -> Reply:
    answer = json.dumps(card.answer(challenge_of({"request": request_of(page)})), indent=2)
    return await browser.submit(page, "/login/proofing/answer", answer=answer.replace("\n", "\r\n"))


async def test_signed_and_in(browser: Browser, jpki: JpkiSite) -> None:
    page = await asked(browser)
    assert page.status == 200
    for line in ("本人確認のための電子署名", "提出先: ひまわり病院", "対象者: 佐藤 恵", "署名用パスワード(英数字6〜16文字)"):
        assert line in page.text
    page = await answered(browser, page, jpki.ca().issue())
    assert page.status == 200
    link = re.search(r'href="(/login\?tx=[^"]+)"', page.text)
    assert link is not None, page.text
    claims = await browser.tokens(await browser.get(link[1]))
    assert (claims["acr"], claims["proofing"]["method"], claims["proofing"]["level"]) == (PROOFED, "jpki_sign", 3)


async def test_the_page_opens_at_its_beginning(browser: Browser) -> None:
    assert "autofocus" not in (await asked(browser)).text


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_a_reader_that_fails_is_not_the_service(site: IdpSite, language: str) -> None:
    async with Browser(site, language=language) as browser:
        page = await browser.submit(await asked(browser), "/login/proofing/answer", answer='{"error": "reader_failed"}')
        assert page.status == 503
        for line in {
            "ja": ("カードを読み取れませんでした", "カードリーダーの接続とカードの置き方", "何も失われていません"),
            "en": ("The card could not be read", "Check that the reader is plugged in", "nothing is lost"),
        }[language]:
            assert line in page.text
        again = await browser.submit(await browser.get(_again(page)), "/login/proofing")
        assert request_of(again)
    assert site.events.last("proofing.broken").outcome == "failure"


async def test_who_begins_anew_is_told_of_what_waits(site: IdpSite, jpki: JpkiSite) -> None:
    async with Browser(site) as browser:
        page = await browser.sign_in(acr_values=PROOFED)
        assert "data-waiting" not in page.text
        page = await answered(
            browser, await browser.submit(page, "/login/proofing"), jpki.ca().issue(names=attributes("佐藤　恵子"))
        )
        assert "担当者が内容を確認します" in page.text
    first = site.events.last("proofing.review").detail["case"]
    site.later(60)  # a code of the authenticator app works once
    async with Browser(site, language="en") as browser:
        page = await browser.sign_in(acr_values=PROOFED)
        assert "You need not start again" in page.text
        await answered(browser, await browser.submit(page, "/login/proofing"), jpki.ca().issue(names=attributes("佐藤　恵子")))
    case = await site.store.cases.get(first)
    assert case is not None
    assert case.state == "replaced", "as the page said"


@pytest.mark.parametrize(("language", "line"), [("ja", "接続試験です"), ("en", "This is a connection test")])
async def test_every_page_of_a_rehearsal_says_so(tmp_path: Path, jpki: JpkiSite, language: str, line: str) -> None:
    clock = ManualClock(NOW)
    async with idp_site(tmp_path, clock=clock, backend=Rehearsal(jpki.backend("sign", clock=clock))) as site:
        await site.person(birth_date="1984-05-12", kana="サトウ メグミ")
        async with Browser(site, language=language) as browser:
            consent = await browser.sign_in(acr_values=PROOFED)
            card = await browser.submit(consent, "/login/proofing")
            phone = await browser.submit(card, "/login/proofing/handover")
            failed = await browser.submit(card, "/login/proofing/answer", answer='{"error": "pin_locked"}')
            over = await browser.get("/login/proofing/over")
            done = await answered(
                browser, await browser.submit(await browser.get(_again(failed)), "/login/proofing"), jpki.ca().issue()
            )
            for page in (consent, card, phone, failed, over, done):
                assert '<p class="simulated">' in page.text, page.url
                assert line in page.text, page.url
            assert "rehearsal_" not in done.text
            words = {"ja": "署名用電子証明書 (接続試験)", "en": "Signing certificate of the My Number Card (connection test)"}
            assert words[language] in " ".join(done.text.split())


async def test_the_page_is_there_in_english_and_the_text_stays_what_is_signed(browser: Browser) -> None:
    page = await asked(browser)
    switch = re.search(r'class="langs" href="([^"]+)"', page.text)
    assert switch is not None
    english = await browser.get(urljoin(page.url, html.unescape(switch[1])))
    assert english.status == 200, english.text
    assert "Sign with your My Number Card" in english.text
    assert "本人確認のための電子署名" in english.text
    assert request_of(english) == request_of(page)


async def test_what_is_shown_is_what_is_signed_to_the_last_character(site: IdpSite, jpki: JpkiSite) -> None:
    """Also with a name that is all control characters, each of which takes eight characters to show."""
    await site.person("nurse.odd", name="\u202e" * 79 + "奇", birth_date="1990-01-01")
    async with Browser(site) as browser:
        page = await browser.sign_in("nurse.odd", acr_values=PROOFED)
        page = await browser.submit(page, "/login/proofing")
        shown = re.search(r'id="to-sign">\n(.*?)</blockquote>', page.text, re.DOTALL)
        assert shown is not None
        signed = base64.b64decode(challenge_of({"request": request_of(page)})).decode()
        assert html.unescape(shown[1]).replace("<br>\n", "\n").removesuffix("\n") == signed
        assert signed.count("\\u{202e}") == 79


@pytest.mark.parametrize("fields", [{"error": "cancelled"}, {"error": "cancelled", "answer": ""}])
async def test_cancelled_goes_back_to_the_offer(browser: Browser, fields: dict[str, str]) -> None:
    page = await browser.submit(await asked(browser), "/login/proofing/answer", **fields)
    assert "/login/proofing" in page.actions


async def test_refusals_and_outages_say_what_to_do(browser: Browser, jpki: JpkiSite) -> None:
    page = await asked(browser)
    locked = await browser.submit(page, "/login/proofing/answer", answer='{"error": "pin_locked"}')
    assert locked.status == 403
    again = await browser.get(_again(locked))
    page = await browser.submit(again, "/login/proofing")
    jpki.publish(revoked=(0x1A2B3C4D,))
    revoked = await answered(browser, page, jpki.ca().issue())
    assert revoked.status == 403
    page = await browser.submit(await browser.get(_again(revoked)), "/login/proofing")
    jpki.deliver("sign", "2.crl", b"")
    broken = await answered(browser, page, jpki.ca().issue())
    assert broken.status == 503
    assert "カードやご本人に問題があるわけではありません" in broken.text


async def test_somebody_elses_card_is_no_yes(browser: Browser, jpki: JpkiSite, site: IdpSite) -> None:
    page = await asked(browser)
    other = jpki.ca().issue(names=attributes("山本　次郎", birth_date="319500203"), serial=0x77)
    page = await answered(browser, page, other)
    assert page.status == 403
    assert "proofing.succeeded" not in site.events.names()
    assert not any("山本" in str(event) or "0203" in str(event.detail) for event in site.events.all)


async def test_an_answer_is_good_once_and_in_its_own_browser(browser: Browser, jpki: JpkiSite, site: IdpSite) -> None:
    page = await asked(browser)
    answer = json.dumps(jpki.ca().issue().answer(challenge_of({"request": request_of(page)})))
    async with Browser(site) as other:
        stolen = page.form("/login/proofing/answer") | {"answer": answer}
        assert (await other.post("/login/proofing/answer", stolen)).status in {403, 410}
    first = await browser.submit(page, "/login/proofing/answer", answer=answer)
    assert first.status == 200
    second = await browser.submit(page, "/login/proofing/answer", answer=answer)
    assert site.events.names().count("proofing.succeeded") == 1, second.text


@pytest.mark.parametrize("kind", ["auth"], indirect=True)
async def test_the_authentication_certificate_names_nobody(browser: Browser, jpki: JpkiSite, site: IdpSite) -> None:
    """A card that was never used here is not believed to be anybody's."""
    page = await asked(browser)
    assert "数字4桁" in page.text
    page = await answered(browser, page, jpki.ca("auth").issue())
    assert page.status == 403
    assert site.events.last("proofing.refused").detail["reason"] == "unknown_card"


def _again(page: Reply) -> str:
    link = re.search(r'href="(/login\?tx=[^"]+)"', page.text)
    assert link is not None, urlencode({"page": page.text})
    return html.unescape(link[1])

"""Through the sign-in's pages by a raw client: with a platform operator's stand-in, and to two officers at a counter."""

import contextlib
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret
from idp.model import TotpCredential, User
from idp.proofing.cases import Decided, Review, UnderReview
from idp.proofing.in_person import InPersonCounter, Looked, in_person_backend
from idp.proofing.platform_operator import platform_operator_backend
from idp.proofing.port import Person
from idp.protocol.binding import FRESH_SECONDS
from tests.support import in_person
from tests.support.idp_site import TOTP, Browser, IdpSite, Reply, idp_site
from tests.support.platform_operator import NOW, Operator, settings
from tests.support.standin import standin

PROOFED = "urn:zt-gateway:acr:proofed"


class Site:
    """A provider whose people are proofed by an operator."""

    def __init__(self, site: IdpSite, operator: Operator, sato: User) -> None:
        self.site, self.operator = site, operator
        self.sato = Person(user_id=sato.id, name=sato.name, birth_date=sato.birth_date)


@contextlib.asynccontextmanager
async def operated(folder: Path, profile: str) -> AsyncIterator[Site]:
    clock = ManualClock(NOW)
    async with standin("platform_operator", "--now", str(NOW)) as service:
        made = settings(service.origin, profile=profile, return_url="https://to.be.replaced/login/proofing/return")
        backend = platform_operator_backend(made, clock)
        async with idp_site(folder, clock=clock, backend=backend) as site:
            sato = await site.person(birth_date="1984-05-12")
            yield Site(site, Operator(backend, clock, service), sato)
        await backend.close()


async def asked(browser: Browser) -> Reply:
    """The backend's own page, after consent."""
    return await browser.submit(await browser.sign_in(acr_values=PROOFED), "/login/proofing")


def shown(page: Reply, pattern: str) -> str:
    found = re.search(pattern, page.text, re.DOTALL)
    assert found is not None, page.text
    return html.unescape(found[1])


async def goes_on(browser: Browser, page: Reply) -> dict[str, object]:
    """Follow the page that says that it is done, back into the sign-in, and return the claims."""
    done = await browser.get(shown(page, r'href="(/login\?tx=[^"]+)"'))
    proofing: dict[str, object] = (await browser.tokens(done))["proofing"]
    return proofing


# ---------------------------------------------------------------------- a platform operator


async def test_a_reader_fills_in_the_form(tmp_path: Path) -> None:
    async with operated(tmp_path, "pocketsign-verify-v2") as at, Browser(at.site) as browser:
        page = await asked(browser)
        assert page.status == 200
        assert "見本病院" in shown(page, r"data-signed>(.*?)</p>")
        digest = shown(page, r'<input class="mono" value="([^"]+)" readonly')
        signed = await at.operator.service.control("sign", card=await at.operator.own(at.sato), digest=digest)
        page = await browser.submit(page, "/login/proofing/answer", **signed)
        assert page.status == 200, page.text
        proofing = await goes_on(browser, page)
        assert (proofing["method"], proofing["level"], proofing["verifier"]) == ("platform_operator", 3, "pocketsign-verify-v2")


async def test_the_operators_pages_read_the_card_and_send_the_browser_back(tmp_path: Path) -> None:
    async with operated(tmp_path, "pocketsign-stamp-v1") as at, Browser(at.site) as browser:
        page = await asked(browser)
        link = shown(page, r'href="([^"]+)" rel="noreferrer" data-verifier')
        assert link.startswith(at.operator.service.origin)
        async with at.operator.service.http.post(
            link, data={"card": await at.operator.own(at.sato)}, allow_redirects=False
        ) as back:
            query = urlsplit(back.headers["Location"]).query
        async with Browser(at.site) as somebody_else:
            page = await somebody_else.get(f"/login/proofing/return?{query}")
            assert "proofing.succeeded" not in at.site.events.names(), "the way back works in the browser that began it only"
        page = await browser.get(f"/login/proofing/return?{query}")
        assert page.status == 200, page.text
        proofing = await goes_on(browser, page)
        assert proofing["verifier"] == "pocketsign-stamp-v1"
        await browser.get(f"/login/proofing/return?{query}")
        assert at.site.events.names().count("proofing.succeeded") == 1, "a second time it is nothing"


@pytest.mark.parametrize(("state", "reason"), [("REVOKED", "card_revoked"), ("EXPIRED", "card_expired")])
async def test_a_no_says_what_to_do_and_an_outage_is_none(tmp_path: Path, state: str, reason: str) -> None:
    async with operated(tmp_path, "pocketsign-verify-v2") as at, Browser(at.site) as browser:
        page = await asked(browser)
        digest = shown(page, r'<input class="mono" value="([^"]+)" readonly')
        card = await at.operator.card(at.sato, state=state)
        signed = await at.operator.service.control("sign", card=card, digest=digest)
        page = await browser.submit(page, "/login/proofing/answer", **signed)
        assert page.status == 403
        assert at.site.events.last("proofing.refused").detail["reason"] == reason
        page = await browser.submit(await browser.get(shown(page, r'href="(/login\?tx=[^"]+)"')), "/login/proofing")
        await at.operator.service.mode("status", status=503)
        page = await browser.submit(page, "/login/proofing/answer", **signed)
        assert page.status == 503
        assert at.site.events.last("proofing.broken").detail["detail"] == "the operator answered 503"


async def test_another_persons_card_is_no_yes_and_a_near_miss_waits(tmp_path: Path) -> None:
    async with operated(tmp_path, "pocketsign-verify-v2") as at, Browser(at.site) as browser:
        page = await asked(browser)
        digest = shown(page, r'<input class="mono" value="([^"]+)" readonly')
        other = Person(user_id="other", name="鈴木 翔", birth_date="1990-01-02")
        signed = await at.operator.service.control("sign", card=await at.operator.own(other), digest=digest)
        page = await browser.submit(page, "/login/proofing/answer", **signed)
        assert page.status == 403
        assert at.site.events.last("proofing.refused").detail["reason"] == "name_mismatch"
        page = await browser.submit(await browser.get(shown(page, r'href="(/login\?tx=[^"]+)"')), "/login/proofing")
        digest = shown(page, r'<input class="mono" value="([^"]+)" readonly')
        near = await at.operator.card(at.sato, birth_date="319840521")
        signed = await at.operator.service.control("sign", card=near, digest=digest)
        await browser.submit(page, "/login/proofing/answer", **signed)
        assert at.site.events.last("proofing.review").detail["kind"] == "near_miss"
        assert "proofing.succeeded" not in at.site.events.names()


# ---------------------------------------------------------------------- the counter


@contextlib.asynccontextmanager
async def counter(folder: Path) -> AsyncIterator[tuple[IdpSite, InPersonCounter, Review]]:
    clock = ManualClock(NOW)
    backend = in_person_backend(in_person.settings(), clock)
    async with idp_site(folder, clock=clock, backend=backend) as site:
        backend.use(site.store)
        await site.person(birth_date="1984-05-12")
        for officer in (in_person.FIRST, in_person.SECOND):
            await site.store.users.add(officer)
        review = Review(site.store, site.events, clock, lambda: in_person.KEYS)
        yield site, InPersonCounter(site.store, review, site.events, clock, backend.settings), review


async def test_two_officers_and_the_sign_in_goes_on(tmp_path: Path) -> None:
    async with counter(tmp_path) as (site, officers, review), Browser(site, language="en") as browser:
        page = await asked(browser)
        assert page.status == 200
        assert "Personnel, main building" in page.text
        assert "driving licence" in page.text
        assert "another official document" not in page.text.lower(), "only what is accepted is named"
        code = shown(page, r"data-code>(?:<strong>)?([0-9 ]+)<")
        looked = Looked(document="ic_chip", name="佐藤 恵", birth_date="1984-05-12")
        case = await officers.check("dr.sato", code, looked, by=in_person.FIRST.login, by_user=in_person.FIRST.id)
        assert isinstance(case, UnderReview)
        again = await browser.get(shown(page, r'http-equiv="refresh" content="20; url=([^"]+)"'))
        assert code in again.text, "one officer is not enough: the page goes on waiting"
        decided = await review.decide(case.case_id, in_person.SECOND.login, in_person.SECOND.id, approve=True)
        assert isinstance(decided, Decided)
        after = await browser.get(shown(page, r'http-equiv="refresh" content="20; url=([^"]+)"'))
        claims = await browser.tokens(after if after.status in {302, 303} else await browser.get(_on(after)))
        assert (claims["proofing"]["method"], claims["proofing"]["level"]) == ("in_person_ic", 3)


async def test_what_signed_in_to_show_the_code_is_bound_though_nobody_waits_at_the_page(tmp_path: Path) -> None:
    async with counter(tmp_path) as (site, officers, review):
        async with Browser(site) as browser:
            code = shown(await asked(browser), r"data-code>(?:<strong>)?([0-9 ]+)<")
        await approved(officers, review, code)
        site.later(3600)
        async with Browser(site) as later:
            claims = await later.tokens(await later.sign_in(acr_values=PROOFED))
        assert {event["kind"]: event["bound"] for event in claims["auth_events"]} == {"pwd": True, "otp": True}


async def test_on_the_account_page_only_what_is_fresh_in_the_session_is_bound(tmp_path: Path) -> None:
    async with counter(tmp_path) as (site, officers, review), Browser(site) as browser:
        claims = await browser.tokens(await browser.sign_in())
        for _ in range(2):
            site.later(FRESH_SECONDS / 2 + 1)
            await browser.tokens(await browser.authorize())  # the session lives on
        page = await browser.submit(await browser.get("/account"), "/account/confirm/code", code=site.code())
        page = await browser.submit(await browser.get("/account/proofing/start"), "/account/proofing/start", consent="yes")
        await approved(officers, review, shown(page, r"data-code>(?:<strong>)?([0-9 ]+)<"))
        record = await site.store.proofing.latest(claims["sub"])
        assert record is not None
        assert await site.store.bindings.of(record.number) == {"otp"}, "the password was long ago"
        await browser.get(shown(page, r'http-equiv="refresh" content="20; url=([^"]+)"'))
        assert await site.store.bindings.of(record.number) == {"otp"}


async def test_a_generator_replaced_after_the_code_was_shown_is_not_bound(tmp_path: Path) -> None:
    async with counter(tmp_path) as (site, officers, review), Browser(site) as browser, Browser(site) as other:
        page = await asked(browser)
        code = shown(page, r"data-code>(?:<strong>)?([0-9 ]+)<")
        site.later(60)
        claims = await other.tokens(await other.sign_in())  # another sitting, with the same generator as yet
        site.later(60)
        now = int(site.clock.now())
        await site.store.credentials.set_totp(TotpCredential(user_id=claims["sub"], secret=Secret(TOTP), created_at=now))
        await approved(officers, review, code)
        await browser.get(shown(page, r'http-equiv="refresh" content="20; url=([^"]+)"'))
        record = await site.store.proofing.latest(claims["sub"])
        assert record is not None
        assert await site.store.bindings.of(record.number) == {"pwd"}


async def approved(officers: InPersonCounter, review: Review, code: str) -> None:
    looked = Looked(document="ic_chip", name="佐藤 恵", birth_date="1984-05-12")
    case = await officers.check("dr.sato", code, looked, by=in_person.FIRST.login, by_user=in_person.FIRST.id)
    assert isinstance(case, UnderReview)
    assert isinstance(await review.decide(case.case_id, in_person.SECOND.login, in_person.SECOND.id, approve=True), Decided)


async def test_cancelled_goes_back_to_the_offer_and_the_code_is_worth_nothing(tmp_path: Path) -> None:
    async with counter(tmp_path) as (site, officers, _), Browser(site) as browser:
        page = await asked(browser)
        code = shown(page, r"data-code>(?:<strong>)?([0-9 ]+)<")
        back = await browser.submit(page, "/login/proofing/answer", cancel="1")
        assert "/login/proofing" in back.actions
        looked = Looked(document="passport", name="佐藤 恵", birth_date="1984-05-12")
        refused = await officers.check("dr.sato", code, looked, by=in_person.FIRST.login)
        assert not isinstance(refused, UnderReview)


def _on(page: Reply) -> str:
    return shown(page, r'href="(/login\?tx=[^"]+)"')

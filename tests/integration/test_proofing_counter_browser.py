"""In real Chromium: to a platform operator's pages on another origin and back, a reader's form, and a code for the counter."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Page, async_playwright

from gateway.kernel.clock import SystemClock
from idp.proofing.cases import Decided, Review, UnderReview
from idp.proofing.in_person import InPersonCounter, Looked, in_person_backend
from idp.proofing.platform_operator import platform_operator_backend
from idp.proofing.port import Person, ProofingBackend
from tests.support import in_person
from tests.support.chromium import find_chromium
from tests.support.idp_site import PASSWORD, IdpSite, idp_site
from tests.support.platform_operator import Operator, settings
from tests.support.standin import standin

ARGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
ARTEFACTS = Path(__file__).parents[2] / "test-artefacts" / "proofing"


class Terminal:
    """One page of a browser, and what its console complained of."""

    def __init__(self, site: IdpSite, page: Page) -> None:
        self.site, self.page = site, page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._heard(message.text))

    def _heard(self, text: str) -> None:
        if "Content Security Policy" in text or "Content-Security-Policy" in text:
            self.complaints.append(text)

    async def to_the_backend(self) -> None:
        """Sign in as somebody who has to be proofed, and agree."""
        query = (
            f"response_type=code&client_id=gateway&redirect_uri={self.site.callback}&scope=openid&state=s&nonce=n"
            "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
            "&acr_values=urn:zt-gateway:acr:proofed"
        )
        await self.page.goto(f"{self.site.issuer}/authorize?{query}")
        await self.page.fill("[name=login]", "dr.sato")
        await self.page.fill("[name=password]", PASSWORD)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_selector("[data-code]:focus")
        await self.page.keyboard.type(self.site.code())
        await self.page.click('form[action="/login/proofing"] button')

    async def arrived(self) -> None:
        await self.page.wait_for_url(f"{self.site.callback}?code=*")
        assert self.complaints == []

    async def saw(self, name: str) -> None:
        """Keep a picture, and check that nothing hangs over the edge."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)
        overhang = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overhang <= 0, f"{name} is {overhang} px too wide"


@contextlib.asynccontextmanager
async def terminal(folder: Path, backend: ProofingBackend, language: str = "ja-JP", width: int = 390) -> AsyncIterator[Terminal]:
    async with idp_site(folder, clock=SystemClock(), backend=backend) as site, async_playwright() as playwright:
        await site.person(birth_date="1984-05-12")
        chromium = await playwright.chromium.launch(executable_path=find_chromium(), args=ARGS)
        context = await chromium.new_context(locale=language, viewport={"width": width, "height": 900})
        yield Terminal(site, await context.new_page())
        await chromium.close()


@pytest.mark.parametrize("language", ["ja-JP", "en-GB"])
async def test_to_the_operators_pages_and_back(tmp_path: Path, language: str) -> None:
    async with standin("platform_operator") as service:
        made = settings(service.origin, profile="pocketsign-stamp-v1", return_url="https://id.example/login/proofing/return")
        backend = platform_operator_backend(made, SystemClock())
        async with terminal(tmp_path, backend, language) as at:
            backend._settings = msgspec.structs.replace(made, return_url=f"{at.site.issuer}/login/proofing/return")
            at_operator = Operator(backend, None, service)  # type: ignore[arg-type]  # the real clock
            card = await at_operator.card(Person(user_id="sato", name="佐藤 恵", birth_date="1984-05-12"))
            await at.to_the_backend()
            await at.page.wait_for_selector("a[data-verifier]")
            await at.saw(f"operator-{language[:2]}")
            await at.page.click("a[data-verifier]")
            await at.page.wait_for_url(f"{service.origin}/stamp/*")
            await at.page.click(f'button[value="{card}"]')
            await at.page.wait_for_url(f"{at.site.issuer}/**")
            assert "session_id" not in at.page.url, "no answer stays in an address"
            await at.page.click('a[href^="/login?tx="]')
            await at.arrived()
        await backend.close()


async def test_a_reader_fills_in_the_form(tmp_path: Path) -> None:
    async with standin("platform_operator") as service:
        backend = platform_operator_backend(settings(service.origin), SystemClock())
        async with terminal(tmp_path, backend) as at:
            person = Person(user_id="sato", name="佐藤 恵", birth_date="1984-05-12")
            card = await Operator(backend, None, service).card(person)  # type: ignore[arg-type]  # the real clock
            await at.to_the_backend()
            digest = await at.page.input_value("input[readonly]")
            await at.saw("reader")
            for name, value in (await service.control("sign", card=card, digest=digest)).items():
                await at.page.fill(f"textarea[name={name}]", value)
            await at.page.click('form[action="/login/proofing/answer"] .button')
            await at.page.click('a[href^="/login?tx="]')
            await at.arrived()
        await backend.close()


@pytest.mark.parametrize("language", ["ja-JP", "en-GB"])
async def test_a_code_for_the_counter(tmp_path: Path, language: str) -> None:
    backend = in_person_backend(in_person.settings(), SystemClock())
    async with terminal(tmp_path, backend, language) as at:
        site = at.site
        backend.use(site.store)
        for officer in (in_person.FIRST, in_person.SECOND):
            await site.store.users.add(officer)
        review = Review(site.store, site.events, site.clock, lambda: in_person.KEYS)
        officers = InPersonCounter(site.store, review, site.events, site.clock, backend.settings)
        await at.to_the_backend()
        code = await at.page.inner_text("[data-code]")
        await at.saw(f"counter-{language[:2]}")
        looked = Looked(document="driving_licence", name="佐藤 恵", birth_date="1984-05-12")
        case = await officers.check("dr.sato", code, looked, by=in_person.FIRST.login)
        assert isinstance(case, UnderReview)
        look = "a.button.full"
        await at.page.click(look)
        assert await at.page.inner_text("[data-code]") == code, "one officer is not enough"
        assert isinstance(await review.decide(case.case_id, in_person.SECOND.login, "", approve=True), Decided)
        await at.page.click(look)
        await at.page.click('a[href^="/login?tx="]')
        await at.arrived()

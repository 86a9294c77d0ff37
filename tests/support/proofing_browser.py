"""People in Chromium before the identity provider, one browser each: at a terminal or with a phone. Keeps pictures."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, Playwright, async_playwright

from gateway.kernel.clock import ManualClock
from idp.proofing.port import ProofingBackend
from tests.integration.test_idp_browser import ARGS, Person
from tests.support.chromium import find_chromium
from tests.support.digital_agency import Agency, agency
from tests.support.idp_site import PASSWORD, IdpSite, idp_site

PROOFED = "urn:zt-gateway:acr:proofed"
PHONE = {"width": 360, "height": 740}
WARD = {"width": 1100, "height": 800}
ARTEFACTS = Path(__file__).parents[2] / "test-artefacts" / "proofing"


class Somebody(Person):
    """At a terminal or with a phone."""

    async def saw(self, name: str) -> None:
        await self.page.wait_for_load_state()
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=ARTEFACTS / f"{name}-{self.label}.png", full_page=True)
        overhang = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overhang <= 0, f"{name} is {overhang} px too wide"
        small = await self.page.evaluate(
            """[...document.querySelectorAll('main .button, main button')]
                .filter(one => one.offsetParent && one.getBoundingClientRect().height < 32).map(one => one.textContent)"""
        )
        assert small == [], f"{name}: too small to hit: {small}"

    async def to_consent(self, steps: int = 0, *, login: str = "dr.sato") -> None:
        await self.authorize(acr_values=PROOFED)
        await self.page.keyboard.type(login)
        await self.page.keyboard.press("Tab")
        await self.page.keyboard.type(PASSWORD)
        await self.page.keyboard.press("Enter")
        await self.type_code(steps)
        await self.page.wait_for_selector("form[action='/login/proofing']")

    async def agree(self, then: str) -> None:
        await self.choose("form[action='/login/proofing'] button", then)

    async def heading(self) -> str:
        return (await self.page.inner_text("h1")).strip()

    async def clean_address(self) -> None:
        """Neither the address nor the history's present entry shows what a verifier gave."""
        query = urlsplit(self.page.url).query
        assert "code=" not in query
        assert "state=" not in query


class House:
    """Chromium, for as many people as a test has."""

    def __init__(self, site: IdpSite, chromium: Browser) -> None:
        self.site, self.chromium = site, chromium
        self.people: list[Somebody] = []

    async def somebody(self, language: str = "ja", *, phone: bool = False, script: bool = True, label: str = "") -> Somebody:
        context: BrowserContext = await self.chromium.new_context(
            locale="ja-JP" if language == "ja" else "en-GB", viewport=PHONE if phone else WARD,  # type: ignore[arg-type]
            java_script_enabled=script,
        )  # fmt: skip
        context.set_default_timeout(20_000)
        made = Somebody(self.site, context, await context.new_page(), label or f"{language}-{'phone' if phone else 'wide'}")
        self.people.append(made)
        return made


@asynccontextmanager
async def house(
    folder: Path, backend: Callable[[str], ProofingBackend], clock: ManualClock, **roster: Any
) -> AsyncIterator[House]:
    async with idp_site(folder, clock=clock, backend=backend) as site, async_playwright() as playwright:
        await site.person(**({"birth_date": "1984-05-12", "kana": "サトウ メグミ"} | roster))
        chromium = await _chromium(playwright)
        made = House(site, chromium)
        yield made
        await chromium.close()
        assert [complaint for one in made.people for complaint in one.complaints] == []


async def _chromium(playwright: Playwright) -> Browser:
    return await playwright.chromium.launch(executable_path=find_chromium(), args=ARGS)


@asynccontextmanager
async def agency_house(folder: Path, **roster: Any) -> AsyncIterator[tuple[House, Agency]]:
    """With the Digital Agency's stand-in."""
    clock = ManualClock()
    async with agency() as service:
        await service.control("clock", now=int(clock.now()))
        made: list[Any] = []

        def backend(issuer: str) -> ProofingBackend:
            service.redirect = f"{issuer}/login/proofing/return"
            made.append(service.backend(clock))
            found: ProofingBackend = made[0]
            return found

        async with house(folder, backend, clock, **roster) as running:
            await service.register()
            yield running, service
        await made[0].close()


async def read_card(page: Page, choice: str) -> None:
    """Press our button, and the service's."""
    await page.click("a[data-verifier]")
    await page.click(f"button[name=choice][value={choice}]")
    await page.wait_for_load_state()

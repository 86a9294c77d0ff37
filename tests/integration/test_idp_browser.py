"""The sign-in in real Chromium with a virtual authenticator: keys, proofing, both languages, a phone's width. Keeps pictures."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import BrowserContext, CDPSession, Page, async_playwright

from tests.support.idp_site import PASSWORD, IdpSite, idp_site

ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
ARTEFACTS = Path(__file__).parents[2] / "test-artefacts" / "sign-in"
WIDTHS = {"wide": 1100, "phone": 390}


class Person:
    """Somebody at a terminal: one page, one virtual security key, and a folder for what they saw."""

    def __init__(self, site: IdpSite, context: BrowserContext, page: Page, label: str) -> None:
        self.site, self.context, self.page, self.label = site, context, page, label
        self.complaints: list[str] = []
        self._cdp: CDPSession | None = None
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("console", lambda message: self._heard(message.text))

    def _heard(self, text: str) -> None:
        if "Content Security Policy" in text or "Content-Security-Policy" in text:
            self.complaints.append(text)

    async def plug_in_key(self, *, verifies: bool = True) -> str:
        self._cdp = self._cdp or await self.context.new_cdp_session(self.page)
        await self._cdp.send("WebAuthn.enable")
        added: dict[str, Any] = await self._cdp.send(
            "WebAuthn.addVirtualAuthenticator",
            {"options": {
                "protocol": "ctap2", "transport": "usb", "hasResidentKey": True, "hasUserVerification": True,
                "isUserVerified": verifies, "automaticPresenceSimulation": True,
            }},
        )  # fmt: skip
        return str(added["authenticatorId"])

    async def verify_with_pin(self, key: str, *, right: bool) -> None:
        assert self._cdp is not None
        await self._cdp.send("WebAuthn.setUserVerified", {"authenticatorId": key, "isUserVerified": right})

    async def authorize(self, **asked: str) -> None:
        query = {
            "response_type": "code", "client_id": "gateway", "redirect_uri": self.site.callback, "scope": "openid profile",
            "state": "s", "nonce": "n", "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256", **asked,
        }  # fmt: skip
        await self.page.goto(f"{self.site.issuer}/authorize?{urlencode(query)}")
        # The browser sets the focus some moments after loading; keys that come before go nowhere.
        await self.page.wait_for_function(
            "() => { const first = document.querySelector('[autofocus]'); return !first || document.activeElement === first; }"
        )

    async def arrived(self) -> None:
        await self.page.wait_for_url(f"{self.site.callback}?code=*")

    async def type_code(self, steps: int = 0) -> None:
        await self.page.wait_for_selector("[data-code]:focus")  # the page's own doing, a moment after it is loaded
        await self.page.keyboard.type(self.site.code(steps))  # the sixth digit sends it

    async def sign_in(self, login: str = "dr.sato") -> None:
        """With the keyboard alone, as forty times a day."""
        await self.page.keyboard.type(login)
        await self.page.keyboard.press("Tab")
        await self.page.keyboard.type(PASSWORD)
        await self.page.keyboard.press("Enter")
        await self.type_code()
        await self.arrived()

    async def saw(self, name: str) -> None:
        """Keep a screenshot, and check that nothing hangs over the edge of the page."""
        await self.page.wait_for_load_state()
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=ARTEFACTS / f"{name}-{self.label}.png", full_page=True)
        overhang = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overhang <= 0, f"{name} is {overhang} px too wide"

    async def choose(self, selector: str, then: str) -> None:
        await self.page.click(selector)
        await self.page.wait_for_selector(then)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[IdpSite]:
    async with idp_site(tmp_path, demo=True) as running:
        await running.person()
        yield running


@pytest.fixture(params=[("ja", "wide"), ("ja", "phone"), ("en", "phone")], ids="-".join)
async def person(request: pytest.FixtureRequest, site: IdpSite) -> AsyncIterator[Person]:
    language, width = request.param
    async for made in _person(site, language, width):
        yield made


@pytest.fixture
async def anybody(site: IdpSite) -> AsyncIterator[Person]:
    async for made in _person(site, "ja", "wide"):
        yield made


async def _person(site: IdpSite, language: str, width: str) -> AsyncIterator[Person]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        context = await chromium.new_context(
            locale="ja-JP" if language == "ja" else "en-GB", viewport={"width": WIDTHS[width], "height": 800}
        )
        context.set_default_timeout(20_000)
        made = Person(site, context, await context.new_page(), f"{language}-{width}")
        yield made
        await chromium.close()
        assert made.complaints == []


async def test_the_whole_story(site: IdpSite, person: Person) -> None:
    page = person.page
    await person.authorize()
    await person.saw("01-sign-in")
    await person.sign_in()

    # Prescribing wants a key; there is none yet: register one, touch it, be back.
    await person.plug_in_key()
    await person.authorize(acr_values="phr", max_age="0")
    await person.saw("02-code")
    await person.type_code(1)
    await page.wait_for_selector("[name=label]")
    await person.saw("03-register-key")
    await page.keyboard.press("Enter")
    await person.arrived()
    assert site.events.names()[-2:] == ["factor.registered", "stepup.succeeded"]

    # From now on it is a touch and nothing else: no click, no key press.
    site.later(400)
    await person.authorize(acr_values="phr", max_age="0")
    await person.arrived()

    # On a terminal that knows nothing, the key alone signs in: Enter on the empty form.
    await person.context.clear_cookies()
    await person.authorize()
    await page.keyboard.press("Enter")
    await person.arrived()
    assert site.events.last("signin.succeeded").detail["how"] == "fido2"

    # Identity proofing: refused, broken, then done.
    await person.authorize(acr_values="urn:zt-gateway:acr:proofed")
    await person.saw("04-proofing")
    for outcome, name in (("wrong_person", "06-wrong-person"), ("expired", "07-expired"), ("down", "08-down")):
        await person.choose("form[action='/login/proofing'] button", "[name=outcome]")
        await person.saw("05-simulated")
        await person.choose(f"[name=outcome][value={outcome}]", "[role=alert]")
        await person.saw(name)
        await person.choose("main a.button", "form[action='/login/proofing']")
    await person.choose("form[action='/login/proofing'] button", "[name=outcome]")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("dl.pairs")
    await person.saw("09-proofed")
    await page.keyboard.press("Enter")
    await person.arrived()

    # The account page, where the touch of before is too old.
    site.later(400)
    await page.goto(f"{site.issuer}/account")
    await person.saw("10-account-confirm")
    await person.choose("form[action='/account/confirm/key'] button", "form[action='/account/keys/remove']")
    await person.saw("11-account")
    await person.choose("form[action='/account/totp'] button", "svg.qr")
    await person.saw("12-authenticator-app")
    await page.goto(f"{site.issuer}/account")
    await person.choose("form[action='/account/recovery'] button", "ol.codes")
    await person.saw("13-recovery-codes")
    await page.goto(f"{site.issuer}/end-session")
    await person.saw("14-sign-out")
    await page.click("main button.button")
    await page.wait_for_load_state()
    await person.saw("15-signed-out")
    assert "signout" in site.events.names()


async def test_a_key_that_does_not_verify_its_owner_gets_a_message_and_a_second_try(site: IdpSite, anybody: Person) -> None:
    key = await anybody.plug_in_key()
    await anybody.authorize()
    await anybody.sign_in()
    await anybody.page.goto(f"{site.issuer}/account")
    await anybody.choose("form[action='/account/keys'] button", "text=セキュリティキー 1")
    await anybody.verify_with_pin(key, right=False)
    await anybody.authorize(acr_values="phr", max_age="0")
    problem = anybody.page.locator("[data-problem]")
    await problem.wait_for(state="visible")
    assert "もう一度ボタンを押して" in await problem.inner_text()
    await anybody.saw("20-not-touched")
    await anybody.verify_with_pin(key, right=True)
    await anybody.page.keyboard.press("Enter")  # the button has the focus again
    await anybody.arrived()


async def test_a_key_that_is_registered_already_is_told_apart(site: IdpSite, anybody: Person) -> None:
    await anybody.plug_in_key()
    await anybody.authorize()
    await anybody.sign_in()
    await anybody.page.goto(f"{site.issuer}/account")
    await anybody.choose("form[action='/account/keys'] button", "text=セキュリティキー 1")
    await anybody.choose("form[action='/account/confirm/key'] button", "details summary")
    await anybody.page.click("details summary")
    await anybody.page.click("form[action='/account/keys'] button")
    problem = anybody.page.locator("form[action='/account/keys'] [data-problem]")
    await problem.wait_for(state="visible")
    assert "すでに登録されています" in await problem.inner_text()


async def test_a_double_click_does_not_spend_the_code_twice(site: IdpSite, anybody: Person) -> None:
    await anybody.authorize()
    page = anybody.page
    await page.fill("[name=login]", "dr.sato")
    await page.fill("[name=password]", PASSWORD)
    await page.dblclick("#password-form button")
    await page.wait_for_selector("[data-code]")
    # Everything at once: the sixth digit, Enter, and an impatient click.
    await page.evaluate(
        """code => {
            const field = document.querySelector("[data-code]");
            field.value = code;
            field.dispatchEvent(new Event("input", {bubbles: true}));
            field.form.requestSubmit();
            field.form.querySelector("button").click();
        }""",
        site.code(),
    )
    await anybody.arrived()
    assert site.events.names() == ["signin.started", "signin.succeeded"]


async def test_the_portal_may_send_the_browser_on_to_an_app(site: IdpSite, anybody: Person) -> None:
    """CSP `form-action` follows redirects: the origins of the apps have to be in it."""
    await anybody.authorize(state="to-app")
    page = anybody.page
    await page.fill("[name=login]", "dr.sato")
    await page.fill("[name=password]", PASSWORD)
    await page.keyboard.press("Enter")
    await anybody.type_code()
    await page.wait_for_url(f"{site.portal.replace('portal', 'ehr')}/arrived")


async def test_the_language_switch_keeps_the_step(site: IdpSite, anybody: Person) -> None:
    await anybody.authorize()
    page = anybody.page
    await page.fill("[name=login]", "dr.sato")
    await page.fill("[name=password]", "wrong-4821")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("[role=alert]:not([hidden])")
    await anybody.saw("21-wrong-password")
    await page.click("a.langs")
    assert await page.get_attribute("html", "lang") == "en"
    await page.fill("[name=login]", "dr.sato")
    await page.fill("[name=password]", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("[data-code]")
    assert await page.get_attribute("html", "lang") == "en"


async def test_without_webauthn_the_page_says_so_and_still_signs_in(site: IdpSite, anybody: Person) -> None:
    await anybody.page.add_init_script("delete window.PublicKeyCredential")
    await anybody.authorize()
    assert await anybody.page.is_disabled("form[data-webauthn] button")
    assert "使えません" in await anybody.page.inner_text("[data-problem]")
    await anybody.page.focus("[name=login]")
    await anybody.sign_in()


async def test_an_old_browser_without_the_json_helpers_uses_the_key_too(site: IdpSite, anybody: Person) -> None:
    await anybody.page.add_init_script(
        """delete PublicKeyCredential.parseCreationOptionsFromJSON;
        delete PublicKeyCredential.parseRequestOptionsFromJSON;
        delete PublicKeyCredential.prototype.toJSON;"""
    )
    await anybody.plug_in_key()
    await anybody.authorize()
    await anybody.sign_in()
    await anybody.page.goto(f"{site.issuer}/account")
    await anybody.choose("form[action='/account/keys'] button", "text=セキュリティキー 1")
    await anybody.context.clear_cookies()
    await anybody.authorize()
    await anybody.page.click("form[data-webauthn=get] button")
    await anybody.arrived()

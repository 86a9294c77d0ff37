"""An operator's pages and the counter, in Chromium: there and back, by keyboard, with officers' yes and no."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock
from idp.proofing.cases import Decided, UnderReview
from idp.proofing.in_person import InPersonBackend, InPersonCounter, Looked, in_person_backend
from idp.proofing.platform_operator import PlatformOperatorBackend, platform_operator_backend
from idp.proofing.port import Person, ProofingBackend
from tests.support import in_person
from tests.support.idp_site import PASSWORD
from tests.support.platform_operator import NOW, Operator, settings
from tests.support.proofing_browser import House, Somebody, house
from tests.support.standin import standin

SATO = Person(user_id="usr_at_the_operator", name="佐藤 恵", birth_date="1984-05-12")
LOOKED = Looked(document="driving_licence", name="佐藤 恵", birth_date="1984-05-12")


@asynccontextmanager
async def operated(folder: Path, profile: str) -> AsyncIterator[tuple[House, Operator]]:
    """With the stand-in of an operator."""
    clock, made = ManualClock(NOW), list[PlatformOperatorBackend]()
    async with standin("platform_operator", "--now", str(NOW)) as service:

        def backend(issuer: str) -> ProofingBackend:
            back = f"{issuer}/login/proofing/return"
            made.append(platform_operator_backend(settings(service.origin, profile=profile, return_url=back), clock))
            return made[0]

        async with house(folder, backend, clock) as running:
            yield running, Operator(made[0], clock, service)
        await made[0].close()


class Counter:
    """Two officers."""

    def __init__(self, site: Any, backend: InPersonBackend) -> None:
        self.site, office = site, site.provider.office
        self.office = office
        self.officers = InPersonCounter(site.store, office._review, site.events, site.clock, backend.settings)

    async def looks(self, person: Somebody) -> str:
        """Take the code off the person's screen; return the case."""
        code = await person.page.inner_text("[data-code]")
        case = await self.officers.check("dr.sato", code, LOOKED, by=in_person.FIRST.login, by_user=in_person.FIRST.id)
        assert isinstance(case, UnderReview), case
        return case.case_id

    async def decides(self, case: str, *, approve: bool) -> None:
        second = in_person.SECOND
        assert isinstance(await self.office.decide(case, by=second.login, by_user=second.id, approve=approve), Decided)


@asynccontextmanager
async def counter(folder: Path) -> AsyncIterator[tuple[House, Counter]]:
    """With a counter."""
    clock = ManualClock(NOW)
    backend = in_person_backend(in_person.settings(), clock)
    async with house(folder, lambda _: backend, clock) as running:
        backend.use(running.site.store)
        for officer in (in_person.FIRST, in_person.SECOND):
            await running.site.store.users.add(officer)
        yield running, Counter(running.site, backend)


async def press(person: Somebody, label: str) -> None:
    """Reach a button with the Tab key, and press it: no mouse."""
    for _ in range(40):
        await person.page.keyboard.press("Tab")
        if await person.page.evaluate("document.activeElement.textContent.trim()") == label:
            seen = await person.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert seen != "none", f"nobody sees that {label} has the focus"
            await person.page.keyboard.press("Enter")
            await person.page.wait_for_load_state()
            return
    raise AssertionError(f"the Tab key does not reach {label}")


# ---------------------------------------------------------------------- an operator


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_an_operators_own_page_there_and_back(tmp_path: Path, language: str) -> None:
    async with operated(tmp_path, "pocketsign-stamp-v1") as (running, operator):
        person = await running.somebody(language, phone=True)
        card = await operator.own(SATO)
        await person.to_consent()
        await person.saw("50-operator-consent")
        await press(person, "同意して本人確認を始める" if language == "ja" else "Agree and start the identity check")
        await person.page.wait_for_selector("a[data-verifier]")
        await person.saw("51-operator")
        await person.page.click("a[data-verifier]")
        await person.page.click("button[value='']")  # cancelled over there
        await person.page.wait_for_selector("form[action='/login/proofing']")
        await person.clean_address()
        await person.agree("a[data-verifier]")
        await person.page.click("a[data-verifier]")
        await person.page.click(f"button[value='{card}']")
        await person.page.wait_for_selector("dl.pairs")
        await person.clean_address()
        await person.page.keyboard.press("Enter")
        await person.arrived()


async def test_a_reader_and_the_operators_form(tmp_path: Path) -> None:
    async with operated(tmp_path, "pocketsign-verify-v2") as (running, operator):
        person = await running.somebody("en", phone=True)
        await person.to_consent()
        await person.agree("textarea")
        await person.saw("52-operator-reader")
        for state, title in (("REVOKED", "The card has been revoked"), ("GOOD", "Your identity is confirmed")):
            digest = await person.page.input_value("input.mono")
            signed = await operator.service.control("sign", card=await operator.card(SATO, state=state), digest=digest)
            for name, value in signed.items():
                await person.page.fill(f"textarea[name='{name}']", value if isinstance(value, str) else json.dumps(value))
            await person.page.click("form[action='/login/proofing/answer'] button.button")
            await person.page.wait_for_load_state()
            assert await person.heading() == title
            if state == "REVOKED":
                await person.choose("main a.button", "form[action='/login/proofing']")
                await person.agree("textarea")


# ---------------------------------------------------------------------- the counter


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_a_visit_to_the_counter(tmp_path: Path, language: str) -> None:
    async with counter(tmp_path) as (running, officers):
        person = await running.somebody(language, phone=True)
        await person.to_consent()
        await person.saw("53-counter-consent")
        await person.agree("[data-code]")
        await person.saw("54-counter")
        refused = await officers.looks(person)
        await officers.decides(refused, approve=False)
        await person.choose("main a.button", "[role=alert]")
        await person.saw("55-counter-no")
        assert ("認めませんでした" if language == "ja" else "did not confirm") in await person.heading()
        await person.choose("main a.button", "form[action='/login/proofing']")
        await person.agree("[data-code]")
        case = await officers.looks(person)
        await person.choose("main a.button", "[data-code]")  # one officer is not enough
        await officers.decides(case, approve=True)
        await person.choose("main a.button", "dl.pairs")
        bound = [event.detail["kind"] for event in running.site.events.all if event.name == "proofing.bound"]
        assert sorted(bound) == ["otp", "pwd"]
        await person.page.keyboard.press("Enter")
        await person.arrived()


async def test_a_renewal_at_the_counter(tmp_path: Path) -> None:
    async with counter(tmp_path) as (running, officers):
        person = await running.somebody()
        await person.page.goto(f"{running.site.issuer}/account")
        await person.page.fill("[name=login]", "dr.sato")
        await person.page.fill("[name=password]", PASSWORD)
        await person.page.keyboard.press("Enter")
        await person.type_code()
        await person.page.wait_for_url("**/account")
        await person.page.goto(f"{running.site.issuer}/account/proofing/start")
        await person.choose("form[action='/account/proofing/start'] button", "[data-code]")
        case = await officers.looks(person)
        await person.choose("main a.button", "[data-code]")
        await officers.decides(case, approve=True)
        await person.choose("main a.button", "dl.pairs")
        await person.choose("main a.button", "form[action='/account/proofing/export']")
        assert "本人確認は有効です" in await person.page.inner_text("main")

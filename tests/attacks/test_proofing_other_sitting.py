"""Somebody else waits in a sign-in of the same account while its person is proofed: nothing of theirs is bound to the result."""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret
from idp.model import ProofingRecord
from idp.proofing.cases import Decided, Review, UnderReview
from idp.proofing.in_person import InPersonCounter, Looked, in_person_backend
from idp.proofing.port import Outcome, Proofed, Verified
from idp.proofing.simulated import SimulatedBackend
from tests.support import in_person
from tests.support.idp_site import Browser, IdpSite, Reply, idp_site
from tests.support.qr import read_svg

NOW = 1_800_000_000
PROOFED = "urn:zt-gateway:acr:proofed"
ANEW = "urn:zt-gateway:acr:proofed-anew"
ANSWER = "/login/proofing/answer"


class NearOrSame(SimulatedBackend):
    """A card that reads as the ledger does, or, chosen as `near`, nearly so."""

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        same = await super().complete(state, {"outcome": "success"})
        assert isinstance(same, Proofed)
        if answer.get("outcome") != "near":
            return same
        card = Verified(name="佐藤 恵", birth_date="1984-05-21")
        return msgspec.structs.replace(same, vouched=False, attributes=card, person=Secret("another card"))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[IdpSite]:
    clock = ManualClock(NOW)
    async with idp_site(tmp_path, clock=clock, backend=NearOrSame(clock)) as running:
        await running.person(birth_date="1984-05-12")
        yield running


async def begun(browser: Browser, acr: str = PROOFED) -> Reply:
    return await browser.submit(await browser.sign_in(acr_values=acr), "/login/proofing")


async def handed(browser: Browser, acr: str = PROOFED) -> tuple[Reply, str]:
    """Show a code for a phone; return the page and the link."""
    page = await browser.submit(await begun(browser, acr), "/login/proofing/handover")
    (svg,) = re.findall(r"<svg.*?</svg>", page.text, re.DOTALL)
    return page, urlsplit(read_svg(svg))._replace(scheme="", netloc="").geturl()


async def answered_by(phone: Browser, link: str, outcome: str) -> None:
    page = await phone.submit(await phone.get(link), "/login/proofing/phone")
    page = await phone.submit(page, "/login/proofing", consent="yes")
    await phone.submit(page, ANSWER, outcome=outcome)


def refreshed(page: Reply) -> str:
    found = re.search(r'http-equiv="refresh" content="\d+; url=([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1].replace("&amp;", "&")


def place(page: Reply) -> str:
    found = re.search(r"tx=(tx_[0-9a-f]+)", page.text) or re.search(r'name="tx" value="(tx_[0-9a-f]+)"', page.text)
    assert found is not None, page.text
    return f"/login/proofing?tx={found[1]}"


async def sato(site: IdpSite) -> ProofingRecord:
    user = await site.store.users.by_login("dr.sato")
    assert user is not None
    record = await site.store.proofing.latest(user.id)
    assert record is not None
    return record


async def test_what_officers_decide_of_another_visit_binds_nothing_here(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    backend = in_person_backend(in_person.settings(), clock)
    async with (
        idp_site(tmp_path, clock=clock, backend=backend) as site,
        Browser(site) as thief,
        Browser(site, language="en") as person,
    ):
        backend.use(site.store)
        await site.person(birth_date="1984-05-12")
        for officer in (in_person.FIRST, in_person.SECOND):
            await site.store.users.add(officer)
        review = Review(site.store, site.events, clock, lambda: in_person.KEYS)
        counter = InPersonCounter(site.store, review, site.events, clock, backend.settings)
        waiting = await begun(thief, ANEW)
        site.later(60)
        own = await begun(person)
        code = re.search(r"data-code>(?:<strong>)?([0-9 ]+)<", own.text)
        assert code is not None
        looked = Looked(document="ic_chip", name="佐藤 恵", birth_date="1984-05-12")
        case = await counter.check("dr.sato", code[1], looked, by=in_person.FIRST.login, by_user=in_person.FIRST.id)
        assert isinstance(case, UnderReview)
        decided = await review.decide(case.case_id, in_person.SECOND.login, in_person.SECOND.id, approve=True)
        assert isinstance(decided, Decided)
        assert decided.record is not None
        assert await site.store.bindings.of(decided.record.number) == {"pwd", "otp"}, "of the sitting in which the visit began"
        site.events.all.clear()
        await thief.get(refreshed(waiting))
        assert "proofing.bound" not in site.events.names()
        assert "/login/proofing" in (await thief.get(place(waiting).replace("/login/proofing", "/login"))).actions, (
            "not anew here"
        )
        await person.get(refreshed(own))
        assert "proofing.bound" not in site.events.names(), "once is enough"
        assert await site.store.bindings.of(decided.record.number) == {"pwd", "otp"}


async def test_a_case_that_another_sitting_led_to_binds_nothing_of_this_one(site: IdpSite) -> None:
    async with Browser(site) as thief, Browser(site) as phone, Browser(site) as person:
        page, link = await handed(thief)
        await answered_by(phone, link, "near")
        site.later(60)
        await person.submit(await begun(person), ANSWER, outcome="near")
        (case,) = await site.store.cases.waiting(int(site.clock.now()))
        assert await site.store.bindings.held(case.id) == {"pwd", "otp"}, "of the person's own; now they are taken out"
        await thief.get(place(page))
        assert await site.store.bindings.held(case.id) == frozenset()


async def test_a_result_of_another_sitting_is_not_this_ones(site: IdpSite) -> None:
    async with Browser(site) as thief, Browser(site) as phone, Browser(site) as person:
        page, link = await handed(thief, ANEW)
        await answered_by(phone, link, "success")
        first = await sato(site)
        site.later(60)
        await person.submit(await begun(person, ANEW), ANSWER, outcome="success")
        second = await sato(site)
        assert second.number != first.number
        before = await site.store.bindings.of(second.number)
        site.events.all.clear()
        await thief.get(place(page))
        assert "proofing.bound" not in site.events.names()
        assert await site.store.bindings.of(second.number) == before


async def test_a_phone_answers_nothing_before_its_person_agreed(site: IdpSite) -> None:
    async with Browser(site) as terminal, Browser(site) as phone:
        _, link = await handed(terminal)
        asks = await phone.submit(await phone.get(link), "/login/proofing/phone")
        fields = {name: asks.form("/login/proofing")[name] for name in ("tx", "csrf")}
        name = re.search(r'name="proofing" value="([^"]+)"', asks.text)
        guess = {"proofing": name[1]} if name else {"proofing": link.partition(".")[2]}
        await phone.post(ANSWER, fields | guess | {"outcome": "success"})
        assert "proofing.succeeded" not in site.events.names()
        page = await phone.submit(await phone.get(asks.url), "/login/proofing", consent="yes")
        await phone.submit(page, ANSWER, outcome="success")
        assert "proofing.succeeded" in site.events.names()


async def test_a_code_does_not_carry_a_class_whose_proofing_has_ended(site: IdpSite) -> None:
    async with Browser(site) as person:
        done = await person.submit(await begun(person), ANSWER, outcome="success")
        link = re.search(r'href="(/login\?tx=[^"]+)"', done.text)
        assert link is not None
        redirect = await person.get(link[1])
        record = await sato(site)
        now = int(site.clock.now())
        assert await site.store.accounts.end_proofing(record.user_id, why="revoked", by="hr.mori", at=now) == 1
        with pytest.raises(AssertionError, match="invalid_grant"):
            await person.tokens(redirect)

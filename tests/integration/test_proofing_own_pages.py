"""A person's own identity proofing on the account page: to see, to renew, to take along, to delete. In Chromium."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from tests.support.digital_agency import Agency
from tests.support.idp_site import PASSWORD
from tests.support.jpki import NOW, JpkiSite
from tests.support.jpki_ca import attributes
from tests.support.proofing_browser import House, Somebody, agency_house, house, read_card
from tests.support.qr import read_svg

OFFICER = "office.tanaka"


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[tuple[House, Agency]]:
    async with agency_house(tmp_path) as made:
        yield made


@pytest.fixture
def ward(both: tuple[House, Agency]) -> House:
    return both[0]


async def at_home(person: Somebody, steps: int = 0) -> None:
    """Sign in to the account page."""
    page = person.page
    await page.goto(f"{person.site.issuer}/account")
    await page.fill("[name=login]", "dr.sato")
    await page.fill("[name=password]", PASSWORD)
    await page.keyboard.press("Enter")
    await person.type_code(steps)
    await page.wait_for_url("**/account")


async def renewed(person: Somebody, choice: str = "sato") -> None:
    await person.page.goto(f"{person.site.issuer}/account/proofing")
    await person.choose("a[href='/account/proofing/start']", "form[action='/account/proofing/start']")
    await person.choose("form[action='/account/proofing/start'] button", "a[data-verifier]")
    await read_card(person.page, choice)


@pytest.mark.parametrize(("language", "phone"), [("ja", False), ("ja", True), ("en", True)])
async def test_the_whole_life_of_a_record(ward: House, language: str, phone: bool) -> None:
    person, site = await ward.somebody(language, phone=phone), ward.site
    user = await site.store.users.by_login("dr.sato")
    assert user is not None
    await site.provider.office.invite([user.id], by=OFFICER, due_at=int(site.clock.now()) + 14 * 86_400)
    await at_home(person)
    await person.saw("40-account")
    assert ("案内が届いています" if language == "ja" else "asks you for") in await person.page.inner_text("main")
    await person.choose("main .row a[href='/account/proofing/start']", "form[action='/account/proofing/start']")
    await person.saw("41-own-consent")
    await person.choose("form[action='/account/proofing/start'] button", "a[data-verifier]")
    assert site.events.last("proofing.started").detail["purpose"] == "renewal"
    await read_card(person.page, "sato")
    await person.saw("42-own-proofed")
    await person.clean_address()
    await person.choose("main a.button", "form[action='/account/proofing/export']")
    await person.saw("43-own")
    record = await site.store.proofing.latest(user.id)
    assert record is not None
    text = await person.page.inner_text("main")
    for kept in (record.transaction, record.person_digest, record.verifier):
        assert kept in text
    for bound in ("パスワード", "認証アプリ") if language == "ja" else ("Password", "Authenticator app"):
        assert bound in text
    assert ("案内が届いています" if language == "ja" else "asks you for") not in text

    async with person.page.expect_download() as download:
        await person.page.click("form[action='/account/proofing/export'] button")
    file = await (await download.value).path()
    exported = json.loads(await asyncio.to_thread(file.read_text, "utf-8"))
    assert [one["transaction"] for one in exported["proofings"]] == [record.transaction]
    assert "individual_number" in exported["never_kept"]
    assert site.events.last("proofing.exported").subject == user.id

    await person.choose("a[href='/account/proofing/delete']", "form[action='/account/proofing/delete']")
    await person.saw("44-own-delete")
    await person.page.keyboard.press("Enter")  # the focus is on keeping it
    await person.page.wait_for_selector("form[action='/account/proofing/export']")
    assert await site.store.proofing.latest(user.id) is not None
    await person.choose("a[href='/account/proofing/delete']", "form[action='/account/proofing/delete']")
    await person.choose("form[action='/account/proofing/delete'] button", "[role=status]")
    await person.saw("45-own-deleted")
    assert await site.store.proofing.latest(user.id) is None
    assert "proofing.deleted" in site.events.names()


async def test_who_has_not_confirmed_lately_is_asked_to(both: tuple[House, Agency]) -> None:
    ward, service = both
    person = await ward.somebody()
    await at_home(person)
    await renewed(person)
    ward.site.later(400)
    await service.control("clock", now=int(ward.site.clock.now()))
    await person.page.goto(f"{ward.site.issuer}/account/proofing")
    assert await person.page.locator("a[href='/account/proofing/start'], a[href='/account/proofing/delete']").count() == 0
    await person.saw("46-own-not-fresh")
    for path in ("start", "delete"):
        await person.page.goto(f"{ward.site.issuer}/account/proofing/{path}")
        assert person.page.url == f"{ward.site.issuer}/account/proofing"
    await person.choose("main a.button", "form[action='/account/confirm/code']")
    await person.type_code(0)
    await person.page.wait_for_url("**/account/proofing")  # back to where it was asked for
    await renewed(person)
    assert ward.site.events.names().count("proofing.succeeded") == 2


async def test_a_renewal_by_phone_and_one_that_is_refused(ward: House) -> None:
    person, phone = await ward.somebody(), await ward.somebody(phone=True)
    await at_home(person)
    await renewed(person, "suzuki")
    assert "職員名簿と一致しませんでした" in await person.heading()
    await person.choose("main p > a:not(.button)", "form[action='/account/proofing/start']")
    await person.choose("form[action='/account/proofing/start'] button", "a[data-verifier]")
    await person.choose("form[action='/login/proofing/handover'] button", "svg.qr")
    await phone.page.goto(read_svg(await person.page.locator("svg.qr").evaluate("one => one.outerHTML")))
    await phone.choose("form[action='/login/proofing/phone'] button", ".number")
    await phone.choose("form[action='/login/proofing'] button", "a[data-verifier]")
    await read_card(phone.page, "sato")
    await person.page.wait_for_selector("dl.pairs")  # by itself
    names = [event.detail["how"] for event in ward.site.events.all if event.name == "proofing.bound"]
    assert names == ["ceremony", "ceremony"], "what was used in the terminal's session is bound, and nothing of the phone"


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_what_officers_look_at_is_seen_and_what_they_said(tmp_path: Path, language: str) -> None:
    jpki = JpkiSite(tmp_path / "jpki")
    jpki.publish("sign")
    clock = ManualClock(NOW)
    async with house(tmp_path, lambda _: jpki.backend("sign", clock=clock), clock) as running:
        person = await running.somebody(language)
        await at_home(person)
        await person.page.goto(f"{running.site.issuer}/account/proofing/start")
        await person.choose("form[action='/account/proofing/start'] button", "textarea[name=answer]")
        request = json.loads(await person.page.input_value("#request"))
        card = jpki.ca("sign").issue(names=attributes("佐藤　恵子"))
        await person.page.fill("textarea[name=answer]", json.dumps(card.answer(request["challenge"])))
        await person.choose("form[action='/login/proofing/answer'] button.button", "main a.button")
        await person.choose("main a.button", "form[action='/account/proofing/export']")
        await person.saw("47-own-waiting")
        text = await person.page.inner_text("main")
        assert ("担当者が確認しています" if language == "ja" else "An officer is looking at it") in text
        assert "恵子" not in text, "it may be another person's card"
        case = running.site.events.last("proofing.review").detail["case"]
        await running.site.provider.office.decide(case, by=OFFICER, approve=False, note="改姓の届けを待つ")
        await person.page.reload()
        await person.page.click("details summary")
        await person.saw("48-own-rejected")
        assert "改姓の届けを待つ" in await person.page.inner_text("main")

"""Identity proofing as people meet it: real Chromium, the services' stand-ins, a second browser as the phone. Keeps pictures."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

import idp.web
from gateway.kernel.clock import ManualClock
from gateway.kernel.i18n import Catalogue
from tests.support import asn1
from tests.support.digital_agency import Agency
from tests.support.jpki import NOW, JpkiSite
from tests.support.jpki_ca import Card, attributes
from tests.support.proofing_browser import House, Somebody, house, read_card
from tests.support.proofing_browser import agency_house as with_agency
from tests.support.qr import read_svg

OFFICER = "office.tanaka"
TEXTS = Catalogue.load(Path(idp.web.__file__).parent / "text")


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[tuple[House, Agency]]:
    async with with_agency(tmp_path) as made:
        yield made


@pytest.fixture
def agency_house(both: tuple[House, Agency]) -> House:
    return both[0]


@pytest.fixture
def service(both: tuple[House, Agency]) -> Agency:
    return both[1]


# ---------------------------------------------------------------------- the same device


@pytest.mark.parametrize(("language", "phone"), [("ja", False), ("ja", True), ("en", True)])
async def test_the_card_is_read_on_the_same_device(agency_house: House, language: str, phone: bool) -> None:
    person = await agency_house.somebody(language, phone=phone)
    await person.to_consent()
    await person.saw("01-consent")
    text = await person.page.inner_text("main")
    for told in (
        ("デジタル庁", "氏名、生年月日", "個人番号") if language == "ja" else ("Digital Agency", "date of birth", "Individual")
    ):
        assert told in text
    assert "proofing.started" not in agency_house.site.events.names()
    await person.agree("a[data-verifier]")
    started = agency_house.site.events.last("proofing.started").detail
    assert re.fullmatch(rf"{language} [0-9a-f]{{12}}", started["consent"])
    await person.saw("02-verifier")
    await read_card(person.page, "sato")
    await person.clean_address()
    await person.saw("03-proofed")
    await person.page.reload()
    assert await person.page.locator("dl.pairs").count() == 1
    await person.page.keyboard.press("Enter")
    await person.arrived()
    assert agency_house.site.events.names().count("proofing.succeeded") == 1


async def test_what_comes_back_twice_says_the_same_and_does_nothing(agency_house: House) -> None:
    person = await agency_house.somebody()
    seen: list[str] = []
    person.page.on("request", lambda request: seen.append(request.url) if "/login/proofing/return?" in request.url else None)
    await person.to_consent()
    await person.agree("a[data-verifier]")
    await read_card(person.page, "sato")
    first = await person.heading()
    (callback,) = set(seen)
    await person.page.goto(callback)
    assert await person.heading() == first
    await person.clean_address()
    names = agency_house.site.events.names()
    assert [names.count(name) for name in ("proofing.succeeded", "proofing.refused", "proofing.bound")] == [1, 0, 2]


async def test_what_comes_back_twice_at_once_waits_for_the_first(agency_house: House, service: Agency) -> None:
    """A phone's app opens the way back in a second tab while the service is still being asked."""
    person = await agency_house.somebody()
    await person.to_consent()
    await person.agree("a[data-verifier]")
    link = await person.page.get_attribute("a[data-verifier]", "href")
    assert link is not None
    second = await person.context.new_page()
    callback = f"{service.redirect}?{urlencode(await service.choose(link, 'sato'))}"
    await service.mode("ok", at={"token": {"seconds": 3}})
    first = asyncio.create_task(person.page.goto(callback))
    while not await service.seen("token"):  # noqa: ASYNC110  another process
        await asyncio.sleep(0.05)
    await second.goto(f"{callback}&again=1")  # one and the same address Chromium asks for one after the other
    assert "結果を確かめています" in await second.inner_text("h1")
    assert "code=" not in second.url
    await first
    assert "本人確認ができました" in await person.heading()
    await second.wait_for_selector("dl.pairs")  # by itself
    names = agency_house.site.events.names()
    assert (names.count("proofing.succeeded"), names.count("proofing.refused")) == (1, 0)


async def test_what_comes_back_elsewhere_is_nobodys(agency_house: House) -> None:
    """A link of somebody else's, or another browser than the one that began: nothing is recorded, and the words are clear."""
    attacker, victim = await agency_house.somebody(), await agency_house.somebody(label="victim")
    await attacker.to_consent()
    await attacker.agree("a[data-verifier]")
    link = await attacker.page.get_attribute("a[data-verifier]", "href")
    assert link is not None
    await victim.page.goto(link)
    await victim.page.click("button[name=choice][value=suzuki]")
    await victim.page.wait_for_url("**/login/proofing/over")
    await victim.saw("20-over")
    assert "続けられる手続きがありません" in await victim.heading()
    assert {"proofing.succeeded", "proofing.refused"} & set(agency_house.site.events.names()) == set()
    # The one who began goes on, undisturbed.
    await attacker.page.reload()
    assert await attacker.page.locator("a[data-verifier]").count() == 1


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_somebody_elses_card_and_a_service_that_is_down(agency_house: House, service: Agency, language: str) -> None:
    person = await agency_house.somebody(language, phone=True)
    await person.to_consent()
    await person.agree("a[data-verifier]")
    await read_card(person.page, "suzuki")
    await person.saw("04-name-mismatch")
    assert await person.page.locator("[role=alert]").count() == 1
    assert ("人事" if language == "ja" else "personnel") in await person.page.inner_text("main")
    await person.clean_address()
    await person.choose("main a.button", "form[action='/login/proofing']")
    await person.agree("a[data-verifier]")
    await service.mode("down_token")
    await read_card(person.page, "sato")
    await person.saw("05-broken")
    assert ("何も失われていません" if language == "ja" else "Nothing is lost") in await person.page.inner_text("main")
    await service.mode("ok")
    await person.choose("main a.button", "form[action='/login/proofing']")
    await person.agree("a[data-verifier]")
    await read_card(person.page, "cancelled")
    assert await person.page.locator("form[action='/login/proofing']").count() == 1
    await person.agree("a[data-verifier]")
    await read_card(person.page, "sato")
    assert await person.page.locator("dl.pairs").count() == 1


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_one_card_is_one_accounts_and_a_late_answer_is_told_so(agency_house: House, service: Agency, language: str) -> None:
    await agency_house.site.person("dr.sato2", birth_date="1984-05-12", kana="サトウ メグミ")
    first, second = await agency_house.somebody(language), await agency_house.somebody(language, label=f"{language}-second")
    await first.to_consent()
    await first.agree("a[data-verifier]")
    agency_house.site.later(601)
    await service.control("clock", now=int(agency_house.site.clock.now()))
    await read_card(first.page, "sato")
    assert await first.heading() == _title(language, "stale")
    await first.clean_address()
    await first.saw("14-late")
    await first.choose("main a.button", "form[action='/login/proofing']")
    await first.agree("a[data-verifier]")
    await read_card(first.page, "sato")
    assert await first.page.locator("dl.pairs").count() == 1
    await second.to_consent(login="dr.sato2")
    await second.agree("a[data-verifier]")
    await read_card(second.page, "sato")
    assert await second.heading() == _title(language, "person_of_other_account")
    await second.saw("15-other-account")
    assert agency_house.site.events.names().count("proofing.succeeded") == 1


# ---------------------------------------------------------------------- a phone


async def shown_code(terminal: Somebody) -> str:
    """What a phone's camera reads off the terminal."""
    await terminal.choose("form[action='/login/proofing/handover'] button", "svg.qr")
    url = read_svg(await terminal.page.locator("svg.qr").evaluate("one => one.outerHTML"))
    assert url.startswith(f"{terminal.site.issuer}/login/proofing/phone?t=")
    return url


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_a_phone_takes_over(agency_house: House, language: str) -> None:
    terminal = await agency_house.somebody(language)
    phone = await agency_house.somebody(language, phone=True)
    await terminal.to_consent()
    await terminal.agree("a[data-verifier]")
    url = await shown_code(terminal)
    await terminal.saw("06-code")
    number = await terminal.page.inner_text(".number")
    await phone.page.goto(url)
    await phone.saw("07-phone")
    assert "佐藤" not in await phone.page.content(), "whoever only looks at a code learns nothing"
    await phone.choose("form[action='/login/proofing/phone'] button", ".number")
    await phone.saw("08-phone-consent")
    assert await phone.page.inner_text(".number") == number
    assert "佐藤 恵" in await phone.page.inner_text("main")
    await terminal.page.locator("[data-taken]").first.wait_for(state="visible")
    await terminal.saw("09-taken")
    await phone.agree("a[data-verifier]")
    await read_card(phone.page, "sato")
    await phone.saw("10-phone-done")
    await phone.clean_address()
    assert await phone.page.locator("dl.pairs").count() == 0, "the phone learns that it is done, and no more"
    await terminal.page.wait_for_selector("dl.pairs")  # by itself
    await terminal.page.keyboard.press("Enter")
    await terminal.arrived()
    assert [cookie["name"] for cookie in await phone.context.cookies()] == ["__Host-idp-browser"], "a phone gets no session"


async def test_a_phone_that_is_refused_tells_the_terminal(agency_house: House) -> None:
    terminal, phone = await agency_house.somebody(), await agency_house.somebody(phone=True)
    await terminal.to_consent()
    await terminal.agree("a[data-verifier]")
    await phone.page.goto(await shown_code(terminal))
    await phone.choose("form[action='/login/proofing/phone'] button", ".number")
    await phone.agree("a[data-verifier]")
    await read_card(phone.page, "suzuki")
    await phone.saw("11-phone-refused")
    assert await phone.page.locator("main a.button").count() == 0
    await terminal.page.wait_for_selector("[role=alert]")
    assert "職員名簿と一致しませんでした" in await terminal.heading()


async def test_a_number_that_differs_is_a_reason_to_stop(agency_house: House) -> None:
    terminal, phone = await agency_house.somebody(), await agency_house.somebody(phone=True)
    await terminal.to_consent()
    await terminal.agree("a[data-verifier]")
    await phone.page.goto(await shown_code(terminal))
    await phone.choose("form[action='/login/proofing/phone'] button", ".number")
    await phone.choose("form[action='/login/proofing/leave'] button", "[role=alert]")
    await terminal.page.wait_for_selector("[role=alert]")
    assert "中止されました" in await terminal.heading()
    assert agency_house.site.events.last("proofing.refused").detail["reason"] == "cancelled"


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_a_code_works_once_and_for_minutes(agency_house: House, language: str) -> None:
    terminal = await agency_house.somebody(language)
    phone, another = await agency_house.somebody(language, phone=True), await agency_house.somebody(language, phone=True)
    await terminal.to_consent()
    await terminal.agree("a[data-verifier]")
    url = await shown_code(terminal)
    await another.page.goto(url)  # a preview of the link uses nothing up
    await phone.page.goto(url)
    await phone.choose("form[action='/login/proofing/phone'] button", ".number")
    await another.choose("form[action='/login/proofing/phone'] button", "[role=alert]")
    await another.saw("12-code-used")
    assert ("1回だけ" if language == "ja" else "works once") in await another.page.inner_text("main")
    await terminal.page.locator("[data-taken]").first.wait_for(state="visible")
    # The terminal starts again; what the phone had is worth nothing to the new one.
    await terminal.choose("p.leave a", "form[action='/login/proofing']")
    await terminal.agree("a[data-verifier]")
    late = await shown_code(terminal)
    agency_house.site.later(301)
    await another.page.goto(late)
    await another.choose("form[action='/login/proofing/phone'] button", "[role=alert]")
    assert "proofing.succeeded" not in agency_house.site.events.names()


async def test_without_a_script_there_is_a_button(agency_house: House) -> None:
    terminal, phone = await agency_house.somebody(), await agency_house.somebody(phone=True, script=False)
    await terminal.to_consent()
    await terminal.agree("a[data-verifier]")
    await terminal.page.route("**/handover.js*", lambda route: route.abort())
    url = await shown_code(terminal)
    await terminal.choose("main > p > a.button", "form[action='/login/proofing/handover']")
    await terminal.saw("13-waiting")
    await phone.page.goto(url)
    await phone.page.click("form[action='/login/proofing/phone'] button")
    await phone.page.click("form[action='/login/proofing'] button")
    await read_card(phone.page, "sato")
    assert "本人確認ができました" in await phone.heading()
    await terminal.choose("main > p > a.button", "dl.pairs")


# ---------------------------------------------------------------------- a card reader


@pytest.fixture(scope="module")
def jpki(tmp_path_factory: pytest.TempPathFactory) -> JpkiSite:
    made = JpkiSite(tmp_path_factory.mktemp("jpki"))
    made.publish("sign", revoked=[0xDEAD])
    made.publish("auth")
    return made


async def paste(person: Somebody, card: Card | None, **error: str) -> None:
    """Be the card client: sign what the page asks for, and paste the answer."""
    request = json.loads(await person.page.input_value("#request"))
    answer = error if card is None else card.answer(request["challenge"])
    await person.page.fill("textarea[name=answer]", json.dumps(answer))
    await person.page.click("form[action='/login/proofing/answer'] button.button")
    await person.page.wait_for_load_state()


async def test_a_review_that_says_no_is_told_where_it_began(jpki: JpkiSite, tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with house(tmp_path, lambda _: jpki.backend("sign", clock=clock), clock) as running:
        person = await running.somebody()
        await person.to_consent()
        await person.agree("textarea[name=answer]")
        await paste(person, jpki.ca("sign").issue(names=attributes("佐藤　恵子")))
        case = running.site.events.last("proofing.review").detail["case"]
        await running.site.provider.office.decide(case, by=OFFICER, approve=False, note="別人")
        await person.page.reload()
        assert await person.heading() == _title("ja", "not_confirmed")
        await person.saw("33-not-confirmed")
        await person.choose("main a.button", "form[action='/login/proofing']")


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_every_end_of_a_card_in_the_reader(jpki: JpkiSite, tmp_path: Path, language: str) -> None:
    ca, year = jpki.ca("sign"), 365 * 86_400
    ends: dict[str, tuple[Card | None, dict[str, str]]] = {
        "card_revoked": (ca.issue(serial=0xDEAD), {}),
        "card_expired": (ca.issue(not_after=_utc(NOW - 86_400), not_before=_utc(NOW - 2 * year)), {}),
        "card_not_yet_valid": (ca.issue(not_before=_utc(NOW + 86_400), not_after=_utc(NOW + year)), {}),
        "pin_locked": (None, {"error": "pin_locked"}),
        "wrong_card": (jpki.ca("auth").issue(), {}),
        "unusable_answer": (None, {"nothing": "of use"}),
        "reader_failed": (None, {"error": "reader_failed"}),
        "name_mismatch": (ca.issue(names=attributes("鈴木　翔", birth_date="319900102")), {}),
        "review": (ca.issue(names=attributes("佐藤　恵子")), {}),
    }
    async with house(tmp_path, lambda _: jpki.backend("sign", clock=clock), clock := ManualClock(NOW)) as running:
        person = await running.somebody(language, phone=language == "en")
        await person.to_consent()
        for reason, (card, error) in ends.items():
            await person.agree("textarea[name=answer]")
            if reason == "card_revoked":
                await person.saw("30-reader")
                assert ("5回" if language == "ja" else "five") in (await person.page.inner_text("main")).lower()
            await paste(person, card, **error)
            await person.saw(f"31-{reason}")
            assert await person.page.locator("h1").inner_text() == _title(language, reason)
            if reason == "review":
                break
            await person.choose("main a.button", "form[action='/login/proofing']")
        opened = running.site.events.last("proofing.review").detail
        assert opened["kind"] == "near_miss"
        # Two officers' worth of looking later, the sign-in goes on.
        await running.site.provider.office.decide(opened["case"], by=OFFICER, approve=True)
        await person.page.reload()
        await person.arrived()


async def test_the_other_certificate_names_nobody(jpki: JpkiSite, tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    async with house(tmp_path, lambda _: jpki.backend("auth", clock=clock), clock) as running:
        person = await running.somebody()
        await person.to_consent()
        assert "氏名は読み取りません" in await person.page.inner_text("main")
        await person.agree("textarea[name=answer]")
        await paste(person, jpki.ca("auth").issue())
        await person.saw("32-unknown-card")
        assert await person.heading() == _title("ja", "unknown_card")


def _utc(at: int) -> bytes:
    return asn1.utc_time(at)


def _title(language: str, reason: str) -> str:
    return TEXTS.text("ja" if language == "ja" else "en", f"not_proofed.{reason}.title")

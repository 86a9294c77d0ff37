"""CVE-2026-47203, CVE-2025-24806 (Authelia): `ADMIN`, `admin `, the e-mail address must share one failure counter."""

import pytest

from tests.support.idp_site import PASSWORD, Browser, IdpSite

SPELLINGS = (
    "nurse.suzuki",
    "NURSE.SUZUKI",
    " nurse.suzuki ",
    "ｎｕｒｓｅ．ｓｕｚｕｋｉ",
    "suzuki@hospital.example",
    "Suzuki@Hospital.Example",
)


async def test_every_spelling_counts_on_one_account(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    statuses = []
    for spelling in SPELLINGS:
        page = await browser.submit(page, "/login/password", login=spelling, password="wrong-4821")
        statuses.append(page.status)
    assert statuses == [403] * 5 + [429]


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_every_spelling_is_the_same_person(site: IdpSite, browser: Browser, spelling: str) -> None:
    page = await browser.submit(await browser.authorize(), "/login/password", login=spelling, password=PASSWORD)
    assert "鈴木 翔" in page.text


async def test_names_of_nobody_are_counted_likewise(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    for spelling in ("nobody", "NOBODY", " nobody", "ｎｏｂｏｄｙ", "Nobody "):
        page = await browser.submit(page, "/login/password", login=spelling, password="wrong-4821")
        assert page.status == 403
    page = await browser.submit(page, "/login/password", login="nobody", password="wrong-4821")
    assert page.status == 429


async def test_guessing_many_accounts_from_one_address_is_slowed_down(site: IdpSite, browser: Browser) -> None:
    page = await browser.authorize()
    for number in range(50):
        page = await browser.submit(page, "/login/password", login=f"user{number}", password="wrong-4821")
        assert page.status == 403
    page = await browser.submit(page, "/login/password", login="dr.sato", password=PASSWORD)
    assert page.status == 429

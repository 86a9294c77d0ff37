"""Forged, replayed and foreign requests at the pages of identity proofing: refused in words, and nothing happens."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.idp_site import Browser, IdpSite, Reply, idp_site
from tests.support.qr import read_svg

PROOFED = "urn:zt-gateway:acr:proofed"
BACKENDS_PAGE = "/login/proofing/answer"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[IdpSite]:
    async with idp_site(tmp_path) as running:
        await running.person()
        yield running


@pytest.fixture
async def terminal(site: IdpSite) -> AsyncIterator[Browser]:
    async with Browser(site) as browser:
        yield browser


@pytest.fixture
async def other(site: IdpSite) -> AsyncIterator[Browser]:
    async with Browser(site, address="192.0.2.2") as browser:
        yield browser


async def begun(browser: Browser) -> Reply:
    """Go as far as the backend's page, in a sign-in."""
    page = await browser.submit(await browser.sign_in(acr_values=PROOFED), "/login/proofing", consent="yes")
    assert BACKENDS_PAGE in page.actions
    return page


async def at_home(browser: Browser) -> Reply:
    """Sign in, and look at one's own record."""
    await browser.sign_in()
    return await browser.get("/account/proofing")


async def renewing(browser: Browser) -> Reply:
    """Go as far as the backend's page, on the account page."""
    await at_home(browser)
    page = await browser.submit(await browser.get("/account/proofing/start"), "/account/proofing/start")
    assert BACKENDS_PAGE in page.actions
    return page


async def handed(browser: Browser) -> tuple[Reply, str]:
    """Show a code; return the page and what a phone reads."""
    page = await browser.submit(await begun(browser), "/login/proofing/handover")
    (svg,) = re.findall(r"<svg.*?</svg>", page.text, re.DOTALL)
    return page, urlsplit(read_svg(svg))._replace(scheme="", netloc="").geturl()


def nothing_came_of_it(site: IdpSite) -> bool:
    return not {"proofing.succeeded", "proofing.refused", "proofing.broken", "proofing.deleted", "proofing.exported"} & set(
        site.events.names()
    )


@pytest.mark.parametrize(
    ("where", "action", "filled"),
    [
        ("sign_in", "/login/proofing/answer", {"outcome": "success"}),
        ("sign_in", "/login/proofing/handover", {}),
        ("sign_in", "/login/proofing/leave", {}),
        ("sign_in", "/login/proofing", {"consent": "yes"}),
        ("own", "/login/proofing/answer", {"outcome": "success"}),
        ("own", "/login/proofing/handover", {}),
        ("own", "/login/proofing/leave", {}),
        ("account", "/account/proofing/start", {"consent": "yes"}),
        ("account", "/account/proofing/export", {}),
        ("account", "/account/proofing/delete", {"sure": "yes"}),
        ("phone", "/login/proofing/phone", {}),
    ],
)
async def test_a_form_that_was_not_rendered_here_does_nothing(
    site: IdpSite, terminal: Browser, where: str, action: str, filled: dict[str, str]
) -> None:
    if where == "phone":
        _, url = await handed(terminal)
        page = await terminal.get(url)
        fields = page.form(action)
    else:
        page = await {"sign_in": begun, "own": renewing, "account": at_home}[where](terminal)
        source = BACKENDS_PAGE if where != "account" else "/account/proofing/export"
        fields = page.form(source)
    for wrong in ({"csrf": ""}, {"csrf": "0" * 64}):
        assert (await terminal.post(action, fields | filled | wrong)).status == 403
    for origin in ("https://evil.example", None, "null"):
        assert (await terminal.post(action, fields | filled, headers={"Origin": origin})).status == 403
    assert (await terminal.post(action, fields | filled, headers={"Sec-Fetch-Site": "cross-site"})).status == 403
    assert nothing_came_of_it(site)


@pytest.mark.parametrize("where", ["sign_in", "own"])
async def test_a_sitting_is_of_no_use_in_another_browser(site: IdpSite, terminal: Browser, other: Browser, where: str) -> None:
    page = await {"sign_in": begun, "own": renewing}[where](terminal)
    fields = page.form(BACKENDS_PAGE)
    await other.sign_in()  # the same person, even
    for reply in (
        await other.get(f"/login/proofing?tx={fields['tx']}"), await other.get(f"/login/proofing/handed?tx={fields['tx']}"),
        await other.post(BACKENDS_PAGE, fields | {"outcome": "success"}),
    ):  # fmt: skip
        assert reply.status in {403, 410}
        assert "佐藤" not in reply.text
    assert nothing_came_of_it(site)
    # Its own browser goes on, undisturbed.
    assert (await terminal.submit(page, BACKENDS_PAGE, outcome="success")).status == 200


async def test_a_renewal_ends_with_its_session(site: IdpSite, terminal: Browser) -> None:
    page = await renewing(terminal)
    asked = await terminal.get("/end-session")
    await terminal.submit(asked, "/end-session/confirm")
    assert (await terminal.submit(page, BACKENDS_PAGE, outcome="success")).status == 403
    assert nothing_came_of_it(site)


async def test_somebody_elses_session_does_not_inherit_a_renewal(site: IdpSite, terminal: Browser) -> None:
    """A shared terminal: the next one signs in, and goes back in the history."""
    await site.person("dr.suzuki", "鈴木 翔")
    page = await renewing(terminal)
    await terminal.submit(await terminal.get("/end-session"), "/end-session/confirm")
    site.later(31)
    await terminal.sign_in("dr.suzuki")
    reply = await terminal.submit(page, BACKENDS_PAGE, outcome="success")
    assert reply.status == 403
    assert nothing_came_of_it(site)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?state=",
        "?state=made-up&code=x",
        "?state=a&state=b",
        "?state=" + "a" * 5000,
        "?state=%00",
        "?code=x&error=access_denied",
    ],
)
async def test_what_comes_back_from_nowhere(site: IdpSite, terminal: Browser, query: str) -> None:
    await begun(terminal)
    async with terminal.session.get(f"{site.issuer}/login/proofing/return{query}", allow_redirects=False) as reply:
        assert (reply.status, reply.headers["Location"]) == (303, "/login/proofing/over")
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
    shown = await terminal.get("/login/proofing/over")
    assert shown.status == 410
    assert nothing_came_of_it(site)


@pytest.mark.parametrize("token", ["", "made-up", "a.b", "." * 100, "a" * 5000, "%00", "%F0%9F%98%80"])
async def test_a_made_up_code_for_a_phone(site: IdpSite, terminal: Browser, other: Browser, token: str) -> None:
    await begun(terminal)
    page = await other.get(f"/login/proofing/phone?t={token}")
    assert page.status in {200, 410}
    fields = (await other.get("/login/proofing/phone?t=x")).form("/login/proofing/phone")
    reply = await other.post("/login/proofing/phone", fields | {"t": parse_qs(f"t={token}").get("t", [""])[0]})
    assert reply.status == 410
    assert nothing_came_of_it(site)


async def test_who_only_opens_a_code_learns_nothing_and_takes_nothing(site: IdpSite, terminal: Browser, other: Browser) -> None:
    _, url = await handed(terminal)
    opened = await other.get(url)
    assert "佐藤" not in opened.text
    assert opened.headers["Cache-Control"] == "no-store"
    async with Browser(site, address="192.0.2.3") as phone:
        taken = await phone.submit(await phone.get(url), "/login/proofing/phone")
        assert "佐藤 恵" in taken.text
        assert (await other.submit(opened, "/login/proofing/phone")).status == 410
        # Consent is asked for again: without it nothing is shown of the backend, and no answer is taken.
        assert BACKENDS_PAGE not in taken.actions
        page = await phone.submit(taken, "/login/proofing")
        assert BACKENDS_PAGE in page.actions
        done = await phone.submit(page, BACKENDS_PAGE, outcome="success")
        assert done.status == 200
        assert phone.cookie("__Host-idp-session") == ""
        assert (await phone.get("/account/proofing")).form("/login/password")  # a phone that took over is nobody


async def test_the_terminal_cannot_answer_what_a_phone_took(site: IdpSite, terminal: Browser, other: Browser) -> None:
    page = await begun(terminal)
    shown = await terminal.submit(page, "/login/proofing/handover")
    (svg,) = re.findall(r"<svg.*?</svg>", shown.text, re.DOTALL)
    url = urlsplit(read_svg(svg))._replace(scheme="", netloc="").geturl()
    await other.submit(await other.get(url), "/login/proofing/phone")
    stale = await terminal.submit(page, BACKENDS_PAGE, outcome="success")
    assert stale.status == 403
    assert "proofing.succeeded" not in site.events.names()
    assert site.events.last("proofing.refused").detail["reason"] == "stale"


async def test_a_browser_without_cookies_gets_words_and_no_circle(site: IdpSite) -> None:
    async with Browser(site) as phone:
        reply = await phone.get("/login/proofing/phone?t=x&again=1")
    assert reply.status == 400
    assert "Cookie" in reply.text

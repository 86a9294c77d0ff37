"""Break-glass by hand: where policies don't offer it, without a fresh factor, twice, from elsewhere, hostile text, no ledger."""

import asyncio
import urllib.parse
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from gateway.domain.cookies import SESSION_COOKIE
from gateway.doors.portal.emergency import FRESH_SECONDS
from gateway.doors.portal.twice import AGAIN_SECONDS
from tests.support.glass import CHART, FORM, TYPED, broken, confirmed, emergencies, ledger_of, offered, ready, settle
from tests.support.whole import Browser, Page, Whole, open_whole

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with open_whole(tmp_path_factory.mktemp("whole") / "data") as whole:
        yield whole


@pytest_asyncio.fixture(loop_scope="module")
async def whole(running: Whole) -> Whole:
    """One gateway for all tests here; what it saw before does not count."""
    for session in await running.gateway.sessions.list(running.clock.now()):
        await running.gateway.sessions.revoke(session.id)
    running.records.clear()
    running.hits.clear()
    return running


@pytest.fixture
def browser(whole: Whole) -> Browser:
    return whole.browser()


def asked(target: str, method: str = "GET", rd: str = "/") -> str:
    query = urllib.parse.urlencode({"step": "break_glass", "rd": rd, "method": method, "target": target})
    return f"/.gateway/remedy?{query}"


def whys(whole: Whole) -> list[str]:
    return [event.detail["why"] for event in whole.events("breakglass.refused")]


async def nothing(whole: Whole) -> None:
    assert await emergencies(whole) == []
    assert whole.events("breakglass.began") == []


async def flow_of(browser: Browser, address: str) -> str:
    """The name of a flow for break-glass, as the person sees it in the address."""
    page = await browser.get(browser.url("ehr", address) if address.startswith("/") else address)
    return urllib.parse.parse_qs(urllib.parse.urlsplit(page.location).query)["flow"][0]


# ---------------------------------------------------------------- where policies don't offer it


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("DELETE", f"{CHART}/documents/1"), ("GET", "/nowhere"), ("GET", "/../../x"), ("POST", CHART), ("TRACE", CHART),
        ("GET", "http://x/"), ("GET", "/\x00"), ("get", CHART),
    ],
)  # fmt: skip
async def test_a_request_that_it_is_not_offered_for_begins_none(whole: Whole, browser: Browser, method: str, target: str) -> None:
    await ready(browser)
    page = await browser.follow(await browser.get(browser.url("ehr", asked(target, method))))
    assert page.status in {200, 400, 403, 404}, page.text
    assert 'action="/.gateway/emergency"' not in page.text
    await nothing(whole)
    if page.url.startswith(browser.url("portal", FORM)):
        assert whys(whole) == ["policies do not offer it"]


async def test_somebody_without_the_role_gets_none(whole: Whole, browser: Browser) -> None:
    """The page's address and its form, sent by hand by a person to whom policies offer nothing."""
    await ready(browser)
    (session,) = await whole.gateway.sessions.list(whole.clock.now())
    clerk = msgspec.structs.replace(session.identity, roles=("clerk",))
    change = lambda old: msgspec.structs.replace(old, identity=clerk, generation=old.generation + 1)  # noqa: E731
    token = await whole.gateway.sessions.change(session.id, change, "portal.localhost")
    assert token is not None
    browser.cookies["portal.localhost"]["__Host-gw-session"] = token.reveal()
    flow = await flow_of(browser, asked(CHART))
    for page in (
        await browser.get(browser.url("portal", f"{FORM}?flow={flow}")),
        await browser.request("POST", browser.url("portal", FORM), {"flow": flow, "once": "x" * 43, **TYPED}),
    ):
        assert page.status == 403
        assert "緊急アクセスを使えません" in page.text
    assert whys(whole) == ["policies do not offer it"] * 2
    await nothing(whole)


async def test_a_flow_of_another_step_opens_no_form(whole: Whole, browser: Browser) -> None:
    await ready(browser)
    flow = await flow_of(browser, "/.gateway/remedy?step=key_touch&rd=%2F")
    for name in (flow, "", "x" * 43, "../../x"):
        page = await browser.get(browser.url("portal", f"{FORM}?flow={urllib.parse.quote(name)}"))
        assert page.status == 400
    posted = await browser.request("POST", browser.url("portal", FORM), {"flow": flow, "once": "x", **TYPED})
    assert posted.status == 400
    await nothing(whole)


async def test_at_an_apps_host_there_is_no_such_page(whole: Whole, browser: Browser) -> None:
    await ready(browser)
    for method in ("GET", "POST"):
        assert (await browser.request(method, browser.url("ehr", FORM), TYPED if method == "POST" else None)).status == 404
    await nothing(whole)


# ---------------------------------------------------------------- a fresh second factor


async def test_without_a_fresh_factor_the_page_asks_for_one_and_the_form_begins_none(whole: Whole, browser: Browser) -> None:
    form = await confirmed(browser, await ready(browser))
    whole.clock.advance(FRESH_SECONDS + 61)
    await settle(whole)
    late = await browser.submit(form, FORM, **TYPED)
    assert late.status == 403
    assert "もう一度確認が必要です" in late.text
    assert whys(whole) == ["no fresh second factor"]
    await nothing(whole)
    # Once more, and what was chosen is still there.
    link = late.text.partition('class="button" href="')[2].partition('"')[0]
    page = await browser.follow(await browser.get(link))
    assert page.host == "id.localhost"
    page = await browser.follow(await browser.credentials(page))
    assert 'value="critical" required checked' in page.text
    assert 'value="P1001"' in page.text


async def test_the_second_factor_can_not_be_left_out_on_the_way(whole: Whole, browser: Browser) -> None:
    whole.clock.advance(3000)
    await settle(whole)
    denied = await ready(browser)
    whole.clock.advance(FRESH_SECONDS + 61)
    await settle(whole)
    page = await browser.follow(await browser.get(offered(denied)), until="/authorize")
    assert "max_age=0" in page.location
    shortened = page.location.replace("&max_age=0", "").replace("max_age=0&", "")
    back = await browser.follow(await browser.get(shortened))
    assert 'action="/.gateway/emergency"' not in back.text
    await nothing(whole)


# ---------------------------------------------------------------- the form


async def test_a_form_counts_once(whole: Whole, browser: Browser) -> None:
    form = await confirmed(browser, await ready(browser))
    fields = {**form.form(FORM), **TYPED}
    first = await browser.follow(await browser.request("POST", browser.url("portal", FORM), fields))
    assert first.text == "upstream dr.sato"
    home = await browser.open("portal")
    await browser.submit(home, "/.gateway/emergency/end")
    again = await browser.request("POST", browser.url("portal", FORM), fields)
    assert again.status == 403
    assert len(whole.events("breakglass.began")) == 1
    assert await emergencies(whole) == []
    assert whys(whole) == ["a form that was used, or is another session's"]


async def test_a_form_that_is_sent_twice_loses_no_session(whole: Whole, browser: Browser) -> None:
    """The second click takes the first answer's place: its cookie is never seen. With or without a script."""
    form = await confirmed(browser, await ready(browser))
    fields, jar = {**form.form(FORM), **TYPED}, browser.cookies["portal.localhost"]
    before = dict(jar)
    first = await browser.request("POST", browser.url("portal", FORM), fields)
    assert (first.status, jar == before) == (303, False)
    jar.clear()
    jar.update(before)
    page = await browser.follow(await browser.request("POST", browser.url("portal", FORM), fields))
    assert page.text == "upstream dr.sato"
    assert "緊急アクセス中" in (await browser.open("portal")).text
    assert len(whole.events("breakglass.began")) == 1
    assert whys(whole) == []
    # Neither the old cookie with another form, nor the form with another cookie or none; nor both when it is over or long ago.
    after = dict(jar)
    for cookies, changes in (
        (before, {"again": ""}), (before, {"again": fields["once"]}), ({}, {}),
        ({**before, SESSION_COOKIE: f"{'A' * 43}"}, {}),
    ):  # fmt: skip
        jar.clear()
        jar.update(cookies)
        assert (await browser.request("POST", browser.url("portal", FORM), {**fields, **changes})).status == 403
        assert jar.get(SESSION_COOKIE) == cookies.get(SESSION_COOKIE)
    whole.clock.advance(AGAIN_SECONDS + 1)
    jar.clear()
    jar.update(before)
    assert (await browser.request("POST", browser.url("portal", FORM), fields)).status == 403
    jar.update(after)
    assert "緊急アクセス中" in (await browser.open("portal")).text


async def test_both_clicks_at_once_begin_one_and_both_arrive(whole: Whole, browser: Browser) -> None:
    form = await confirmed(browser, await ready(browser))
    fields = {**form.form(FORM), **TYPED}
    pages = await asyncio.gather(*[browser.request("POST", browser.url("portal", FORM), fields) for _ in range(2)])
    assert [page.status for page in pages] == [303, 303]
    assert len(whole.events("breakglass.began")) == 1
    assert whys(whole) == []
    assert "緊急アクセス中" in (await browser.open("portal")).text


async def test_a_form_whose_break_glass_was_ended_brings_no_cookie(whole: Whole, browser: Browser) -> None:
    form = await confirmed(browser, await ready(browser))
    fields, jar = {**form.form(FORM), **TYPED}, browser.cookies["portal.localhost"]
    before = dict(jar)
    await browser.request("POST", browser.url("portal", FORM), fields)
    await browser.submit(await browser.open("portal"), "/.gateway/emergency/end")
    jar.clear()
    jar.update(before)
    assert (await browser.request("POST", browser.url("portal", FORM), fields)).status == 403
    assert jar[SESSION_COOKIE] == before[SESSION_COOKIE]


async def test_a_form_of_another_persons_session_is_none(whole: Whole, browser: Browser) -> None:
    form = await confirmed(browser, await ready(browser))
    other = whole.browser()
    theirs = await confirmed(other, await ready(other, "nurse.suzuki"), "nurse.suzuki")
    mixed = {**theirs.form(FORM), "once": form.form(FORM)["once"], **TYPED}
    assert (await other.request("POST", other.url("portal", FORM), mixed)).status == 403
    await nothing(whole)


@pytest.mark.parametrize("path", [FORM, "/.gateway/emergency/end"])
@pytest.mark.parametrize("origin", ["https://evil.example", "http://ehr.localhost", "null", ""])
async def test_another_site_sends_it_in_vain(whole: Whole, browser: Browser, path: str, origin: str) -> None:
    form = await confirmed(browser, await ready(browser))
    page = await browser.request("POST", browser.url("portal", path), {**form.form(FORM), **TYPED}, Origin=origin)
    assert page.status == 403
    await nothing(whole)


async def test_another_site_can_not_end_it(whole: Whole, browser: Browser) -> None:
    await broken(browser)
    page = await browser.request("POST", browser.url("portal", "/.gateway/emergency/end"), {}, Origin="https://evil.example")
    assert page.status == 403
    assert len(await emergencies(whole)) == 1


async def test_two_at_once_are_one(whole: Whole, browser: Browser) -> None:
    form = await confirmed(browser, await ready(browser))
    flow = form.form(FORM)["flow"]
    second = await browser.get(browser.url("portal", f"{FORM}?flow={flow}"))
    posts = [browser.request("POST", browser.url("portal", FORM), {**page.form(FORM), **TYPED}) for page in (form, second)]
    await asyncio.gather(*posts)
    assert len(whole.events("breakglass.began")) == 1
    assert len(await emergencies(whole)) == 1


HOSTILE = (
    "<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "a\r\nSet-Cookie: x=y", "{{7*7}}{% raw %}", "P1001\u202e",
    "\x00", "=1+1", "患者" * 200, "${jndi:ldap://x}", "'; DROP TABLE breakglass; --",
)  # fmt: skip


@pytest.mark.parametrize("field", ["reason", "text", "patient", "flow", "once", "again"])
@pytest.mark.parametrize("value", HOSTILE)
async def test_hostile_text_stays_text(
    whole: Whole, browser: Browser, field: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.doors.portal.twice._PAUSE_SECONDS", 0.01)
    pages = [await _hostile(whole, browser, field, value)]
    pages.append(await browser.open("portal"))
    for page in pages:
        assert page.status < 500
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert "x=y" not in repr(page.headers)
        assert "49" not in page.text.partition('name="text"')[2][:300]
    for one in await ledger_of(whole).to_review():
        assert one.patient.isprintable()
        assert one.text.isprintable()


async def _hostile(whole: Whole, browser: Browser, field: str, value: str) -> Page:
    form = await confirmed(browser, await ready(browser))
    return await browser.request("POST", browser.url("portal", FORM), {**form.form(FORM), **TYPED, field: value})


# ---------------------------------------------------------------- beyond its end; stores down


async def test_beyond_its_end_nothing_is_lifted_whatever_cookie_is_shown(whole: Whole, browser: Browser) -> None:
    await broken(browser)
    cookies = {host: dict(jar) for host, jar in browser.cookies.items()}
    await browser.submit(await browser.open("portal"), "/.gateway/emergency/end")
    browser.cookies = cookies
    assert (await browser.open("ehr", CHART)).status == 403
    assert whole.hits.count(CHART) == 1


async def test_without_the_ledger_none_begins(whole: Whole, browser: Browser) -> None:
    form = await confirmed(browser, await ready(browser))
    ledger = ledger_of(whole)
    ledger._lasting.write_now(lambda cursor: cursor.run("ALTER TABLE breakglass RENAME TO hidden"))
    try:
        page = await browser.submit(form, FORM, **TYPED)
        assert page.status == 503
        await nothing(whole)
        assert (await browser.open("ehr", CHART)).status in {302, 403}
    finally:
        ledger._lasting.write_now(lambda cursor: cursor.run("ALTER TABLE hidden RENAME TO breakglass"))

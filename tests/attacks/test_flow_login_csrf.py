"""Sign-in flows that were made to end in somebody else's browser, host, or place (facts on OAuth/OIDC flows and sessions)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.domain.cookies import BINDING_COOKIE, DEVICE_COOKIE, SESSION_COOKIE
from tests.support.whole import Browser, Whole, open_whole, query, with_query

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with open_whole(tmp_path_factory.mktemp("whole") / "data") as whole:
        yield whole


@pytest.fixture
def whole(running: Whole) -> Whole:
    """One gateway for all tests here; what it saw before does not count."""
    running.records.clear()
    running.hits.clear()
    return running


@pytest.fixture
def browser(whole: Whole) -> Browser:
    return whole.browser()


async def test_the_flow_works_and_leaves_one_cookie_of_each_kind(whole: Whole, browser: Browser) -> None:
    page = await browser.enter()
    assert (page.status, page.text) == (200, "upstream dr.sato")
    assert set(browser.cookies["ehr.localhost"]) == {SESSION_COOKIE, BINDING_COOKIE}
    assert set(browser.cookies["portal.localhost"]) == {SESSION_COOKIE, BINDING_COOKIE, DEVICE_COOKIE, "gw-lang"}
    assert (await browser.open("imaging")).status == 200  # signed in once for all


async def test_a_replayed_state_opens_nothing(whole: Whole, browser: Browser) -> None:
    back = await browser.credentials(await browser.open("ehr"))
    await browser.follow(back)
    replayed = await browser.get(back.location)
    assert replayed.status == 400
    assert whole.events("signin.failed")[-1].detail["why"].startswith("state")


async def test_a_state_of_another_browser_opens_nothing(whole: Whole, browser: Browser) -> None:
    """Login CSRF (GHSA-7g9f-57qp-jhgx): the attacker's own answer is sent to the victim."""
    back = await browser.credentials(await browser.open("ehr"))
    victim = whole.browser()
    assert (await victim.get(back.location)).status == 400
    assert SESSION_COOKIE not in victim.cookies["portal.localhost"]
    await victim.open("portal", until="id.localhost")  # now the victim has a binding cookie of its own
    # It could be the victim's, of another tab: the flow begins anew, and whoever goes on signs in as themselves.
    anew = await victim.get(back.location)
    assert (anew.status, anew.host) == (303, "portal.localhost")
    assert anew.location.startswith(victim.url("portal", "/.gateway/go?flow="))
    assert SESSION_COOKIE not in victim.cookies["portal.localhost"]
    assert (await victim.follow(anew)).host == "id.localhost"
    assert SESSION_COOKIE not in victim.cookies["portal.localhost"]
    assert whole.events("signin.failed")[-1].detail["why"].startswith("state of another")
    # The state is used up either way: the attacker's own browser can't go on with it.
    assert (await browser.get(back.location)).status == 400


@pytest.mark.parametrize("wrong", [{"state": "x"}, {"state": ""}, {"iss": "http://evil.localhost"}, {"iss": ""}, {"code": "x"}])
async def test_a_tampered_answer_signs_nobody_in(whole: Whole, browser: Browser, wrong: dict[str, str]) -> None:
    back = await browser.credentials(await browser.open("ehr"))
    page = await browser.get(with_query(back.location, **wrong))
    assert page.status in {400, 502}
    assert SESSION_COOKIE not in browser.cookies["portal.localhost"]
    assert whole.events("signin.failed")


@pytest.mark.parametrize("name", ["state", "code", "iss"])
async def test_a_doubled_parameter_is_no_parameter(whole: Whole, browser: Browser, name: str) -> None:
    back = await browser.credentials(await browser.open("ehr"))
    page = await browser.get(f"{back.location}&{name}={query(back.location)[name]}")
    assert page.status in {400, 403}
    assert SESSION_COOKIE not in browser.cookies["portal.localhost"]


async def test_an_error_of_the_provider_is_an_error_even_beside_a_code(whole: Whole, browser: Browser) -> None:
    back = await browser.credentials(await browser.open("ehr"))
    assert (await browser.get(f"{back.location}&error=access_denied")).status == 403
    assert SESSION_COOKIE not in browser.cookies["portal.localhost"]


async def test_a_handoff_is_good_once_for_one_host_and_one_browser(whole: Whole, browser: Browser) -> None:
    """CVE-2025-52553: a one-time token in an address, usable from another session."""
    back = await browser.credentials(await browser.open("ehr"))
    handoff = (await browser.follow(back, "/.gateway/handoff")).location
    victim = whole.browser()
    await victim.open("ehr", until="id.localhost")
    assert (await victim.follow(await victim.get(handoff))).host == "id.localhost"  # where the victim signs in as themselves
    assert SESSION_COOKIE not in victim.cookies["ehr.localhost"]
    assert (await browser.get(handoff)).status == 400  # used up by the attempt
    assert whole.events("handoff.refused")

    again = (await browser.open("ehr", until="/.gateway/handoff")).location
    await browser.open("imaging", until="/.gateway/go")  # a binding cookie at the other host
    assert (await browser.get(again.replace("ehr.", "imaging."))).status == 400
    final = (await browser.open("ehr", until="/.gateway/handoff")).location
    assert (await browser.get(final)).status == 303
    assert (await browser.get(final)).status == 400


async def test_a_flow_of_the_attacker_ends_at_the_attackers_binding(whole: Whole, browser: Browser) -> None:
    """The victim is sent to a flow that the attacker began: the app's host refuses the handoff."""
    go = (await whole.browser().open("ehr", until="/.gateway/go")).location
    await browser.sign_in("portal")
    page = await browser.follow(await browser.get(go))
    assert page.status == 400
    assert SESSION_COOKIE not in browser.cookies.get("ehr.localhost", {})
    assert whole.events("handoff.refused")


RETURNS = [
    "https://evil.example/", "//evil.example", "///evil.example", "/\\evil.example", "/\t/evil.example", "/./\\evil.example",
    "https:evil.example", "http://ehr.localhost.evil.example/", "http://portal.localhost@evil.example/", "javascript:alert(1)",
    "/%0d//a", "/%2f%2fa", "/..//evil.example", "/%5cevil.example", "evil", "/a#b", "/%00", "/\u3000", "/.gateway/sign-out",
    "/.gateway/handoff?code=x",
]  # fmt: skip


@pytest.mark.parametrize("target", RETURNS)
@pytest.mark.parametrize("door", ["sign-in", "remedy", "language"])
async def test_an_open_redirect_is_refused_and_recorded(whole: Whole, browser: Browser, target: str, door: str) -> None:
    address = with_query(browser.url("ehr", f"/.gateway/{door}?step=key_touch&lang=en"), rd=target)
    page = await browser.get(address)
    assert (page.status, page.location) == (400, "")
    assert whole.events("return.refused")


@pytest.mark.parametrize("door", ["sign-in", "remedy", "language"])
async def test_a_doubled_return_address_is_refused(whole: Whole, browser: Browser, door: str) -> None:
    page = await browser.get(browser.url("ehr", f"/.gateway/{door}?step=key_touch&lang=en&rd=%2Fa&rd=%2F%2Fevil.example"))
    assert (page.status, page.location) == (400, "")
    assert whole.events("return.refused")[0].target.startswith("ehr.localhost/")


@pytest.mark.parametrize(
    "path",
    ["/.gateway/go?flow=abc", "/.gateway/go", "/.gateway/device?flow=x", "/.gateway/device/prove", "/.gateway/remedy?step=foo",
     "/.gateway/nothing", "/nothing"],
)  # fmt: skip
async def test_what_our_own_pages_refuse_leaves_a_record_with_the_reference_of_the_page(
    whole: Whole, browser: Browser, path: str
) -> None:
    page = await browser.get(browser.url("portal", path))
    assert page.status in {400, 404}
    (event,) = whole.events("page.refused")
    assert event.id in page.text
    assert event.target == f"portal.localhost{path.partition('?')[0]}"


async def test_the_identifier_before_the_sign_in_is_not_the_one_after(whole: Whole, browser: Browser) -> None:
    """Fixation: what an attacker planted is not what the signed-in person holds."""
    browser.cookies["portal.localhost"] = {SESSION_COOKIE: "planted"}
    browser.cookies["ehr.localhost"] = {SESSION_COOKIE: "planted"}
    await browser.sign_in()
    assert "planted" not in {browser.cookies[host][SESSION_COOKIE] for host in ("portal.localhost", "ehr.localhost")}


async def test_an_attackers_session_in_the_victims_browser_ends_when_the_victim_signs_in(whole: Whole, browser: Browser) -> None:
    attacker = whole.browser()
    await attacker.sign_in(login="nurse.suzuki")
    browser.cookies["portal.localhost"] = dict(attacker.cookies["portal.localhost"])
    page = await browser.open("ehr", until="/.gateway/handoff")
    # The planted portal session answers, but its handle lands in nobody's hands: sign out of it as the page offers.
    del browser.cookies["portal.localhost"]
    page = await browser.sign_in()
    assert "佐藤" in page.text


async def test_another_person_at_the_same_terminal_ends_the_session_of_the_first(whole: Whole, browser: Browser) -> None:
    """CVE-2026-34454: shared workstation."""
    first = whole.browser()
    await first.sign_in()
    second = whole.browser()
    back = await second.credentials(await second.open("portal"), login="nurse.suzuki")
    second.cookies["portal.localhost"][SESSION_COOKIE] = first.cookies["portal.localhost"][SESSION_COOKIE]
    await second.follow(back)
    assert [event.detail["why"] for event in whole.events("session.revoked")] == ["new sign-in"]
    assert (await first.get(first.url("ehr"))).status == 302  # the first person's session is over
    assert "鈴木" in (await second.open("portal")).text


async def test_many_tabs_make_one_session_and_none_throws_another_out(whole: Whole, browser: Browser) -> None:
    pages = [await browser.open("ehr", f"/patients?tab={tab}") for tab in range(5)]
    assert all(page.host == "id.localhost" for page in pages)
    backs = [await browser.credentials(pages[0]), *[await browser.open("ehr", f"/patients?tab={tab}") for tab in range(1, 5)]]
    ends = [await browser.follow(page) for page in backs]
    assert {page.status for page in ends} == {403}  # signed in, and told what is missing
    assert (
        len(whole.events("signin.succeeded")) - len([e for e in whole.events("signin.succeeded") if e.source.door == "idp"]) == 1
    )
    assert len(browser.cookies["ehr.localhost"]) <= 3


async def test_signing_out_ends_every_host_at_once(whole: Whole, browser: Browser) -> None:
    await browser.enter()
    assert (await browser.open("imaging")).status == 200
    stolen = {host: dict(jar) for host, jar in browser.cookies.items()}
    page = await browser.request("POST", browser.url("ehr", "/.gateway/sign-out"))
    assert page.status == 200
    onward = next(value for name, value in page.headers if name == "Refresh").partition("url=")[2]
    assert (await browser.follow(await browser.get(onward))).url.endswith("/.gateway/signed-out")
    hits = len(whole.hits)
    for host in ("ehr", "imaging", "portal"):
        thief = whole.browser()
        thief.cookies = {f"{host}.localhost": dict(stolen[f"{host}.localhost"])}
        page = await thief.open(host)
        assert page.host == "id.localhost"
    assert len(whole.hits) == hits
    assert whole.events("signout")


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://imaging.localhost"}]
)
async def test_another_site_cannot_sign_people_out_or_register_devices(
    whole: Whole, browser: Browser, headers: dict[str, str]
) -> None:
    await browser.enter()
    for url in (browser.url("ehr", "/.gateway/sign-out"), browser.url("portal", "/.gateway/device")):
        page = await browser.request("POST", url, {"flow": "x"}, **headers, Sec_Fetch_Site="cross-site")
        assert page.status == 403
    assert (await browser.open("ehr")).status == 200


async def test_a_device_challenge_is_good_once_and_in_one_session(whole: Whole, browser: Browser) -> None:
    """CVE-2026-54730: the device step submitted without the proof having run."""
    page = await browser.sign_in()
    link = browser.url("ehr", "/.gateway/remedy?step=register_device&rd=%2F")
    form = (await browser.follow(await browser.get(link))).form("/.gateway/device")
    other = whole.browser()
    await other.sign_in(login="nurse.suzuki")
    url = browser.url("portal", "/.gateway/device")
    assert (await other.request("POST", url, {**form, "label": "x"})).status == 400
    assert (await browser.request("POST", url, {**form, "label": "x"})).status == 400  # used up by the attempt
    form = (await browser.follow(await browser.get(link))).form("/.gateway/device")
    bad = {**form, "label": "x", "key": '{"kty":"EC"}', "signature": "AAAA"}
    assert (await browser.request("POST", url, bad)).status == 400
    assert (await browser.request("POST", url, {"flow": form["flow"], "label": "x"})).status == 400
    assert whole.events("device.refused")
    assert not whole.events("device.registered")
    page = await browser.open("ehr")
    assert page.status == 403


async def test_the_device_cookie_of_another_browser_is_weaker_than_its_key_but_still_a_device(
    whole: Whole, browser: Browser
) -> None:
    await browser.enter()
    colleague = whole.browser()
    colleague.cookies["portal.localhost"] = {DEVICE_COOKIE: browser.cookies["portal.localhost"][DEVICE_COOKIE]}
    page = await colleague.sign_in(login="nurse.suzuki")
    assert "step=register_device" not in page.text  # the shared terminal is known
    assert "step=identity_proofing" in page.text  # the colleague is not proofed by it


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "x" * 5000, "%00", "a; __Host-gw-session=b"])
async def test_cookies_that_are_nobodys(whole: Whole, browser: Browser, token: str) -> None:
    browser.cookies["ehr.localhost"] = {SESSION_COOKIE: token}
    page = await browser.get(browser.url("ehr", "/patients"))
    assert page.status == 302
    assert whole.hits == []


async def test_concurrent_use_of_one_handoff_gives_one_handle(whole: Whole, browser: Browser) -> None:
    back = await browser.credentials(await browser.open("ehr"))
    handoff = (await browser.follow(back, "/.gateway/handoff")).location
    pages = await asyncio.gather(*(browser.get(handoff) for _ in range(10)))
    assert sorted(page.status for page in pages) == [303] + [400] * 9

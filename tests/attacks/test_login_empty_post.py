"""CVE-2026-49443, CVE-2026-49448 (authentik), CVE-2026-54730: an empty, early or unexpected POST must not advance a sign-in."""

import pytest

from tests.support.authenticator import SoftKey
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import PASSWORD, Browser, IdpSite, Reply

POSTS = (
    "/login/password", "/login/code", "/login/key", "/login/register", "/login/lost-key", "/login/found-key", "/login/proofing",
    "/login/proofing/answer",
)  # fmt: skip
PROOFED = "urn:zt-gateway:acr:proofed"


async def at_identify(site: IdpSite, browser: Browser) -> Reply:
    return await browser.authorize()


async def at_code(site: IdpSite, browser: Browser) -> Reply:
    return await browser.submit(await browser.authorize(), "/login/password", login="dr.sato", password=PASSWORD)


async def at_proofing(site: IdpSite, browser: Browser) -> Reply:
    return await browser.sign_in(acr_values=PROOFED)


async def at_register(site: IdpSite, browser: Browser) -> Reply:
    page = await browser.step_up((await browser.tokens(await browser.sign_in()))["_id_token"])
    site.later(30)
    return await browser.submit(page, "/login/code", code=site.code())


def base(page: Reply) -> dict[str, str]:
    """The fields that every form of the page has, so that only what is asked for is missing."""
    form = page.form("/login/cancel" if "/login/cancel" in page.actions else page.actions[0])
    return {name: form[name] for name in ("tx", "csrf")}


@pytest.mark.parametrize("reach", [at_identify, at_code, at_proofing, at_register])
@pytest.mark.parametrize("path", POSTS)
async def test_an_empty_post_changes_nothing(site: IdpSite, browser: Browser, reach: object, path: str) -> None:
    assert callable(reach)
    page: Reply = await reach(site, browser)
    before = await site.store.transactions.get(base(page)["tx"], int(site.clock.now()))
    assert before is not None
    await browser.post(path, base(page))
    after = await site.store.transactions.get(base(page)["tx"], int(site.clock.now()))
    assert after == before
    again = await browser.get(f"/login?tx={before.id}")
    assert again.actions == page.actions


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/login/code", {"code": "CODE"}),
        ("/login/register", {"label": "x", "ceremony": "x", "response": "{}"}),
        ("/login/proofing", {"consent": "yes"}),
        ("/login/proofing/answer", {"outcome": "success", "proofing": "x"}),
        ("/login/lost-key", {}),
    ],
)
async def test_a_step_that_is_not_due_is_not_taken(site: IdpSite, browser: Browser, path: str, fields: dict[str, str]) -> None:
    page = await browser.authorize(acr_values=PROOFED)
    sent = {name: site.code() if value == "CODE" else value for name, value in fields.items()}
    again = await browser.post(path, base_of_identify(page) | sent)
    assert again.actions == page.actions
    assert "proofing.started" not in site.events.names()
    # The code was not even looked at: it is still good.
    page = await browser.submit(page, "/login/password", login="dr.sato", password=PASSWORD)
    assert (await browser.submit(page, "/login/code", code=site.code())).actions[0] == "/login/proofing"


async def test_a_code_before_the_password_is_no_oracle_for_a_hinted_person(
    site: IdpSite, browser: Browser, open_browser: OpenBrowser
) -> None:
    token = (await browser.tokens(await browser.sign_in()))["_id_token"]
    site.later(60)
    stranger = await open_browser()
    page = await stranger.step_up(token)
    assert page.actions[0] == "/login/password"
    right = await stranger.post("/login/code", base(page) | {"code": site.code()})
    wrong = await stranger.post("/login/code", base(page) | {"code": "000000"})
    assert right.text == wrong.text
    assert right.status == wrong.status == 200
    assert "signin.failed" not in site.events.names()
    assert (await browser.submit(await browser.step_up(token), "/login/code", code=site.code())).actions[0] == "/login/register"


async def test_a_password_where_a_key_is_wanted_is_not_even_looked_at(site: IdpSite, browser: Browser) -> None:
    token = (await browser.tokens(await browser.sign_in()))["_id_token"]
    await browser.register(await browser.get("/account"), SoftKey(), "/account/keys")
    page = await browser.step_up(token)
    right = await browser.post("/login/password", base(page) | {"password": PASSWORD})
    wrong = await browser.post("/login/password", base(page) | {"password": "wrong-4821"})
    assert right.text == wrong.text
    assert right.status == wrong.status == 200
    assert "signin.failed" not in site.events.names()


async def test_begin_register_out_of_step_gives_no_challenge(site: IdpSite, browser: Browser) -> None:
    page = await at_code(site, browser)
    reply = await browser.post("/login/register/begin", base(page))
    assert reply.status == 409
    assert "challenge" not in reply.text


async def test_a_finished_sign_in_takes_nothing_more(site: IdpSite, browser: Browser) -> None:
    page = await at_code(site, browser)
    fields = base(page)
    done = await browser.submit(page, "/login/code", code=site.code())
    assert done.location.startswith(site.callback)
    for path in (*POSTS, "/login/cancel", "/login/start-over", "/login/key/begin"):
        reply = await browser.post(path, fields | {"code": site.code(1), "login": "dr.sato", "password": PASSWORD})
        assert reply.status == 410
    assert site.events.names().count("signin.succeeded") == 1


async def test_a_key_of_another_sign_in_step_is_not_registered_silently(site: IdpSite, browser: Browser) -> None:
    """The registration ceremony of one sign-in can't be completed in another, at whatever step that is."""
    page = await at_register(site, browser)
    begun = await browser.json(page, "/login/register")
    answer = SoftKey().create(begun["options"], site.issuer)
    other = await browser.authorize(prompt="login")
    fields = base(other) | {"ceremony": begun["ceremony"], "response": answer, "label": "x"}
    assert (await browser.post("/login/register", fields)).actions == other.actions
    users = await site.store.users.list()
    assert [len(await site.store.credentials.fido2(user.id)) for user in users] == [0, 0]


def base_of_identify(page: Reply) -> dict[str, str]:
    form = page.form("/login/password")
    return {name: form[name] for name in ("tx", "csrf")}

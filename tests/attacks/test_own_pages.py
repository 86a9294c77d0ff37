"""Odd requests to the gateway's own pages: none fails inside, none says more than it should, none leaves secrets in the log."""

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from gateway.domain.cookies import ARRIVALS_COOKIE
from gateway.doors.portal.parts import MAX_FORM, MAX_PARAMETERS
from gateway.kernel.errors import AuditError
from tests.support.whole import Browser, Whole, open_whole, query, with_query

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with open_whole(tmp_path_factory.mktemp("whole") / "data") as whole:
        yield whole


@pytest_asyncio.fixture(loop_scope="module")
async def whole(running: Whole) -> Whole:
    for session in await running.gateway.sessions.list(running.clock.now()):
        await running.gateway.sessions.revoke(session.id)
    running.records.clear()
    running.hits.clear()
    return running


@pytest.fixture
def browser(whole: Whole) -> Browser:
    return whole.browser()


async def raw(whole: Whole, data: bytes, *, end: bool = False) -> bytes:
    """What comes back on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", whole.port)
    writer.write(data)
    if end:
        writer.write_eof()
    async with asyncio.timeout(10):
        reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    return reply


def post(whole: Whole, path: str, *more: str, host: str = "portal") -> bytes:
    authority = f"{host}.localhost:{whole.port}"
    lines = [f"POST {path} HTTP/1.1", f"Host: {authority}", f"Origin: http://{authority}", "Connection: close", *more]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize(
    "path", ["/.gateway/sign-in", "/.gateway/go", "/.gateway/callback", "/.gateway/handoff", "/", "/nowhere"]
)
@pytest.mark.parametrize("host", ["portal", "ehr"])
async def test_too_many_parameters_fail_nothing(
    whole: Whole, browser: Browser, path: str, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    many = "&".join(f"a{number}=b" for number in range(MAX_PARAMETERS + 1))
    with caplog.at_level(logging.ERROR):
        page = await browser.get(browser.url(host, f"{path}?{many}"))
    assert page.status in {302, 303, 400, 404}
    assert caplog.records == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json", "multipart/form-data; boundary=x", "", "a;application/x-www-form-urlencoded"]
)
async def test_a_form_is_a_form(whole: Whole, browser: Browser, kind: str) -> None:
    await browser.sign_in()
    page = await browser.request("POST", browser.url("portal", "/.gateway/device"), {"flow": "x"}, Content_Type=kind)
    assert page.status == 415


async def test_a_large_form_is_refused_and_a_broken_one_is_no_error_of_ours(
    whole: Whole, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    with caplog.at_level(logging.ERROR):
        large = await raw(whole, post(whole, "/.gateway/device", form, f"Content-Length: {MAX_FORM + 1}") + b"a" * (MAX_FORM + 1))
        assert large.startswith(b"HTTP/1.1 413 ")
        chunked = post(whole, "/.gateway/device", form, "Transfer-Encoding: chunked")
        assert (await raw(whole, chunked + b"3\r\na=b\r\nzz\r\n")).startswith(b"HTTP/1.1 400 ")
        await raw(whole, post(whole, "/.gateway/device", form, "Content-Length: 100") + b"a=b", end=True)
        bad = await raw(whole, post(whole, "/.gateway/device", form, "Content-Length: 3") + b"a=\xff")
        assert bad.startswith(b"HTTP/1.1 400 ")
        twice = await raw(whole, post(whole, "/.gateway/device", form, "Content-Length: 7") + b"a=b&a=b")
        assert twice.startswith(b"HTTP/1.1 400 ")
    assert caplog.records == []


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path", ["/", "/.gateway/device", "/.gateway/sign-out", "/.gateway/callback", "/.gateway/static/base.css"]
)
async def test_other_methods_find_nothing(whole: Whole, browser: Browser, method: str, path: str) -> None:
    assert (await browser.request(method, browser.url("portal", path))).status == 404


@pytest.mark.parametrize("language", ["xx", "ja'", "", "en%0d%0aSet-Cookie:%20a=b", "JA", "ja&lang=en"])
async def test_a_language_that_is_none_of_ours_is_not_kept(whole: Whole, browser: Browser, language: str) -> None:
    page = await browser.get(browser.url("portal", f"/.gateway/signed-out?lang={language}"))
    assert page.status == 200
    assert '<html lang="ja">' in page.text or '<html lang="en">' in page.text
    assert "gw-lang" not in browser.cookies["portal.localhost"]
    assert all(name.lower() != "a" for name in browser.cookies["portal.localhost"])


async def test_a_referer_that_is_no_address_fails_nothing(whole: Whole, browser: Browser) -> None:
    for referer in ("http://[", "http://[::1", "//ehr.localhost]/", "http://ehr.localhost:x/"):
        page = await browser.request(
            "POST", browser.url("ehr", "/patients/p1/documents"), None, Referer=referer, Content_Type="multipart/form-data"
        )
        assert page.status == 401
        assert "rd=%2F" in page.text


async def test_a_refused_way_back_leaves_no_code_and_no_search_in_the_log(whole: Whole, browser: Browser) -> None:
    targets = ("/.gateway/handoff?code=SECRET", "//x?name=SECRET", "/a%3fname=SECRET/../b", "/a#SECRET", "/a%23SECRET/./")
    for target in targets:
        await browser.get(with_query(browser.url("ehr", "/.gateway/sign-in?rd=x"), rd=target))
        await browser.get(with_query(browser.url("ehr", "/.gateway/language?lang=ja"), rd=target))
    events = whole.events("return.refused")
    assert len(events) == 2 * len(targets)
    assert not any("SECRET" in str(event) for event in events)


async def test_what_is_secret_in_a_sign_in_is_not_in_the_log(
    whole: Whole, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="gateway"):
        back = await browser.credentials(await browser.open("ehr"))
        handoff = await browser.follow(back, "/.gateway/handoff")
        await browser.follow(handoff)
        await browser.get(back.location)
        (session,) = await whole.gateway.sessions.list(whole.clock.now())
    await browser.request("POST", browser.url("ehr", "/.gateway/sign-out"))
    secrets = [query(back.location)["code"], query(back.location)["state"], query(handoff.location)["code"], session.id_token]
    cookies = [pair for jar in browser.cookies.values() for pair in jar.items()]
    secrets += [value for name, value in cookies if name.startswith("__Host-") and name != ARRIVALS_COOKIE]
    written = msgspec.json.encode(whole.records).decode() + caplog.text
    assert all(secret and secret not in written for secret in secrets)


async def test_pages_tell_other_sites_nothing_of_their_address(whole: Whole, browser: Browser) -> None:
    page = await browser.get(browser.url("portal", "/.gateway/callback?code=x&state=y"))
    assert ("Referrer-Policy", "same-origin") in page.headers
    assert ("Cache-Control", "no-store") in page.headers
    assert "code=x" not in page.text


async def test_signing_out_works_while_the_log_does_not(whole: Whole, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    await browser.sign_in()

    async def broken(record: object) -> int:
        raise AuditError("disk full")

    monkeypatch.setattr(whole.gateway.log, "append", broken)
    assert (await browser.request("POST", browser.url("ehr", "/.gateway/sign-out"))).status == 503
    monkeypatch.undo()
    assert await whole.gateway.sessions.list(whole.clock.now()) == []

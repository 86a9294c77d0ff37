"""A person signs in through each door: the portal, the provider and the application all lie behind the one front."""

import asyncio
import json
import ssl
import subprocess
import sys

import aiohttp

from gateway.kernel.web.loopback import LoopbackResolver
from tests.support.clinician import Clinician, Page, Person
from tests.support.fronts import Door
from tests.support.served import PASSWORD, ROOT, scanned

LOGIN = "dr.door"
TABS = 6


def add_person(door: Door) -> Person:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "people", "add", "--login", LOGIN, "--name", "佐藤 恵", "--role", "physician",
         "--config", str(door.site.config)],
        cwd=ROOT, input=PASSWORD, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return scanned(LOGIN, PASSWORD, done.stdout)


def asks(page: Page) -> bool:
    return 'action="/login/password"' in page.text


async def walk(door: Door, person: Person) -> None:
    context = ssl.create_default_context(cafile=door.ca)
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=context)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        browser = Clinician(http, f"https://{{}}.localhost:{door.address[1]}", person)
        script = await browser.get(browser.url("ehr", "/x"), Sec_Fetch_Mode="cors", Accept="application/json")
        assert script.status == 401
        assert json.loads(script.text)["sign_in"].startswith("/.gateway/sign-in?rd=")

        # Six tabs of a browser that is new here, all at once; the pages that lost their cookie to another's begin anew.
        paths = [f"/x?tab={tab}" for tab in range(TABS)]
        pages = list(await asyncio.gather(*(browser.open("ehr", path) for path in paths)))
        assert [(page.url, page.status, page.text) for page in pages if not asks(page)] == []
        pages = [await look(browser, page) for page in pages]
        assert [(page.url, page.status, page.text) for page in pages if not asks(page)] == []
        await asyncio.sleep(1.1)  # the provider's times are whole seconds
        end = await browser.follow(await browser.credentials(pages[2]))
        assert (end.url, end.status) == (browser.url("ehr", paths[2]), 200), end.text
        for path, page in zip(paths, pages, strict=True):
            if page is not pages[2]:
                end = await look(browser, page)
                assert (end.url, end.status) == (browser.url("ehr", path), 200), end.text[:300]
        assert len(browser.cookies["ehr.localhost"]) <= 4

        # Signing out at one host ends it here too.
        home = await browser.open("portal")
        assert home.status == 200
        assert "佐藤" in home.text
        await browser.request("POST", browser.url("portal", "/.gateway/sign-out"))
        assert (await browser.get(browser.url("ehr", paths[0]))).status == 302


async def look(browser: Clinician, page: Page) -> Page:
    """What the script of an open sign-in page does by itself."""
    tx = page.form("/login/password")["tx"]
    asked = await browser.get(browser.url("id", f"/login/elsewhere?tx={tx}"))
    return await browser.follow(await browser.get(page.url)) if json.loads(asked.text)["elsewhere"] else page


def test_one_sign_in_for_all_tabs(door: Door) -> None:
    asyncio.run(walk(door, add_person(door)))
    answered = door.collect()
    assert len(answered.hits) == TABS
    assert answered.unjustified == []

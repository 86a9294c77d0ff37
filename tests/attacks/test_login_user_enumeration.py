"""CVE-2026-32595, CVE-2026-41263 (Traefik): neither text, status nor time may tell whether an account exists."""

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.kernel.clock import SystemClock
from gateway.kernel.secret import Secret
from idp.factors.password import HashParameters, Passwords
from idp.model import PasswordCredential
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import PASSWORD, Browser, IdpSite, idp_site

COST = HashParameters(time_cost=3, memory_kib=32768, parallelism=1)


def shape(text: str, login: str) -> str:
    """The page without what differs each time: ids, tokens and the name as typed."""
    return re.sub(r'value="[^"]*"|tx_[0-9a-f]+|content="\d+;', "", text).replace(login, "")


async def test_pages_look_the_same_for_known_unknown_and_deactivated_people(site: IdpSite, open_browser: OpenBrowser) -> None:
    clerk = await site.person("clerk.tanaka", "田中 誠")
    await site.store.users.update(clerk.id, lambda user: msgspec.structs.replace(user, active=False))
    await site.store.users.add(msgspec.structs.replace(clerk, id="usr_without", login="no.password"))
    seen = set()
    for login, password in (
        ("dr.sato", "wrong-4821"), ("nobody", "wrong-4821"), ("clerk.tanaka", PASSWORD), ("no.password", "wrong-4821"),
    ):  # fmt: skip
        browser = await open_browser()
        page = await browser.submit(await browser.authorize(), "/login/password", login=login, password=password)
        headers = {name: value for name, value in page.headers.items() if name not in {"Content-Length", "Date"}}
        seen.add((page.status, shape(page.text, login), tuple(sorted(headers.items()))))
    assert len(seen) == 1


async def test_waiting_looks_the_same_for_known_and_unknown_people(site: IdpSite, open_browser: OpenBrowser) -> None:
    seen = set()
    for login in ("dr.sato", "nobody"):
        browser = await open_browser()
        page = await browser.authorize()
        for _ in range(6):
            page = await browser.submit(page, "/login/password", login=login, password="wrong-4821")
        seen.add((page.status, page.headers["Retry-After"], shape(page.text, login)))
    assert len(seen) == 1


async def test_asking_for_a_passkey_names_nobody(site: IdpSite, browser: Browser) -> None:
    begun = await browser.json(await browser.authorize(), "/login/key")
    assert "allowCredentials" not in begun["options"]


@pytest.fixture
async def slow_site(tmp_path: Path) -> AsyncIterator[IdpSite]:
    async with idp_site(tmp_path, clock=SystemClock(), hash_parameters=COST) as running:
        user = await running.person()
        encoded = Passwords(bytes(16), COST).hash(Secret(PASSWORD), bytes(16))
        await running.store.credentials.set_password(PasswordCredential(user_id=user.id, encoded=encoded, changed_at=0))
        yield running


async def test_the_answer_takes_as_long_for_nobody_as_for_somebody(slow_site: IdpSite) -> None:
    times: dict[str, list[float]] = {"dr.sato": [], "nobody": []}
    async with Browser(slow_site) as browser:
        page = await browser.authorize()
        for _ in range(4):  # the fifth failure begins a wait
            for login, found in times.items():
                start = time.perf_counter()
                page = await browser.submit(page, "/login/password", login=login, password="wrong-4821")
                found.append(time.perf_counter() - start)
                assert page.status == 403
    somebody, nobody = min(times["dr.sato"]), min(times["nobody"])
    assert 0.5 < nobody / somebody < 2, times

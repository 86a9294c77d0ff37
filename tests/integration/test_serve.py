"""`gateway serve` in production form: from an empty installation to people at work, and to a log that verifies."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.clinician import Clinician, Page, Person
from tests.support.redis import RedisServer
from tests.support.served import PASSWORD, WARD, Served, Ward, scanned, served, ward

IMAGING = """\
[[apps]]
id = "imaging"
host = "imaging.localhost"
upstream = "http://127.0.0.1:{upstream}"
title_ja = "画像"
title_en = "Imaging"
[[apps.routes]]
id = "imaging.study"
methods = ["GET"]
path = "/**"
action = "read"
"""


@pytest.fixture
async def app() -> AsyncIterator[Ward]:
    async with ward() as running:
        yield running


async def refused_device(browser: Clinician, page: Page) -> None:
    """Register this browser where an officer has to approve it."""
    pending = await browser.register_device(page, "3階東 1番")
    assert pending.status == 200
    # Back at the application, which still knows this browser as it was before: pressing the button once more registers nothing.
    page = await browser.follow(await browser.get((await browser.open("ward")).remedy("register_device")))
    assert (page.status, page.host) == (403, "ward.localhost")
    assert "step=" not in page.text, "it waits for an officer, and nothing that the person could do helps"


async def approve(officer: Clinician) -> None:
    """Sign in to the console with a key, and approve the one device that waits."""
    page = await officer.sign_in("console", "/devices")
    assert page.status == 403
    page = await officer.touch_key(page)
    assert page.status == 200, page.text
    assert "3階東 1番" in page.text
    action = page.text.partition('action="/devices/')[2].partition('"')[0]
    assert action.endswith("/approve")
    page = await officer.request("POST", officer.url("console", f"/devices/{action}"))
    assert (page.status, page.location) == (303, officer.url("console", "/devices?done=approve"))


async def gone_within_a_second(browser: Clinician, host: str) -> None:
    """Wait until a browser's session has ended; a second is promised."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (await browser.get(browser.url(host))).status == 200:
        assert loop.time() - began < 1.5, "a second, and what the machine needs"


async def test_from_an_empty_installation_to_a_log_that_verifies(tmp_path: Path, own_redis: RedisServer, app: Ward) -> None:
    apps = WARD.format(upstream=app.port) + IMAGING.format(upstream=app.port)
    async with served(tmp_path, apps, redis_url=own_redis.url, enrolment="officer-approval") as site:
        checked = await site.command("check-config", str(site.config))
        assert (checked.status, checked.err) == (0, "")
        # People may be there before the first start, and come while it runs.
        mori = await site.add("dr.mori", "森 あゆみ", "physician")
        await site.start()
        abe = await site.add("sec.abe", "阿部 誠", "security_officer")
        doctor = await the_first_day(site, app, mori, abe)
        await changed_accounts(site, app, doctor)
        await site.stop()
        verified = await site.verify()
        assert verified.status == 0, verified.out + verified.err
        again = await site.command("check-config", str(site.config))
        assert (again.status, again.err) == (0, ""), "what it made itself is fit for the next start"
        await what_is_in_the_log(site, app)
        assert open_to_others(tmp_path / "state", tmp_path / "audit", tmp_path / "anchor") == []


def open_to_others(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in (folder, *folder.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077]


async def the_first_day(site: Served, app: Ward, mori: Person, abe: Person) -> Clinician:
    doctor, officer = site.clinician(mori), site.clinician(abe)
    denied = await doctor.sign_in("ward")
    assert denied.status == 403
    await refused_device(doctor, denied)
    assert app.hits == []
    await approve(officer)
    page = await doctor.open("ward", "/beds")
    assert (page.status, page.text) == (200, "ward of dr.mori as physician")
    # The starter's own policies want a proofed identity. There is no verifier, so nothing is offered, and nobody gets in.
    page = await doctor.open("imaging")
    assert page.status == 403
    assert "step=" not in page.text
    assert (await officer.open("ward")).status == 403
    assert len(app.hits) == 1
    return doctor


async def changed_accounts(site: Served, app: Ward, doctor: Clinician) -> None:
    elsewhere = site.clinician(doctor.person)
    await elsewhere.sign_in("portal")

    url = doctor.url("ward", "/stream")
    async with site.http.get(url, headers=doctor.headers("GET", url)) as stream:
        assert await stream.content.readline() == b"data: beat\n"
        await site.people("set-roles", "dr.mori", "--role", "clerk")
        with pytest.raises(aiohttp.ClientPayloadError):  # cut in the middle
            async with asyncio.timeout(1.5):
                await stream.content.read()
    await gone_within_a_second(elsewhere, "portal")
    assert (await doctor.get(doctor.url("ward"))).status == 302
    assert (await doctor.sign_in("ward")).status == 403, "what a physician may is not what a clerk may"
    assert len(app.hits) == 2

    await site.people("deactivate", "dr.mori")
    await gone_within_a_second(doctor, "portal")
    page = await doctor.open("portal")
    assert page.host == "id.localhost"
    page = await doctor.submit(page, "/login/password", login="dr.mori", password=PASSWORD)
    assert page.status == 403, "as if the password were wrong"

    await site.people("activate", "dr.mori")
    printed = await site.people("reset-factors", "dr.mori", typed="Hotaru-88-umi")
    page = await doctor.submit(await doctor.open("portal"), "/login/password", login="dr.mori", password=PASSWORD)
    assert page.status == 403
    new = site.clinician(scanned("dr.mori", "Hotaru-88-umi", printed))
    assert (await new.sign_in("portal")).status == 200


async def what_is_in_the_log(site: Served, app: Ward) -> None:
    records = await site.log()
    told = [record for record in records if record.get("event", "").startswith("account.")]
    assert [(record["event"], record["target"]) for record in told] == [
        ("account.added", "dr.mori"), ("account.added", "sec.abe"), ("account.roles", "dr.mori"),
        ("account.deactivated", "dr.mori"), ("account.activated", "dr.mori"), ("account.reset", "dr.mori"),
    ]  # fmt: skip
    assert all(record["actor"]["login"].startswith("os:") for record in told)
    ended = {record["event"]: int(record["detail"].get("sessions_ended", "-1")) for record in told}
    assert (ended["account.roles"], ended["account.deactivated"], ended["account.activated"]) == (2, 1, -1)
    allowed = {record["id"] for record in records if record.get("outcome") == "allow" and record.get("app") == "ward"}
    assert set(app.request_ids()) == allowed
    assert records[-1]["event"] == "gateway.stopped"


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    async with served(tmp_path, WARD.format(upstream=9)) as site:
        with socket.create_server(("127.0.0.1", site.port)):
            done = await site.command("serve", "--config", str(site.config))
        assert done.status == 2
        assert "Traceback" not in done.err
        assert done.err.splitlines()[-1].startswith(f"gateway: {site.config}:2: can't listen on 127.0.0.1:{site.port} (")

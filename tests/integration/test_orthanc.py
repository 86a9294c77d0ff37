"""A real imaging server behind the gateway: 300 MB of images in, its studies listed, its own pages in a real browser."""

import io
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from tests.support.chromium import find_chromium
from tests.support.clinician import Clinician
from tests.support.orthanc import ask_directly, images, running_orthanc
from tests.support.served import Served, served

ARTEFACTS = Path(__file__).parents[2] / "test-artefacts"
STUDIES, EACH = 3, 10
APP = """\
[[apps]]
id = "orthanc"
host = "orthanc.localhost"
upstream = "http://127.0.0.1:{upstream}"
title_ja = "画像サーバー"
title_en = "Images"
[[apps.routes]]
id = "orthanc.write"
methods = ["POST"]
path = "/instances"
action = "write"
[[apps.routes]]
id = "orthanc.find"
methods = ["POST"]
path = "/tools/find"
action = "read"
[[apps.routes]]
id = "orthanc.study"
methods = ["GET"]
path = "/studies/{{study}}"
action = "read"
[[apps.routes]]
id = "orthanc.delete"
methods = ["DELETE"]
path = "/**"
action = "delete"
[[apps.routes]]
id = "orthanc.pages"
methods = ["GET"]
path = "/**"
action = "read"
"""


@pytest.fixture
async def orthanc(tmp_path: Path) -> AsyncIterator[tuple[Served, int]]:
    """A gateway before an Orthanc, and that one's own port."""
    with running_orthanc(tmp_path / "orthanc") as port:
        async with served(tmp_path / "gateway", APP.format(upstream=port), opened=("orthanc",)) as site:
            await site.start()
            yield site, port


async def upload(radiologist: Clinician) -> tuple[list[str], set[str]]:
    """Send all images; return the ids of the files and of the studies that Orthanc gave them."""
    files, studies, size, began = [], set(), 0, time.monotonic()
    for _, content in images(STUDIES, EACH):
        page = await radiologist.request(
            "POST", radiologist.url("orthanc", "/instances"), io.BytesIO(content), Content_Type="application/dicom"
        )
        assert page.status == 200, page.text
        said = json.loads(page.text)
        assert said["Status"] == "Success"
        files.append(said["ID"])
        studies.add(said["ParentStudy"])
        size += len(content)
    assert size >= 300_000_000
    sys.stdout.write(f"{size / 1e6 / (time.monotonic() - began):.0f} MB/s, making the images included\n")
    return files, studies


async def signed_in(page: Page, site: Served, radiologist: Clinician, path: str) -> None:
    """Come to a page as a person does who sits down at a new terminal."""
    await page.goto(radiologist.url("orthanc", path))
    await page.fill("input[name=login]", radiologist.person.login)
    await page.fill("input[name=password]", radiologist.person.password)
    await page.keyboard.press("Enter")
    await page.locator("input[data-code]").press_sequentially(await radiologist.code())
    await page.locator("#start").click()
    await page.fill("input[name=label]", "読影室 2番")
    await page.check("input[name=attested]")
    await page.locator("#register button").click()
    await page.wait_for_url(re.compile("^" + re.escape(radiologist.url("orthanc", path))))


async def watched(context: BrowserContext, failed: list[str]) -> Page:
    """A tab that notes whatever does not load, and every error of a script."""
    page = await context.new_page()
    page.on("response", lambda reply: failed.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
    page.on("requestfailed", lambda request: failed.append(f"{request.failure} {request.url}"))
    page.on("pageerror", lambda error: failed.append(str(error)))
    return page


async def look_at_the_explorer(site: Served, radiologist: Clinician) -> None:
    """Orthanc's own page, with everything that it loads, shows what was sent."""
    failed: list[str] = []
    explorer = radiologist.url("orthanc", "/app/explorer.html")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"])
        # The CA of the tests is in no browser's list.
        context = await browser.new_context(ignore_https_errors=True, locale="ja-JP")
        await signed_in(await context.new_page(), site, radiologist, "/system")
        # The search asks with a POST, the list with a GET.
        page = await watched(context, failed)
        await page.goto(explorer)
        await page.fill("#lookup-patient-id", "SYN0002")
        await page.locator("#lookup-submit").click()
        await expect(page.locator("#lookup-result")).to_contain_text("SYNTHETIC 2")
        page = await watched(context, failed)
        await page.goto(f"{explorer}#find-studies")
        for number in range(1, STUDIES + 1):
            await expect(page.locator("#all-studies")).to_contain_text(f"SYNTHETIC {number}")
        await page.screenshot(path=ARTEFACTS / "orthanc-studies.png")
        await context.close()
        await browser.close()
    assert failed == []


@pytest.mark.timeout(180)
async def test_images_go_in_are_listed_and_are_seen_in_the_explorer(orthanc: tuple[Served, int]) -> None:
    site, port = orthanc
    radiologist = site.clinician(await site.add("dr.mori", "森 あゆみ", "physician"))
    assert (await radiologist.register_device(await radiologist.sign_in("orthanc", "/system"))).status == 200

    files, studies = await upload(radiologist)
    assert (len(files), len(studies)) == (STUDIES * EACH, STUDIES)
    listed = await radiologist.get(radiologist.url("orthanc", "/studies"))
    assert set(json.loads(listed.text)) == studies
    assert await ask_directly(port, "/statistics") == json.loads(
        (await radiologist.get(radiologist.url("orthanc", "/statistics"))).text
    )
    for study in studies:
        tags = json.loads((await radiologist.get(radiologist.url("orthanc", f"/studies/{study}"))).text)
        assert re.fullmatch(r"SYN000[1-3]", tags["PatientMainDicomTags"]["PatientID"])

    # What no policy permits does not reach it: not with this session, and not without one.
    url = radiologist.url("orthanc", f"/studies/{min(studies)}")
    assert (await radiologist.request("DELETE", url)).status == 403
    assert (await radiologist.request("POST", radiologist.url("orthanc", "/tools/reset"))).status == 405
    stranger = site.clinician(radiologist.person)
    content = next(images(1, 1))[1]
    refused = await stranger.request(
        "POST", stranger.url("orthanc", "/instances"), io.BytesIO(content), Content_Type="application/dicom"
    )
    assert refused.status in {401, 403}
    assert await ask_directly(port, "/studies") == json.loads(listed.text)
    statistics = await ask_directly(port, "/statistics")
    assert isinstance(statistics, dict)
    assert statistics["CountInstances"] == STUDIES * EACH

    await look_at_the_explorer(site, radiologist)

    await site.stop()
    written = [record for record in await site.log("--app", "orthanc") if record["route"] == "orthanc.write"]
    assert [record["outcome"] for record in written] == ["allow"] * STUDIES * EACH + ["challenge"]
    assert sum(record["completion"]["bytes_in"] for record in written[:-1]) >= 300_000_000
    assert all(record["policies"] == ["orthanc-clinical"] for record in written[:-1])
    assert (await site.verify()).status == 0

"""A running provider, and another process that rotates its keys: what is kept next is under the newest, and nobody notices."""

from pathlib import Path

from idp.keys import KeyFile
from idp.model import ProofingRecord
from tests.support.idp_fixtures import OpenBrowser
from tests.support.idp_site import Browser, IdpSite

PROOFED = "urn:zt-gateway:acr:proofed"
ANEW = "urn:zt-gateway:acr:proofed-anew"


async def proofed(site: IdpSite, browser: Browser, login: str, acr: str = PROOFED) -> ProofingRecord:
    page = await browser.sign_in(login, acr_values=acr)
    page = await browser.submit(page, "/login/proofing")
    await browser.submit(page, "/login/proofing/answer", outcome="success")
    user = await site.store.users.by_login(login)
    assert user is not None
    record = await site.store.proofing.latest(user.id)
    assert record is not None
    assert record.in_force(int(site.clock.now()))
    return record


async def test_a_rotation_by_another_process_counts_at_once(site: IdpSite, open_browser: OpenBrowser, tmp_path: Path) -> None:
    now = int(site.clock.now())
    before = await proofed(site, await open_browser(), "dr.sato")
    beside = KeyFile.open(tmp_path / "idp" / "idp-keys.json", now=now)
    newest = await beside.rotate_digest(now)
    other = await proofed(site, await open_browser(), "nurse.suzuki")
    assert (before.digest_key, other.digest_key) == ("", newest)
    assert await site.store.proofing.digest_keys_in_use() == {"": 1, newest: 1}

    site.later(60)
    again = await proofed(site, await open_browser(), "dr.sato", ANEW)
    assert again.digest_key == newest
    assert again.person_digest != before.person_digest
    in_use = await site.store.proofing.digest_keys_in_use()
    assert in_use == {newest: 2}
    await beside.drop_digest("", in_use=in_use)
    site.later(60)
    assert (await proofed(site, await open_browser(), "dr.sato", ANEW)).number > again.number


async def test_a_proofing_in_between_does_not_hide_a_new_signing_key(
    site: IdpSite, open_browser: OpenBrowser, tmp_path: Path
) -> None:
    now = int(site.clock.now())
    beside = KeyFile.open(tmp_path / "idp" / "idp-keys.json", now=now)
    await beside.rotate(now)
    await proofed(site, await open_browser(), "dr.sato")  # has read the file for its digest keys
    reader = await open_browser()
    shown = await reader.get("/jwks.json")
    assert all(str(key["kid"]) in shown.text for key in beside.keyset().public())

"""A proofing that ends reaches the person's open sessions at once: streams are cut, the next request is denied with its remedy.

The whole gateway in this process, policies of the demo that need a proofing, server-sent events through the embedded proxy.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from gateway.doors.proxy.exchange import WATCH_AFTER_SECONDS
from gateway.kernel.clock import ManualClock
from idp.model import PersonDigest, User
from idp.proofing import simulated
from idp.proofing.port import Revoked, Unknown
from tests.support.office import Verifier, until
from tests.support.whole import Browser, Page, Whole, open_whole

ROOT = Path(__file__).parents[2]
STREAM = "/patients/00012345/vitals/stream"


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    async with open_whole(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def sato(whole: Whole) -> Browser:
    """Dr. Sato at work: registered device, proofed."""
    browser = whole.browser()
    page = await browser.enter()
    assert (page.host, page.status) == ("ehr.localhost", 200)
    return browser


class Reader:
    """A connection that is open, and reads what comes."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self._reply = reply

    async def beats(self) -> None:
        async with asyncio.timeout(5):
            assert await self._reply.content.readline() == b"data: beat\n"
            assert await self._reply.content.readline() == b"\n"

    async def is_cut(self) -> None:
        """Within seconds, and long before the half minute after which every stream is decided again."""
        async with asyncio.timeout(5):
            with pytest.raises(aiohttp.ClientPayloadError):
                await self._reply.content.read()


@contextlib.asynccontextmanager
async def stream(browser: Browser) -> AsyncIterator[Reader]:
    """Open the stream, and wait until it is watched: exchanges that are over at once are not."""
    url = browser.url("ehr", STREAM)
    lines = browser.headers("GET", url) | {"Accept": "text/event-stream", "Sec-Fetch-Mode": "cors"}
    async with browser.http.get(url, headers=lines) as reply:
        assert reply.status == 200
        reader = Reader(reply)
        await reader.beats()
        browser.whole.clock.advance(WATCH_AFTER_SECONDS)
        await until(lambda: len(browser.whole.gateway.pipeline.streams) == 1)
        yield reader


def needs_proofing(page: Page) -> bool:
    """Denied, with the step that would let the person in."""
    return page.status == 403 and bool(page.remedy("identity_proofing"))


async def user_of(whole: Whole, login: str = "dr.sato") -> User:
    assert whole.gateway.provider is not None
    user = await whole.gateway.provider.store.users.by_login(login)
    assert user is not None
    return user


def asking(whole: Whole) -> Verifier:
    """Put a verifier in the place of the simulated one that answers to rechecks as the test says."""
    verifier = Verifier(ManualClock())
    verifier.method = "simulated"
    assert whole.gateway.provider is not None
    whole.gateway.provider.office._rechecker._backend = verifier
    return verifier


async def test_a_revocation_found_by_asking_again_cuts_the_stream_and_denies_the_next_request(
    whole: Whole, sato: Browser
) -> None:
    provider = whole.gateway.provider
    assert provider is not None
    record = await provider.store.proofing.latest((await user_of(whole)).id)
    assert record is not None
    verifier = asking(whole)
    async with stream(sato) as reader:
        # An outage takes nothing away.
        verifier.says = {record.transaction: Unknown(detail="no line")}
        assert (await provider.office.recheck_now(by="sec.abe")).unknown == 1
        await reader.beats()
        assert (await sato.open("ehr")).status == 200
        verifier.says = {record.transaction: Revoked()}
        await provider.office.recheck(by="sec.abe")
        await reader.is_cut()
    assert needs_proofing(await sato.open("ehr"))
    ended = whole.events("proofing.ended")[-1]
    assert (ended.actor.login, ended.target, ended.detail["why"], ended.detail["sessions_changed"]) == (
        "sec.abe", "dr.sato", "revoked", "1",
    )  # fmt: skip
    # They are still signed in, and a new proofing lets them in again, by way of the page that says so.
    page = await sato.proof(await sato.open("ehr"))
    assert (page.host, page.status) == ("ehr.localhost", 200)
    assert whole.events("session.revoked") == []
    async with stream(sato) as reader:
        await reader.beats()


async def test_nobody_elses_sessions_are_touched(whole: Whole, sato: Browser) -> None:
    provider = whole.gateway.provider
    assert provider is not None
    await provider.seed_user(login="dr.mori", name="森", roles=("physician",))
    mori = await user_of(whole, "dr.mori")
    async with stream(sato) as reader:
        assert await provider.office.end(mori.id, why="officer", by="sec.abe") == 0
        await provider.office.delete(mori.id, by="sec.abe")
        for _ in range(10):
            await reader.beats()


async def test_another_process_ends_a_proofing(whole: Whole, sato: Browser) -> None:
    async with stream(sato) as reader:
        ended = await asyncio.to_thread(command, whole, "end", "dr.sato", "--why", "officer", "--by", "nurse.suzuki")
        assert (ended.returncode, ended.stderr) == (0, "")
        await reader.is_cut()
    assert needs_proofing(await sato.open("ehr"))
    event = whole.events("proofing.ended")[-1]
    assert event.actor.login.startswith("nurse.suzuki through os:")
    again = await asyncio.to_thread(command, whole, "end", "dr.sato", "--by", "nurse.suzuki")
    assert (again.returncode, again.stderr) == (1, "gateway: dr.sato has no proofing in force\n")


async def test_deletion_takes_it_out_of_sessions_too(whole: Whole, sato: Browser) -> None:
    async with stream(sato) as reader:
        deleted = await asyncio.to_thread(command, whole, "delete", "dr.sato", "--by", "nurse.suzuki")
        assert (deleted.returncode, deleted.stderr) == (0, "")
        assert "1 proofings, 0 cases, 0 invitations" in deleted.stdout
        await reader.is_cut()
    assert needs_proofing(await sato.open("ehr"))
    await until(lambda: bool(whole.events("proofing.deleted")))
    assert whole.events("proofing.deleted")[-1].detail["made"].startswith("simulated 3 ")


async def test_a_renewal_in_time_cuts_nobodys_work(whole: Whole, sato: Browser) -> None:
    """A second browser of the same person is proofed anew; the first one goes on with what it has, which claims no more."""
    user = await user_of(whole)
    async with stream(sato) as reader:
        whole.clock.advance(60)
        await renewed(whole, user, level=3)
        for _ in range(10):
            await reader.beats()
        assert (await sato.open("ehr")).status == 200
        # One of a lower level does not carry what the session says any more.
        await renewed(whole, user, level=1)
        await reader.is_cut()
    assert whole.events("proofing.added")[-1].detail["sessions_changed"] == "1"


async def renewed(whole: Whole, user: User, *, level: int) -> None:
    """Keep another result of the same verifier."""
    provider = whole.gateway.provider
    assert provider is not None
    store = provider.store
    before = await store.proofing.latest(user.id)
    assert before is not None
    now = int(whole.clock.now())
    record = msgspec.structs.replace(
        before, level=level, verified_at=now, expires_at=now + 366 * 86_400, transaction=f"renewed {level}", number=0
    )
    digest = PersonDigest(digest=record.person_digest, key=record.digest_key)
    kept = await store.proofing.keep(record, (digest,), now=now)
    assert not isinstance(kept, str), kept


async def test_the_end_of_a_proofing_cuts_a_stream_at_that_second(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "VALID_SECONDS", 100)
    sato = whole.browser()
    await sato.enter()
    (session,) = await whole.gateway.sessions.list(whole.clock.now())
    proofing = session.identity.proofing
    assert proofing is not None
    assert proofing.expires_at is not None
    whole.clock.advance(proofing.expires_at - whole.clock.now() - WATCH_AFTER_SECONDS - 0.25)
    assert (await sato.open("ehr")).status == 200
    async with stream(sato) as reader:
        for _ in range(10):
            await reader.beats()
        whole.clock.advance(0.25)
        await reader.is_cut()
    assert needs_proofing(await sato.open("ehr"))
    assert whole.events("proofing.ended") == [], "nobody ended it"


def command(whole: Whole, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `gateway proofing` as a process of its own, on the files of the gateway that serves."""
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", "proofing", *arguments, "--config", str(whole.folder / "gateway.toml")],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

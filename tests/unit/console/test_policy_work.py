"""The slow work behind the pages about policies: one piece at a time, each once, and never in the event loop's own threads."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gateway.changes.bundle_files import files_of_snapshot
from gateway.console.policy_work import KEPT, PolicyWork
from gateway.kernel.errors import BundleError
from gateway.policy.folder import read_folder
from tests.support.console import POLICIES
from tests.support.console_policies import retitled


@pytest.fixture
async def work() -> AsyncIterator[PolicyWork]:
    found = PolicyWork()
    yield found
    await found.close(web.Application())


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return files_of_snapshot(read_folder(POLICIES))


async def test_however_many_look_a_bundle_is_compiled_once(work: PolicyWork, files: dict[str, bytes]) -> None:
    bundles = await asyncio.gather(*(work.bundle(dict(files)) for _ in range(10)))
    assert all(bundle is bundles[0] for bundle in bundles)
    other = await work.bundle(retitled(files))
    assert other is not bundles[0]
    assert other.version != bundles[0].version
    without_cases = {name: data for name, data in files.items() if not name.startswith("cases/")}
    assert await work.bundle(without_cases) is bundles[0], "cases are no part of it"


async def test_what_differs_is_said_once_for_the_same_two(work: PolicyWork, files: dict[str, bytes]) -> None:
    said = await work.words(files, retitled(files))
    assert said is not None
    assert await work.words(dict(files), retitled(files)) is said
    assert await work.words(retitled(files), files) is not said
    assert await work.words(files, {**files, "broken.cedar": b"permit ("}) is None
    assert await work.words(files, {**files, "cases/broken.toml": b"= 1"}) is None


async def test_what_can_not_be_compiled_says_so_every_time(work: PolicyWork, files: dict[str, bytes]) -> None:
    for _ in range(2):
        with pytest.raises(BundleError, match=r"broken\.cedar"):
            await work.bundle({**files, "broken.cedar": b"permit ("})


async def test_what_was_not_looked_at_for_long_is_let_go(work: PolicyWork, files: dict[str, bytes]) -> None:
    small = {"schema.cedarschema": files["schema.cedarschema"], "guards.cedar": files["guards.cedar"]}
    first = await work.bundle(small)
    for number in range(KEPT):
        await work.bundle(retitled(small, f"（{number}）"))
    assert await work.bundle(small) is not first


async def test_work_that_waits_holds_up_none_of_the_loops_threads(work: PolicyWork) -> None:
    """Grants and what is declared are looked at there."""
    go, at_once, most = threading.Event(), 0, 0

    def slow() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        assert go.wait(60)
        at_once -= 1

    waiting = [asyncio.create_task(work.run(slow)) for _ in range(100)]
    await asyncio.sleep(0)
    assert await asyncio.to_thread(lambda: "looked") == "looked"
    assert not any(one.done() for one in waiting)
    go.set()
    await asyncio.gather(*waiting)
    assert most == 1


async def test_who_gives_up_before_their_turn_costs_nothing(work: PolicyWork) -> None:
    go, done = threading.Event(), list[int]()
    first = asyncio.create_task(work.run(go.wait, 60))
    others = [asyncio.create_task(work.run(done.append, number)) for number in range(3)]
    await asyncio.sleep(0)
    others[1].cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *others, return_exceptions=True)
    assert done == [0, 2]

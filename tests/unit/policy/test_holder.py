"""The bundle in force changes all at once, and only for a good one."""

import asyncio
import shutil
import threading
from pathlib import Path

import pytest

from gateway.kernel.errors import BundleError
from gateway.policy import holder as module
from gateway.policy.holder import Loaded, PolicyHolder, Rejected, Unchanged
from tests.support.policy import CASES, facts, policy, write_bundle

NURSES = policy(when='principal in Role::"nurse"')
LOCAL = policy(when="context.network.tls")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "policies", policy())


def test_the_first_bundle_must_be_good(folder: Path, tmp_path: Path) -> None:
    assert PolicyHolder.open(folder).current.evaluate(facts()).allowed
    for bad in (
        write_bundle(tmp_path / "broken", "permit(;"),
        write_bundle(tmp_path / "wrong", NURSES),
        write_bundle(tmp_path / "untested", policy(), cases=None),
        tmp_path / "nowhere",
    ):
        with pytest.raises(BundleError):
            PolicyHolder.open(bad)


def test_nothing_new_is_unchanged(folder: Path) -> None:
    holder = PolicyHolder.open(folder)
    before = holder.current
    assert isinstance(holder.reload(), Unchanged)
    assert holder.current is before
    assert holder.rejected is None


def test_a_good_bundle_takes_over(folder: Path) -> None:
    holder = PolicyHolder.open(folder)
    before = holder.current
    write_bundle(folder, LOCAL)
    outcome = holder.reload()
    assert isinstance(outcome, Loaded)
    assert (outcome.bundle, outcome.replaced) == (holder.current, before.version)
    assert holder.current.version != before.version
    assert not holder.current.evaluate(facts(network={"tls": False})).allowed
    assert before.evaluate(facts(network={"tls": False})).allowed, "who holds the old one keeps it"


@pytest.mark.parametrize(
    ("text", "cases", "error"),
    [
        ("permit(;", CASES, "a.cedar:1"),
        (policy(when="context.foo"), CASES, "a.cedar:5: attribute `foo` not found"),
        (NURSES, CASES, "1 of 1 cases fail, first 'read': outcome is deny, expected allow. `gateway policy test`"),
        (LOCAL, b"# none", "there is no case"),
        (LOCAL, b"[[case]]\nnam = 1", "'nam' is not known in a case. Did you mean name?"),
    ],
)
def test_a_bad_bundle_never_replaces_a_good_one(folder: Path, text: str, cases: bytes, error: str) -> None:
    holder = PolicyHolder.open(folder)
    before = holder.current
    write_bundle(folder, text, cases=cases)
    outcome = holder.reload()
    assert isinstance(outcome, Rejected)
    assert error in str(outcome.error)
    assert holder.current is before
    assert holder.rejected is outcome.error
    assert isinstance(holder.reload(), Unchanged), "the same content is rejected once"
    assert holder.rejected is outcome.error, "and stays rejected"


def test_going_back_to_the_old_content_ends_the_rejection(folder: Path) -> None:
    holder = PolicyHolder.open(folder)
    version = holder.current.version
    write_bundle(folder, "permit(;")
    assert isinstance(holder.reload(), Rejected)
    write_bundle(folder, policy())
    assert isinstance(holder.reload(), Unchanged)
    assert holder.rejected is None
    assert holder.current.version == version


def test_a_folder_that_vanishes_is_rejected_once_and_may_come_back(folder: Path) -> None:
    holder = PolicyHolder.open(folder)
    aside = folder.rename(folder.with_name("aside"))
    assert isinstance(holder.reload(), Rejected)
    assert isinstance(holder.reload(), Unchanged)
    assert holder.rejected is not None
    aside.rename(folder)
    assert isinstance(holder.reload(), Unchanged)
    assert holder.rejected is None


def test_cases_alone_may_change_but_must_hold(folder: Path) -> None:
    holder = PolicyHolder.open(folder)
    before = holder.current
    (folder / "cases" / "a.toml").write_bytes(CASES.replace(b'"allow"', b'"deny"').replace(b"] }", b"], remedy = [] }"))
    assert isinstance(holder.reload(), Rejected)
    (folder / "cases" / "a.toml").write_bytes(CASES + b"# more\n")
    assert isinstance(holder.reload(), Unchanged)
    assert holder.rejected is None
    assert holder.current.version == before.version


def test_an_error_that_nobody_expected_is_a_rejection(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = PolicyHolder.open(folder)
    before = holder.current
    write_bundle(folder, LOCAL)

    def breaks(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "load_apart", breaks)
    outcome = holder.reload()
    assert isinstance(outcome, Rejected)
    assert "loading it broke: MemoryError" in str(outcome.error)
    assert holder.current is before


def test_reloads_do_not_run_into_each_other(folder: Path) -> None:
    holder = PolicyHolder.open(folder)
    write_bundle(folder, LOCAL)
    outcomes: list[object] = []
    threads = [threading.Thread(target=lambda: outcomes.append(holder.reload())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Loaded) for outcome in outcomes) == 1


async def test_watching_follows_the_folder(folder: Path) -> None:
    holder = PolicyHolder.open(folder)
    first = holder.current
    told: asyncio.Queue[object] = asyncio.Queue()
    watch = asyncio.create_task(holder.watch(told.put, told.put, every=0.02))
    try:
        write_bundle(folder, "permit(;")
        rejected = await asyncio.wait_for(told.get(), 10)
        assert isinstance(rejected, BundleError)
        assert holder.current is first
        write_bundle(folder, LOCAL)
        loaded = await asyncio.wait_for(told.get(), 10)
        while isinstance(loaded, BundleError):  # the files are written one by one: half of it may have been seen
            loaded = await asyncio.wait_for(told.get(), 10)
        assert isinstance(loaded, Loaded)
        assert loaded.bundle is holder.current
        await asyncio.sleep(0.1)
        assert told.empty(), "each content is told once"
    finally:
        watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


async def test_watching_notices_a_change_that_keeps_size_and_time(folder: Path) -> None:
    import os

    holder = PolicyHolder.open(folder)
    told: asyncio.Queue[object] = asyncio.Queue()
    watch = asyncio.create_task(holder.watch(told.put, told.put, every=0.02))
    file = folder / "a.cedar"
    info = file.stat()
    file.write_text(policy().replace("Title", "Taitl"), "utf-8")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert file.stat().st_size == info.st_size
    assert isinstance(await asyncio.wait_for(told.get(), 10), Loaded)
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


async def test_a_callback_that_fails_ends_the_watch_loudly(folder: Path) -> None:
    holder = PolicyHolder.open(folder)
    write_bundle(folder, LOCAL)

    async def fails(_: object) -> None:
        raise OSError("the log is full")

    with pytest.raises(OSError, match="the log is full"):
        await asyncio.wait_for(holder.watch(fails, fails, every=0.01), 10)


async def test_a_folder_swapped_by_renaming_is_never_seen_half(folder: Path, tmp_path: Path) -> None:
    """One bundle permits by `a` in a.cedar and b.cedar, the other by `b`: a mixture would be told as a duplicate id."""
    both = {}
    for name in ("one", "two"):
        made = write_bundle(tmp_path / name, policy(name), cases=CASES.replace(b'["read"]', f'["{name}", "{name}-too"]'.encode()))
        (made / "b.cedar").write_text(policy(f"{name}-too"))
        both[name] = made
    shutil.rmtree(folder)
    shutil.copytree(both["one"], folder)
    holder = PolicyHolder.open(folder)
    stop = threading.Event()

    def swap() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            fresh = shutil.copytree(both["two" if turn % 2 else "one"], tmp_path / f"fresh{turn}")
            folder.rename(tmp_path / f"old{turn}")
            fresh.rename(folder)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(200):
            outcome = await asyncio.to_thread(holder.reload)
            names = {one.id for one in holder.current.policies}
            assert names in ({"one", "one-too"}, {"two", "two-too"})
            if isinstance(outcome, Rejected):
                assert any(text in str(outcome.error) for text in ("keeps changing", "No such file", "there is no")), str(
                    outcome.error
                )
    finally:
        stop.set()
        swapper.join()

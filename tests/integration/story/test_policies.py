"""Policies edited while the gateway runs: a good change counts within two seconds, a bad one changes nothing and is told."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.demo import Demo
from tests.support.visitor import Arrive

STARTER: Final = Path(__file__).parents[3] / "policies"
IN_TIME: Final = 20.0
"""Seconds: the folder is looked at every second, and the new bundle's cases are run before it counts. About 1.5 on a quiet
machine, which the tests' own is not."""
CHART: Final = "/patients/P1001"
NO_VITALS: Final = """
@id("no-vitals-for-pharmacists")
@title_ja("薬剤師はバイタルサインを見られません")
@title_en("No live vital signs for pharmacists")
forbid (
  principal in Role::"pharmacist",
  action,
  resource == Route::"ehr.vitals"
);
"""


@pytest.fixture
def edited(tmp_path: Path) -> Iterator[tuple[Demo, Path]]:
    """A demo on a copy of the starter bundle, and the copy."""
    bundle = Path(shutil.copytree(STARTER, tmp_path / "policies"))
    running = Demo(tmp_path, policies=bundle)
    try:
        running.start()
        yield running, bundle
    finally:
        running.end()


def test_a_good_change_counts_at_once_and_a_bad_one_changes_nothing(edited: tuple[Demo, Path], arrive: Arrive) -> None:
    demo, bundle = edited
    takahashi, yamamoto = (
        arrive("pharm.takahashi", demo, folder="policies"),
        arrive("sec.yamamoto", demo, folder="policies-officer"),
    )
    takahashi.reach("ehr", CHART)
    stream = takahashi.open_stream(f"{CHART}/vitals/stream")
    yamamoto.reach("console", "/policies")
    takahashi.open("imaging")
    assert takahashi.heading() == "このページを開く権限がありません"

    # More is permitted: nobody restarts anything.
    _edit(bundle / "imaging.cedar", 'principal in Role::"nurse"', 'principal in Role::"nurse" || principal in Role::"pharmacist"')
    cases = bundle / "cases" / "imaging.toml"
    before, after = cases.read_text("utf-8").split('name = "a pharmacist has no images"')
    after = after.replace('outcome = "deny", policies = []', 'outcome = "allow", policies = ["imaging-read-clinical"]', 1)
    cases.write_text(f'{before}name = "a pharmacist views a study"{after.replace(", remedy = []", "", 1)}', "utf-8")

    def opens() -> bool:
        takahashi.open("imaging")
        return takahashi.page.locator("ul.studies").count() == 1

    _soon(opens)

    # Less is permitted: what is open is cut.
    (bundle / "vitals.cedar").write_text(NO_VITALS, "utf-8")
    written = time.time()
    ended = stream.evaluate("() => window.ended")
    assert ended["code"] == 1008
    assert ended["at"] / 1000 - written < IN_TIME
    takahashi.open("ehr", CHART)
    takahashi.page.wait_for_function("() => document.getElementById('vitals').dataset.now === 'lost'")
    assert takahashi.page.locator("#vitals output").first.inner_text() == "--", "no stale value on a monitor"
    takahashi.look("vitals-lost")

    # What does not parse, and what its cases contradict: both refused, both told, nothing changes.
    good = (bundle / "imaging.cedar").read_text("utf-8")
    told = len(_events(demo, "policy.rejected"))  # the edit above may have been seen half done
    (bundle / "imaging.cedar").write_text(good.replace("when {", "when {{"), "utf-8")
    _soon(lambda: len(_events(demo, "policy.rejected")) == told + 1)
    assert opens()
    (bundle / "imaging.cedar").write_text(good.replace(' || principal in Role::"pharmacist"', ""), "utf-8")
    _soon(lambda: len(_events(demo, "policy.rejected")) == told + 2)
    assert opens()
    yamamoto.open("console", "/policies")
    assert "採用されていません" in yamamoto.text()
    assert "a pharmacist views a study" in yamamoto.text()
    yamamoto.look("rejected")
    broken, contradicted = _events(demo, "policy.rejected")[-2:]
    assert "imaging.cedar" in broken["detail"]["why"]
    assert "cases fail" in contradicted["detail"]["why"]
    loaded = _events(demo, "policy.loaded")
    assert len(loaded) == 3, "at the start, and twice since"
    assert broken["target"] == contradicted["target"] == loaded[-1]["target"], "the version in force stays"

    # Putting it right is enough.
    (bundle / "imaging.cedar").write_text(good, "utf-8")

    def calm() -> bool:
        yamamoto.open("console", "/policies")
        return "採用されていません" not in yamamoto.text()

    _soon(calm)
    whole = demo.verify()
    assert whole.returncode == 0, whole.stdout


# ----------------------------------------------------------------------


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")


def _events(demo: Demo, name: str) -> list[dict[str, Any]]:
    return [row for row in demo.log() if row.get("event") == name]


def _soon(true: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < IN_TIME, "not in time"
        time.sleep(0.1)

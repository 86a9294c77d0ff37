"""The holder over a source other than a folder: trials, a source that does not answer, loads that fail for a while."""

import logging
import time

import pytest

from gateway.changes.bundle_files import snapshot_of
from gateway.kernel.errors import BundleError, StoreUnavailable
from gateway.policy import holder as module
from gateway.policy.evaluate import Bundle
from gateway.policy.folder import Snapshot
from gateway.policy.holder import Loaded, PolicyHolder, Rejected, Unchanged, load_checked
from gateway.policy.offers import Offer
from tests.support.changes import NURSE, READ, files


def offer(number: int, text: str = READ, *, trial: str | None = None) -> Offer:
    return Offer(
        snapshot=snapshot_of(files(text)),
        number=number,
        detail={"publication": str(number)},
        trial=snapshot_of(files(trial)) if trial is not None else None,
    )


class Source:
    """Offers what it is given, once; raises what it is given."""

    def __init__(self, first: Offer | Exception) -> None:
        self.next: Offer | Exception | None = first

    def newest(self) -> Offer | None:
        found, self.next = self.next, None
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_apart", load_checked)


def test_a_source_that_does_not_answer_at_the_start_is_no_start() -> None:
    with pytest.raises(StoreUnavailable):
        PolicyHolder.open(Source(StoreUnavailable("gone")))


def test_one_that_does_not_answer_later_changes_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    source = Source(offer(1))
    holder = PolicyHolder.open(source)
    before = holder.current
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            source.next = StoreUnavailable("PostgreSQL can't be used")
            assert isinstance(holder.reload(), Unchanged)
        assert isinstance(holder.reload(), Unchanged)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["policies can't be followed, those in force stay: PostgreSQL can't be used", "policies can be followed again"]
    assert holder.current is before
    assert holder.rejected is None


def tried(holder: PolicyHolder) -> Bundle | None:
    """What is tried out; asked anew each time."""
    return holder.trial


def rejected(holder: PolicyHolder) -> BundleError | None:
    return holder.rejected


def test_a_publication_of_the_same_policies_is_one_all_the_same() -> None:
    source = Source(offer(1))
    holder = PolicyHolder.open(source)
    source.next = offer(2)
    outcome = holder.reload()
    assert isinstance(outcome, Loaded)
    assert outcome.detail == {"publication": "2"}
    assert (holder.number, outcome.replaced) == (2, outcome.bundle.version)


def test_a_trial_begins_changes_and_ends_without_touching_what_is_in_force() -> None:
    source = Source(offer(1, trial=READ + NURSE))
    holder = PolicyHolder.open(source)
    before, first = holder.current, tried(holder)
    assert first is not None
    assert first.version != before.version
    source.next = offer(1, trial=READ + NURSE + "// more\n")
    assert isinstance(holder.reload(), Unchanged)
    second = tried(holder)
    assert second is not None
    assert second.version not in {first.version, before.version}
    source.next = offer(1)
    holder.reload()
    assert tried(holder) is None
    assert holder.current is before


def test_a_trial_that_can_not_be_loaded_is_left_out_and_said() -> None:
    source = Source(offer(1, trial="permit(;"))
    holder = PolicyHolder.open(source)
    assert holder.trial is None
    assert "a.cedar:1" in str(holder.trial_error)
    assert holder.rejected is None
    source.next = offer(2, READ + NURSE, trial="permit(;")
    assert isinstance(holder.reload(), Loaded)
    source.next = offer(2, READ + NURSE)
    holder.reload()
    assert holder.trial_error is None


def test_what_could_not_be_loaded_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(offer(1))
    holder = PolicyHolder.open(source)
    broken = True

    def flaky(snapshot: Snapshot) -> Bundle:
        if broken:
            raise BundleError("no process could be started to check it")
        return load_checked(snapshot)

    monkeypatch.setattr(module, "load_apart", flaky)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    source.next = offer(2, READ + NURSE)
    assert isinstance(holder.reload(), Rejected)
    assert isinstance(holder.reload(), Unchanged)
    now += module.RETRY_SECONDS
    assert isinstance(holder.reload(), Unchanged), "the same reason is told once"
    assert rejected(holder) is not None
    broken = False
    assert isinstance(holder.reload(), Unchanged), "not before its time"
    now += module.RETRY_SECONDS
    assert isinstance(holder.reload(), Loaded)
    assert rejected(holder) is None
    assert holder.number == 2

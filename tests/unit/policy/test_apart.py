"""Checking a bundle in another process gives what checking it here gives."""

import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.kernel.errors import BundleError
from gateway.policy import apart
from gateway.policy.case_files import parse_cases
from gateway.policy.folder import Snapshot, read_folder
from gateway.policy.holder import load_checked

STARTER = Path(__file__).parents[3] / "policies"


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return read_folder(STARTER)


def test_the_bundle_is_the_one_that_would_be_made_here(snapshot: Snapshot) -> None:
    here, there = load_checked(snapshot), apart.load_apart(snapshot)
    assert (there.version, there.policies, there.reads) == (here.version, here.policies, here.reads)
    for case in parse_cases(snapshot.cases, snapshot.folder):
        assert there.evaluate(case.facts) == here.evaluate(case.facts)


@pytest.mark.parametrize(
    ("policies", "cases"),
    [
        ({"schema.cedarschema": b""}, {}),
        ({"bad.cedar": b'@id("x") permit(principal, action, resource);'}, None),
        ({}, {"a.toml": b'[[case]]\nname = "x"\n'}),
        ({}, {}),
    ],
    ids=["no schema", "bad policy", "bad case", "no case"],
)
def test_what_is_wrong_is_said_in_the_same_words(
    snapshot: Snapshot, policies: dict[str, bytes], cases: dict[str, bytes] | None
) -> None:
    bad = replace(
        snapshot,
        policies={**snapshot.policies, **policies},
        cases=snapshot.cases if cases is None else cases,
    )
    with pytest.raises(BundleError) as here:
        load_checked(bad)
    with pytest.raises(BundleError) as there:
        apart.load_apart(bad)
    assert str(there.value) == str(here.value)


def test_a_process_that_ends_without_an_answer_is_a_refusal(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BundleError, match="status 1 and no answer"):
        apart.load_apart(snapshot)


def test_a_process_that_can_not_be_started_is_a_refusal(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(BundleError, match="no process could be started"):
        apart.load_apart(snapshot)


def test_a_process_that_takes_too_long_is_a_refusal(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "TIMEOUT_SECONDS", 0.001)
    with pytest.raises(BundleError, match="took longer"):
        apart.load_apart(snapshot)

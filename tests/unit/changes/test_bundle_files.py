"""A bundle's files as one mapping are what its folder holds, and two changes of them are put together file by file."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.changes.bundle_files import accept_files, content_of, files_of_snapshot, merged, snapshot_of
from gateway.policy.folder import read_folder
from tests.support.changes import files
from tests.support.policy import STARTER

NAMES = st.sampled_from(["a.cedar", "b.cedar", "cases/a.toml"])
BUNDLES = st.dictionaries(NAMES, st.sampled_from([b"1", b"2", b"3"]))


def test_the_content_is_the_folders_fingerprint() -> None:
    snapshot = read_folder(STARTER)
    flat = files_of_snapshot(snapshot)
    assert accept_files(flat) == flat
    assert content_of(flat) == snapshot.fingerprint
    assert snapshot_of(flat).policies == snapshot.policies
    assert snapshot_of(flat).cases == snapshot.cases


def test_a_case_is_not_taken_for_a_policy_of_the_same_name(tmp_path: Path) -> None:
    assert content_of({"links.toml": b"x"}) != content_of({"cases/links.toml": b"x"})


@given(BUNDLES, BUNDLES)
def test_what_one_side_changed_is_taken(base: dict[str, bytes], changed: dict[str, bytes]) -> None:
    assert merged(base, changed, base) == (changed, [])
    assert merged(base, base, changed) == (changed, [])
    assert merged(base, changed, changed) == (changed, [])


@given(BUNDLES, BUNDLES, BUNDLES)
def test_each_file_comes_from_whoever_changed_it_and_disputes_are_named(
    base: dict[str, bytes], mine: dict[str, bytes], theirs: dict[str, bytes]
) -> None:
    result, both = merged(base, mine, theirs)
    for name in {*base, *mine, *theirs}:
        was, here, there = base.get(name), mine.get(name), theirs.get(name)
        disputed = here != was and there != was and here != there  # noqa: PLR1714  three different things
        assert (name in both) is disputed
        if not disputed:
            assert result.get(name) == (there if here == was else here)


def test_the_small_bundle_of_these_tests_is_accepted() -> None:
    assert list(accept_files(files())) == sorted(files())

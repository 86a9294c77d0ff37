"""Reading a folder: whole, bounded, nothing unexpected."""

import os
from pathlib import Path

import pytest

from gateway.kernel.errors import BundleError
from gateway.policy import folder as reading
from gateway.policy.bundle import load_bundle
from gateway.policy.folder import MAX_FILES, read_folder
from tests.support.policy import policy, write_bundle


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert caught.value.todo
    return str(caught.value)


def test_everything_is_read(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    snapshot = read_folder(folder)
    assert set(snapshot.policies) == {"schema.cedarschema", "a.cedar"}
    assert set(snapshot.cases) == {"a.toml", "bases.toml"}
    assert snapshot.folder == str(folder)


def test_readmes_and_hidden_names_are_passed_over(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    before = read_folder(folder).fingerprint
    (folder / "README.md").write_text("x")
    (folder / ".a.cedar.swp").write_bytes(b"\xff")
    (folder / ".git").mkdir()
    assert read_folder(folder).fingerprint == before


def test_the_fingerprint_covers_cases_and_the_version_does_not(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    before, version = read_folder(folder).fingerprint, load_bundle(folder).version
    (folder / "cases" / "a.toml").write_text("# nothing\n")
    assert read_folder(folder).fingerprint != before
    assert load_bundle(folder).version == version


@pytest.mark.parametrize("name", ["a.cedar.bak", "b.CEDAR", "policy.txt", "a.cedar~", "#a.cedar#"])
def test_a_policy_in_a_misnamed_file_does_not_silently_not_count(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    (folder / name).write_text(policy("stop", effect="forbid"))
    assert f"{folder}/{name}: this does not belong into a bundle" in refused(folder)


def test_a_policy_in_a_sub_folder_does_not_silently_not_count(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    (folder / "more").mkdir()
    assert "does not belong" in refused(folder)
    (folder / "more").rmdir()
    (folder / "cases" / "stop.cedar").write_text(policy("stop"))
    assert "cases/stop.cedar: this is no file of cases" in refused(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert (
        refused(tmp_path / "none")
        == f"{tmp_path}/none: can't be read: No such file or directory. Check the path and its permissions"
    )
    (tmp_path / "file").write_text("")
    assert "Not a directory" in refused(tmp_path / "file")


def test_an_empty_folder_is_invalid_and_never_everything(tmp_path: Path) -> None:
    found = refused(tmp_path)
    assert "there is no schema.cedarschema" in found
    (tmp_path / "schema.cedarschema").write_text(read_schema())
    assert "there is no policy in it" in refused(tmp_path)
    (tmp_path / "a.cedar").write_text("// permit(principal, action, resource);\n")
    assert f"{tmp_path}/a.cedar: there is no policy in this file" in refused(tmp_path)


def read_schema() -> str:
    from gateway.policy.schema import cedar_schema

    return cedar_schema()


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    target = folder / "a.cedar"
    target.unlink()
    target.symlink_to("missing.cedar")
    assert f"{target}: can't be read: No such file or directory" in refused(folder)


def test_too_many_files(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    for index in range(MAX_FILES):
        (folder / f"p{index}.cedar").touch()
    assert f"{MAX_FILES + 2} files, at most {MAX_FILES} are read" not in refused(folder.parent)
    assert f"files, at most {MAX_FILES} are read" in refused(folder)


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    """Container platforms mount folders as links to a hidden sub-folder that is swapped."""
    folder = write_bundle(tmp_path / "b", policy())
    (folder / "..2026").mkdir()
    (folder / "a.cedar").rename(folder / "..2026" / "a.cedar")
    (folder / "..data").symlink_to("..2026")
    (folder / "a.cedar").symlink_to("..data/a.cedar")
    assert [one.id for one in load_bundle(folder).policies] == ["read"]


def test_a_link_to_the_folder_itself_is_fine(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", policy())
    (tmp_path / "link").symlink_to("b")
    assert load_bundle(tmp_path / "link").version == load_bundle(tmp_path / "b").version


def test_a_read_that_a_change_interrupts_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bundle(tmp_path / "b", policy("before"))
    real, reads = reading._read_file, []

    def interrupted(base: Path, name: str, left: int) -> bytes:
        data = real(base, name, left)
        reads.append(name)
        if len(reads) == 1:
            (folder / "z.cedar").write_text(policy("after"))
        return data

    monkeypatch.setattr(reading, "_read_file", interrupted)
    assert set(read_folder(folder).policies) == {"a.cedar", "schema.cedarschema", "z.cedar"}


def test_a_folder_that_never_rests_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bundle(tmp_path / "b", policy())
    real, reads = reading._read_once, []

    def restless(base: Path) -> reading.Snapshot:
        reads.append(1)
        os.utime(folder / "a.cedar", ns=(len(reads), len(reads)))
        return real(base)

    monkeypatch.setattr(reading, "_read_once", restless)
    assert "keeps changing while it is read" in refused(folder)
    assert len(reads) == 3

"""The files of a bundle as one mapping, as its folder holds them: names, limits, hashes. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from gateway.changes.model import ChangeRefused, Files
from gateway.policy.compile import SCHEMA_FILE
from gateway.policy.folder import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, Snapshot

FOLDER: Final = "."
"""What stands for the folder in a snapshot that comes from no folder."""
CASES: Final = "cases/"
LINKS_FILE: Final = "links.toml"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def snapshot_of(files: Files) -> Snapshot:
    """Return the files as `gateway.policy.folder.read_folder` would have, unchecked."""
    return Snapshot(
        folder=FOLDER,
        policies={name: data for name, data in files.items() if not name.startswith(CASES)},
        cases={name.removeprefix(CASES): data for name, data in files.items() if name.startswith(CASES)},
    )


def files_of_snapshot(snapshot: Snapshot) -> dict[str, bytes]:
    """Return the opposite of `snapshot_of`."""
    return {**snapshot.policies, **{f"{CASES}{name}": data for name, data in snapshot.cases.items()}}


def content_of(files: Files) -> str:
    """Return the hash over everything, cases included."""
    return snapshot_of(files).fingerprint


def accept_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return a copy of the files, in order of their names; ChangeRefused (`form`) unless they could stand in a folder.

    Names and sizes only: what is in them is `check_files`' affair. The limits are those of a folder.
    """
    if len(files) > MAX_FILES:
        raise ChangeRefused("form", f"{len(files)} files, at most {MAX_FILES} are kept", "Merge some of them")
    total = 0
    for name, data in files.items():
        base = name.removeprefix(CASES)
        known = base.endswith(".toml") if name.startswith(CASES) else name in {SCHEMA_FILE, LINKS_FILE} or name.endswith(".cedar")
        if not known or not _NAME.fullmatch(base):
            todo = "Policies are *.cedar, cases cases/*.toml, of letters, digits, dot, hyphen and underscore"
            raise ChangeRefused("form", f"{name[:120]!a} is no name of a file in a bundle", todo)
        if len(data) > MAX_FILE_BYTES:
            raise ChangeRefused("form", f"{name} is larger than {MAX_FILE_BYTES // 1024} KiB", "Split the file")
        total += len(data)
    if total > MAX_TOTAL_BYTES:
        raise ChangeRefused("form", f"the bundle is larger than {MAX_TOTAL_BYTES // 1024} KiB", "Drop what is not needed")
    return {name: bytes(files[name]) for name in sorted(files)}


def merged(base: Files, mine: Files, theirs: Files) -> tuple[dict[str, bytes], list[str]]:
    """Put together what two sides made of `base`, file by file; also the names of those that both changed, differently."""
    result: dict[str, bytes] = {}
    both: list[str] = []
    for name in sorted({*base, *mine, *theirs}):
        was, here, there = base.get(name), mine.get(name), theirs.get(name)
        if was not in {here, there} and here != there:
            both.append(name)
        kept = there if here == was else here
        if kept is not None:
            result[name] = kept
    return result, both

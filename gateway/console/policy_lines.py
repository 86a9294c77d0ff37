"""What differs between two bundles' files, line by line, for people to look at. Pure."""

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

CONTEXT: Final = 3
_MOST_LINES: Final = 6_000
"""Of one file: beyond, finding the smallest difference takes too long, and nobody would read it."""


_MOST_PAIRS: Final = 50_000
"""Of lines that are the same on both sides, in what differs: with more, the smallest difference takes minutes to find."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line, with its numbers before and after; None where it is not."""

    kind: Literal["same", "gone", "new", "skip"]
    """`skip`: lines that are the same on both sides were left out here."""
    text: str = ""
    before: int | None = None
    after: int | None = None


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """How one file differs."""

    name: str
    kind: Literal["changed", "added", "removed"]
    lines: tuple[Line, ...]
    """Empty when it is too long to compare."""
    added: int
    removed: int


def changed_files(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[FileChange, ...]:
    """Return the files that differ, policies first, then cases, each by name."""
    names = sorted(
        (name for name in {*before, *after} if before.get(name) != after.get(name)), key=lambda name: ("/" in name, name)
    )
    return tuple(_change(name, before.get(name), after.get(name)) for name in names)


def difference(before: str, after: str) -> tuple[Line, ...]:
    """Return the lines of two texts that differ, each with a few around it."""
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > _MOST_LINES:
        return ()
    found: list[Line] = []
    for group in _groups(old, new):
        if found or group[0][1]:
            found.append(Line(kind="skip"))
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                found += [
                    Line(kind="same", text=old[old_from + at], before=old_from + at + 1, after=new_from + at + 1)
                    for at in range(old_to - old_from)
                ]
                continue
            found += [Line(kind="gone", text=old[at], before=at + 1) for at in range(old_from, old_to)]
            found += [Line(kind="new", text=new[at], after=at + 1) for at in range(new_from, new_to)]
    return tuple(found)


def _groups(old: list[str], new: list[str]) -> Iterator[Sequence[tuple[str, int, int, int, int]]]:
    """Return what differs, as `difflib` does; all between the first and the last difference where that would take too long."""
    least = min(len(old), len(new))
    head = next((at for at in range(least) if old[at] != new[at]), least)
    tail = next((at for at in range(least - head) if old[-1 - at] != new[-1 - at]), least - head)
    old_to, new_to = len(old) - tail, len(new) - tail
    before, after = min(head, CONTEXT), min(tail, CONTEXT)
    here, there = Counter(old[head:old_to]), Counter(new[head:new_to])
    if sum(count * there[line] for line, count in here.items()) > _MOST_PAIRS:
        yield [
            ("equal", head - before, head, head - before, head),
            ("replace", head, old_to, head, new_to),
            ("equal", old_to, old_to + after, new_to, new_to + after),
        ]
        return
    left = head - before
    sides = (old[left : old_to + after], new[left : new_to + after])
    for group in difflib.SequenceMatcher(None, *sides, autojunk=False).get_grouped_opcodes(CONTEXT):
        yield [(tag, left + one, left + two, left + three, left + four) for tag, one, two, three, four in group]


def _change(name: str, before: bytes | None, after: bytes | None) -> FileChange:
    lines = difference(_text(before), _text(after))
    return FileChange(
        name=name,
        kind="added" if before is None else "removed" if after is None else "changed",
        lines=lines,
        added=sum(line.kind == "new" for line in lines),
        removed=sum(line.kind == "gone" for line in lines),
    )


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")

"""Simple changes of one policy in the text of its file, for officers who don't write Cedar. Pure.

Everything else of the file stays as it is, comments and layout included. What comes out is checked like anything that was typed.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.kernel.errors import BundleError
from gateway.policy.source import PolicySource, Token, split, tokenize
from gateway.policy.template import is_template

_MODE: Final = ("@", "mode", "(", '"report-only"', ")")
_EFFECTS: Final = ("permit", "forbid")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """A number that a policy compares something with."""

    index: int
    """Which of the policy's numbers, from 0."""
    value: int
    line: str
    """The line that it stands in, for people."""
    before: str
    """What stands before it in that line."""
    after: str


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A policy, where it is written."""

    file: str
    source: PolicySource
    report_only: bool
    numbers: tuple[Number, ...]


def places(files: Mapping[str, bytes]) -> dict[str, Place]:
    """Return every policy of the bundle that can be read and is no template, by id.

    A file that can't be read has none: the check says why.
    """
    found: dict[str, Place] = {}
    for name, data in sorted(files.items()):
        if not name.endswith(".cedar"):
            continue
        try:
            text = data.decode("utf-8")
            sources = split(text, name)
        except (UnicodeDecodeError, BundleError):
            continue
        for source in sources:
            policy_id = _id_of(source)
            if policy_id and not is_template(source):
                found.setdefault(policy_id, _place(name, text, source))
    return found


def set_mode(files: Mapping[str, bytes], policy_id: str, *, report_only: bool) -> dict[str, bytes]:
    """Return the files with this policy report-only or enforced. LookupError: there is no such policy."""
    name, text, begin, tokens = _find(files, policy_id)
    at = _mode_at(tokens)
    if (at is not None) == report_only:
        return dict(files)
    if at is None:
        effect = next(start for token, start, _ in tokens if token.text in _EFFECTS)
        line = text.rfind("\n", 0, effect) + 1
        where = max(line, begin)
        text = text[:where] + '@mode("report-only")\n' + text[where:]
    else:
        start, end = tokens[at][1], tokens[at + len(_MODE) - 1][2]
        end += len(text[end:]) - len(text[end:].lstrip(" \t"))
        end += text.startswith("\r\n", end) * 2 or text.startswith("\n", end) * 1
        text = text[:start] + text[end:]
    return {**files, name: text.encode()}


def set_titles(files: Mapping[str, bytes], policy_id: str, titles: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files with other titles (`title_ja`, `title_en`) of this policy. LookupError: no such policy, or it has none."""
    name, text, _, tokens = _find(files, policy_id)
    for annotation, title in titles.items():
        name, text, _, tokens = _find({**files, name: text.encode()}, policy_id)
        words = [token.text for token, _, _ in tokens]
        at = next((at for at in range(len(words) - 3) if words[at : at + 3] == ["@", annotation, "("]), None)
        if at is None:
            raise LookupError(policy_id)
        _, start, end = tokens[at + 3]
        quoted = title.replace("\\", "\\\\").replace('"', '\\"')
        text = f'{text[:start]}"{quoted}"{text[end:]}'
    return {**files, name: text.encode()}


def set_number(files: Mapping[str, bytes], policy_id: str, index: int, value: int) -> dict[str, bytes]:
    """Return the files with one number of this policy replaced. LookupError: there is no such policy or number."""
    name, text, _, tokens = _find(files, policy_id)
    numbers = [(start, end) for token, start, end in tokens if _NUMBER.fullmatch(token.text)]
    if not 0 <= index < len(numbers):
        raise LookupError(policy_id)
    start, end = numbers[index]
    return {**files, name: (text[:start] + str(value) + text[end:]).encode()}


def take_out(files: Mapping[str, bytes], policy_id: str) -> dict[str, bytes]:
    """Return the files without this policy and the comment right above it; without its file when nothing else is in that.

    LookupError: there is no such policy.
    """
    name, text, begin, tokens = _find(files, policy_id)
    end = tokens[-1][2]
    end += text.startswith("\n", end)
    line = text.rfind("\n", 0, begin) + 1
    while line:
        above = text.rfind("\n", 0, line - 1) + 1
        if not text[above:line].lstrip().startswith("//"):
            break
        line = above
    left = (text[:line].rstrip() + "\n\n" + text[end:].lstrip("\n")).strip("\n") + "\n"
    if not split(left, name):
        return {other: data for other, data in files.items() if other != name}
    return {**files, name: left.encode()}


# ----------------------------------------------------------------------


def _id_of(source: PolicySource) -> str:
    words = [token.text for token in source.tokens]
    for at in range(len(words) - 4):
        if words[at] in _EFFECTS:
            break
        if words[at : at + 3] == ["@", "id", "("] and words[at + 3].startswith('"'):
            return words[at + 3].strip('"')
    return ""


def _find(files: Mapping[str, bytes], policy_id: str) -> tuple[str, str, int, list[tuple[Token, int, int]]]:
    """Return the file's name and text, where the policy begins in it, and its tokens with their places."""
    place = places(files).get(policy_id)
    if place is None:
        raise LookupError(policy_id)
    text = files[place.file].decode("utf-8")
    begin = _begin(text, place.source)
    found = [
        (token, start, end) for token, start, end in tokenize(text, place.file) if begin <= start < begin + len(place.source.text)
    ]
    return place.file, text, begin, found


def _begin(text: str, source: PolicySource) -> int:
    """Return where in the file a policy begins: the first place of its text from its line on."""
    offset = 0
    for _ in range(source.line - 1):
        offset = text.index("\n", offset) + 1
    return text.index(source.text, offset)


def _mode_at(tokens: list[tuple[Token, int, int]]) -> int | None:
    words = [token.text for token, _, _ in tokens]
    effect = next(at for at, word in enumerate(words) if word in _EFFECTS)
    return next((at for at in range(effect) if tuple(words[at : at + len(_MODE)]) == _MODE), None)


def _place(name: str, text: str, source: PolicySource) -> Place:
    begin = _begin(text, source)
    # Of its own text alone: the file once for each of its policies would take minutes.
    tokens = [(token, begin + start, begin + end) for token, start, end in tokenize(source.text, name)]
    numbers: list[Number] = []
    for token, start, end in tokens:
        if not _NUMBER.fullmatch(token.text):
            continue
        line_from = text.rfind("\n", 0, start) + 1
        line_to = text.find("\n", end)
        line_to = len(text) if line_to < 0 else line_to
        numbers.append(
            Number(
                index=len(numbers), value=int(token.text), line=text[line_from:line_to].strip(),
                before=text[line_from:start].lstrip(), after=text[end:line_to].rstrip(),
            )
        )  # fmt: skip
    return Place(file=name, source=source, report_only=_mode_at(tokens) is not None, numbers=tuple(numbers))

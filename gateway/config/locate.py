"""Where in a TOML text each key stands, which `tomllib` does not say. Pure.

The scanner follows TOML 1.0's lexical grammar: bare, quoted and dotted keys, table headers, arrays of tables, all four kinds of
string, arrays and inline tables. It does not validate (tomllib does): on a malformed text it stops and keeps what it found
until there.
"""

import re
from typing import Final

KeyPath = tuple[str | int, ...]
"""Steps from the root: keys, and indexes into arrays (of tables, or of values)."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # up to two quotes may belong to the text itself
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SPACE: Final = re.compile(r"[ \t]*")
_SPACE_AND_COMMENTS: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SCALAR: Final = re.compile(r"[^,\]}#\r\n]*")
_ESCAPE: Final = re.compile(r'\\(?:([btnfre"\\])|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2}))')
_ESCAPED: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}


class _MalformedError(Exception):
    """The text is not TOML here."""


class Locations:
    """Line numbers (from 1) of every key, table and array element of a TOML text."""

    def __init__(self, text: str) -> None:
        self._scan = _Scanner(text)
        self._scan.run()

    def line(self, path: KeyPath) -> int:
        """Return the line of `path`, or of its nearest ancestor that stands in the text; 1 for the root."""
        while path and path not in self._scan.lines:
            path = path[:-1]
        return self._scan.lines.get(path, 1)

    def has(self, path: KeyPath) -> bool:
        """True when `path` itself stands in the text."""
        return path in self._scan.lines

    def repeated(self, line: int) -> tuple[str, int] | None:
        """Return (dotted key, line of its first appearance) of a key or table that is given again on `line`."""
        return self._scan.repeats.get(line)

    def paths(self) -> frozenset[KeyPath]:
        """Every path that stands in the text."""
        return frozenset(self._scan.lines)


class _Scanner:
    """One pass over the text, a method for each construct."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.counted_to = 0
        self.lines_so_far = 1
        self.lines: dict[KeyPath, int] = {}
        self.repeats: dict[int, tuple[str, int]] = {}
        self.headers: set[KeyPath] = set()
        self.lengths: dict[KeyPath, int] = {}
        """Number of tables so far in each array of tables."""

    def run(self) -> None:
        table: KeyPath = ()
        try:
            while True:
                self.skip(_SPACE_AND_COMMENTS)
                if self.at >= len(self.text):
                    return
                if self.peek("["):
                    table = self.header()
                else:
                    self.pair(table)
        except _MalformedError:
            return  # tomllib reports it, with its own line; what was found so far still helps to say where a key first stood

    def header(self) -> KeyPath:
        array = self.take("[[")
        if not array:
            self.expect("[")
        line = self.line()
        keys = self.key()
        self.expect("]]" if array else "]")
        parent: KeyPath = ()
        for key in keys[:-1]:
            parent = self.inside((*parent, key))
            self.lines.setdefault(parent, line)
        path: KeyPath = (*parent, keys[-1])
        if array:
            index = self.lengths.get(path, 0)
            self.lengths[path] = index + 1
            self.lines.setdefault(path, line)
            path = (*path, index)
        elif path in self.headers:
            self.repeats[line] = (dotted(path), self.lines[path])
        self.headers.add(path)
        self.lines.setdefault(path, line)
        return path

    def inside(self, path: KeyPath) -> KeyPath:
        """Step into the newest element where `path` is an array of tables."""
        return (*path, self.lengths[path] - 1) if path in self.lengths else path

    def pair(self, table: KeyPath) -> None:
        line = self.line()
        keys = self.key()
        path = table
        for key in keys[:-1]:
            path = (*path, key)
            self.lines.setdefault(path, line)
        path = (*path, keys[-1])
        if path in self.lines:
            self.repeats[line] = (dotted(path), self.lines[path])
        self.lines.setdefault(path, line)
        self.expect("=")
        self.value(path)

    def key(self) -> list[str]:
        keys = []
        while True:
            self.skip(_SPACE)
            if self.peek('"') or self.peek("'"):
                keys.append(_unquoted(self.match(_STRING)))
            else:
                keys.append(self.match(_BARE))
            self.skip(_SPACE)
            if not self.take("."):
                return keys

    def value(self, path: KeyPath) -> None:
        self.skip(_SPACE)
        if self.take("["):
            self.array(path)
        elif self.take("{"):
            self.inline_table(path)
        elif self.peek('"') or self.peek("'"):
            self.match(_STRING)
        elif not self.match(_SCALAR).strip():
            raise _MalformedError

    def array(self, path: KeyPath) -> None:
        index = 0
        while True:
            self.skip(_SPACE_AND_COMMENTS)
            if self.take("]"):
                return
            element = (*path, index)
            self.lines.setdefault(element, self.line())
            self.value(element)
            index += 1
            self.skip(_SPACE_AND_COMMENTS)
            if not self.take(","):
                self.expect("]")
                return

    def inline_table(self, path: KeyPath) -> None:
        # Newlines and a comma at the end are allowed from TOML 1.1 on; tomllib of newer Pythons may accept them.
        while True:
            self.skip(_SPACE_AND_COMMENTS)
            if self.take("}"):
                return
            self.pair(path)
            self.skip(_SPACE_AND_COMMENTS)
            if not self.take(","):
                self.expect("}")
                return

    def line(self) -> int:
        self.lines_so_far += self.text.count("\n", self.counted_to, self.at)
        self.counted_to = self.at
        return self.lines_so_far

    def peek(self, token: str) -> bool:
        return self.text.startswith(token, self.at)

    def take(self, token: str) -> bool:
        found = self.peek(token)
        if found:
            self.at += len(token)
        return found

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise _MalformedError

    def skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()

    def match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if not found:
            raise _MalformedError
        self.at = found.end()
        return found.group()


def dotted(path: KeyPath) -> str:
    """Write a path as a person would: `apps[2].routes[1].id`, numbers from 1."""
    text = ""
    for step in path:
        text += f"[{step + 1}]" if isinstance(step, int) else (f".{step}" if text else step)
    return text


def _unquoted(text: str) -> str:
    if text.startswith("'"):
        return text[1:-1]
    return _ESCAPE.sub(_unescape, text[1:-1])


def _unescape(found: re.Match[str]) -> str:
    letter, *codes = found.groups()
    return _ESCAPED[letter] if letter else chr(int(next(code for code in codes if code), 16))

"""Policy text before Cedar sees it: bytes to text, text to tokens, tokens to single policies, each with its line. Pure.

Why our own tokens: Cedar's parser recurses as deep as the text nests and overflows the stack (the process dies, 100 brackets
suffice on a 512 KiB thread), its errors carry no line, and it ends a comment at a bare carriage return where an editor shows
none. So depth and operators are bounded here, and Cedar is handed the tokens, never the file: what a reader sees is what it
gets.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.kernel.errors import BundleError

MAX_DEPTH: Final = 20
"""Brackets inside brackets, in one policy."""
MAX_OPERATORS: Final = 200
"""Operators, dots and keywords of one policy, each of which may add a level to the expression."""
MAX_TOKENS: Final = 5_000
"""Tokens of one policy; room for a list of a thousand entities."""

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)|(?P<comment>//[^\n]*)|(?P<string>"(?:\\.|[^"\\])*")
    |(?P<word>\??[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9]+)|(?P<mark>::|==|!=|<=|>=|&&|\|\||[-@.,;:()\[\]{}<>+*!?=])""",
    re.VERBOSE | re.DOTALL,
)
_UNUSUAL: Final = re.compile(r"[^\x20-\x7e\n\t]")
_OPENING: Final = {"(": ")", "[": "]", "{": "}"}
_OPERATORS: Final = frozenset(
    {
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "&&",
        "||",
        "+",
        "-",
        "*",
        "!",
        ".",
        "[",
        "if",
        "has",
        "like",
        "in",
        "is",
        "when",
        "unless",
    }
)
_REFUSED_CATEGORIES: Final = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cs": "half a surrogate pair",
    "Co": "a private-use character",
    "Cn": "an unassigned character",
    "Zl": "a Unicode line separator",
    "Zp": "a Unicode paragraph separator",
}


class Token(msgspec.Struct, frozen=True):
    """One token and the line (from 1) it starts on."""

    text: str
    line: int


class PolicySource(msgspec.Struct, frozen=True, kw_only=True):
    """One policy as written, from its first annotation to its semicolon."""

    file: str
    line: int
    """Line of the first token, from 1."""
    text: str
    """As written, comments included: for people."""
    tokens: tuple[Token, ...]

    def cedar(self, count: int | None = None) -> str:
        """Return the tokens (the first `count`) for Cedar: no comment, no line break."""
        return " ".join(token.text for token in self.tokens[:count])

    def line_of(self, *texts: str) -> int:
        """Return the line where these tokens follow each other, else the policy's own."""
        words = [token.text for token in self.tokens]
        for index in range(len(words)):
            if tuple(words[index : index + len(texts)]) == texts:
                return self.tokens[index].line
        return self.line


def describe(char: str) -> str:
    """Name a character so that it can be found and is safe to print."""
    return f"U+{ord(char):04X} {unicodedata.name(char, 'without a name')}"


def printable(text: str) -> str:
    """Return text from elsewhere as one line that can't move a terminal's cursor or hide something: for messages."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def decode(data: bytes, file: str) -> str:
    """Return the text of a bundle file, or raise BundleError where it is not plain, visible UTF-8.

    Refused anywhere, comments included: characters that are invisible or reorder what a reader sees (bidirectional controls,
    zero-width characters, byte order marks), control characters but tab and newline, a carriage return without a newline.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BundleError(
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            where=f"{file}:{line}",
            todo="Save the file as UTF-8 without a byte order mark",
        ) from None
    for match in _UNUSUAL.finditer(text):
        index, char = match.start(), match.group()
        if char == "\r" and text[index + 1 : index + 2] == "\n":
            continue
        why = _REFUSED_CATEGORIES.get(unicodedata.category(char))
        if why:
            line = text.count("\n", 0, index) + 1
            raise BundleError(
                f"{why}, {describe(char)}", where=f"{file}:{line}", todo="Delete it: a reader could not see what it does"
            )
    return text


def tokenize(text: str, file: str) -> Iterator[tuple[Token, int, int]]:
    """Yield each token with its start and end in `text`; comments and space are left out. BundleError where none fits."""
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            char = text[position]
            if char == '"':
                what, todo = "this text in quotes never ends", 'Close it with "'
            else:
                what = f"{describe(char)} means nothing here"
                todo = "Use an ordinary space" if char.isspace() else 'Use ASCII outside of texts in "quotes" and comments'
            raise BundleError(what, where=f"{file}:{line}", todo=todo)
        if match.lastgroup not in {"space", "comment"}:
            yield Token(match.group(), line), match.start(), match.end()
        line += match.group().count("\n")
        position = match.end()


def split(text: str, file: str) -> tuple[PolicySource, ...]:
    """Split a file into its policies. BundleError for a policy that is cut off, too deep, too long, or wrongly bracketed."""
    policies: list[PolicySource] = []
    tokens: list[Token] = []
    open_brackets: list[Token] = []
    operators = begin = 0
    for token, start, end in tokenize(text, file):
        if not tokens:
            begin, operators = start, 0
        tokens.append(token)
        operators += token.text in _OPERATORS
        _check_brackets(token, open_brackets, file)
        if len(open_brackets) > MAX_DEPTH:
            raise _too_much(f"brackets nest deeper than {MAX_DEPTH}", file, token)
        if operators > MAX_OPERATORS:
            raise _too_much(f"this policy has more than {MAX_OPERATORS} operators", file, token)
        if len(tokens) > MAX_TOKENS:
            raise _too_much(f"this policy has more than {MAX_TOKENS} words and marks", file, token)
        if token.text == ";" and not open_brackets:
            policies.append(PolicySource(file=file, line=tokens[0].line, text=text[begin:end], tokens=tuple(tokens)))
            tokens = []
    if tokens:
        raise BundleError(
            f"the policy that begins here never ends (the file stops at line {text.count(chr(10)) + 1})",
            where=f"{file}:{tokens[0].line}",
            todo="End it with ; or restore the rest of the file",
        )
    return tuple(policies)


def _check_brackets(token: Token, open_brackets: list[Token], file: str) -> None:
    if token.text in _OPENING:
        open_brackets.append(token)
    elif token.text in _OPENING.values():
        if not open_brackets or _OPENING[open_brackets[-1].text] != token.text:
            raise BundleError(f"this {token.text} closes nothing", where=f"{file}:{token.line}", todo="Balance the brackets")
        open_brackets.pop()


def _too_much(what: str, file: str, token: Token) -> BundleError:
    return BundleError(what, where=f"{file}:{token.line}", todo="Split it into smaller policies")

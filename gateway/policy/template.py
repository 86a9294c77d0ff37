"""Templates: policies with places to fill in. What a template's places take, and its text once they are filled. Pure.

A template is a Cedar template (`?principal` or `?resource` in its head) in a `*.cedar` file. Cedar has no other slots, and rules
of hospitals have dates and seconds; so a template may have places of our own as well, `?from` for instance, wherever a value
stands. Each place, Cedar's and ours, has an annotation that says what it takes, with its labels in the form, in Japanese and
English:

    @value_principal("organization; 委託先; Organisation")
    @value_from("date; 開始日; First day")
    @value_until("date >= from; 最終日; Last day")
    @value_seconds("number 30..3600; 秒以内; Within seconds")
    @value_action("action write delete; 操作; Action")

Ours are filled by putting a literal of that type in the place of the token: the text of a value is never read as policy text.
An action can't be a slot in Cedar (the head wants a name there); it is one of ours, of a closed set of words, so that one
template serves all actions, instead of one for each.
What is left after that is a plain Cedar template, which `compile` links by Cedar itself.
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any, Final, Literal, get_args

import msgspec

from gateway.kernel.errors import BundleError
from gateway.policy.facts import Action
from gateway.policy.lint import look_alikes
from gateway.policy.source import PolicySource, Token, tokenize

Kind = Literal["role", "organization", "person", "app", "route", "date", "number", "action", "word", "zone", "shift", "grant"]
Value = str | int
ENTITY: Final[Mapping[str, str]] = {
    "role": "Role", "organization": "Organization", "person": "User", "app": "App", "route": "Route",
}  # fmt: skip
"""What fills Cedar's own slots, and its entity type."""
OF_SLOT: Final[Mapping[str, tuple[str, ...]]] = {
    "principal": ("role", "organization", "person"),
    "resource": ("app", "route"),
}
NAMES: Final = (*ENTITY, "zone", "shift", "grant")
"""Kinds that take any name: whether there is such a one is known to the configuration only."""
MAX_NAME: Final = 128
MAX_LABEL: Final = 80
PREFIX: Final = "value_"
RESERVED: Final = ("id", "template", "title_ja", "title_en", "guideline", "mode", "values")
"""Keys of a link: no place can be named like one."""

_SPELLED: Final = re.compile(r"(?P<kind>[a-z]+)(?: (?P<rest>[^;]*?))? *;(?P<ja>[^;]+);(?P<en>[^;]+)")
_RANGE: Final = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_AFTER: Final = re.compile(r">= ([a-z][a-z0-9_]*)")
_WORD: Final = re.compile(r"[a-z][a-z0-9_]*")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_SAMPLES: Final[Mapping[str, Value]] = {"date": "2026-01-01", "zone": "other"}


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One place of a template."""

    name: str
    """`principal`, `resource`, or the word after the `?`."""
    kind: Kind
    label_ja: str
    label_en: str
    words: tuple[str, ...] = ()
    """Of `action` and `word`: the ones to choose from."""
    low: int = 0
    high: int = 0
    """Of `number`: both included."""
    not_before: str = ""
    """Of `date`: another place that takes a date."""

    def sample(self) -> Value:
        """Return some value that fits, to check a template with."""
        if self.words:
            return self.words[0]
        return self.low if self.kind == "number" else _SAMPLES.get(self.kind, "x")

    def wrong(self, value: object) -> tuple[str, str] | None:
        """Return (what is wrong, what to do) of a value, or None."""
        shown = ascii(value)[:60]
        if self.kind == "number":
            if type(value) is not int or not self.low <= value <= self.high:
                return (
                    f"{shown} is no number from {self.low} to {self.high}",
                    f"Write a whole number from {self.low} to {self.high}",
                )
            return None
        if not isinstance(value, str):
            return f"{shown} is not a text in quotes", 'Write it in "quotes"' + (', as "2026-12-01"' * (self.kind == "date"))
        if self.words:
            known = f"It is one of: {', '.join(self.words)}"
            return None if value in self.words else (f"{shown} is not known here", known)
        if self.kind == "date":
            return None if _is_date(value) else (f"{shown} is no date", 'Write year-month-day, as "2026-12-01"')
        return wrong_name(value)

    def tokens(self, value: Value) -> tuple[str, ...]:
        """Return the tokens of Cedar that stand for a value that is not `wrong`."""
        if self.kind == "action":
            return ("Action", "::", quoted(str(value)))
        if self.kind in ENTITY:
            return (ENTITY[self.kind], "::", quoted(str(value)))
        if self.kind == "date":
            return (str(value).replace("-", "").lstrip("0"),)
        return (str(value),) if self.kind == "number" else (quoted(str(value)),)


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A checked template of a bundle."""

    id: str
    effect: Literal["permit", "forbid"]
    title_ja: str
    """`{name}` stands for what fills that place."""
    title_en: str
    guidelines: tuple[str, ...]
    lease: str = ""
    """As written: `1s`."""
    slots: tuple[Slot, ...]
    """In the order of their annotations."""
    file: str
    line: int
    text: str
    """As written, for people."""
    body: str
    """From `permit` or `forbid` on, as written."""

    def title(self, language: Literal["ja", "en"], values: Mapping[str, Value]) -> str:
        """Return the title of a link with these values that has none of its own."""
        text = self.title_ja if language == "ja" else self.title_en
        return _PLACE.sub(lambda match: str(values[match[1]]), text)


def is_template(source: PolicySource) -> bool:
    """Whether a policy has places to fill in, or says that it has."""
    texts = [token.text for token in source.tokens]
    annotated = any(at == "@" and name.startswith(PREFIX) for at, name in pairwise(texts))
    return annotated or any(text.startswith("?") for text in texts)


def quoted(text: str) -> str:
    """Return a text as a literal of Cedar."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def wrong_name(text: str) -> tuple[str, str] | None:
    """Return (what, what to do) for a name that is empty, long, or not what it looks like."""
    if not text.strip() or text != text.strip() or len(text) > MAX_NAME:
        return f"{ascii(text)[:60]} is no name", f"Write 1 to {MAX_NAME} characters, no space at the ends"
    if not text.isprintable():
        return f"{ascii(text)[:60]} holds an invisible character", "Delete it: a reader could not see what it does"
    for what, todo, _ in look_alikes(text):
        return what, todo
    return None


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text) or not text.isascii():
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def read_slots(source: PolicySource, annotations: Mapping[str, str]) -> tuple[Slot, ...]:
    """Return the places of a template. Raises BundleError: what is used and what is described differ, or is described wrongly."""
    used = {token.text[1:]: token.line for token in source.tokens if token.text.startswith("?")}
    slots: dict[str, Slot] = {}
    # In the order of the text: Cedar sorts annotations by name.
    for annotation in dict.fromkeys(token.text for token in source.tokens):
        if annotation.startswith(PREFIX) and annotation in annotations:
            name = annotation.removeprefix(PREFIX)
            slots[name] = _read_slot(name, annotations[annotation], f"{source.file}:{source.line_of('@', annotation)}")
    for name, line in used.items():
        if name not in slots:
            todo = f'Add @{PREFIX}{name}("<kind>; <Japanese label>; <English label>") before it'
            raise BundleError(f"nothing says what ?{name} takes", where=f"{source.file}:{line}", todo=todo)
    for name, slot in slots.items():
        where = f"{source.file}:{source.line_of('@', PREFIX + name)}"
        if name not in used:
            raise BundleError(f"there is no ?{name} in this template", where=where, todo=f"Drop @{PREFIX}{name}, or use it")
        before = slots.get(slot.not_before)
        if slot.not_before and (before is None or before is slot or before.kind != "date"):
            raise BundleError(f"{slot.not_before} is no other date of this template", where=where, todo="Name one")
    if not set(OF_SLOT) & set(used):
        todo = "Write `principal in ?principal` or `resource in ?resource` in its head, or make it a plain policy"
        raise BundleError("a template needs ?principal or ?resource", where=f"{source.file}:{source.line}", todo=todo)
    _check_titles(source, annotations, slots)
    return tuple(slots.values())


def _check_titles(source: PolicySource, annotations: Mapping[str, str], slots: Container[str]) -> None:
    for name in ("title_ja", "title_en"):
        for place in _PLACE.findall(annotations.get(name, "")):
            if place not in slots:
                where = f"{source.file}:{source.line_of('@', name)}"
                what = f"@{name} names {place!a}, and there is no such place"
                raise BundleError(what, where=where, todo="Name a place of this template, without the question mark")


def _read_slot(name: str, spelled: str, where: str) -> Slot:
    match = _SPELLED.fullmatch(spelled)
    todo = 'Write "<kind>; <Japanese label>; <English label>": README.md in the policies folder has the kinds'
    if name in RESERVED or not match or match["kind"] not in get_args(Kind):
        raise BundleError(f"@{PREFIX}{name}({ascii(spelled)[:60]}) describes no value", where=where, todo=todo)
    kind, rest = match["kind"], (match["rest"] or "").strip()
    labels = match["ja"].strip(), match["en"].strip()
    if any(not label or len(label) > MAX_LABEL or not label.isprintable() for label in labels):
        raise BundleError("a label is empty, too long, or holds an invisible character", where=where, todo=todo)
    if name in OF_SLOT and kind not in OF_SLOT[name]:
        raise BundleError(f"?{name} can't take a {kind}", where=where, todo=f"It takes one of: {', '.join(OF_SLOT[name])}")
    if name not in OF_SLOT and kind == "person":
        raise BundleError("a person can only be ?principal", where=where, todo="Write `principal == ?principal` in the head")
    try:
        return Slot(name=name, kind=msgspec.convert(kind, Kind), label_ja=labels[0], label_en=labels[1], **_limits(kind, rest))
    except ValueError as error:
        raise BundleError(f"{ascii(rest)[:60]} after {kind}: {error}", where=where, todo=todo) from None


def _limits(kind: str, rest: str) -> dict[str, Any]:
    """What may follow the kind: `30..3600`, `>= from`, or words."""
    if kind == "number":
        between = _RANGE.fullmatch(rest)
        if not between or int(between[1]) > int(between[2]):
            raise ValueError("write the lowest and highest number, as 30..3600")
        return {"low": int(between[1]), "high": int(between[2])}
    if kind in {"action", "word"}:
        words = tuple(rest.split()) or (get_args(Action) if kind == "action" else ())
        known = get_args(Action) if kind == "action" else words
        if not words or len(set(words)) != len(words) or any(word not in known or not _WORD.fullmatch(word) for word in words):
            raise ValueError("write the words to choose from, with spaces between")
        return {"words": words}
    if kind == "date" and (after := _AFTER.fullmatch(rest)):
        return {"not_before": after[1]}
    if rest:
        raise ValueError("nothing goes there")
    return {}


def body_of(source: PolicySource) -> tuple[str, int]:
    """Return a policy's text from `permit` or `forbid` on, and the number of tokens before."""
    depth = 0
    for index, (token, start, _) in enumerate(tokenize(source.text, source.file)):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.text in {"permit", "forbid"} and source.tokens[index - 1].text != "@":
            return source.text[start:], index
    return source.text, 0


def sampled(source: PolicySource, slots: Sequence[Slot]) -> PolicySource:
    """Return a template as Cedar can read it: some fitting value in each place of ours, without what describes places."""
    _, count = body_of(source)
    by_name = {slot.name: slot for slot in slots}
    kept: list[Token] = []
    skipping = False
    for index, token in enumerate(source.tokens):
        if index < count and token.text == "@":
            skipping = source.tokens[index + 1].text.startswith(PREFIX)
        if index >= count or not skipping:
            kept += _filled(token, by_name, {name: slot.sample() for name, slot in by_name.items() if name not in OF_SLOT})
    return msgspec.structs.replace(source, tokens=tuple(kept))


def _filled(token: Token, slots: Mapping[str, Slot], values: Mapping[str, Value]) -> Iterator[Token]:
    name = token.text.removeprefix("?")
    if token.text.startswith("?") and name in values:
        yield from (Token(text, token.line) for text in slots[name].tokens(values[name]))
    else:
        yield token


def body_with(template: Template, values: Mapping[str, Value], *, of_cedar: bool) -> str:
    """Return the body with its places filled, as written otherwise, comments included; Cedar's own too where `of_cedar` says so.

    `values` must not be `wrong`. Places are filled token by token, so that nothing in a comment or text counts as a place.
    """
    slots = {slot.name: slot for slot in template.slots}
    parts: list[str] = []
    end = 0
    for token, start, stop in tokenize(template.body, template.file):
        name = token.text.removeprefix("?")
        if token.text.startswith("?") and name in slots and (of_cedar or name not in OF_SLOT):
            parts += (template.body[end:start], "".join(slots[name].tokens(values[name])))
            end = stop
    return "".join((*parts, template.body[end:]))

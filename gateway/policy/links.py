"""`links.toml`: templates that were filled in. Reading it, filling them in, and writing a link. Pure.

    [[link]]
    id = "maintenance-imaging"
    template = "organization-in-period"
    principal = "保守会社"
    resource = "imaging"
    values = { from = "2026-12-01", until = "2026-12-31" }

and where wanted `title_ja`, `title_en` (else the template's own, filled in), `guideline` (else the template's) and `mode`. A link
names a template and nothing else, and a template names nothing: there is no circle to go in.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.kernel.errors import BundleError
from gateway.policy.source import PolicySource, Token, decode, tokenize
from gateway.policy.template import Template, Value, body_with, quoted
from gateway.policy.toml_text import parse_toml

LINKS_FILE: Final = "links.toml"
HEADER: Final = "# Templates of *.cedar that were filled in. Each [[link]] is a policy. The console writes this file, too.\n"
_SCOPE: Final = ("principal", "resource")
_TEXTS: Final = ("id", "template", *_SCOPE, "title_ja", "title_en", "guideline", "mode")
_KEYS: Final = (*_TEXTS, "values")
_BEGIN: Final = re.compile(r"\s*\[\[\s*link\s*\]\]")


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One filled-in template, as it stands in the file."""

    id: str
    template: str
    principal: str | None = None
    resource: str | None = None
    values: dict[str, Value] = {}
    title_ja: str = ""
    title_en: str = ""
    guideline: str = ""
    mode: str = ""
    line: int = 0
    """Where it begins; 0 for one that is not written yet."""

    def all_values(self) -> dict[str, Value]:
        """Return what fills each place, Cedar's own included."""
        scope = {name: value for name in _SCOPE if (value := getattr(self, name)) is not None}
        return {**scope, **self.values}


def read_links(data: bytes, where: str) -> tuple[Link, ...]:
    """Return the links of a file. Raises BundleError with `where`:line for what is not one; the templates are not looked at."""
    text = decode(data, where)
    document = parse_toml(text, where)
    begins = beginnings(text)
    for key in document:
        if key != "link":
            at = next((n for n, line in enumerate(text.splitlines(), 1) if re.match(rf'\s*\[*\s*"?{re.escape(key)}\b', line)), 1)
            raise BundleError(f"{key!a} is not known in this file", where=f"{where}:{at}", todo="Begin each link with [[link]]")
    tables = document.get("link", [])
    if not isinstance(tables, list) or len(tables) != len(begins) or not all(isinstance(table, dict) for table in tables):
        raise BundleError("links are not a list of tables", where=f"{where}:1", todo="Begin each with a line [[link]]")
    if not tables:
        raise BundleError("there is no link in this file", where=where, todo="Delete the file, or restore what was in it")
    return tuple(_read_link(table, f"{where}:{begin}", begin) for table, begin in zip(tables, begins, strict=True))


def beginnings(text: str) -> list[int]:
    """Return the lines that begin a link."""
    return [number for number, line in enumerate(text.split("\n"), 1) if _BEGIN.match(line)]


def _read_link(table: Mapping[str, Any], where: str, line: int) -> Link:
    for key in table:
        if key not in _KEYS:
            raise BundleError(f"{key!a} is not known in a link", where=where, todo=_advise(key, _KEYS))
    for key in _TEXTS:
        if key in table and not isinstance(table[key], str):
            raise BundleError(f"{key} is no text", where=where, todo=f'Write {key} = "..." in quotes')
    for key in ("id", "template"):
        if not table.get(key):
            raise BundleError(f"this link has no {key}", where=where, todo=f'Add {key} = "..."')
    values = table.get("values", {})
    if not isinstance(values, dict):
        raise BundleError("values is no table", where=where, todo="Write values = { name = value, ... }")
    texts = {key: value for key, value in table.items() if key in _TEXTS}
    return Link(**texts, values=values, line=line)


def _advise(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"Did you mean {near[0]}?"
    return f"Known: {', '.join(known)}" if known else "There is none here"


def find_template(link: Link, templates: Mapping[str, Template], others: Sequence[str]) -> Template | tuple[str, str]:
    """Return a link's template, or (what is wrong, what to do). `others`: ids of policies and links that are no templates."""
    if link.template in templates:
        return templates[link.template]
    shown = ascii(link.template[:60])
    if link.template in others:
        return (
            f"{shown} is no template but a policy",
            "Only a template with places to fill in can be named: links never lead to links",
        )
    return f"there is no template {shown}", _advise(link.template, sorted(templates))


def wrong_values(link: Link, template: Template) -> Iterator[tuple[str, str, str]]:
    """Yield (place, what, what to do) for each place of the template that is not rightly filled."""
    given = link.all_values()
    slots = {slot.name: slot for slot in template.slots}
    misplaced = [name for name in link.values if name in _SCOPE]
    for name in misplaced:
        yield name, f"{name} does not belong into values", f'Write {name} = "..." in a line of its own'
    for name in given:
        if name not in slots:
            yield name, f"template {template.id} has no ?{name:.60}", _advise(name, list(slots))
    wrong = set(misplaced)
    for name, slot in slots.items():
        if name not in given:
            wrong.add(name)
            yield name, f"{name} ({slot.label_en}) is missing", f"Add it{'' if name in _SCOPE else ' to values'}"
        elif (problem := slot.wrong(given[name])) is not None:
            wrong.add(name)
            yield name, f"{name}: {problem[0]}", problem[1]
    for name, slot in slots.items():
        before = slot.not_before
        if before and not {name, before} & wrong and str(given[name]) < str(given[before]):
            yield name, f"{name} ({given[name]}) is before {before} ({given[before]})", "Exchange them, or correct one"


def filled(link: Link, template: Template, where: str) -> PolicySource:
    """Return the policy that a link makes of its template. Its values must not be wrong (`wrong_values`).

    Every token stands on the link's own line: that is where a problem with it is to be looked for.
    """
    values = link.all_values()
    annotations = {
        "id": link.id,
        "title_ja": link.title_ja or template.title("ja", values),
        "title_en": link.title_en or template.title("en", values),
        "guideline": link.guideline or ", ".join(template.guidelines),
        "mode": link.mode,
        "lease": template.lease,
    }
    head = "".join(f"@{name}({quoted(value)})\n" for name, value in annotations.items() if value)
    text = head + body_with(template, values, of_cedar=True)
    tokens = tuple(Token(token.text, link.line) for token, _, _ in tokenize(text, where))
    return PolicySource(file=where, line=link.line, text=text, tokens=tokens)


def write_link(link: Link) -> str:
    """Return a link as a block of the file, ending with a newline."""
    lines = ["[[link]]", f"id = {_toml(link.id)}", f"template = {_toml(link.template)}"]
    lines += [f"{name} = {_toml(value)}" for name in _SCOPE if (value := getattr(link, name)) is not None]
    if link.values:
        lines.append("values = { " + ", ".join(f"{name} = {_toml(value)}" for name, value in link.values.items()) + " }")
    lines += [
        f"{name} = {_toml(text)}" for name in ("title_ja", "title_en", "guideline", "mode") if (text := getattr(link, name))
    ]
    return "\n".join(lines) + "\n"


def _toml(value: Value) -> str:
    """A basic string of TOML has JSON's escapes (TOML 1.0, String), but U+007F, which `wrong_name` refuses."""
    return msgspec.json.encode(value).decode()

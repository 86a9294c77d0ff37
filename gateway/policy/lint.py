"""What Cedar's validator lets through and a hospital should not: conditions that can never hold, look-alike names. Pure."""

import difflib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from cedarpy import pst

from gateway.policy.schema import closed_words, known_attributes
from gateway.policy.source import describe

_CLOSED: Final = closed_words()
_KNOWN: Final = known_attributes()
_COMPARING: Final = {"eq", "not_eq", "contains", "contains_all", "contains_any"}
_JAPANESE: Final = (
    "CJK UNIFIED IDEOGRAPH",
    "HIRAGANA LETTER",
    "KATAKANA LETTER",
    "KATAKANA-HIRAGANA",
    "IDEOGRAPHIC ITERATION MARK",
)


def lint(template: pst.Template) -> Iterator[tuple[str, str, str]]:
    """Yield (what, what to do, the text to look for in the policy) for each problem of a parsed policy.

    Finds: a comparison of a closed attribute with a word outside its set; `has` with an
    attribute that does not exist; a name or text that mixes scripts or isn't in its
    plain (NFKC) form, so that two that look alike differ; a permit without any scope or condition.
    It does not know which roles, apps and routes exist: cases show that.
    """
    scopes = (template.principal, template.action, template.resource)
    if template.effect == "permit" and not template.clauses and all(isinstance(scope, pst.ScopeAny) for scope in scopes):
        yield "this permits everything to everyone", "Name a principal, an action, a resource or a condition", ""
    for node in _walk((*scopes, *template.clauses)):
        if isinstance(node, pst.StringLit | pst.EntityUid):
            text = node.value if isinstance(node, pst.StringLit) else node.id
            yield from look_alikes(text)
        elif isinstance(node, pst.HasAttr):
            yield from _never_has(node)
        elif isinstance(node, pst.BinaryOp) and node.op in _COMPARING:
            yield from _impossible_words(node)


def advise_attribute(name: str) -> str:
    """Say what to do about an attribute that does not exist: the nearest right name, or where they are listed."""
    every = sorted({known for names in _KNOWN.values() for known in names})
    near = difflib.get_close_matches(name, every, 1)
    return f"Did you mean {near[0]}?" if near else "policies/README.md lists what policies can read"


def _walk(node: Any) -> Iterator[Any]:
    """Every node under `node`, itself included. Depth is bounded: `source.split` refused deeper text."""
    if isinstance(node, tuple):
        for item in node:
            yield from _walk(item)
    elif isinstance(node, Mapping):
        for item in node.values():
            yield from _walk(item)
    elif is_dataclass(node):
        yield node
        for field in fields(node):
            yield from _walk(getattr(node, field.name))


def look_alikes(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield, as `lint`, what keeps a name or text from being what it looks like."""
    if unicodedata.normalize("NFKC", text) != text:
        plain = unicodedata.normalize("NFKC", text)
        yield f'"{text}" is not in its plain form', f'Write "{plain}"', f'"{text}"'
        return
    for char in text:
        if char.isascii() and char.isprintable():
            continue
        if not unicodedata.name(char, "").startswith(_JAPANESE):
            yield f"{describe(char)} in a name or text looks like something else", "Use ASCII letters or Japanese", f'"{text}"'
            return


def _path(expr: Any) -> tuple[str, ...]:
    names: list[str] = []
    while isinstance(expr, pst.GetAttr):
        names.append(expr.attr)
        expr = expr.base
    return (expr.name, *reversed(names)) if isinstance(expr, pst.Var) else ()


def _never_has(node: pst.HasAttr) -> Iterator[tuple[str, str, str]]:
    path = _path(node.base)
    for name in node.attrs:
        if path in _KNOWN and name not in _KNOWN[path]:
            yield f"{'.'.join(path)} never has {name}", advise_attribute(name), name
            return
        path = (*path, name)


def _words(expr: Any) -> list[str]:
    items = expr.elements if isinstance(expr, pst.Set) else (expr,)
    return [item.value for item in items if isinstance(item, pst.StringLit)]


def _impossible_words(node: pst.BinaryOp) -> Iterator[tuple[str, str, str]]:
    for place, other in ((node.left, node.right), (node.right, node.left)):
        path = _path(place)
        for word in _words(other) if path in _CLOSED else ():
            if word not in _CLOSED[path]:
                known = sorted(filter(None, _CLOSED[path]))
                near = difflib.get_close_matches(word, known, 1)
                todo = f'Did you mean "{near[0]}"?' if near else f"It is one of: {', '.join(known)}"
                yield f'{".".join(path)} is never "{word}"', todo, f'"{word}"'

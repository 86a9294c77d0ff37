"""One policy's text, to Cedar and to a `Policy`: grammar, annotations, strict typing, lint. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import cedarpy
from cedarpy import pst

from gateway.kernel.errors import BundleError
from gateway.policy.annotations import check_annotations
from gateway.policy.evaluate import Policy
from gateway.policy.lint import advise_attribute, lint
from gateway.policy.problems import raise_problems
from gateway.policy.schema import SCHEMA
from gateway.policy.source import PolicySource, printable

_VALIDATOR_PREFIX: Final = re.compile(r"^for policy `policy0`, ")
_VALIDATOR_ACTION: Final = re.compile(r' in context for Action::"[a-z]+"')
_NO_ACTION: Final = "unable to find an applicable action"
_NAMED: Final = re.compile(r"`([^`]+)`")
_EOF: Final = "unexpected end of input"
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")
_JOINING: Final = frozenset({"&&", "||"})
_MOST_TRIED: Final = 64
"""Parts of a condition: a millisecond each."""


def compile_policy(source: PolicySource) -> Policy:
    """Check one policy and return it. Raises BundleError (BundleProblems when there are several)."""
    template = parse_policy(source)
    annotations = dict(template.annotations)
    raise_problems(check_policy(source, template))
    return Policy(
        id=annotations["id"],
        effect=template.effect,
        title_ja=annotations["title_ja"],
        title_en=annotations["title_en"],
        guidelines=clauses_of(annotations),
        report_only="mode" in annotations,
        lease_seconds=int(annotations.get("lease", "0s").removesuffix("s")),
        file=source.file,
        line=source.line,
        text=source.text,
        cedar=source.cedar(),
    )


def check_policy(source: PolicySource, parsed: pst.Template) -> list[BundleError]:
    """Return what is wrong with a policy, or a template, that Cedar could read."""
    problems = list(check_annotations(source, parsed.annotations))
    problems += _validate(source)
    for what, todo, look_for in lint(parsed):
        problems.append(BundleError(what, where=f"{source.file}:{source.line_of(look_for)}", todo=todo))
    return problems


def clauses_of(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Return the clauses that @guideline names."""
    return tuple(part.strip() for part in annotations["guideline"].split(",")) if "guideline" in annotations else ()


def parse_policy(source: PolicySource) -> pst.Template:
    """Return Cedar's reading of one policy. Raises BundleError where it has none, or its text is not one policy."""
    parsed = _parsed(source)
    if len(parsed.static_policies) != 1 or parsed.templates:
        raise BundleError("this is not one policy", where=f"{source.file}:{source.line}", todo="End each policy with one ;")
    return next(iter(parsed.static_policies.values()))


def parse_template(source: PolicySource) -> pst.Template:
    """As `parse_policy`, of a template: with `?principal` or `?resource` in its head."""
    parsed = _parsed(source)
    if len(parsed.templates) != 1 or parsed.static_policies:
        raise BundleError("this is not one template", where=f"{source.file}:{source.line}", todo="End each with one ;")
    return next(iter(parsed.templates.values()))


def _parsed(source: PolicySource) -> pst.PolicySet:
    try:
        return cedarpy.PolicySet.from_str(source.cedar()).to_pst()
    except ValueError as error:
        todo = "README.md in the policies folder shows how a policy is written"
        raise BundleError(
            printable(str(error)), where=f"{source.file}:{_offending_line(source, str(error))}", todo=todo
        ) from None


def _offending_line(source: PolicySource, message: str) -> int:
    """Find the line of a syntax error, which Cedar does not tell: the shortest beginning whose error is not that it ends.

    Errors that are not of grammar (an unknown function) are only found once the policy is whole: then the only token of that
    text, or the policy's first line.
    """
    low, high = 1, len(source.tokens)
    while low < high:
        middle = (low + high) // 2
        try:
            cedarpy.PolicySet.from_str(source.cedar(middle))
            ends = False
        except ValueError as error:
            ends = _EOF in str(error)
        low, high = (middle + 1, high) if ends else (low, middle)
    if low < len(source.tokens):
        return source.tokens[low - 1].line
    named = _NAMED.search(message)
    lines = [token.line for token in source.tokens if named and token.text == named[1]]
    return lines[0] if len(lines) == 1 else source.line


def _errors(cedar: str) -> set[str]:
    found = cedarpy.validate_policies(cedar, SCHEMA).errors
    return {_VALIDATOR_ACTION.sub("", _VALIDATOR_PREFIX.sub("", error.error)) for error in found}


def _line_by_trying(source: PolicySource, text: str) -> int:
    """Find the line of a finding that Cedar gives no place for: of the first part of a condition (between `&&` and `||`, outside
    all brackets) that by itself brings it up; the policy's own where none does, or there are too many to try.
    """
    tokens = source.tokens
    depth, begin = 0, 0
    head: int | None = None
    parts: list[tuple[int, int]] = []
    for index, token in enumerate(tokens):
        if token.text in _CLOSING:
            depth -= 1
        ends = (depth == 1 and token.text in _JOINING) or (depth == 0 and token.text == "}")
        if ends and head is not None:
            parts.append((begin, index))
            begin = index + 1
        if token.text in _OPENING:
            if depth == 0 and token.text == "{":
                head, begin = head or index, index + 1
            depth += 1
    if head is None or len(parts) > _MOST_TRIED:
        return source.line
    start = " ".join(token.text for token in tokens[: head - 1])  # without `when` or `unless`
    for first, end in parts:
        part = " ".join(token.text for token in tokens[first:end])
        if first < end and text in _errors(f"{start} when {{ {part} }};"):
            return tokens[first].line
    return source.line


def _validate(source: PolicySource) -> Iterator[BundleError]:
    """Strict typing against our schema. The same finding for several actions is one problem."""
    found = _errors(source.cedar())
    specific = {text for text in found if _NO_ACTION not in text}
    for text in sorted(specific or found):
        quoted = re.search(r"attribute `([A-Za-z_.]+)`", text)
        todo, line = "policies/README.md lists what policies can read, and each type", source.line
        if not quoted:
            line = _line_by_trying(source, text)
        else:
            name = quoted[1].rsplit(".", 1)[-1]
            line = source.line_of(".", name)
            todo = advise_attribute(name)
            if "optional attribute" in text:
                parent = f"context.{quoted[1]}".rsplit(".", 1)[0]
                todo = f"It may be unknown: write {parent} has {name} && ... before it"
        yield BundleError(printable(text), where=f"{source.file}:{line}", todo=todo)

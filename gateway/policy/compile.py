"""From the bytes of a bundle's files to a `Bundle`, or to every reason why not. Pure: no I/O, no clock.

Checked, in this order: the schema says what this gateway supplies; each policy's text (`source`), Cedar's grammar, our
annotations, Cedar's strict typing, and `lint`; no id twice; at least one policy that is enforced.
"""

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

import cedarpy
from cedarpy import pst

from gateway.kernel.errors import BundleError
from gateway.policy.evaluate import Bundle, Policy
from gateway.policy.lint import advise_attribute, lint
from gateway.policy.schema import SCHEMA, cedar_schema
from gateway.policy.source import PolicySource, decode, printable, split, tokenize

SCHEMA_FILE: Final = "schema.cedarschema"
MAX_POLICIES: Final = 1_000
MAX_LEASE_SECONDS: Final = 5
MAX_TITLE: Final = 200

_REQUIRED: Final = ("id", "title_ja", "title_en")
_OPTIONAL: Final = ("guideline", "mode", "lease")
_ID: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_GUIDELINE: Final = re.compile(r"[5-9]\.\d/(overview|governance|planning|ops|outsourced)/\d{1,2}(\.\d{1,2}){0,2}(-\d{1,2})?")
_LEASE: Final = re.compile(r"([0-9])s")
_VALIDATOR_PREFIX: Final = re.compile(r"^for policy `policy0`, ")
_VALIDATOR_ACTION: Final = re.compile(r' in context for Action::"[a-z]+"')
_NO_ACTION: Final = "unable to find an applicable action"
_NAMED: Final = re.compile(r"`([^`]+)`")
_EOF: Final = "unexpected end of input"


class BundleProblems(BundleError):  # noqa: N818  the plural of BundleError
    """Several reasons why a bundle can't be used. As an error it speaks of the first and counts the others."""

    def __init__(self, problems: tuple[BundleError, ...]) -> None:
        first, others = problems[0], len(problems) - 1
        more = f" (and {others} more {'problem' if others == 1 else 'problems'})" if others else ""
        super().__init__(first.what + more, where=first.where, todo=first.todo)
        self.problems = problems


def problems_of(error: BundleError) -> tuple[BundleError, ...]:
    """Return the single problems of an error, for those who print them line by line."""
    return error.problems if isinstance(error, BundleProblems) else (error,)


def version_of(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over names and bytes in hex: sorted by name, every part preceded by its length, so that no two bundles
    collide by moving bytes between names or files.
    """
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        for part in (name.encode("utf-8", "surrogateescape"), data):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def compile_bundle(files: Mapping[str, bytes], folder: str) -> Bundle:
    """Check and compile the schema and policy files of a bundle: names without folder to bytes.

    `folder` only appears in errors. Raises BundleError (BundleProblems when there are several).
    """
    sources, problems = _read_sources(files, folder)
    if len(sources) > MAX_POLICIES:
        raise BundleError(f"{len(sources)} policies, at most {MAX_POLICIES} are read", where=folder, todo="Merge or drop some")
    if not sources and not problems:
        problems.append(BundleError("there is no policy in it", where=folder, todo="Empty is never valid: add *.cedar files"))
    policies: dict[str, Policy] = {}
    for source in sources:
        try:
            policy = _compile_policy(source)
            _check_unique(policy, policies)
            policies[policy.id] = policy
        except BundleError as problem:
            problems += problems_of(problem)
    if not problems and all(policy.report_only for policy in policies.values()):
        problems.append(
            BundleError("every policy is report-only", where=folder, todo="Nothing would ever be allowed: enforce one")
        )
    _raise(problems)
    return Bundle(version=version_of(files), policies=tuple(policies.values()))


def _raise(problems: list[BundleError]) -> None:
    if problems:
        raise problems[0] if len(problems) == 1 else BundleProblems(tuple(problems))


def _read_sources(files: Mapping[str, bytes], folder: str) -> tuple[list[PolicySource], list[BundleError]]:
    problems: list[BundleError] = []
    sources: list[PolicySource] = []
    if SCHEMA_FILE not in files:
        problems.append(BundleError(f"there is no {SCHEMA_FILE}", where=folder, todo="Copy the one that came with this version"))
    for name, data in sorted(files.items()):
        where = f"{folder}/{name}"
        try:
            text = decode(data, where)
            if name == SCHEMA_FILE:
                _check_schema(text, where)
            else:
                sources += _split_file(text, where)
        except BundleError as problem:
            problems.append(problem)
    return sources, problems


def _split_file(text: str, where: str) -> tuple[PolicySource, ...]:
    sources = split(text, where)
    if not sources:
        raise BundleError("there is no policy in this file", where=where, todo="Delete the file, or restore what was in it")
    return sources


def _check_schema(text: str, where: str) -> None:
    """Refuse a schema that differs from ours in anything but comments and layout. It is compared, never parsed."""
    ours = [token.text for token, _, _ in tokenize(cedar_schema(), "")]
    theirs = [token for token, _, _ in tokenize(text, where)]
    todo = "Restore the file that came with this version: policies can't add facts that the gateway does not know"
    for expected, token in zip(ours, theirs, strict=False):
        if token.text != expected:
            raise BundleError(
                f"`{token.text}` stands where this version has `{expected}`", where=f"{where}:{token.line}", todo=todo
            )
    if len(theirs) != len(ours):
        what = (
            "the file ends too early" if len(theirs) < len(ours) else f"`{theirs[len(ours)].text}` follows the end of the schema"
        )
        line = theirs[min(len(ours), len(theirs)) - 1].line if theirs else 1
        raise BundleError(what, where=f"{where}:{line}", todo=todo)


def _check_unique(policy: Policy, others: Mapping[str, Policy]) -> None:
    other = others.get(policy.id)
    if other:
        raise BundleError(
            f'@id("{policy.id}") is used twice, first at {other.file}:{other.line}',
            where=f"{policy.file}:{policy.line}",
            todo="Give each policy its own id: records and cases name it",
        )


def _compile_policy(source: PolicySource) -> Policy:
    template = _parse(source)
    annotations = dict(template.annotations)
    problems = list(_check_annotations(source, annotations))
    problems += _validate(source)
    for what, todo, look_for in lint(template):
        problems.append(BundleError(what, where=f"{source.file}:{source.line_of(look_for)}", todo=todo))
    _raise(problems)
    return Policy(
        id=annotations["id"],
        effect=template.effect,
        title_ja=annotations["title_ja"],
        title_en=annotations["title_en"],
        guidelines=tuple(part.strip() for part in annotations["guideline"].split(",")) if "guideline" in annotations else (),
        report_only="mode" in annotations,
        lease_seconds=int(annotations.get("lease", "0s").removesuffix("s")),
        file=source.file,
        line=source.line,
        text=source.text,
        cedar=source.cedar(),
    )


def _parse(source: PolicySource) -> pst.Template:
    try:
        parsed = cedarpy.PolicySet.from_str(source.cedar()).to_pst()
    except ValueError as error:
        todo = "README.md in the policies folder shows how a policy is written"
        raise BundleError(
            printable(str(error)), where=f"{source.file}:{_offending_line(source, str(error))}", todo=todo
        ) from None
    if parsed.templates:
        line = next((token.line for token in source.tokens if token.text.startswith("?")), source.line)
        raise BundleError(
            "templates (?principal, ?resource) permit nothing here", where=f"{source.file}:{line}", todo="Write the name instead"
        )
    if len(parsed.static_policies) != 1:
        raise BundleError("this is not one policy", where=f"{source.file}:{source.line}", todo="End each policy with one ;")
    return next(iter(parsed.static_policies.values()))


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


def _validate(source: PolicySource) -> Iterator[BundleError]:
    """Strict typing against our schema. The same finding for several actions is one problem."""
    found = {
        _VALIDATOR_ACTION.sub("", _VALIDATOR_PREFIX.sub("", error.error))
        for error in cedarpy.validate_policies(source.cedar(), SCHEMA).errors
    }
    specific = {text for text in found if _NO_ACTION not in text}
    for text in sorted(specific or found):
        quoted = re.search(r"attribute `([A-Za-z_.]+)`", text)
        todo, line = "policies/README.md lists what policies can read, and each type", source.line
        if quoted:
            name = quoted[1].rsplit(".", 1)[-1]
            line = source.line_of(".", name)
            todo = advise_attribute(name)
            if "optional attribute" in text:
                parent = f"context.{quoted[1]}".rsplit(".", 1)[0]
                todo = f"It may be unknown: write {parent} has {name} && ... before it"
        yield BundleError(printable(text), where=f"{source.file}:{line}", todo=todo)


def _check_annotations(source: PolicySource, annotations: Mapping[str, str]) -> Iterator[BundleError]:
    def problem(name: str, what: str, todo: str) -> BundleError:
        return BundleError(what, where=f"{source.file}:{source.line_of('@', name)}", todo=todo)

    known = (*_REQUIRED, *_OPTIONAL)
    for name in annotations:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            yield problem(name, f"@{name} is not known", f"Did you mean @{near[0]}?" if near else f"Known: @{', @'.join(known)}")
    for name in _REQUIRED:
        if name not in annotations:
            yield problem(name, f"this policy has no @{name}", f'Add @{name}("...") before it')
    for name, value in annotations.items():
        wrong = _wrong_value(name, value)
        if wrong:
            yield problem(name, *wrong)


def _wrong_value(name: str, value: str) -> tuple[str, str] | None:
    """Return (what, what to do) for an annotation's value that can't stand."""
    shown = ascii(value[:60])
    if name == "id" and (len(value) > 64 or not _ID.fullmatch(value)):  # noqa: PLR2004  said in the message
        return f"@id({shown}) is not an id", "Use up to 64 of a-z, 0-9 and single hyphens, beginning with a letter"
    if name == "guideline" and not all(_GUIDELINE.fullmatch(part.strip()) for part in value.split(",")):
        return (
            f"@guideline({shown}) is not a clause",
            'Write <version>/<overview|governance|planning|ops|outsourced>/<clause>, as "7.0/ops/14-5"; several with commas',
        )
    if name == "mode" and value != "report-only":
        return f"@mode({shown}) is not known", 'Write @mode("report-only"), or leave it out to enforce'
    if name == "lease" and not (_LEASE.fullmatch(value) and 1 <= int(value[0]) <= MAX_LEASE_SECONDS):
        return f"@lease({shown}) is not a lease", f'Write @lease("1s") to @lease("{MAX_LEASE_SECONDS}s")'
    if name.startswith("title_"):
        # Escapes like \u{202e} pass the check of the file's own characters, so the decoded text is checked as well.
        if not value.strip() or len(value) > MAX_TITLE:
            return f"@{name} is empty or longer than {MAX_TITLE} characters", "Say in one sentence what the policy does"
        if any(unicodedata.category(char)[0] == "C" or unicodedata.category(char) in {"Zl", "Zp"} for char in value):
            return f"@{name} holds an invisible character", "Delete it: a reader could not see what it does"
    return None

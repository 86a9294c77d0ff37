"""From the bytes of a bundle's files to a `Bundle`, or to every reason why not. Pure: no I/O, no clock.

Checked, in this order: sizes; the schema says what this gateway supplies; each policy's text (`source`), Cedar's grammar, our
annotations, Cedar's strict typing, and `lint`; templates, and the links that fill them in (`linking`); no id twice; at least one
policy that is enforced. What else is to be said of a bundle that can be used, `analysis` says.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from gateway.kernel.errors import BundleError
from gateway.policy.evaluate import Bundle, Policy
from gateway.policy.linking import compile_link, compile_template
from gateway.policy.links import LINKS_FILE, Link, read_links
from gateway.policy.problems import BundleProblems, problems_of, raise_problems
from gateway.policy.schema import cedar_schema
from gateway.policy.single import compile_policy
from gateway.policy.source import PolicySource, decode, split, tokenize
from gateway.policy.template import Template, is_template

__all__ = (
    "MAX_POLICIES",
    "MAX_TOTAL_BYTES",
    "SCHEMA_FILE",
    "BundleProblems",
    "compile_bundle",
    "problems_of",
    "version_of",
)

SCHEMA_FILE: Final = "schema.cedarschema"
MAX_POLICIES: Final = 1_000
MAX_TOTAL_BYTES: Final = 2 * 1024 * 1024

_Made = TypeVar("_Made", Policy, Template)
_From = TypeVar("_From", PolicySource, Link)


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
    """Check and compile the schema, policy and link files of a bundle: names without folder to bytes.

    `folder` only appears in errors. Raises BundleError (BundleProblems when there are several).
    """
    _check_sizes(files, folder)
    read = _read(files, folder)
    problems = read.problems
    plain = [source for source in read.sources if not is_template(source)]
    count = len(read.sources) + len(read.links)
    if count > MAX_POLICIES:
        raise BundleError(f"{count} policies, at most {MAX_POLICIES} are read", where=folder, todo="Merge or drop some")
    seen: dict[str, tuple[str, int]] = {}
    policies = _made(compile_policy, plain, seen, problems)
    templates = _made(compile_template, [source for source in read.sources if is_template(source)], seen, problems)
    by_id = {template.id: template for template in templates}
    others = {policy.id for policy in policies} | {link.id for link in read.links}
    where = f"{folder}/{LINKS_FILE}"
    policies += _made(lambda link: compile_link(link, by_id, sorted(others), where), read.links, seen, problems)
    if not problems and not policies:
        problems.append(BundleError("there is no policy in it", where=folder, todo="Empty is never valid: add *.cedar files"))
    if not problems and all(policy.report_only for policy in policies):
        problems.append(
            BundleError("every policy is report-only", where=folder, todo="Nothing would ever be allowed: enforce one")
        )
    raise_problems(problems)
    return Bundle(version=version_of(files), policies=tuple(policies), templates=tuple(templates))


def _made(
    make: Callable[[_From], _Made], given: Iterable[_From], seen: dict[str, tuple[str, int]], problems: list[BundleError]
) -> list[_Made]:
    """Make each, and see to it that no id is used twice. What can't be made is a problem."""
    made: list[_Made] = []
    for one in given:
        try:
            new = make(one)
            if new.id in seen:
                file, line = seen[new.id]
                raise BundleError(  # noqa: TRY301  it is a problem like the others
                    f'@id("{new.id}") is used twice, first at {file}:{line}',
                    where=f"{new.file}:{new.line}",
                    todo="Give each policy its own id: records and cases name it",
                )
        except BundleError as problem:
            problems += problems_of(problem)
        else:
            seen[new.id] = (new.file, new.line)
            made.append(new)
    return made


def _check_sizes(files: Mapping[str, bytes], folder: str) -> None:
    """Refuse what would take long only to look at, whoever hands it in: `folder` refuses to read it in the first place."""
    if sum(map(len, files.values())) > MAX_TOTAL_BYTES:
        raise BundleError(
            f"the bundle is larger than {MAX_TOTAL_BYTES // 1024} KiB", where=folder, todo="Drop what is not needed"
        )


class _Read(msgspec.Struct):
    """What was found in the files."""

    sources: list[PolicySource] = []
    links: tuple[Link, ...] = ()
    problems: list[BundleError] = []


def _read(files: Mapping[str, bytes], folder: str) -> _Read:
    read = _Read()
    if SCHEMA_FILE not in files:
        what = f"there is no {SCHEMA_FILE}"
        read.problems.append(BundleError(what, where=folder, todo="Copy the one that came with this version"))
    for name, data in sorted(files.items()):
        where = f"{folder}/{name}"
        try:
            if name == SCHEMA_FILE:
                _check_schema(decode(data, where), where)
            elif name == LINKS_FILE:
                read.links = read_links(data, where)
            else:
                read.sources += _split_file(decode(data, where), where)
        except BundleError as problem:
            read.problems.append(problem)
    return read


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

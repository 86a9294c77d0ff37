"""Rules about the tree itself that no other tool checks."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import idp.model
from gateway.config.model import Sections
from gateway.config.reader import hints_of
from gateway.domain import reason
from gateway.domain.record import EventName

ROOT = Path(__file__).parents[2]
MAX_LINES = 400

# Written in pieces, so that this file does not find itself.
HOST_NAMES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"), ("pythonhosted", "org"), ("deb", "debian", "org"), ("registry", "npmjs", "org"), ("docker", "io"),
        ("proxy", "golang", "org"), ("crates", "io"), ("archive", "ubuntu", "com"),
    )
]  # fmt: skip
MACHINE_PATHS = ["/" + "/".join(parts) for parts in (("work", ""), ("root", ""), ("home", ""), ("opt", "wheels"), ("Users", ""))]
EVERYBODY = {f"{address}/0" for address in ("0.0.0.0", "::")}  # noqa: S104  looked for, not bound


def tracked(*patterns: str) -> list[Path]:
    """Files under version control."""
    done = subprocess.run(["git", "ls-files", "-z", "--", *patterns], capture_output=True, text=True, cwd=ROOT, check=True)
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    """Every tracked text file."""
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            # What is fuzzed is bytes of any kind.
            yield path.relative_to(ROOT), content.decode("utf-8", "replace" if "fuzz" in path.parts else "strict")


def parsed(*patterns: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in tracked(*patterns):
        if path.suffix == ".py":
            yield path.relative_to(ROOT), ast.parse(path.read_bytes())


def test_something_is_looked_at() -> None:
    assert len(tracked("gateway", "idp")) > 50


def test_no_module_is_too_long() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text("utf-8").splitlines())
        for path in tracked("gateway", "idp")
        if path.suffix == ".py"
    }
    assert {str(path): length for path, length in lengths.items() if length > MAX_LINES} == {}, "look for the second idea in it"


def test_python_jose_is_for_tests_only() -> None:
    """Its known flaws (CVE-2026-85394, CVE-2026-120459) make it no library to trust at run time: docs/decisions/0002."""
    importing = []
    for path, tree in parsed("gateway", "idp"):
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            importing += [str(path) for name in names if name.partition(".")[0] == "jose"]
    assert importing == []
    assert not re.search(r"^python-jose\b", (ROOT / "deploy/locks/run.txt").read_text("utf-8"), re.MULTILINE)


# ---------------------------------------------------------------- locks


def requirements(name: str) -> dict[str, tuple[str, list[str]]]:
    """Version and hashes of each package of a lock."""
    text = (ROOT / "deploy/locks" / name).read_text("utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            entry = re.fullmatch(r"([a-z0-9.-]+)==([^ ;]+)(?: ; [^-]*?[^ ])?((?: +--hash=\S+)*) *", line)
            assert entry, line
            found[entry[1]] = (entry[2], re.findall(r"--hash=(\S+)", entry[3]))
    return found


@pytest.mark.parametrize("name", ["run.txt", "test.txt"])
def test_every_package_is_locked_with_hashes(name: str) -> None:
    locked = requirements(name)
    assert locked
    for package, (_, hashes) in locked.items():
        assert hashes, package
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), package


@pytest.mark.parametrize("name", ["run.txt", "test.txt"])
def test_locks_name_no_address(name: str) -> None:
    text = (ROOT / "deploy/locks" / name).read_text("utf-8")
    assert not re.search(r"://|^ *(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)\b", text, re.MULTILINE)


def test_locks_agree_with_each_other_and_with_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    run, test = requirements("run.txt"), requirements("test.txt")
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["build"]
    names = {re.split(r"[>=<~ \[]", line)[0].lower() for line in wanted}
    assert names <= set(run)
    assert {re.split(r"[>=<~ \[]", line)[0].lower() for line in project["dependency-groups"]["test"]} <= set(test)
    assert {package: test[package][0] for package in run} == {package: version for package, (version, _) in run.items()}


# ---------------------------------------------------------------- what must not stand in any file


def test_no_file_names_a_package_registry() -> None:
    found = [(str(path), host) for path, text in texts() for host in HOST_NAMES if re.search(rf"\b{re.escape(host)}\b", text)]
    assert found == []


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    found = [(str(path), place) for path, text in texts() for place in MACHINE_PATHS if re.search(rf"(?<![\w.~-]){place}", text)]
    assert found == []


def test_nobody_trusts_everybody() -> None:
    """CVE-2026-76835: a list of trusted proxies whose default was every address."""
    constants = [
        (str(path), node.lineno)
        for path, tree in parsed("gateway", "idp")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in EVERYBODY
    ]
    assert constants == []
    for path in tracked("*.toml", "*.conf", "*.yaml", "*.yml"):
        if "tests" not in path.relative_to(ROOT).parts:
            lines = [line.partition("#")[0] for line in path.read_text("utf-8").splitlines()]
            assert not [line for line in lines if any(range_ in line for range_ in EVERYBODY)], path


# ---------------------------------------------------------------- closed sets


def reasons() -> list[type[StrEnum]]:
    return [
        kind for kind in vars(reason).values() if isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not StrEnum
    ]


def test_event_names_are_unique_and_cover_the_identity_providers() -> None:
    tree = ast.parse((ROOT / "gateway/domain/record.py").read_bytes())
    written = next(
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EventName"
    )
    names = [node.value for node in ast.walk(written) if isinstance(node, ast.Constant)]
    assert len(names) == len(set(names)), "`Literal` itself drops what stands twice"
    assert set(names) == set(get_args(EventName))
    assert set(get_args(idp.model.EventName)) <= set(names)


def test_reasons_are_unique() -> None:
    assert len(reasons()) >= 6
    for kind in reasons():
        assert list(kind.__members__) == [member.name for member in kind], f"{kind.__name__} has two names for one value"
    decided = [reason.ChallengeReason, reason.DenyReason, reason.RefuseReason, reason.UnavailableReason]
    values = [str(member) for kind in decided for member in kind]
    assert len(values) == len(set(values)), "a reason in the log must say which kind of decision it belongs to"


# ---------------------------------------------------------------- configuration


def attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_every_setting_is_read_by_somebody() -> None:
    """A key that nobody reads is a promise that nobody keeps. Printing it (`check-config`) or checking it does not count."""
    read = attributes(ast.parse((ROOT / "gateway/config/model.py").read_bytes()))  # `Config` hands apps, hosts and ports on
    for path, tree in parsed("gateway"):
        imports = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        if "gateway.config" in imports and path.parts[1] != "config" and path.name != "config.py":
            read |= attributes(tree)
    unread: set[str] = set()
    todo: list[tuple[str, type[msgspec.Struct]]] = [("", Sections)]
    while todo:
        prefix, kind = todo.pop()
        for name, hint in hints_of(kind).items():
            todo += [(f"{prefix}{name}.", inner) for inner in structs_in(hint)]
            if name not in read:
                unread.add(prefix + name)
    assert unread == set()


def structs_in(hint: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for argument in getattr(hint, "__args__", ()):
        yield from structs_in(argument)

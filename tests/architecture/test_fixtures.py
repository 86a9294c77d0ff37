"""Shared fixtures: of two plugins with a fixture of one name, pytest takes the later one and says nothing."""

import ast
from pathlib import Path

from tests import conftest

ROOT = Path(__file__).parents[2]


def fixtures_of(module: str) -> list[str]:
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [node.name for node in functions if any("fixture" in ast.unparse(mark) for mark in node.decorator_list)]


def test_no_two_plugins_have_a_fixture_of_one_name() -> None:
    owners: dict[str, list[str]] = {}
    for module in conftest.pytest_plugins:
        for name in fixtures_of(module):
            owners.setdefault(name, []).append(module)
    assert len(owners) > len(conftest.pytest_plugins), "the plugins are read"
    assert {name: modules for name, modules in owners.items() if len(modules) > 1} == {}

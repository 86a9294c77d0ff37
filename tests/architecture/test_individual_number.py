"""The Individual Number (番号法) is asked for by no backend: nothing that could be sent or shown names it, in any spelling."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from idp.proofing.forbidden import names_individual_number

ROOT = Path(__file__).parents[2]
ALLOWED = "idp/proofing/forbidden.py"
"""The one place that knows its names, to refuse them."""
REFUSALS = {
    "idp/proofing/own_data.py": 1,  # a person's export says that it is not kept
    "idp/proofing/platform_operator/profile.py": 1,  # errors, and what the log says when a service sends it
    "idp/proofing/platform_operator/settings.py": 1,
    "idp/proofing/strict.py": 2,
}
"""Texts that refuse it; each was looked at."""
SAYS_THAT_IT_IS_NOT_READ = ("idp/web/text/", "idp/web/templates/", "idp/proofing/templates/", "gateway/console/text/")
"""Pages tell people that it is never read: texts, which are no requests."""


def files(*patterns: str) -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z", "--", *patterns], capture_output=True, text=True, cwd=ROOT, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def named_in(source: str) -> Iterator[str]:
    """Texts and names of a module that name it; docstrings, which say what is not done, left out."""
    tree = ast.parse(source)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            text = node.value
        elif isinstance(node, ast.keyword | ast.arg):
            text = node.arg or ""
        if names_individual_number(text):
            yield text


def test_no_module_can_ask_for_it() -> None:
    modules = [name for name in files("gateway/**.py", "idp/**.py") if name != ALLOWED]
    assert len(modules) > 300
    found = {name: texts for name in modules if (texts := list(named_in((ROOT / name).read_text("utf-8"))))}
    assert {name: len(texts) for name, texts in found.items()} == REFUSALS


def test_no_contract_of_an_operator_can_either() -> None:
    contracts = files("idp/proofing/**.toml")
    assert len(contracts) >= 3
    assert [name for name in contracts if names_individual_number((ROOT / name).read_text("utf-8"))] == []


def test_only_pages_name_it() -> None:
    shown = [
        name
        for name in files("gateway", "idp", "policies", "deploy")
        if name.endswith((".html", ".toml", ".js", ".cedar", ".sql"))
    ]
    assert len(shown) > 40
    named = [name for name in shown if names_individual_number((ROOT / name).read_text("utf-8"))]
    assert [name for name in named if not name.startswith(SAYS_THAT_IT_IS_NOT_READ)] == []


@pytest.mark.parametrize(
    "source", ['x = {"scope": "openid individual_number"}', "f(kojin_bango=1)", 'x = "マイ ナンバー"', "def f(my_number): ..."]
)
def test_one_would_be_found(source: str) -> None:
    assert list(named_in(source))


@pytest.mark.parametrize("source", ['"""Never the Individual Number."""', 'x = "mynumbercard"', 'x = "マイナンバーカード"'])
def test_what_may_be_said(source: str) -> None:
    assert not list(named_in(source))

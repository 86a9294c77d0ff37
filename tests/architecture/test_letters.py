"""Letters of the law stand in `idp/proofing/letters.toml` with their dates, and nowhere in code or pages."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LETTERS = "イロハニホヘトチリヌルヲワカヨタレソ"
_NAMED = re.compile(f"(?<![ァ-ヺー])[{LETTERS}](?:方式|号(?!室)|に該当|の方法)")


def files(*patterns: str) -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z", "--", *patterns], capture_output=True, text=True, cwd=ROOT, check=True)
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def found_in_code(source: str) -> list[str]:
    """Texts of a module that are such a letter, or name a method by one; comments and docstrings may not either."""
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text for text in texts if text.strip() in set(LETTERS)] + _NAMED.findall(source)


def test_no_module_has_a_letter() -> None:
    modules = files("gateway/**.py", "idp/**.py")
    assert len(modules) > 100
    assert {path.name: found for path in modules if (found := found_in_code(path.read_text("utf-8")))} == {}


def test_no_page_or_text_has_a_letter() -> None:
    texts = [path for path in files("gateway", "idp") if path.suffix in {".html", ".toml", ".js"} and path.name != "letters.toml"]
    assert len(texts) > 10
    assert {path.name: found for path in texts if (found := _NAMED.findall(path.read_text("utf-8")))} == {}


@pytest.mark.parametrize(
    "source",
    ['LETTER = "カ"', 'x = {"jpki_sign": "ヌ"}', 'f("ワ方式")', "# これはホ方式\n", 'match x:\n    case "ル":\n        pass'],
)
def test_one_would_be_found(source: str) -> None:
    assert found_in_code(source)


@pytest.mark.parametrize("source", ['x = "カード"', 'x = "ケ"', 'x = "マイナンバーカード方式"', 'x = "一号"'])
def test_other_texts_are_let_be(source: str) -> None:
    assert not found_in_code(source)

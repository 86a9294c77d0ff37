"""docs/bad-input.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/bad-input.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([a-z]+/[a-z_/0-9]+\.py)(?:::(test_[A-Za-z0-9_]+))?`", PAGE)))


def test_every_test_that_is_named_exists() -> None:
    assert len(NAMED) > 40
    for file, name in NAMED:
        text = (ROOT / "tests" / file).read_text("utf-8")
        assert not name or re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{file}::{name}"


def test_every_line_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| id |", "|---"))]
    assert len(rows) > 45
    assert [row for row in rows if not re.search(r"`[a-z]+/[a-z_/0-9]+\.py", row)] == []

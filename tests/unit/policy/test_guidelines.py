"""The catalogue of guideline clauses."""

import re
from pathlib import Path

from gateway.policy.annotations import wrong_value
from gateway.policy.bundle import load_bundle
from gateway.policy.guidelines import CLAUSES, clause_title, nearest_clause
from tests.support.policy import STARTER

ROOT = Path(__file__).parents[3]
_CITED = re.compile(r"[5-9]\.\d/(?:overview|governance|planning|ops|outsourced)/\d+(?:\.\d+)*(?:-\d+)?")


def test_every_clause_of_the_starter_bundle_is_known() -> None:
    bundle = load_bundle(STARTER)
    cited = {clause for one in bundle.policies for clause in one.guidelines}
    cited |= {clause for one in bundle.templates for clause in one.guidelines}
    assert len(cited) > 10
    assert cited <= set(CLAUSES)


def test_every_clause_that_is_cited_elsewhere_is_known() -> None:
    pages = [path for folder in ("docs", "gateway", "idp", "deploy", "policies") for path in (ROOT / folder).rglob("*")]
    texts = [path for path in pages if path.suffix in {".md", ".py", ".html", ".cedar", ".toml"} and path.is_file()]
    cited = {clause for path in texts for clause in _CITED.findall(path.read_text("utf-8"))}
    assert len(cited) > 15
    assert cited - set(CLAUSES) == set()


def test_every_entry_could_be_cited_and_says_something_in_both_languages() -> None:
    for name, clause in CLAUSES.items():
        assert wrong_value("guideline", name) is None
        for text in (clause.ja, clause.en):
            assert text.strip() == text
            assert 0 < len(text) <= 80
        assert clause.editions


def test_a_title_is_found_by_edition() -> None:
    assert clause_title("7.0/ops/14-5", "en") == "Two-factor authentication"
    assert clause_title("6.0/ops/14-5", "ja") == "二要素認証の採用"
    assert clause_title("7.0/ops/10-3", "en") == ""


def test_the_nearest_is_the_same_number_in_another_edition_or_one_beside_it() -> None:
    assert nearest_clause("7.0/ops/10-3") == "6.0/ops/10-3"
    assert nearest_clause("6.0/outsourced/9-4") == "7.0/outsourced/9-4"
    assert nearest_clause("6.0/ops/14-9").startswith("6.0/ops/14-")
    assert nearest_clause("6.0/governance/1") == ""

"""Ratios are made round by round, and what was not measured is never guessed."""

import json
from xml.etree import ElementTree as ET

import pytest

from bench import docs
from bench.plot import picture
from bench.report import Run, as_json, tables
from bench.targets import RATIOS, ROWS, judge_limits, judge_ratios

WANTED = {
    "embedded_vs_naive": 2.0,
    "nginx_door_vs_trivial": 0.8,
    "nginx_lease_vs_plain": 0.5,
    "envoy_door_vs_trivial": 0.8,
    "nginx_door_vs_oauth2_proxy": 1.0,
    "embedded_vs_oauth2_proxy": 0.7,
}
RATES = {
    "direct": [90.0, 100.0, 110.0],
    "naive": [10.0, 20.0, 40.0],
    "embedded": [30.0, 40.0, 60.0],
    "nginx_trivial": [100.0, 100.0, 100.0],
    "nginx_door": [70.0, 80.0, 60.0],
}


def run() -> Run:
    found = Run(quick=True, rates=dict(RATES), absent={"oauth2_proxy": "it is not installed"})
    found.cpu = {"embedded": [1e-4, 250e-6, 3e-4]}
    found.limits = {"added_p50_ms": [1.0, 3.0, 1.5], "websocket_kib": [64.0]}
    found.sockets = {kind: {"count": 50, "p50": 0.01, "p99": 0.2, "max": 0.3} for kind in ("at_once", "one_by_one")}
    found.sockets["count"] = 5000
    found.profile = {"embedded": {"steps": {"policy": 0.25, "session": 0.75}}}
    found.ratios = judge_ratios(found.rates, found.absent)
    found.bounds = judge_limits(found.limits, found.absent)
    return found


def test_the_targets_are_those_that_were_set() -> None:
    assert {ratio.name: ratio.at_least for ratio in RATIOS} == WANTED
    assert {name for ratio in RATIOS for name in (ratio.over, ratio.under)} <= {name for name, _ in ROWS}


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    verdict = {one.name: one for one in judge_ratios(RATES, {})}["embedded_vs_naive"]
    # The rounds gave 3, 2 and 1.5; the medians of the rows would give 2 as well, their means 1.86.
    assert (verdict.value, verdict.low, verdict.high, verdict.word) == (2.0, 1.5, 3.0, "met")


def test_what_misses_is_told_and_what_is_absent_has_its_reason() -> None:
    found = {one.name: one for one in run().ratios}
    assert found["nginx_door_vs_trivial"].word == "NOT MET"
    absent = found["embedded_vs_oauth2_proxy"]
    assert (absent.value, absent.word, absent.why) == (None, "not measured", "it is not installed")


@pytest.mark.parametrize(("value", "word"), [(63.9, "met"), (64.0, "NOT MET")])
def test_less_is_less(value: float, word: str) -> None:
    assert {one.name: one.word for one in judge_limits({"websocket_kib": [value]}, {})}["websocket_kib"] == word


def test_the_file_has_plain_numbers_and_null() -> None:
    ratios = json.loads(json.dumps(as_json(run())))["ratios"]
    assert ratios == {name: {"embedded_vs_naive": 2.0, "nginx_door_vs_trivial": 0.7}.get(name) for name in WANTED}


def test_the_tables_say_what_was_missed_and_why_a_row_is_not_there() -> None:
    text = tables(run())
    assert "targets: 2 met, 2 NOT MET, 16 not measured" in text
    assert "oauth2-proxy, sessions in Redis\n    not measured: it is not installed" in text
    assert "nginx_door_vs_trivial\n    NOT MET: a decision" in text
    assert "websocket_kib\n    NOT MET: the reason is not known" in text


def test_the_picture_is_svg_and_shows_every_row_that_ran() -> None:
    root = ET.fromstring(picture(run()))  # noqa: S314  our own text
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert {"embedded", "nginx + our decision", "2.00 of 2: met", "0.70 of 0.8: NOT MET", "not measured"} <= set(words)


def test_the_page_gets_the_run_from_the_file() -> None:
    text = docs.block(json.loads(json.dumps(as_json(run()))))
    assert "| embedded | 40 | 30 to 60 | 250 |" in text
    assert "| policy | 25% |" in text
    assert "| all sessions revoked at once | 50 | 10.0 | 200.0 | 300.0 |" in text
    assert "0.70 | [0.60 to 0.80] | NOT MET: " in text


def test_the_page_has_the_marks() -> None:
    page = docs.PAGE.read_text("utf-8")
    assert page.index(docs.BEGIN) < page.index(docs.END)

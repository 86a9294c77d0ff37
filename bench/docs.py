"""Puts the newest full run into `docs/performance.md`, between its two marks. `python -m bench.docs` does it from the file."""

import json
from typing import Any, Final

from bench.children import ROOT, BenchError
from bench.report import LATEST, between, decision_cells, number, profile_cells, socket_cells, wanted
from bench.targets import ROWS, Verdict

PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- newest run: written by `make bench`, not by hand -->"
END: Final = "<!-- end of the newest run -->"


def write_page(results: dict[str, Any]) -> None:
    """Replace what stands between the marks. BenchError when a mark is missing."""
    text = PAGE.read_text("utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"{PAGE.name} has lost the marks of the newest run")
    PAGE.write_text(f"{head}{BEGIN}\n\n{block(results)}\n\n{END}{tail}", "utf-8")


def block(results: dict[str, Any]) -> str:
    """Return the run in Markdown, from what `latest.json` holds."""
    raw, machine = results["raw"], results["machine"]
    kind = "QUICK run (short rounds)" if raw["quick"] else "Full run"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    intro = (
        f"{kind} of {machine['date'][:10]}: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}; load {machine['load_before']} before it began. {versions}."
    )
    parts = [intro, _verdicts(raw), "![requests a second, and ratios](../bench/results/latest.svg)", _rates(raw)]
    parts += [table for table in (_latency(raw), _sockets(raw), _profile(raw), _decisions(raw)) if table]
    parts += [_table(cells) for cells in raw.get("policies", {}).values()]
    return "\n\n".join(parts)


def _verdicts(raw: dict[str, Any]) -> str:
    rows = [["", "wanted", "found", "lowest to highest", ""]]
    for item in raw["targets"]:
        fields = {key: value for key, value in item.items() if key != "verdict"}
        verdict = Verdict(**fields)
        reason = f": {verdict.why}" if verdict.why and not verdict.met else ""
        rows.append(
            [verdict.what, wanted(verdict), number(verdict.value, verdict.unit), between(verdict), f"{verdict.word}{reason}"]
        )
    return _table(rows)


def _rates(raw: dict[str, Any]) -> str:
    rows = [["requests a second", "median", "lowest to highest", "CPU µs each"]]
    for name, what in ROWS:
        values = sorted(raw["requests_per_second"].get(name, []))
        if values:
            cpu = sorted(raw["cpu_seconds_per_request"].get(name, []))
            used = f"{cpu[len(cpu) // 2] * 1e6:.0f}" if cpu else ""
            rows.append([what, f"{values[len(values) // 2]:,.0f}", f"{values[0]:,.0f} to {values[-1]:,.0f}", used])
        else:
            rows.append([what, "not measured", "", ""])
    return _table(rows)


def _latency(raw: dict[str, Any]) -> str:
    rows = [["at 200 requests/s, ms", "p50", "p99"]]
    for name, rounds in raw["latency_at_200_per_second"].items():
        middle = [sorted(one[key] for one in rounds)[len(rounds) // 2] for key in ("p50", "p99")]
        rows.append([dict(ROWS)[name], *(f"{value * 1000:.2f}" for value in middle)])
    return _table(rows) if len(rows) > 1 else ""


def _sockets(raw: dict[str, Any]) -> str:
    return _table(socket_cells(raw["websockets"])) if "at_once" in raw["websockets"] else ""


def _profile(raw: dict[str, Any]) -> str:
    return _table(profile_cells(raw["profile"], raw["cpu_seconds_per_request"])) if raw["profile"] else ""


def _decisions(raw: dict[str, Any]) -> str:
    return "\n\n".join(_table(cells) for cells in decision_cells(raw["decisions"])) if raw["decisions"] else ""


def _table(rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def main() -> None:
    """Write the page anew from `latest.json`."""
    write_page(json.loads(LATEST.read_text("utf-8")))


if __name__ == "__main__":
    main()

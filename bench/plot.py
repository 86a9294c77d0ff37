"""The run as a picture: `bench/results/latest.svg`. Plain SVG, written by hand: bars are medians, whiskers lowest to highest."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from bench.report import RESULTS, Run
from bench.targets import ROWS, Verdict

PICTURE: Final = RESULTS / "latest.svg"
WIDTH: Final = 1040
LEFT: Final = 410
RIGHT: Final = 180
ROW: Final = 24
_FONT: Final = "system-ui, sans-serif"
_INK: Final = "#1f2933"
_PALE: Final = "#7b8794"
_OURS: Final = "#1d6fa5"
_OTHERS: Final = "#b8c4ce"
_MET: Final = "#2f855a"
_MISSED: Final = "#c05621"
_OF_OURS: Final = ("embedded", "nginx_door", "nginx_lease", "envoy_door")


def write_picture(run: Run, path: Path = PICTURE) -> None:
    """Draw it."""
    path.write_text(picture(run), "utf-8")


def picture(run: Run) -> str:
    """Return the SVG document."""
    rates = [(what, run.rates[name], name.startswith(_OF_OURS)) for name, what in ROWS if run.rates.get(name)]
    shown = [(what, values, ours) for what, values, ours in rates if what != dict(ROWS)["direct"]]
    top = 70
    parts = _rates(shown, top)
    second = top + len(shown) * ROW + 80
    parts += _ratios(run.ratios, second)
    height = second + len(run.ratios) * ROW + 40
    kind = "short rounds" if run.quick else "full run"
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="{_FONT}" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 28, f"Requests a second, one worker each ({kind})", size=16, weight="600"),
        _text(16, 48, "bar: median of the rounds; line: lowest to highest; blue: everything is decided and recorded", fill=_PALE),
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def _rates(rows: Sequence[tuple[str, list[float], bool]], top: int) -> list[str]:
    most = max((max(values) for _, values, _ in rows), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / most
    parts: list[str] = []
    for number, (what, values, ours) in enumerate(rows):
        y = top + number * ROW
        middle = statistics.median(values)
        parts.append(_text(LEFT - 10, y + 15, what, anchor="end"))
        parts.append(_bar(LEFT, y + 4, middle * scale, _OURS if ours else _OTHERS))
        parts.append(_whisker(LEFT + min(values) * scale, LEFT + max(values) * scale, y + 11))
        parts.append(_text(LEFT + max(values) * scale + 8, y + 15, f"{middle:,.0f}"))
    return parts


def _ratios(verdicts: Sequence[Verdict], top: int) -> list[str]:
    parts = [
        _text(16, top - 34, "Ratios and what they must reach", size=16, weight="600"),
        _text(16, top - 14, "dashed: the target", fill=_PALE),
    ]
    reached = [verdict.high / verdict.bound for verdict in verdicts if verdict.high is not None]
    scale = (WIDTH - LEFT - RIGHT) / max([1.25, *reached])
    for number, verdict in enumerate(verdicts):
        y = top + number * ROW
        parts.append(_text(LEFT - 10, y + 15, verdict.name, anchor="end"))
        if verdict.value is None or verdict.low is None or verdict.high is None:
            parts.append(_text(LEFT + 8, y + 15, "not measured", fill=_PALE))
            continue
        share, low, high = (value / verdict.bound for value in (verdict.value, verdict.low, verdict.high))
        parts.append(_bar(LEFT, y + 4, share * scale, _MET if verdict.met else _MISSED))
        parts.append(_whisker(LEFT + low * scale, LEFT + high * scale, y + 11))
        words = f"{verdict.value:.2f} of {verdict.bound:g}: {verdict.word}"
        parts.append(_text(LEFT + max(high, 1.0) * scale + 8, y + 15, words))
    bottom = top + len(verdicts) * ROW
    x = LEFT + scale
    parts.append(f'<line x1="{x:.1f}" y1="{top - 4}" x2="{x:.1f}" y2="{bottom}" stroke="{_INK}" stroke-dasharray="3 3"/>')
    return parts


def _bar(x: float, y: float, width: float, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width:.1f}" height="14" rx="2" fill="{fill}"/>'


def _whisker(low: float, high: float, y: float) -> str:
    path = f"M{low:.1f} {y - 4}v8M{low:.1f} {y}H{high:.1f}M{high:.1f} {y - 4}v8"
    return f'<path d="{path}" stroke="{_INK}" stroke-width="1" fill="none"/>'


def _text(x: float, y: float, words: str, *, anchor: str = "start", fill: str = _INK, size: int = 13, weight: str = "400") -> str:
    look = f'text-anchor="{anchor}" fill="{fill}" font-size="{size}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y}" {look}>{escape(words)}</text>'

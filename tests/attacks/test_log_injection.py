"""CVE-2025-25294 and its class: what a client sends must not become a second record, a command to a terminal, or a formula."""

import csv
import io
import json
from pathlib import Path

import pytest

from gateway.audit.export import Export
from gateway.audit.query import Filters
from gateway.domain.record import Actor, EventRecord
from tests.support.logs import Place, decision

ATTACKS = {
    "a second line": 'x\n{"hash":"' + "0" * 64 + '","index":1,"previous":"' + "0" * 64 + '","record":{}}\n',
    "carriage return": "dr.sato\r\nSUCCESS",
    "closing quote": '"},"record":{"outcome":"allow"}}',
    "escape": "\\u000a\\",
    "terminal": "\x1b]0;owned\x07\x1b[2J\x9b31m",
    "right to left": "user\u202egpj.exe\u2066",
    "line separator": "a\u2028b\u2029c\u0085d",
    "nothing to see": "dr\u200b.sato\ufeff\u00ad",
    "lone surrogate": "dr.\ud800sato\udfff",
    "NUL": "dr.sato\x00admin",
    "tag characters": "dr.sato\U000e0061\U000e0062",
    "a megabyte": "A" * 1_000_000,
}


def failed(login: str) -> EventRecord:
    return EventRecord(
        id="evt_1",
        at="2027-01-15T08:00:00.000Z",
        event="signin.failed",
        outcome="failure",
        actor=Actor(login=login),
        target=login,
    )


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
async def test_one_record_is_one_harmless_line(tmp_path: Path, attack: str) -> None:
    place = Place(tmp_path)
    await place.write([failed(attack), decision(1, path=attack)])
    content = place.records().read_bytes()
    assert content.count(b"\n") == 2
    text = content.decode("utf-8")
    assert all(character == "\n" or character.isprintable() or character == "\u3000" for character in text)
    assert len(content) < 20_000
    report = place.verify()
    assert report.whole
    assert report.records == 2
    seen = json.loads(text.splitlines()[0])["record"]["actor"]["login"]
    if len(attack) <= 2048 and not any("\ud800" <= character <= "\udfff" for character in attack):
        assert seen == attack, "the value is kept as it was"


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
async def test_exports_are_harmless_too(tmp_path: Path, attack: str) -> None:
    place = Place(tmp_path)
    await place.write([failed(attack)])
    with Export(place.folder) as export:
        lines = b"".join(export.jsonl(Filters())).decode()
        table = b"".join(export.csv(Filters())).decode("utf-8-sig")
    assert lines.count("\n") == 1
    assert lines.rstrip("\n").isprintable()
    assert table.count("\r\n") == 2
    assert table.replace("\r\n", "").isprintable()
    assert len(list(csv.reader(io.StringIO(table)))) == 2


@pytest.mark.parametrize(
    "formula",
    [
        "=cmd|'/c calc'!A1",
        "+1+1",
        "-1+1",
        "@SUM(1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "\uff1d1+1",
        "\uff0b1",
        "\uff0d1",
        "\uff20A",
        "  =1+1",
        "\u3000=1+1",
    ],
)
async def test_no_cell_is_a_formula(tmp_path: Path, formula: str) -> None:
    place = Place(tmp_path)
    await place.write([failed(formula)])
    with Export(place.folder) as export:
        rows = list(csv.reader(io.StringIO(b"".join(export.csv(Filters())).decode("utf-8-sig"))))
    cells = [cell for cell in rows[1] if cell.strip("'")]
    assert sum(cell.startswith("'") for cell in cells) == 2  # login and target
    starts = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
    assert not any(cell.lstrip(" \u3000").startswith(starts) for cell in cells)

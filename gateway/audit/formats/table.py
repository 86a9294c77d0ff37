"""CSV that a hospital's auditor opens in Excel: UTF-8 with a byte order mark, headers in their language, times in their zone.

Columns: what guideline 17① asks for at least (time of sign-in, time and length of access, what was operated on), and of the
joined minimum record (who with which role and proofing, from which device and address, to which app and patient, decision,
reason, policy, record hash) what the gateway knows.

A cell never runs as a formula: one that begins with `= + - @`, a tab or a line break (or a full-width form of these) gets an
apostrophe in front. Control, bidirectional and invisible characters are shown as escapes, so a row is one line.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from gateway.audit.encoding import visible
from gateway.audit.query import Row
from gateway.audit.verify.lines import seconds
from gateway.kernel.i18n import Catalogue, Language

_BOM: Final = b"\xef\xbb\xbf"
_CHUNK: Final = 64 * 1024
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

_texts = Catalogue.load(Path(__file__).parent.parent / "text")

Place = tuple[str, ...]
"""Where a value stands in a row: keys from the top."""

COLUMNS: Final[dict[str, Place]] = {
    "index": ("index",),
    "type": ("record", "type"),
    "event": ("record", "event"),
    "at": ("record", "at"),
    "signed_in_at": ("signed_in_at",),
    "duration": ("completion", "duration_ms"),
    "login": ("record", "actor", "login"),
    "name": ("record", "actor", "name"),
    "roles": ("record", "actor", "roles"),
    "department": ("record", "actor", "department"),
    "patient": ("record", "patient"),
    "app": ("record", "app"),
    "action": ("record", "action"),
    "route": ("record", "route"),
    "method": ("record", "method"),
    "host": ("record", "host"),
    "path": ("record", "path"),
    "query_names": ("record", "query_names"),
    "outcome": ("record", "outcome"),
    "reason": ("record", "reason"),
    "remedy": ("record", "remedy"),
    "situation": ("record", "facts", "situation"),
    "break_glass": ("break_glass",),
    "grants": ("record", "facts", "grants"),
    "target": ("record", "target"),
    "detail": ("record", "detail"),
    "address": ("record", "source", "address"),
    "port": ("record", "source", "port"),
    "door": ("record", "source", "door"),
    "tls": ("record", "source", "tls"),
    "device": ("record", "actor", "device"),
    "device_evidence": ("record", "facts", "device", "evidence"),
    "device_compliant": ("record", "facts", "device", "compliant"),
    "device_ownership": ("record", "facts", "device", "ownership"),
    "disk_encrypted": ("record", "facts", "device", "disk_encrypted"),
    "screen_lock": ("record", "facts", "device", "screen_lock"),
    "antivirus": ("record", "facts", "device", "antivirus"),
    "os_supported": ("record", "facts", "device", "os_supported"),
    "zone": ("record", "facts", "network", "zone"),
    "holiday": ("record", "facts", "time", "holiday"),
    "shifts": ("record", "facts", "time", "shifts"),
    "factor_kinds": ("record", "facts", "authentication", "kinds"),
    "factors": ("record", "facts", "authentication", "factors"),
    "phishing_resistant": ("record", "facts", "authentication", "phishing_resistant"),
    "proofing_level": ("record", "facts", "proofing", "level"),
    "proofing_method": ("record", "facts", "proofing", "method"),
    "proofing_expires_in_days": ("record", "facts", "proofing", "expires_in_days"),
    "authenticator_bound": ("record", "facts", "proofing", "authenticator_bound"),
    "session": ("record", "actor", "session"),
    "subject": ("record", "actor", "subject"),
    "status": ("completion", "status"),
    "bytes_in": ("completion", "bytes_in"),
    "bytes_out": ("completion", "bytes_out"),
    "problem": ("completion", "problem"),
    "phase": ("record", "phase"),
    "policies": ("record", "policies"),
    "errors": ("record", "errors"),
    "bundle": ("record", "bundle"),
    "lease_seconds": ("record", "lease_seconds"),
    "id": ("record", "id"),
    "request_id": ("record", "request_id"),
    "hash": ("hash",),
    "slot": ("slot",),
    "integrity": ("integrity",),
}
"""Name (key of the header text) to place. A completion without its decision fills the same columns."""

_TRANSLATED: Final = {
    "type", "event", "outcome", "action", "integrity", "reason", "remedy", "roles", "situation", "device_evidence",
    "device_ownership", "problem",
}  # fmt: skip
_TIMES: Final = {"at", "signed_in_at"}


def rows_to_csv(rows: Iterable[Row], language: Language, zone: timezone) -> Iterator[bytes]:
    """Yield the file in pieces of about 64 KiB, the first with byte order mark and header."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    names = {"zone": str(zone)}
    writer.writerow([_texts.text(language, f"column.{column}", **(names if column in _TIMES else {})) for column in COLUMNS])
    yield _BOM
    for row in rows:
        writer.writerow(_cells(row, language, zone))
        if buffer.tell() >= _CHUNK:
            yield _take(buffer)
    yield _take(buffer)


def cell(value: str) -> str:
    """Return a text as it may stand in a cell."""
    shown = visible(value)
    return f"'{shown}" if value.lstrip(" \u3000").startswith(_FORMULA) else shown


def _take(buffer: io.StringIO) -> bytes:
    data = buffer.getvalue().encode("utf-8", "backslashreplace")
    buffer.seek(0)
    buffer.truncate()
    return data


def _cells(row: Row, language: Language, zone: timezone) -> list[str]:
    content = {
        "index": row.index,
        "slot": row.slot,
        "hash": row.hash,
        "integrity": row.integrity,
        "signed_in_at": row.signed_in_at,
        "record": row.record,
        "break_glass": _value(row.record, ("break_glass",)) or _value(row.record, ("detail", "break_glass")),
        "completion": row.record if row.record.get("type") in {"completion", "use"} else row.completion,
    }
    return [cell(_text(column, _value(content, place), language, zone)) for column, place in COLUMNS.items()]


def _value(content: Any, place: Place) -> Any:
    for key in place:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _text(column: str, value: Any, language: Language, zone: timezone) -> str:
    if value is None or value == "":
        return ""
    if column in _TIMES:
        return _local(str(value), zone)
    if column == "duration" and isinstance(value, int):
        return f"{value / 1000:.3f}"
    if isinstance(value, bool):
        return _texts.text(language, "yes" if value else "no")
    if isinstance(value, list):
        return "; ".join(_text(column, item, language, zone) for item in value)
    if column in _TRANSLATED:
        return _translated(language, f"{column}.{value}", str(value))
    if isinstance(value, dict):
        return "; ".join(f"{key}={item}" for key, item in value.items())
    return str(value)


def words_of(language: Language, column: str, code: str) -> str:
    """Return the word of a column for a code, as the table has it; the code itself, made visible, where there is none."""
    return visible(_translated(language, f"{column}.{code}", code))


def _translated(language: Language, key: str, code: str) -> str:
    """Return the word for a code; the code itself when a newer gateway wrote one that this one has no word for."""
    return _texts.text(language, key) if key in _texts.keys() else code  # noqa: SIM118  a Catalogue is no mapping


def _local(at: str, zone: timezone) -> str:
    moment = seconds(at)
    if moment is None:
        return at
    return datetime.fromtimestamp(moment, zone).isoformat(sep=" ", timespec="milliseconds")[:23]

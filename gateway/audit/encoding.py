r"""From a record to one line of the log, and back.

A line is `{"hash":H,"index":N,"previous":P,"record":{...}}` and a line feed. `H` is the RFC 6962 leaf hash (SHA-256 over
0x00 and the data) of the same object without `hash`, byte for byte as it stands in the file; `P` is `H` of the line before.
So the chain and the Merkle tree share one hash, and there is nothing to canonicalise when verifying.

Against log injection (CVE-2025-25294 and its class), whatever a record holds:
- a line break, another control character, a bidirectional control or an invisible character is never in the file as such: it is
  written as a JSON escape. The value is the same, the line shows what it is, and one record is one line.
- a lone surrogate (which UTF-8 can't hold) becomes the six characters `\udXXX`.
- a text of more than 2,048 characters is cut and says so; a list or table is cut at 64 entries, nesting at 8 levels.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from gateway.audit.merkle import leaf_hash
from gateway.domain.record import Record
from gateway.kernel.canonical import canonical_json
from gateway.kernel.errors import AuditError

MAX_TEXT: Final = 2048
"""Characters of one text, the mark of a cut not counted."""
MAX_ENTRIES: Final = 64
"""Entries of one list or table."""
MAX_DEPTH: Final = 8
MAX_LINE: Final = 1 << 20
"""Bytes of one line. The cuts keep well below it for every record of the closed set."""

_CUT_BELOW: Final = MAX_TEXT
"""Bytes of an encoded record that can't hold a text, list or table over its limit: the quick way round the cutting."""

# What reads wrongly on a screen: DEL and C1 controls, soft hyphen, bidirectional controls, zero-width and other invisible
# characters, line and paragraph separators, non-characters, tag characters. Variation selectors stay: Japanese names need them.
_UNSAFE: Final = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
# C0 controls are escaped by JSON itself.
_INVISIBLE: Final = re.compile(f"[\x00-\x1f]|{_UNSAFE.pattern}")

_LINE = re.compile(rb'\{"hash":"([0-9a-f]{64})","index":(0|[1-9][0-9]{0,17}),"previous":"([0-9a-f]{64})","record":(\{.*\})\}')
_HASH_END: Final = len('{"hash":"') + 64 + len('",')


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line read back: well-formed, and its hash is that of its content. Whether it follows the one before is for the caller."""

    index: int
    previous: str
    hash: bytes
    record: bytes


def rfc3339(now: float) -> str:
    """Return epoch seconds as RFC 3339 UTC with milliseconds."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode_record(record: Record) -> bytes:
    """Return a record as one line of JSON without its line feed, by the rules above.

    Raises AuditError for what the closed record type can't produce: a value that is no JSON, or a megabyte after cutting.
    """
    try:
        encoded = canonical_json(record)
    except UnicodeEncodeError:
        encoded = canonical_json(_tidy(_builtins(record), 0))
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise AuditError(f"a record can't be written as JSON ({error})", where=record.id) from error
    if len(encoded) > _CUT_BELOW:
        encoded = canonical_json(_tidy(_builtins(record), 0))
    encoded = safe_json(encoded)
    if len(encoded) > MAX_LINE - 256:
        raise AuditError(f"a record of {len(encoded):,} bytes is over the limit of {MAX_LINE:,}", where=record.id)
    return encoded


def safe_json(encoded: bytes) -> bytes:
    """Return JSON with every unsafe character as an escape: the same value, safe to show."""
    if not _may_be_unsafe(encoded):
        return encoded
    return _UNSAFE.sub(_escape, encoded.decode()).encode()


def visible(text: str) -> str:
    """Return a text whose control, bidirectional and invisible characters are shown as escapes: one line, safe on a screen."""
    return _INVISIBLE.sub(_escape, text)


def seal(index: int, previous: str, record: bytes) -> tuple[bytes, bytes]:
    """Return an encoded record's line (with line feed) at `index`, and its hash; `previous` is the hash (hex) before it."""
    rest = b'"index":%d,"previous":"%s","record":%s}' % (index, previous.encode(), record)
    digest = leaf_hash(b"{" + rest)
    return b'{"hash":"%s",%s\n' % (digest.hex().encode(), rest), digest


def open_line(line: bytes) -> Line | None:
    """Return what a line (without its line feed) holds, or None when it is malformed or its hash is wrong."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    digest = leaf_hash(b"{" + line[_HASH_END:])
    if digest.hex().encode() != match[1]:
        return None
    return Line(index=int(match[2]), previous=match[3].decode(), hash=digest, record=match[4])


def _may_be_unsafe(line: bytes) -> bool:
    """Look for the first bytes of the unsafe characters' UTF-8, which is many times quicker than looking for the characters."""
    if line.isascii():
        return b"\x7f" in line
    return (
        b"\xe2" in line
        or b"\xef" in line
        or b"\xc2" in line
        or b"\x7f" in line
        or b"\xd8" in line
        or b"\xe1" in line
        or b"\xf3" in line
    )


def _escape(match: re.Match[str]) -> str:
    """Return the JSON escape of one character (a surrogate pair beyond the BMP)."""
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _builtins(record: Record) -> Any:
    return msgspec.to_builtins(record, enc_hook=_decoded)


def _decoded(value: Any) -> Any:
    """What a part of a record holds that came already encoded."""
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    raise TypeError(f"{type(value).__name__} is not for records")


def _tidy(value: Any, depth: int) -> Any:
    """Return a copy of builtins that obeys the limits and holds no lone surrogate."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            value = f"{value[:MAX_TEXT]}…[cut: {len(value)} characters]"
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict | list | tuple) and depth >= MAX_DEPTH:
        return "…[cut: nested too deeply]"
    if isinstance(value, dict):
        kept = {_tidy(str(key), depth + 1): _tidy(item, depth + 1) for key, item in list(value.items())[:MAX_ENTRIES]}
        if len(value) > MAX_ENTRIES:
            kept["…"] = f"[cut: {len(value)} entries]"
        return kept
    if isinstance(value, list | tuple):
        items = [_tidy(item, depth + 1) for item in value[:MAX_ENTRIES]]
        return [*items, f"…[cut: {len(value)} entries]"] if len(value) > MAX_ENTRIES else items
    return value

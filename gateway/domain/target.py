"""The request-target: canonical, or refused. Pure.

Two servers that read one target differently are how a policy is asked about `/public` while the application serves `/admin`.
So there is one spelling of each path here, and every other one is refused, never repaired:

1. origin-form only (RFC 9112 §3.2.1), beginning with exactly one slash;
2. the path holds nothing but `pchar` and `/` (RFC 3986 §3.3): no backslash, space, control character, `#`, non-ASCII byte;
   the query holds printable ASCII without space and `#` (browsers send more there than RFC 3986 lists, and it names no resource);
3. each `%` begins a valid escape, in path and query;
4. in the path no escape stands for a character that could stand there itself (`%61`, `%2e`), for a delimiter that would change
   the path's meaning when somebody decodes it (`%2f %5c %23 %3f`), for a control character, or for another escape (`%2561`); in
   the query none stands for NUL;
5. the decoded path is valid UTF-8 (RFC 3629) without control characters; the query may be in another encoding (Shift_JIS), which
   older record systems use;
6. no empty segment but the last (`//`), no `.` or `..` segment, also not before a `;`.

`;` and `%3b` pass here: whether they may is the route's word, see `gateway.domain.route`.
"""

import functools
import re
from typing import Final

import msgspec

from gateway.domain.reason import RefuseReason
from gateway.domain.refusal import Refusal

_PATH: Final = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_QUERY: Final = re.compile(r"(?:[!-\"$&-~]|%[0-9A-Fa-f]{2})*")
_PATH_BYTES: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*")
_QUERY_BYTES: Final = re.compile(r"[!\"$-~]*")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_DOUBLE: Final = re.compile(r"%25[0-9A-Fa-f]{2}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DELIMITERS: Final = frozenset(b"/\\#?")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted target. `path` and `query` are as received; `segments` is the path decoded once.

    The root `/` has the one segment `""`; a path that ends in `/` ends with the segment `""`.
    """

    path: str
    query: str
    has_query: bool
    segments: tuple[str, ...]


def parse_target(text: str, *, max_length: int, max_segments: int) -> Target | Refusal:
    """Apply the rules above to a request-target exactly as received. Never raises.

    Not checked: whether a route exists, `;`, and what the query's names and values mean.
    """
    if len(text) > max_length:
        return Refusal(reason=RefuseReason.TARGET_TOO_LONG, detail=f"the target is longer than {max_length} bytes")
    if not text.startswith("/"):
        return Refusal(reason=RefuseReason.TARGET_FORM, detail="the target does not begin with a slash (origin-form)")
    path, mark, query = text.partition("?")
    well_formed, segments = _remembered(path) if len(path) <= _SHORT else _read_path(path)
    if not well_formed and isinstance(segments, Refusal):
        return segments
    if query and not _QUERY.fullmatch(query):
        return _bad_bytes(query, _QUERY_BYTES, "query")
    if "%00" in query:
        return Refusal(reason=RefuseReason.TARGET_ENCODING, detail="an encoded NUL in the query")
    if isinstance(segments, Refusal):
        return segments
    if len(segments) > max_segments:
        return Refusal(reason=RefuseReason.TARGET_TOO_LONG, detail=f"the path has more than {max_segments} segments")
    return Target(path=path, query=query, has_query=bool(mark), segments=segments)


def _read_path(path: str) -> tuple[bool, tuple[str, ...] | Refusal]:
    """Whether the path holds nothing but what may stand in one; and its segments, or why there are none."""
    if not _PATH.fullmatch(path):
        return False, _bad_bytes(path, _PATH_BYTES, "path")
    return True, _segments(path)


_SHORT: Final = 256
_remembered: Final = functools.lru_cache(maxsize=1024)(_read_path)
"""Paths repeat. Queries, in which names and diagnoses are searched for, are not kept."""


def _segments(path: str) -> tuple[str, ...] | Refusal:
    if "%" in path:
        refusal = _bad_escape(path)
        if refusal is not None:
            return refusal
    raw = path[1:].split("/")
    if "" in raw[:-1]:
        return Refusal(reason=RefuseReason.TARGET_EMPTY_SEGMENT, detail="an empty path segment (//)")
    if any(segment.partition(";")[0] in {".", ".."} for segment in raw):
        return Refusal(reason=RefuseReason.TARGET_DOT_SEGMENTS, detail="a . or .. segment")
    if "%" not in path:
        return tuple(raw)
    try:
        segments = tuple(_decode(segment) for segment in raw)
    except UnicodeDecodeError:
        return Refusal(reason=RefuseReason.TARGET_ENCODING, detail="the path's escapes are not valid UTF-8")
    if any(_CONTROL.search(segment) for segment in segments):
        return Refusal(reason=RefuseReason.TARGET_ENCODING, detail="an encoded control character in the path")
    # An escaped semicolon was no semicolon above: what stands before it must not be a dot segment either.
    if any(segment.partition(";")[0] in {".", ".."} for segment in segments):
        return Refusal(reason=RefuseReason.TARGET_DOT_SEGMENTS, detail="a . or .. segment before a semicolon")
    return segments


def _decode(segment: str) -> str:
    if "%" not in segment:
        return segment
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), segment).encode("latin-1").decode("utf-8")


def _bad_escape(path: str) -> Refusal | None:
    if _DOUBLE.search(path):
        return Refusal(reason=RefuseReason.TARGET_ENCODING, detail="an escape of an escape (%25 before two hex digits)")
    for digits in set(_ESCAPE.findall(path)):
        byte = int(digits, 16)
        if byte in _UNRESERVED:
            return Refusal(reason=RefuseReason.TARGET_ENCODING, detail=f"%{digits} encodes a character that needs no encoding")
        if byte in _DELIMITERS:
            return Refusal(reason=RefuseReason.TARGET_ENCODING, detail=f"%{digits} encodes a delimiter in the path")
        if byte < 0x20 or byte == 0x7F:  # noqa: PLR2004  the ASCII control characters
            return Refusal(reason=RefuseReason.TARGET_ENCODING, detail=f"%{digits} encodes a control character")
    return None


def _bad_bytes(part: str, allowed: re.Pattern[str], where: str) -> Refusal:
    if allowed.fullmatch(part):
        return Refusal(reason=RefuseReason.TARGET_ENCODING, detail=f"an invalid escape in the {where}")
    return Refusal(reason=RefuseReason.TARGET_BYTES, detail=f"a character that may not stand in the {where}")

"""Why aiohttp's parser refused a head, in our words."""

import re
from typing import Final

from aiohttp.http_exceptions import BadHttpMethod, BadStatusLine, HttpProcessingError, InvalidHeader, InvalidURLError, LineTooLong

from gateway.domain.reason import RefuseReason
from gateway.domain.request import RawRequest, Refusal
from gateway.domain.target import parse_target
from gateway.doors.limits import ListenerLimits

_DUPLICATE: Final = re.compile(r"Duplicate '([A-Za-z-]{1,32})' header found\.")


def refusal_of(error: HttpProcessingError, raw: RawRequest, limits: ListenerLimits) -> Refusal:
    """Say in our words why aiohttp's parser refused. Its own message quotes what was sent, so it is never passed on."""
    if isinstance(error, LineTooLong):
        if error.args[1] == limits.head.target_length:
            return Refusal(reason=RefuseReason.TARGET_TOO_LONG, detail="the target is too long")
        return Refusal(reason=RefuseReason.HEADERS_TOO_LARGE, detail="a header field is too long")
    if isinstance(error, BadHttpMethod):
        return Refusal(reason=RefuseReason.METHOD, detail="the first word is no method")
    if isinstance(error, InvalidURLError):
        return _refused_target(raw, limits)
    if isinstance(error, BadStatusLine):
        return Refusal(reason=RefuseReason.FRAMING, detail="the request line is not of HTTP/1.1")
    if isinstance(error, InvalidHeader):
        return Refusal(reason=RefuseReason.HEADER_MALFORMED, detail="a malformed header field")
    return _refused_message(error.message)


def _refused_target(raw: RawRequest, limits: ListenerLimits) -> Refusal:
    if raw.target:
        found = parse_target(raw.target, max_length=limits.head.target_length, max_segments=limits.head.segments)
        if isinstance(found, Refusal):
            return found
    return Refusal(reason=RefuseReason.TARGET_BYTES, detail="the target is malformed")


def _refused_message(text: str) -> Refusal:
    # aiohttp tells these apart by text only; an unknown text is FRAMING, which refuses just as well.
    if text == "Missing 'Host' header in request.":
        return Refusal(reason=RefuseReason.HOST_MISSING, detail="no Host field")
    if text == "Too many headers received":
        return Refusal(reason=RefuseReason.HEADERS_TOO_LARGE, detail="too many header fields")
    twice = _DUPLICATE.fullmatch(text)
    if twice is not None and twice[1] == "Host":
        return Refusal(reason=RefuseReason.HOST_DUPLICATE, detail="more than one Host field")
    if twice is not None and twice[1] not in {"Content-Length", "Transfer-Encoding"}:
        return Refusal(reason=RefuseReason.HEADER_MALFORMED, detail=f"more than one {twice[1].lower()} field")
    return Refusal(reason=RefuseReason.FRAMING, detail="the request's head or its framing is malformed")

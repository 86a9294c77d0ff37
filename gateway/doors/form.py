"""The form that a person was sending when the answer was no."""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.domain.request import Request

MAX_FORM: Final = 65_536
"""A form is given back on the page up to this size."""


async def small_form(http: web.BaseRequest, request: Request, *, seconds: float) -> list[tuple[str, str]] | None:
    """Read the form that is the body of `http`, so that the page can give it back; None when it is none, or too large.

    `seconds` is how long the body may take. Raises BrokenBodyError when the body is not well-formed HTTP.
    """
    length = request.header("content-length") or ""
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded" or not length.isdecimal() or int(length) > MAX_FORM:
        return None
    await say_continue(http, request)
    try:
        async with asyncio.timeout(seconds):
            body = await http.content.read()
        return parse_qsl(body.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=200)
    except (OSError, ValueError):  # it stopped coming, or is no form after all: the page does without
        return None


async def say_continue(http: web.BaseRequest, request: Request) -> None:
    """Tell a client that waits to be told that it may send its body (RFC 9110 §10.1.1)."""
    if request.header("expect") is not None and http.version >= (1, 1):
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

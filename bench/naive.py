"""The plain proxy that the embedded door is compared with: aiohttp's server and client as their manuals show them, no checks."""

import argparse
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from aiohttp import web

_HOP_BY_HOP: Final = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
    "content-length",
}  # fmt: skip
_CLIENT: Final = web.AppKey("client", aiohttp.ClientSession)
_UPSTREAM: Final = web.AppKey("upstream", str)


async def _client(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as client:
        app[_CLIENT] = client
        yield


async def _forward(request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
    body = request.content if request.can_read_body else None
    url = request.app[_UPSTREAM] + request.path_qs
    async with request.app[_CLIENT].request(request.method, url, headers=headers, data=body, allow_redirects=False) as reply:
        passed = {name: value for name, value in reply.headers.items() if name.lower() not in _HOP_BY_HOP}
        response = web.StreamResponse(status=reply.status, headers=passed)
        response.content_length = reply.content_length
        await response.prepare(request)
        async for piece in reply.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("upstream", help="http://host:port")
    arguments = parser.parse_args()
    app = web.Application()
    app[_UPSTREAM] = arguments.upstream
    app.cleanup_ctx.append(_client)
    app.router.add_route("*", "/{rest:.*}", _forward)
    web.run_app(app, host="127.0.0.1", port=arguments.port, access_log=None, print=None)


if __name__ == "__main__":
    main()

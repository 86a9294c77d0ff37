"""The endpoint that the asked doors are compared with: aiohttp's low-level server, which says 200 to everything."""

import argparse
import asyncio

from aiohttp import web


async def _yes(_: web.BaseRequest) -> web.Response:
    return web.Response()


async def _serve(port: int) -> None:
    runner = web.ServerRunner(web.Server(_yes))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()

"""Run a server until somebody stops it."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


def run_until_stopped(serving: Coroutine[Any, Any, None]) -> None:
    """Run `serving` until it ends, or cancel it at SIGTERM or SIGINT and wait for its clean end.

    Its own errors are raised. A second signal while it ends is ignored: open requests get the time that the server gives them.
    """
    asyncio.run(_run(serving))


async def _run(serving: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(serving)
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopping:
            raise
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

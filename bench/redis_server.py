"""A Redis of the run's own, as durable as the gateway wants it: both sides keep their sessions in it."""

import shutil

from bench.children import LOOPBACK, BenchError, Children, free_port


async def start_redis(children: Children) -> str:
    """Start it on loopback, and return its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise BenchError("redis-server is not installed: make setup-test")
    folder = children.folder / "redis"
    folder.mkdir()
    port = free_port()
    command = [program, "--bind", LOOPBACK, "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes"]
    process = children.start("redis", command)
    await children.ready("redis", process, port)
    return f"redis://{LOOPBACK}:{port}/0"

"""A gate in a process of its own, so that its memory can be measured: `python -m tests.support.gate_process UPSTREAM_PORT`.

Prints one line of JSON (port, cookie) once it serves, and ends when its standard input does.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.support.gate import Gate


async def main(upstream_port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        gate = Gate(Path(folder))
        gate.upstream.fixed_port = upstream_port
        await gate.open()
        sys.stdout.write(json.dumps({"port": gate.port, "cookie": gate.cookie}) + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await gate.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

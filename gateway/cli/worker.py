"""A process of `gateway serve`, started by its supervisor: `python -m gateway.cli.worker CONTROL PARENT`. Not for people."""

import asyncio
import sys

from gateway.app.worker import die_with, run_worker
from gateway.cli import OK, UNUSABLE
from gateway.cli.serve import set_up_logging
from gateway.kernel.errors import GatewayError


def main(argv: list[str]) -> int:
    """Serve, and return the exit status."""
    die_with(int(argv[1]))
    set_up_logging()
    try:
        asyncio.run(run_worker(int(argv[0])))
    except GatewayError as error:
        for line in str(error).splitlines():
            print(f"gateway: {line}", file=sys.stderr)
        return UNUSABLE
    return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

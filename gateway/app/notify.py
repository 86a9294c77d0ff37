"""Telling systemd how the service is (sd_notify(3)): one datagram of `NAME=VALUE` lines to the socket in `NOTIFY_SOCKET`."""

import logging
import os
import socket
import time
from typing import Final

logger = logging.getLogger(__name__)

VARIABLE: Final = "NOTIFY_SOCKET"


class Notifier:
    """Says it, where somebody listens. That nobody does, or that it can't be told, never stops the service."""

    def __init__(self, address: str) -> None:
        """`address`: a path, or a name in the abstract namespace after an `@`; empty when nobody listens."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    @classmethod
    def of_environment(cls) -> "Notifier":
        """Take the address out of the environment: it is meant for this process alone."""
        return cls(os.environ.pop(VARIABLE, ""))

    def ready(self, status: str) -> None:
        """It serves (also: again)."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """It reads its configuration again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It ends."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            logger.warning("systemd can't be told (%s)", error)

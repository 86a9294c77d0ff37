"""Names under `.localhost` are this machine, for our own HTTP clients too."""

import socket
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

LOOPBACK: Final = ".localhost"
"""Names that are this machine by definition (RFC 6761 §6.3); libc's resolver does not know that everywhere."""


class LoopbackResolver(AbstractResolver):
    """Resolves `*.localhost` to this machine, everything else as usual."""

    def __init__(self) -> None:
        self._usual = DefaultResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Return addresses of a host."""
        name = "127.0.0.1" if host == LOOPBACK[1:] or host.endswith(LOOPBACK) else host
        return await self._usual.resolve(name, port, socket.AF_INET if name != host else family)

    async def close(self) -> None:
        """Close the usual resolver."""
        await self._usual.close()

"""A gigabyte up and one down through the complete gateway (TLS, session, device, policy, log): its memory stays what it was."""

import asyncio
import http.client
import json
import socket
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.bulk import MIB, PAUSE_SECONDS, PIECE, bulk_application, checksum
from tests.support.served import WARD, Served, count_from_here, resident, served

GIB = 1 << 30
MAY_GROW = 64 << 20
Result = TypeVar("Result")


class Connection:
    """A client of few words, in a thread: it is not what is measured, and must not be what is slow."""

    def __init__(self, site: Served, headers: Mapping[str, str]) -> None:
        raw = socket.create_connection(("127.0.0.1", site.port), timeout=60)
        self._http = http.client.HTTPSConnection("ward.localhost", site.port, timeout=60)
        self._http.sock = site.trusted.wrap_socket(raw, server_hostname="ward.localhost")
        self._headers = dict(headers)

    def upload(self, size: int) -> tuple[int, str]:
        self._http.putrequest("PUT", "/bulk")
        for name, value in {**self._headers, "Content-Length": str(size)}.items():
            self._http.putheader(name, value)
        self._http.endheaders()
        for _ in range(size // MIB):
            self._http.send(PIECE)
        reply = self._http.getresponse()
        return reply.status, reply.read().decode()

    def download(self, size: int) -> tuple[int, int]:
        self._http.request("GET", f"/bulk?{size}", headers=self._headers)
        reply = self._http.getresponse()
        value, view = 0, memoryview(bytearray(MIB))
        time.sleep(PAUSE_SECONDS)
        while count := reply.readinto(view):
            value = zlib.crc32(view[:count], value)
        return reply.status, value

    def close(self) -> None:
        self._http.close()


async def grown(site: Served, transfer: Callable[[], Result]) -> tuple[Result, int]:
    """Do a transfer; return what came of it, and by how much the gateway's memory grew at most."""
    [worker] = site.workers
    before, began = count_from_here(worker), time.monotonic()
    result = await asyncio.to_thread(transfer)
    growth, seconds = resident(worker, "VmHWM") - before, time.monotonic() - began
    sys.stdout.write(f"grew by {growth / MIB:.1f} MiB from {before / MIB:.0f}, {GIB / MIB / seconds:.0f} MiB/s\n")
    return result, growth


@pytest.mark.timeout(240)
async def test_memory_does_not_grow_with_a_gigabyte_up_or_down(tmp_path: Path) -> None:
    with bulk_application() as port:
        async with served(tmp_path, WARD.format(upstream=port)) as site:
            await site.start()
            doctor = site.clinician(await site.add("dr.mori", "森 あゆみ", "physician"))
            # A first exchange loads what is loaded once.
            assert (await doctor.register_device(await doctor.sign_in("ward"))).text == "small"
            url = doctor.url("ward", "/bulk")

            client = Connection(site, doctor.headers("PUT", url))
            (status, said), up = await grown(site, lambda: client.upload(GIB))
            assert (status, json.loads(said)) == (200, {"bytes": GIB, "crc": checksum(GIB // MIB)})
            client.close()

            client = Connection(site, doctor.headers("GET", url))
            (status, value), down = await grown(site, lambda: client.download(GIB))
            assert (status, value) == (200, checksum(GIB // MIB))
            client.close()

            await site.stop()
            ended = [record for record in await site.log("--app", "ward") if record["path"] == "/bulk"]
            counted = [
                (record["method"], record["completion"]["bytes_in"], record["completion"]["bytes_out"]) for record in ended
            ]
    assert [(method, taken) for method, taken, _ in counted] == [("PUT", GIB), ("GET", 0)]
    assert counted[1][2] == GIB
    assert max(up, down) < MAY_GROW, f"grew by {up >> 20} MiB up, {down >> 20} MiB down"

"""The gRPC listener hands over to a successor on the same socket: no call is lost, and none goes to the old one any more."""

import asyncio
import os
import socket
from pathlib import Path

import grpc

from gateway.domain.refusal import Refusal
from gateway.domain.request import RawRequest
from gateway.doors.envoy.unary import UnaryListener
from gateway.doors.envoy.unary_connection import Metadata, UnaryLimits
from gateway.doors.trust import Fronts

PATH = "/test.Service/Ask"


async def refuse(_: RawRequest, __: Refusal) -> None:
    raise AssertionError


def listener(answer: bytes, seconds: float) -> UnaryListener:
    async def ask(_: bytes, __: Metadata, ___: str) -> bytes:
        await asyncio.sleep(seconds)
        return answer

    return UnaryListener(ask, path=PATH, refuse=refuse, fronts=Fronts(uids=[os.getuid()]), limits=UnaryLimits())


async def test_calls_go_over_to_the_successor_and_none_is_lost(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "door"))
        bound.listen(64)
        old, new = listener(b"old", 0.02), listener(b"new", 0.0)
        await old.listen_socket(bound.dup())
        answers: list[bytes] = []
        stop = asyncio.Event()

        async def calling(channel: grpc.aio.Channel) -> None:
            while not stop.is_set():
                answers.append(await channel.unary_unary(PATH)(b"x", timeout=10))

        async with grpc.aio.insecure_channel(f"unix:{tmp_path / 'door'}") as channel:
            callers = [asyncio.create_task(calling(channel)) for _ in range(8)]
            await asyncio.sleep(0.2)
            await new.listen_socket(bound.dup())
            before = len(answers)
            await old.close(10.0, idle_seconds=0.5)
            after = len(answers)
            await asyncio.sleep(0.2)
            stop.set()
            await asyncio.gather(*callers)
        await new.close(1.0)
    assert before > 0
    assert set(answers[:before]) == {b"old"}
    assert set(answers[after:]) == {b"new"}

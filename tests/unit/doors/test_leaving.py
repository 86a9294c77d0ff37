"""A door that hands over to a successor: whatever was begun, and whatever is on its way, is answered."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from aiohttp import web

from tests.support.gate import Gate, read_answer

LONG = 30.0
"""Seconds of grace that no test waits for."""


@contextlib.asynccontextmanager
async def leaving(gate: Gate, *, grace: float = LONG, idle: float) -> AsyncIterator["asyncio.Task[None]"]:
    """The door is being closed, and accepts no more."""
    task = asyncio.create_task(gate.door.close(grace, idle_seconds=idle))
    await asyncio.sleep(0.05)
    try:
        yield task
    finally:
        async with asyncio.timeout(10):
            await task


async def test_a_request_on_an_idle_connection_is_answered_and_told_that_it_was_the_last(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/one"))
        first = await read_answer(reader)
        assert first.values("Connection") == []
        async with leaving(gate, idle=LONG):
            writer.write(gate.head("/two"))
            second = await read_answer(reader)
            assert (second.status, second.values("Connection")) == (200, ["close"])
            assert await reader.read() == b""
    assert [hit.target for hit in gate.upstream.hits] == ["/one", "/two"]


async def test_a_connection_that_has_not_said_anything_yet_is_answered(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        await asyncio.sleep(0.05)
        async with leaving(gate, idle=LONG):
            writer.write(gate.head("/first"))
            assert (await read_answer(reader)).status == 200


async def test_a_request_that_is_under_way_is_finished_and_another_may_follow(gate: Gate) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        await go.wait()
        return web.Response(text="done")

    gate.upstream.answer = answer
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/slow"))
        await asyncio.wait_for(begun.wait(), 5)
        async with leaving(gate, idle=0.3) as task:
            await asyncio.sleep(0.5)
            assert not task.done(), "it waits for the request, however long its connection was silent"
            writer.write(gate.head("/next"))  # sent before the answer to the first: nobody could have told this client
            go.set()
            assert (await read_answer(reader)).status == 200
            assert (await read_answer(reader)).status == 200
    assert [hit.target for hit in gate.upstream.hits] == ["/slow", "/next"]


async def test_what_is_silent_for_long_enough_is_closed(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/one"))
        await read_answer(reader)
        async with leaving(gate, idle=0.2):
            assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_stream_has_all_of_the_grace_and_no_more(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(http)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"beat")
                await asyncio.sleep(0.02)
        return response

    gate.upstream.answer = answer
    loop = asyncio.get_running_loop()
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/stream"))
        await reader.readuntil(b"\r\n\r\n")
        began = loop.time()
        async with leaving(gate, grace=0.8, idle=0.1):
            with contextlib.suppress(ConnectionError):
                while await reader.read(1000):
                    pass
        assert loop.time() - began > 0.7
    [completion] = await gate.completions()
    assert completion.problem == "shutdown"


async def test_a_client_in_the_middle_of_its_head_is_answered(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        head = gate.head("/begun")
        writer.write(head[:20])
        await asyncio.sleep(0.05)
        async with leaving(gate, idle=0.1):
            await asyncio.sleep(0.3)
            writer.write(head[20:])
            assert (await read_answer(reader)).status == 200


async def test_what_was_accepted_just_before_is_not_dropped(gate: Gate) -> None:
    """Connections in the queue of a shared socket: those that this door took are answered, the others wait for the successor."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as ours:
        gate.port = ours.getsockname()[1]
        await gate.door.listen_socket(ours.dup())
        clients = [socket.create_connection(("127.0.0.1", gate.port)) for _ in range(20)]
        try:
            task = asyncio.create_task(gate.door.close(LONG, idle_seconds=0.5))
            for client in clients:
                client.sendall(gate.head("/x"))
            await asyncio.sleep(0.2)
            # The socket is what is handed over: whoever accepts on it now gets the rest.
            ours.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    waiting, _ = ours.accept()
                    waiting.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    waiting.close()
            for client in clients:
                client.settimeout(5)
                reply = await asyncio.to_thread(client.recv, 100)
                assert reply.startswith(b"HTTP/1.1 200")
            await task
        finally:
            for client in clients:
                client.close()

import asyncio

from aiohttp import web

from tests.support.gate import HOST, Gate


async def test_a_request_reaches_the_application_and_its_answer_the_client(gate: Gate) -> None:
    answer = await gate.get("/files/a?x=1")
    assert (answer.status, answer.body) == (200, b"from the application")
    [hit] = gate.upstream.hits
    assert (hit.method, hit.target) == ("GET", "/files/a?x=1")
    [completion] = await gate.completions()
    assert (completion.status, completion.bytes_out, completion.problem) == (200, 20, "")
    assert completion.id == gate.decisions()[0].id


async def test_the_decision_is_in_the_log_before_the_application_is_asked(gate: Gate) -> None:
    seen: list[int] = []

    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        seen.append(len(gate.decisions()))
        return web.Response()

    gate.upstream.answer = answer
    await gate.get("/x")
    assert seen == [1]


async def test_nobody_signed_in_is_sent_to_sign_in(gate: Gate) -> None:
    answer = await gate.get("/x", "Accept: text/html", "Sec-Fetch-Mode: navigate", cookie="")
    assert answer.status == 302
    assert answer.values("Location") == ["/.gateway/sign-in?rd=%2Fx"]
    assert gate.upstream.hits == []


async def test_a_body_is_passed_on_with_its_length(gate: Gate) -> None:
    await gate.send(gate.head("/echo", "Content-Length: 5", method="POST") + b"hello")
    [hit] = gate.upstream.hits
    assert hit.body == b"hello"
    assert hit.values("content-length") == ["5"]
    [completion] = await gate.completions()
    assert completion.bytes_in == 5


async def test_a_chunked_body_is_passed_on_chunked(gate: Gate) -> None:
    await gate.send(gate.head("/echo", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")
    [hit] = gate.upstream.hits
    assert hit.body == b"hello!"
    assert hit.values("transfer-encoding") == ["chunked"]


async def test_connections_are_kept_on_both_sides(gate: Gate) -> None:
    peers: set[object] = set()

    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        assert http.transport is not None
        peers.add(http.transport.get_extra_info("peername"))
        return web.Response(text="ok")

    gate.upstream.answer = answer
    async with gate.connect() as (reader, writer):
        for _ in range(3):
            writer.write(gate.head("/x"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"200 OK" in head
            await reader.readexactly(2)
    assert len(peers) == 1


async def test_head_has_the_length_and_no_body(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", method="HEAD") + gate.head("/y", "Connection: close"))
        first = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 20" in first
        rest = await reader.read()
    assert rest.startswith(b"HTTP/1.1 200")
    assert HOST.encode() not in rest


async def test_an_expectation_is_met_once_the_request_is_allowed(gate: Gate) -> None:
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/x", "Content-Length: 2", "Expect: 100-continue", method="PUT"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert gate.upstream.hits[0].values("expect") == []
    assert gate.upstream.hits[0].body == b"ok"


async def test_an_expectation_of_somebody_unknown_is_not_met(gate: Gate) -> None:
    head = gate.head("/x", "Content-Length: 2000000", "Expect: 100-continue", method="PUT", cookie="")
    answer = await gate.send(head)
    assert answer.status == 401


async def test_a_dead_application_is_a_502_with_a_completion_record(gate: Gate) -> None:
    await gate.upstream.stop()
    answer = await gate.get("/x")
    assert answer.status == 502
    [completion] = await gate.completions()
    assert (completion.status, completion.problem) == (502, "connect")
    await gate.upstream.start()


async def test_small_pieces_of_an_event_stream_arrive_at_once(gate: Gate) -> None:
    go = asyncio.Event()

    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        await response.write(b"data: 1\n\n")
        await go.wait()
        await response.write(b"data: 2\n\n")
        return response

    gate.upstream.answer = answer
    async with gate.connect() as (reader, writer):
        writer.write(gate.head("/events"))
        await reader.readuntil(b"data: 1\n\n")
        go.set()
        await reader.readuntil(b"data: 2\n\n")

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from gateway.demo.ehr.vitals import vitals_at
from gateway.demo.patients import PATIENTS
from gateway.kernel.clock import ManualClock
from tests.support.assertions import TestSigner
from tests.unit.demo.conftest import ORIGIN, Client, MakeClient

VITALS = "/patients/P1001/vitals/stream"


async def next_event(stream: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next event that is no comment."""
    fields: dict[str, str] = {}
    while True:
        line = (await asyncio.wait_for(stream.content.readline(), 5)).decode().rstrip("\n")
        if not line:
            if "data" in fields:
                return {**fields, "data": json.loads(fields["data"])}
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


async def test_vital_signs_begin_with_two_minutes_and_go_on(ehr: Client, clock: ManualClock) -> None:
    async with ehr.ws_connect(VITALS) as socket:
        history = json.loads(await socket.receive_bytes())["history"]
        assert [point["at"] for point in history] == list(range(int(clock.now()) - 119, int(clock.now()) + 1))
        clock.advance(1)
        assert json.loads(await socket.receive_bytes(timeout=5))["vitals"]["at"] == int(clock.now())
        clock.advance(1)
        assert json.loads(await socket.receive_bytes(timeout=5))["vitals"]["at"] == int(clock.now())


async def test_the_vital_signs_stream_takes_no_messages(ehr: Client) -> None:
    async with ehr.ws_connect(VITALS) as socket:
        await socket.receive_bytes()
        await socket.send_str("hello")
        assert (await socket.receive(timeout=5)).type in {WSMsgType.CLOSE, WSMsgType.CLOSED}
        assert socket.close_code == 1003


async def test_a_huge_message_ends_the_stream(ehr: Client) -> None:
    async with ehr.ws_connect(VITALS) as socket:
        await socket.receive_bytes()
        await socket.send_bytes(bytes(100_000))
        assert (await socket.receive(timeout=5)).type in {WSMsgType.CLOSE, WSMsgType.CLOSED}
        assert socket.close_code == 1009


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
async def test_another_sites_page_gets_no_stream(ehr: Client, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await ehr.ws_connect(VITALS, headers={"Origin": origin})
    assert caught.value.status == 403


async def test_no_stream_without_an_assertion_or_a_patient(stranger: Client, ehr: Client) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await stranger.ws_connect(VITALS)
    assert caught.value.status == 401
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await ehr.ws_connect("/patients/P9/vitals/stream")
    assert caught.value.status == 404


async def test_stopping_the_app_closes_its_streams(
    aiohttp_client: MakeClient, ehr_app: web.Application, signer: TestSigner, clock: ManualClock
) -> None:
    server = TestServer(ehr_app)
    client = await aiohttp_client(server, headers={**signer.headers(clock.now()), "Origin": ORIGIN})
    socket = await client.ws_connect(VITALS)
    await socket.receive_bytes()
    stream = await client.get("/notices/stream")
    await next_event(stream)
    # Reading goes on: an answer to the closing handshake comes only from who reads.
    reading = asyncio.create_task(socket.receive(timeout=10))
    async with asyncio.timeout(10):
        await server.close()
        assert (await reading).type in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING}
        await stream.content.read()


async def test_notices_come_in_the_readers_language_and_never_as_markup(ehr: Client) -> None:
    stream = await ehr.get("/notices/stream", headers={"Accept-Language": "en"})
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert stream.headers["Cache-Control"] == "no-store"
    first = await next_event(stream)
    assert first["event"] == "notice"
    assert first["id"] == "1"
    assert first["data"]["text"].startswith("Laboratory")
    japanese = await ehr.get("/notices/stream")
    assert (await next_event(japanese))["data"]["text"].startswith("検査部")
    stream.close()
    japanese.close()


async def test_a_new_order_is_announced_and_a_returning_reader_gets_what_it_missed(ehr: Client) -> None:
    stream = await ehr.get("/notices/stream")
    for _ in range(3):
        last = await next_event(stream)
    order = {"form": "rx_" + "1" * 32, "drug": "amlodipine-5", "amount": "1", "timing": "bid", "days": "3"}
    assert (await ehr.post("/patients/P1002/prescriptions", data=order, allow_redirects=False)).status == 303
    new = await asyncio.wait_for(next_event(stream), 5)
    assert new["data"]["text"] == "架空 太郎様に処方が登録されました。"
    stream.close()
    again = await ehr.get("/notices/stream", headers={"Last-Event-ID": last["id"]})
    assert (await next_event(again))["id"] == new["id"]
    again.close()


@pytest.mark.parametrize("seen", ["", "x", "-1", "999999", "9" * 400, "٣", "1\t"])
async def test_an_invented_last_event_id_gets_everything(ehr: Client, seen: str) -> None:
    stream = await ehr.get("/notices/stream", headers={"Last-Event-ID": seen})
    assert (await next_event(stream))["id"] in {"1", "2"}
    stream.close()


def test_vital_signs_are_the_same_for_everybody_and_stay_plausible() -> None:
    for patient in PATIENTS:
        for second in range(1_800_000_000, 1_800_003_600, 7):
            vitals = vitals_at(patient, second)
            assert vitals == vitals_at(patient, second)
            assert 50 <= vitals.heart_rate <= 125
            assert 85 <= vitals.spo2 <= 100
            assert 8 <= vitals.respiration <= 30
            assert vitals.diastolic < vitals.systolic
            assert 35.5 <= vitals.temperature <= 38.5

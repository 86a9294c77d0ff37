import asyncio
import re
from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import TestServer

from gateway.demo.assertion import AssertionVerifier
from gateway.demo.orders.app import create_orders
from gateway.demo.orders.book import NARCOTICS, ORDERS
from gateway.kernel.clock import ManualClock
from gateway.kernel.web.site import Front
from tests.support.assertions import PORTAL, TestSigner
from tests.unit.demo.conftest import Client, MakeClient

ORIGIN = "http://orders.localhost:8080"
FRONT = Front(origin=ORIGIN, portal=PORTAL)
GOOD = {"form": "ord_" + "0" * 32, "what": "ecg"}
PATH = "/patients/P1002"


@pytest.fixture
def orders_verifier(signer: TestSigner, clock: ManualClock) -> AssertionVerifier:
    async def fetch() -> bytes:
        return msgspec.json.encode(signer.jwks())

    return AssertionVerifier(fetch, issuer=PORTAL, audience="orders", clock=clock)


@pytest.fixture
async def orders(
    aiohttp_client: MakeClient, tmp_path: Path, orders_verifier: AssertionVerifier, signer: TestSigner, clock: ManualClock
) -> Client:
    headers = {**signer.headers(clock.now(), aud="orders"), "Origin": ORIGIN, "Accept-Language": "ja"}
    app = create_orders(tmp_path / "orders", orders_verifier, clock, front=FRONT)
    return await aiohttp_client(TestServer(app), headers=headers)


async def test_an_order_is_entered_once_and_carried_out_once(orders: Client) -> None:
    page = await (await orders.get(PATH)).text()
    assert len(set(re.findall(r'name="form" value="(ord_[0-9a-f]{32})"', page))) == 2
    replies = await asyncio.gather(*(orders.post(f"{PATH}/orders", data=GOOD, allow_redirects=False) for _ in range(5)))
    assert {(reply.status, reply.headers["Location"]) for reply in replies} == {(303, f"{PATH}?saved=1")}
    page = await (await orders.get(f"{PATH}?saved=1")).text()
    assert "登録しました" in page
    assert page.count('<th scope="row">12誘導心電図') == 1
    assert "未実施 1件" in await (await orders.get("/")).text()
    done = f"{PATH}/orders/{GOOD['form']}/done"
    for _ in range(2):
        assert (await orders.post(done, allow_redirects=False)).status == 303
    assert "実施を記録" not in await (await orders.get(PATH)).text()
    assert "未実施 1件" not in await (await orders.get("/")).text()


async def test_narcotics_are_ordered_as_such_and_nowhere_else(orders: Client) -> None:
    morphine = {**GOOD, "what": "morphine-10"}
    assert (await orders.post(f"{PATH}/orders", data=morphine)).status == 422
    assert (await orders.post(f"{PATH}/narcotics", data=GOOD)).status == 422
    assert (await orders.post(f"{PATH}/narcotics", data=morphine, allow_redirects=False)).status == 303
    page = await (await orders.get(PATH)).text()
    assert "モルヒネ塩酸塩注射液" in page.partition("<form")[2]
    assert '<span class="tag">麻薬</span>' in page
    assert not set(ORDERS) & set(NARCOTICS)


@pytest.mark.parametrize("form", [{}, {"what": "ecg"}, {**GOOD, "what": "x"}, {**GOOD, "form": "../../x"}, {**GOOD, "form": ""}])
async def test_what_is_no_order_is_refused(orders: Client, form: dict[str, str]) -> None:
    assert (await orders.post(f"{PATH}/orders", data=form)).status == 422
    assert "オーダはありません" in await (await orders.get(PATH)).text()


async def test_unknown_patients_and_orders(orders: Client) -> None:
    assert (await orders.get("/patients/P9999")).status == 404
    assert (await orders.post("/patients/P9999/orders", data=GOOD)).status == 404
    assert (await orders.post(f"{PATH}/orders/ord_x/done")).status == 404


async def test_a_form_of_another_site_enters_nothing(orders: Client) -> None:
    for path in ("orders", "narcotics", "orders/x/done"):
        reply = await orders.post(f"{PATH}/{path}", data=GOOD, headers={"Origin": "http://evil.localhost"})
        assert reply.status == 403


async def test_who_did_not_come_through_the_gateway_sees_nothing(
    aiohttp_client: MakeClient, tmp_path: Path, orders_verifier: AssertionVerifier, clock: ManualClock
) -> None:
    app = create_orders(tmp_path / "orders", orders_verifier, clock, front=FRONT)
    client = await aiohttp_client(TestServer(app))
    for path in ("/", PATH):
        assert (await client.get(path)).status in {401, 403}

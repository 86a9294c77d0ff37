import asyncio
import re
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.demo.assertion import AssertionVerifier
from gateway.demo.ehr import create_ehr
from gateway.demo.ehr.prescriptions import DRUGS, TIMINGS, Prescription, parse_prescription
from gateway.kernel.clock import ManualClock
from tests.support.assertions import TestSigner
from tests.unit.demo.conftest import FRONT, ORIGIN, Client, MakeClient

GOOD = {
    "form": "rx_" + "0" * 32,
    "drug": "amlodipine-5",
    "amount": "1",
    "timing": "qd-breakfast",
    "days": "14",
    "comment": "朝に血圧",
}
PATH = "/patients/P1002/prescriptions"


async def test_an_order_appears_on_the_chart(ehr: Client) -> None:
    form = await (await ehr.get(f"{PATH}/new")).text()
    number = re.search(r'name="form" value="(rx_[0-9a-f]{32})"', form)
    assert number is not None
    reply = await ehr.post(PATH, data={**GOOD, "form": number[1]}, allow_redirects=False)
    assert reply.status == 303
    assert reply.headers["Location"] == f"/patients/P1002?prescription={number[1]}#prescriptions"
    chart = await (await ehr.get(reply.headers["Location"].partition("#")[0])).text()
    assert "処方を登録しました：アムロジピン錠 5mg" in chart
    assert "1回1錠 1日1回 朝食後 14日分" in chart
    assert "朝に血圧" in chart
    assert "佐藤 恵" in chart
    assert "処方を登録しました" not in await (await ehr.get("/patients/P1001")).text()


async def test_sending_a_form_twice_orders_once(ehr: Client) -> None:
    replies = await asyncio.gather(*(ehr.post(PATH, data=GOOD, allow_redirects=False) for _ in range(5)))
    assert {reply.status for reply in replies} == {303}
    assert (await (await ehr.get("/patients/P1002")).text()).count("朝に血圧") == 1


async def test_orders_survive_a_restart(
    ehr: Client, tmp_path: Path, verifier: AssertionVerifier, clock: ManualClock, aiohttp_client: MakeClient, signer: TestSigner
) -> None:
    assert (await ehr.post(PATH, data=GOOD, allow_redirects=False)).status == 303
    assert [path.suffix for path in (tmp_path / "ehr/prescriptions/P1002").iterdir()] == [".json"]
    again = create_ehr(tmp_path / "ehr", verifier, clock, front=FRONT)
    client = await aiohttp_client(TestServer(again), headers=signer.headers(clock.now()))
    assert "朝に血圧" in await (await client.get("/patients/P1002")).text()


def test_a_broken_record_stops_the_start(tmp_path: Path, verifier: AssertionVerifier, clock: ManualClock) -> None:
    (tmp_path / "prescriptions/P1001").mkdir(parents=True)
    (tmp_path / "prescriptions/P1001/rx_1.json").write_text('{"id":"rx_1"')
    with pytest.raises(msgspec.DecodeError):
        create_ehr(tmp_path, verifier, clock, front=FRONT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("drug", ""), ("drug", "heroin"), ("drug", "AMLODIPINE-5"),
        ("amount", ""), ("amount", "0"), ("amount", "-1"), ("amount", "2.5"), ("amount", "0.3"), ("amount", "nan"),
        ("amount", "1e3"), ("amount", "inf"), ("amount", "99999"), ("amount", "1 000"),
        ("timing", ""), ("timing", "whenever"),
        ("days", ""), ("days", "0"), ("days", "31"), ("days", "1.5"), ("days", "-3"), ("days", "٣"),
        ("comment", "x" * 201),
        ("form", ""), ("form", "rx_../../x"), ("form", "rx_" + "0" * 31), ("form", "rx_" + "0" * 33),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named_and_nothing_is_ordered(ehr: Client, field: str, value: str) -> None:
    reply = await ehr.post(PATH, data={**GOOD, field: value})
    body = await reply.text()
    assert reply.status == 422
    assert "登録はまだ行われていません" in body
    assert f'id="{field}-wrong"' in body
    assert re.search(r'name="form" value="rx_[0-9a-f]{32}"', body)
    if field != "comment":
        assert "朝に血圧" in body  # what was right is kept
    assert "朝に血圧" not in await (await ehr.get("/patients/P1002")).text()


@pytest.mark.parametrize("missing", sorted(set(GOOD) - {"comment"}))
async def test_a_missing_field(ehr: Client, missing: str) -> None:
    assert (await ehr.post(PATH, data={name: value for name, value in GOOD.items() if name != missing})).status == 422


async def test_full_width_digits_are_digits(ehr: Client) -> None:
    assert (await ehr.post(PATH, data={**GOOD, "amount": "０．５", "days": "１４"}, allow_redirects=False)).status == 303
    assert "1回0.5錠" in await (await ehr.get("/patients/P1002")).text()


async def test_markup_in_a_comment_stays_text(ehr: Client) -> None:
    nasty = '"><script>alert(1)</script>\u202e'
    assert (await ehr.post(PATH, data={**GOOD, "comment": nasty}, allow_redirects=False)).status == 303
    chart = await (await ehr.get("/patients/P1002")).text()
    assert "<script>alert" not in chart
    assert "\u202e" not in chart
    refused = await (await ehr.post(PATH, data={**GOOD, "comment": nasty, "days": "0"})).text()
    assert "<script>alert" not in refused


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://ehr.localhost:8080.evil.example"},
        {"Origin": "https://ehr.localhost:8080"},
        {"Origin": ""},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_another_sites_form_is_stopped(ehr: Client, headers: dict[str, str]) -> None:
    reply = await ehr.post(PATH, data=GOOD, headers=headers)
    assert reply.status == 403
    assert "朝に血圧" not in await (await ehr.get("/patients/P1002")).text()


async def test_a_page_without_a_referrer_may_send_its_own_form(ehr: Client) -> None:
    headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    assert (await ehr.post(PATH, data=GOOD, headers=headers, allow_redirects=False)).status == 303


async def test_a_form_without_an_origin_is_stopped(
    aiohttp_client: MakeClient, ehr_app: web.Application, signer: TestSigner, clock: ManualClock
) -> None:
    client = await aiohttp_client(TestServer(ehr_app), headers=signer.headers(clock.now()))
    assert (await client.post(PATH, data=GOOD)).status == 403


async def test_a_form_that_is_too_large_or_garbled(ehr: Client) -> None:
    assert (await ehr.post(PATH, data={**GOOD, "comment": "x" * 70_000})).status == 413
    for kind in ("application/json", "text/plain", "multipart/form-data", "multipart/form-data; boundary=x"):
        assert (await ehr.post(PATH, data=b"drug=1", headers={"Content-Type": kind})).status == 400, kind
    urlencoded = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (b"\xff\xfe=1", b"drug=%ff", b"drug=a&drug=b", b"&".join(b"f%d=1" % number for number in range(60))):
        assert (await ehr.post(PATH, data=body, headers=urlencoded)).status == 400, body
    odd = {"Content-Type": "application/x-www-form-urlencoded; charset=no-such"}
    assert (await ehr.post(PATH, data=b"drug=1", headers=odd)).status == 422


def test_every_drug_and_timing_reads_well_in_both_languages() -> None:
    for drug in DRUGS:
        for timing in TIMINGS:
            form = {**GOOD, "drug": drug.code, "timing": timing, "amount": "0.5"}
            order = parse_prescription(form, prescriber="佐藤 恵", subject="usr_sato", at=0)
            assert isinstance(order, Prescription)
            assert order.dose.ja.startswith("1回0.5錠 1日")
            assert "0.5 tablet(s)" in order.dose.en

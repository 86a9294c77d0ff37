from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.demo.assertion import AssertionVerifier
from gateway.demo.ehr import create_ehr
from gateway.kernel.clock import ManualClock
from gateway.kernel.web.site import Front
from tests.support.assertions import PORTAL, TestSigner

ORIGIN = "http://ehr.localhost:8080"
FRONT = Front(origin=ORIGIN, portal=PORTAL, form_origins=("http://id.localhost:8080",))
Client = TestClient[web.Request, web.Application]
MakeClient = Callable[..., Awaitable[Client]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000)


@pytest.fixture(scope="session")
def signer() -> TestSigner:
    return TestSigner()


@pytest.fixture
def verifier(signer: TestSigner, clock: ManualClock) -> AssertionVerifier:
    async def fetch() -> bytes:
        return msgspec.json.encode(signer.jwks())

    return AssertionVerifier(fetch, issuer=PORTAL, audience="ehr", clock=clock)


@pytest.fixture
def ehr_app(tmp_path: Path, verifier: AssertionVerifier, clock: ManualClock) -> web.Application:
    return create_ehr(
        tmp_path / "ehr", verifier, clock, front=FRONT, max_upload_bytes=3_000_000, vitals_interval=0.01, notice_interval=3600
    )


@pytest.fixture
async def ehr(aiohttp_client: MakeClient, ehr_app: web.Application, signer: TestSigner, clock: ManualClock) -> Client:
    """The sample EHR, visited by Dr. Sato through the gateway, in Japanese."""
    headers = {**signer.headers(clock.now()), "Origin": ORIGIN, "Accept-Language": "ja"}
    return await aiohttp_client(TestServer(ehr_app), headers=headers)


@pytest.fixture
async def stranger(aiohttp_client: MakeClient, ehr_app: web.Application) -> Client:
    """The sample EHR, visited by somebody who did not come through the gateway."""
    return await aiohttp_client(TestServer(ehr_app), headers={"Origin": ORIGIN})

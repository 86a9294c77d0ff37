import re
import struct
import zlib
from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import TestServer

import gateway.demo.imaging
from gateway.demo.assertion import AssertionVerifier, KeysUnavailable
from gateway.demo.imaging import create_imaging
from gateway.demo.imaging.app import STUDIES
from gateway.demo.imaging.phantom import Ellipse, draw
from gateway.kernel.clock import ManualClock
from gateway.kernel.i18n import Catalogue
from gateway.kernel.web.site import Front
from tests.support.assertions import PORTAL, TestSigner
from tests.unit.demo.conftest import Client, MakeClient

FRONT = Front(origin="http://imaging.localhost:8080", portal=PORTAL)


@pytest.fixture
async def imaging(aiohttp_client: MakeClient, signer: TestSigner, clock: ManualClock) -> Client:
    async def fetch() -> bytes:
        return msgspec.json.encode(signer.jwks())

    verifier = AssertionVerifier(fetch, issuer=PORTAL, audience="imaging", clock=clock)
    return await aiohttp_client(TestServer(create_imaging(verifier, front=FRONT)))


@pytest.fixture
def sato(signer: TestSigner, clock: ManualClock) -> dict[str, str]:
    return {**signer.headers(clock.now(), aud="imaging"), "Accept-Language": "ja"}


@pytest.mark.parametrize("path", ["/", "/studies/CT-2001", "/studies/CT-2001?frame=1", "/static/viewer.js", "/x"])
async def test_nothing_without_an_assertion_for_this_very_app(
    imaging: Client, signer: TestSigner, clock: ManualClock, path: str
) -> None:
    assert (await imaging.get(path)).status == 401
    assert (await imaging.get(path, headers=signer.headers(clock.now(), aud="ehr"))).status == 401


@pytest.mark.parametrize("path", ["/", "/studies/CT-2001", "/studies/XR-2002", "/studies/MR-2003", "/studies/none"])
@pytest.mark.parametrize("language", ["ja", "en"])
async def test_every_page_says_that_its_images_are_synthetic(
    imaging: Client, sato: dict[str, str], path: str, language: str
) -> None:
    reply = await imaging.get(path, headers={**sato, "Accept-Language": language})
    body = await reply.text()
    assert f'<html lang="{language}">' in body
    assert "合成画像" in body
    assert "Synthetic images" in body
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", body)
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


async def test_every_frame_is_a_picture(imaging: Client, sato: dict[str, str]) -> None:
    for study in STUDIES:
        for frame in {1, study.frames}:
            reply = await imaging.get(f"/studies/{study.id}?frame={frame}", headers=sato)
            assert (reply.status, reply.content_type) == (200, "image/png")
            assert reply.headers["Cache-Control"] == "no-store"
            assert (await reply.read()).startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("frame", ["0", "18", "-1", "1.0", "x", "", "１", "01", "9" * 5000])
async def test_a_frame_that_is_not_there(imaging: Client, sato: dict[str, str], frame: str) -> None:
    reply = await imaging.get("/studies/CT-2001", params={"frame": frame}, headers=sato)
    assert reply.status == 404


async def test_a_portal_without_keys_is_said_and_nothing_is_shown(
    aiohttp_client: MakeClient, clock: ManualClock, sato: dict[str, str]
) -> None:
    async def fetch() -> bytes:
        raise KeysUnavailable("down")

    verifier = AssertionVerifier(fetch, issuer=PORTAL, audience="imaging", clock=clock)
    client = await aiohttp_client(TestServer(create_imaging(verifier, front=FRONT)))
    reply = await client.get("/", headers=sato)
    assert reply.status == 503
    assert "鍵を取得できない" in await reply.text()
    assert "CT-2001" not in await reply.text()


def pixels(png: bytes, size: int) -> list[bytes]:
    """The lines of one of our own PNGs, unpacked."""
    at, body = 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        content = png[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + content) == struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0]
        body += content if kind == b"IDAT" else b""
        at += 12 + length
    lines = zlib.decompress(body)
    return [lines[row * (size + 1) + 1 : (row + 1) * (size + 1)] for row in range(size)]


def test_an_ellipse_is_drawn_where_it_is() -> None:
    lines = pixels(draw([Ellipse(200, 0.5, 0.5, 0.25, 0.125)], seed=1, noise=0, size=80), 80)
    assert lines[20][60] == 200  # a quarter from the top, three quarters from the left
    assert lines[20][40] == lines[40][60] == lines[60][20] == 0
    assert (lines[20][51], lines[20][69]) == (200, 200)
    assert (lines[20][48], lines[20][71]) == (0, 0)
    turned = pixels(draw([Ellipse(200, 0.5, 0.5, 0.25, 0.125, 90)], seed=1, noise=0, size=80), 80)
    assert (turned[11][60], turned[20][53]) == (200, 0)


def test_pictures_are_the_same_every_time_and_differ_by_slice() -> None:
    head = STUDIES[0]
    assert head.picture(3) == head.picture(3)
    assert len({head.picture(frame) for frame in range(1, head.frames + 1)}) == head.frames


def test_no_text_is_unused_or_missing() -> None:
    folder = Path(gateway.demo.imaging.__file__).parent
    source = "".join(path.read_text("utf-8") for path in folder.glob("templates/*.html"))
    keys = Catalogue.load(folder / "text").keys()
    used = set(re.findall(r'\bt\("([\w.]+\w)"[,)]', source))
    assert used <= keys
    assert {key for key in keys - used if not key.startswith(("error.", "lang."))} == set()

import asyncio
import io
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.demo.assertion import AssertionVerifier
from gateway.demo.ehr import create_ehr
from gateway.demo.ehr.documents import DocumentStore, clean_title, human_size
from gateway.kernel.clock import ManualClock
from gateway.kernel.web.site import PageError
from tests.support.assertions import TestSigner
from tests.unit.demo.conftest import FRONT, ORIGIN, Client, MakeClient

PATH = "/patients/P1001/documents"


def form(body: object, filename: str = "紹介状.pdf", name: str = "file") -> aiohttp.FormData:
    data = aiohttp.FormData(quote_fields=False)
    data.add_field(name, body, filename=filename, content_type="application/pdf")
    return data


def stored(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "ehr/documents").rglob("*") if path.is_file())


async def test_an_upload_is_listed_with_its_size_and_comes_back_as_it_was(ehr: Client, tmp_path: Path) -> None:
    content = os.urandom(1_500_000)
    reply = await ehr.post(PATH, data=form(io.BytesIO(content)), allow_redirects=False)
    assert reply.status == 303
    chart = await (await ehr.get(reply.headers["Location"].partition("#")[0])).text()
    assert "書類を登録しました：紹介状.pdf（1.4 MiB）" in chart
    assert [path.suffix for path in stored(tmp_path)] == [".bin", ".json"]
    name = stored(tmp_path)[0].stem
    got = await ehr.get(f"{PATH}/{name}")
    assert (await got.read() == content) is True
    assert got.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%E7%B4%B9%E4%BB%8B%E7%8A%B6.pdf"
    assert got.content_type == "application/octet-stream"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in got.headers["Content-Security-Policy"]
    part = await ehr.get(f"{PATH}/{name}", headers={"Range": "bytes=10-19"})
    assert (part.status, await part.read()) == (206, content[10:20])
    assert (await ehr.get(f"/patients/P1002/documents/{name}")).status == 404


async def test_uploads_survive_a_restart_and_half_ones_are_cleared(
    ehr: Client, tmp_path: Path, verifier: AssertionVerifier, clock: ManualClock, aiohttp_client: MakeClient, signer: TestSigner
) -> None:
    assert (await ehr.post(PATH, data=form(b"content"), allow_redirects=False)).status == 303
    half = tmp_path / "ehr/documents/P1001/doc_x.part"
    half.write_bytes(b"half")
    again = create_ehr(tmp_path / "ehr", verifier, clock, front=FRONT)
    assert not half.exists()
    client = await aiohttp_client(TestServer(again), headers=signer.headers(clock.now()))
    assert "紹介状.pdf" in await (await client.get("/patients/P1001")).text()


async def test_an_html_file_is_never_shown_inside_the_app(ehr: Client, tmp_path: Path) -> None:
    page = b"<script>alert(document.domain)</script>"
    assert (await ehr.post(PATH, data=form(page, 'x"><script>.html'), allow_redirects=False)).status == 303
    assert "<script>.html" not in await (await ehr.get("/patients/P1001")).text()
    got = await ehr.get(f"{PATH}/{stored(tmp_path)[0].stem}")
    assert got.content_type == "application/octet-stream"
    assert got.headers["Content-Disposition"].startswith("attachment;")


async def test_a_file_beyond_the_limit_leaves_nothing(ehr: Client, tmp_path: Path) -> None:
    reply = await ehr.post(PATH, data=form(io.BytesIO(bytes(3_000_001))))
    assert reply.status == 413
    assert "2.9 MiB" in await reply.text()
    assert stored(tmp_path) == []
    assert (await ehr.post(PATH, data=form(io.BytesIO(bytes(3_000_000))), allow_redirects=False)).status == 303


async def test_a_large_body_does_not_stay_in_memory(
    tmp_path: Path, verifier: AssertionVerifier, clock: ManualClock, aiohttp_client: MakeClient, signer: TestSigner
) -> None:
    client = await aiohttp_client(
        TestServer(create_ehr(tmp_path / "ehr", verifier, clock, front=FRONT)),
        headers={**signer.headers(clock.now()), "Origin": ORIGIN},
    )

    async def endless(total: int) -> AsyncIterator[bytes]:
        for _ in range(total // 65_536):
            yield bytes(65_536)

    tracemalloc.start()
    reply = await client.post(PATH, data=form(endless(64 * 1024 * 1024)), allow_redirects=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reply.status == 303
    assert next(path for path in stored(tmp_path) if path.suffix == ".bin").stat().st_size == 64 * 1024 * 1024
    assert peak < 16 * 1024 * 1024


async def test_a_sender_who_leaves_half_way_leaves_nothing(ehr: Client, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def never_ending() -> AsyncIterator[bytes]:
        yield bytes(500_000)
        begun.set()
        await asyncio.sleep(3600)

    sending = asyncio.create_task(ehr.post(PATH, data=form(never_ending())))
    await begun.wait()
    for _ in range(200):
        if stored(tmp_path):
            break
        await asyncio.sleep(0.01)
    assert [path.suffix for path in stored(tmp_path)] == [".part"]
    sending.cancel()
    for _ in range(200):
        if not stored(tmp_path):
            break
        await asyncio.sleep(0.01)
    assert stored(tmp_path) == []


MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
FIELD = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n'
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", MULTIPART, 400),
        (b"garbage", MULTIPART, 400),
        (HEAD + b"content without an end", MULTIPART, 400),
        (HEAD + b"content\r\n--b", MULTIPART, 400),
        (b"--b\r\nno colon here\r\n\r\nx\r\n--b--\r\n", MULTIPART, 400),
        (b"file=x", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b"x", {"Content-Type": "multipart/form-data"}, 400),
        (b"x", {"Content-Type": "multipart/mixed; boundary=b"}, 400),
        (HEAD + b"content\r\n" + HEAD + b"second\r\n--b--\r\n", MULTIPART, 400),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--b--\r\n', MULTIPART, 422),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--b--\r\n', MULTIPART, 422),
        (b'--b\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\nx\r\n--b--\r\n', MULTIPART, 422),
        (FIELD * 50 + HEAD + b"x\r\n--b--\r\n", MULTIPART, 422),
    ],
)  # fmt: skip
async def test_a_malformed_upload_is_refused_and_leaves_nothing(
    ehr: Client, tmp_path: Path, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert (await ehr.post(PATH, data=body, headers=headers)).status == status
    assert stored(tmp_path) == []


async def test_a_connection_cut_inside_the_body_leaves_nothing(
    ehr: Client, ehr_app: web.Application, signer: TestSigner, clock: ManualClock, tmp_path: Path
) -> None:
    _reader, writer = await asyncio.open_connection(ehr.host, ehr.port)
    headers = {"Host": "ehr", "Origin": ORIGIN, **signer.headers(clock.now()), **MULTIPART, "Content-Length": "100000"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"POST {PATH} HTTP/1.1\r\n{lines}\r\n".encode() + HEAD + bytes(50_000))
    await writer.drain()
    for _ in range(200):
        if stored(tmp_path):
            break
        await asyncio.sleep(0.01)
    writer.close()
    await writer.wait_closed()
    for _ in range(200):
        if not stored(tmp_path):
            break
        await asyncio.sleep(0.01)
    assert stored(tmp_path) == []


async def test_another_sites_upload_is_stopped(ehr: Client, tmp_path: Path) -> None:
    assert (await ehr.post(PATH, data=form(b"x"), headers={"Origin": "http://evil.example"})).status == 403
    assert stored(tmp_path) == []


async def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    store = DocumentStore(tmp_path / "ehr/documents", 10_000)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"
        raise OSError(28, "No space left on device")

    with pytest.raises(PageError) as caught:
        await store.save("P1001", "a", chunks(), author="a", at=0)
    assert (caught.value.status, caught.value.key) == (507, "disk")
    assert stored(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\紹介状.pdf", "紹介状.pdf"),
        ("a\r\nSet-Cookie: x=1", "aSet-Cookie: x=1"),
        ("\u202efdp.exe", "fdp.exe"),
        ("..", "document"),
        (" . ", "document"),
        ("/", "document"),
        ("x" * 500, "x" * 120),
    ],
)
def test_file_names_are_cleaned(given: str, kept: str) -> None:
    assert clean_title(given) == kept


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_500_000, "1.4 MiB"), (5 * 1024**3, "5.00 GiB")]
)
def test_sizes_read_well(size: int, said: str) -> None:
    assert human_size(size) == said

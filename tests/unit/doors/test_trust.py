"""Who is believed to be a front, on real connections."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.doors.connection import describe
from gateway.doors.tls import mutual_context, server_context
from gateway.doors.trust import Fronts, parse_address
from gateway.kernel.errors import ConfigError
from tests.unit.doors.test_tls import Authority


@pytest.mark.parametrize("names", [[""], ["*.hospital.example"], ["a.example", "*"]])
def test_names_that_are_none(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="a pattern"):
        Fronts(names=names)


def test_nobody_is_no_front_list() -> None:
    with pytest.raises(ConfigError, match="nobody is trusted"):
        Fronts()


def test_a_negative_user_id() -> None:
    with pytest.raises(ConfigError, match="negative"):
        Fronts(uids=[-1])


def test_an_address_that_is_none() -> None:
    assert parse_address("1.2.3") is None
    assert parse_address("fe80::1%1") is None
    assert str(parse_address("::ffff:1.2.3.4")) == "1.2.3.4"


def test_a_lost_connection_is_nobodys() -> None:
    assert describe(None).peer_address == ""
    assert Fronts(uids=[0, 33]).prove(None) == ""


async def proved_on_socket(folder: Path, fronts: Fronts) -> str:
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.set_result(fronts.prove(writer.transport))
        writer.close()

    server = await asyncio.start_unix_server(serve, folder / "s")
    _, writer = await asyncio.open_unix_connection(folder / "s")
    async with asyncio.timeout(10):
        result = await said
    writer.close()
    server.close()
    return result


async def test_the_user_at_the_other_end_of_a_socket(tmp_path: Path) -> None:
    assert await proved_on_socket(tmp_path, Fronts(uids=[os.getuid(), 33])) == f"uid:{os.getuid()}"


async def test_another_user(tmp_path: Path) -> None:
    assert await proved_on_socket(tmp_path, Fronts(uids=[os.getuid() + 1], names=["localhost"])) == ""


class Served:
    """A TLS server that notes whom it took its client for."""

    def __init__(self, context: ssl.SSLContext, fronts: Fronts) -> None:
        self.context = context
        self.fronts = fronts
        self.said: list[str] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.said.append(self.fronts.prove(writer.transport))
            writer.write(b"x")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self.context)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()


async def connected(served: Served, ca: Path, certificate: tuple[Path, Path] | None) -> list[str]:
    """What the server said of a client with this certificate; empty when the handshake failed."""
    client = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        client.load_cert_chain(*certificate)
    async with served.running() as port:
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
            async with asyncio.timeout(10):
                await reader.read()
            writer.close()
    return served.said


@pytest.fixture
def site(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "front-ca")


def mutual(site: Authority) -> ssl.SSLContext:
    certificate, key = site.leaf("server", ExtendedKeyUsageOID.SERVER_AUTH)
    return mutual_context(certificate=certificate, key=key, client_ca=site.file)


async def test_the_name_in_a_verified_certificate(site: Authority) -> None:
    leaf = site.leaf("front", ExtendedKeyUsageOID.CLIENT_AUTH)
    assert await connected(Served(mutual(site), Fronts(names=["LOCALHOST"])), site.file, leaf) == ["cert:localhost"]


async def test_a_name_that_is_not_on_the_list(site: Authority) -> None:
    leaf = site.leaf("front", ExtendedKeyUsageOID.CLIENT_AUTH)
    assert await connected(Served(mutual(site), Fronts(names=["front"], uids=[os.getuid()])), site.file, leaf) == [""]


async def test_no_certificate_at_all(site: Authority) -> None:
    assert await connected(Served(mutual(site), Fronts(names=["localhost"])), site.file, None) == []


async def test_a_certificate_of_another_authority(site: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    leaf = Authority(tmp_path / "other", "device-ca").leaf("front", ExtendedKeyUsageOID.CLIENT_AUTH)
    assert await connected(Served(mutual(site), Fronts(names=["localhost"])), site.file, leaf) == []


async def test_a_listener_that_does_not_insist_proves_nobody(site: Authority) -> None:
    certificate, key = site.leaf("server", ExtendedKeyUsageOID.SERVER_AUTH)
    context = server_context(certificate=certificate, key=key, client_ca=site.file, preset="high")
    leaf = site.leaf("front", ExtendedKeyUsageOID.CLIENT_AUTH)
    assert await connected(Served(context, Fronts(names=["localhost"])), site.file, leaf) == [""]

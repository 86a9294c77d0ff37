"""The listener's TLS: what it takes, and what it refuses to start with."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.doors.tls import server_context
from gateway.kernel.errors import ConfigError

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


class Authority:
    """Issues leaves; its files are in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # what signs certificates
        builder = self._builder(self.name, self.key, NOW - DAY, NOW + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, start: dt.datetime, end: dt.datetime
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)

    def leaf(
        self, name: str, purpose: x509.ObjectIdentifier | None, start: dt.datetime = NOW - DAY, end: dt.datetime = NOW + DAY,
        password: bytes = b"",
    ) -> tuple[Path, Path]:  # fmt: skip
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, start, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        sealing = BestAvailableEncryption(password) if password else NoEncryption()
        certificate, private = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealing))
        return certificate, private


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "hospital")


@pytest.fixture
def server(ca: Authority) -> tuple[Path, Path]:
    return ca.leaf("server", ExtendedKeyUsageOID.SERVER_AUTH)


Dial = Callable[..., Awaitable[tuple[str, bytes | None]]]


@pytest.fixture
async def dial(ca: Authority, server: tuple[Path, Path]) -> AsyncIterator[Dial]:
    """Connect to a listener of the given preset; return the version, and the certificate that the listener believes."""
    listeners = []
    seen: list[bytes | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.write(b"hello")
        writer.close()

    async def dialled(
        preset: str = "high", client: tuple[Path, Path] | None = None, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        ciphers: str = "",
    ) -> tuple[str, bytes | None]:  # fmt: skip
        context = server_context(certificate=server[0], key=server[1], client_ca=ca.file, preset=preset)  # type: ignore[arg-type]  # literals
        listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        listeners.append(listening)
        mine = ssl.create_default_context(cafile=ca.file)
        mine.minimum_version, mine.maximum_version = ssl.TLSVersion.TLSv1_2, most
        if ciphers:
            mine.set_ciphers(ciphers)
        if client is not None:
            mine.load_cert_chain(*client)
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=mine, server_hostname="localhost")
        try:
            if await reader.read() != b"hello":
                raise ConnectionResetError("the listener ended it")  # in TLS 1.3 only after the client's half of the handshake
            return str(writer.get_extra_info("ssl_object").version()), seen.pop()
        finally:
            writer.close()

    yield dialled
    for listening in listeners:
        listening.close()


REFUSED = (ssl.SSLError, ConnectionError)


async def test_high_is_tls_1_3_only(dial: Dial) -> None:
    assert await dial() == ("TLSv1.3", None)
    with pytest.raises(REFUSED):
        await dial(most=ssl.TLSVersion.TLSv1_2)


async def test_compatible_takes_tls_1_2_with_forward_secrecy_and_aead_only(dial: Dial) -> None:
    assert (await dial("compatible", most=ssl.TLSVersion.TLSv1_2))[0] == "TLSv1.2"
    for weak in ("ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0", "AES128-GCM-SHA256:@SECLEVEL=0", "DHE-RSA-AES128-GCM-SHA256"):
        with pytest.raises(REFUSED):
            await dial("compatible", most=ssl.TLSVersion.TLSv1_2, ciphers=weak)


async def test_a_device_certificate_of_the_ca_is_believed(dial: Dial, ca: Authority) -> None:
    for purpose in (ExtendedKeyUsageOID.CLIENT_AUTH, None):
        client = ca.leaf("device", purpose)
        der = x509.load_pem_x509_certificate(client[0].read_bytes()).public_bytes(Encoding.DER)
        assert (await dial(client=client))[1] == der


async def test_certificates_that_end_the_handshake(dial: Dial, ca: Authority, server: tuple[Path, Path], tmp_path: Path) -> None:
    """Never "no certificate" instead: whoever shows a bad one is told so."""
    stranger = Authority(tmp_path, "stranger")
    namesake_folder = tmp_path / "namesake"
    namesake_folder.mkdir()
    namesake = Authority(namesake_folder, "hospital")
    cases = {
        "the server's own (one CA for both, as in the demo)": server,
        "expired": ca.leaf("expired", ExtendedKeyUsageOID.CLIENT_AUTH, NOW - 2 * DAY, NOW - DAY / 24),
        "not yet valid": ca.leaf("early", ExtendedKeyUsageOID.CLIENT_AUTH, NOW + DAY / 24, NOW + DAY),
        "for signing code": ca.leaf("code", ExtendedKeyUsageOID.CODE_SIGNING),
        "of another CA": stranger.leaf("other", ExtendedKeyUsageOID.CLIENT_AUTH),
        "of another CA of the same name": namesake.leaf("same", ExtendedKeyUsageOID.CLIENT_AUTH),
    }
    for name, client in cases.items():
        for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with pytest.raises(REFUSED):
                pytest.fail(f"{name}: {await dial('compatible', client=client, most=most)}")


async def test_a_silent_connection_holds_no_more_than_a_record(server: tuple[Path, Path], ca: Authority) -> None:
    context = server_context(certificate=server[0], key=server[1], client_ca=None, preset="high")
    sent = bytes(range(256)) * 4096
    transports: asyncio.Queue[asyncio.BaseTransport] = asyncio.Queue()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transports.put_nowait(writer.transport)
        writer.write(await reader.readexactly(len(sent)))
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    trust = ssl.create_default_context(cafile=ca.file)
    port = listening.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
    try:
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        protocol = (await transports.get())._ssl_protocol  # type: ignore[attr-defined]  # asyncio has no public way to look
        assert len(protocol._ssl_buffer) == 16_384
    finally:
        writer.close()
        listening.close()


async def test_without_a_device_ca_nobody_is_asked(server: tuple[Path, Path]) -> None:
    context = server_context(certificate=server[0], key=server[1], client_ca=None, preset="high")
    assert context.verify_mode == ssl.CERT_NONE


def test_files_that_cannot_be_used_are_errors_with_a_place(ca: Authority, server: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = server
    other = ca.leaf("other", ExtendedKeyUsageOID.SERVER_AUTH)
    sealed = ca.leaf("sealed", ExtendedKeyUsageOID.SERVER_AUTH, password=b"geheim")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    absent = tmp_path / "absent.pem"
    bad: list[tuple[Path, Path, Path | None]] = [
        (certificate, other[1], None), (absent, key, None), (certificate, absent, None), (empty, key, None),
        (certificate, empty, None), (sealed[0], sealed[1], None),  # never a question on the terminal
        (certificate, key, absent), (certificate, key, empty), (certificate, key, key), (certificate, key, other[0]),
    ]  # fmt: skip
    for crt, private, client_ca in bad:
        with pytest.raises(ConfigError) as caught:
            server_context(certificate=crt, key=private, client_ca=client_ca, preset="high")
        assert caught.value.where
        assert caught.value.todo

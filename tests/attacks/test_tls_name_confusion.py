"""TLS spoken for one host and HTTP for another; and who may be believed to hold a device certificate."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.domain.connection import Connection
from gateway.domain.identity import Handle
from gateway.domain.posture import Posture
from gateway.doors.connection import record_server_names
from gateway.kernel.errors import ConfigError
from tests.support.gate import HOST, PORTAL, Answer, Gate, read_answer


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        certificate = self._build(self.name, self.key, None, authority=True)
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _build(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, names: list[str] | None, *, authority: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name: str, *names: str) -> tuple[Path, bytes]:
        """Write certificate and key of `name` to a file; return it and the DER."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, list(names))
        file = self.folder / f"{name}-issued.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return file, certificate.public_bytes(serialization.Encoding.DER)


class Secured:
    """A gate with a TLS listener that asks every client for a certificate of the device CA."""

    def __init__(self, gate: Gate, folder: Path) -> None:
        self.gate = gate
        self.port = 0
        self.devices = Authority(folder, "devices")
        self.others = Authority(folder, "others")
        self.servers = Authority(folder, "servers")
        self.server, _ = self.servers.issue("server", HOST, PORTAL)
        self.connections: list[Connection] = []

    async def open(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        context.load_verify_locations(self.devices.file)
        context.verify_mode = ssl.CERT_OPTIONAL
        observe = self.gate.posture.observe

        async def note(connection: Connection, handle: Handle) -> Posture:
            self.connections.append(connection)
            return await observe(connection, handle)

        self.gate.posture.observe = note  # type: ignore[method-assign]  # to see what posture gets to see
        self.port = await self.gate.door.listen("127.0.0.1", 0, tls=context)

    async def ask(self, *, sni: str | None, host: str = HOST, certificate: Path | None = None) -> Answer:
        context = ssl.create_default_context(cafile=str(self.servers.file))
        context.check_hostname = False
        if certificate is not None:
            context.load_cert_chain(certificate)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=sni or "")
        try:
            writer.write(self.gate.head("/x", host=host))
            return await read_answer(reader)
        finally:
            writer.close()


@pytest.fixture
async def secured(gate: Gate, tmp_path: Path) -> Secured:
    secured = Secured(gate, tmp_path)
    await secured.open()
    return secured


async def test_the_same_name_twice(secured: Secured) -> None:
    assert (await secured.ask(sni=HOST)).status == 200
    [connection] = secured.connections
    assert (connection.server_name, connection.tls_version, connection.client_certificate) == (HOST, "TLSv1.3", None)
    assert secured.gate.upstream.hits[0].values("X-Forwarded-Proto") == ["https"]


@pytest.mark.parametrize("sni", [PORTAL, "evil.example", None])
async def test_another_name_in_tls_than_in_http(secured: Secured, sni: str | None) -> None:
    answer = await secured.ask(sni=sni)
    assert answer.status == 421
    assert [(record.outcome, record.reason) for record in secured.gate.decisions()] == [("refuse", "host_sni_mismatch")]
    assert secured.gate.upstream.hits == []


async def test_case_does_not_matter(secured: Secured) -> None:
    assert (await secured.ask(sni=HOST.upper(), host=HOST.title())).status == 200


async def test_a_device_certificate_is_seen(secured: Secured) -> None:
    file, der = secured.devices.issue("ward-3")
    assert (await secured.ask(sni=HOST, certificate=file)).status == 200
    assert secured.connections[0].client_certificate == der


async def test_a_certificate_of_another_authority_ends_the_handshake(secured: Secured) -> None:
    file, _ = secured.others.issue("ward-3")
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await secured.ask(sni=HOST, certificate=file)
    assert secured.connections == []
    assert secured.gate.upstream.hits == []


async def test_a_host_switch_on_a_kept_connection(secured: Secured) -> None:
    context = ssl.create_default_context(cafile=str(secured.servers.file))
    reader, writer = await asyncio.open_connection("127.0.0.1", secured.port, ssl=context, server_hostname=HOST)
    writer.write(secured.gate.head("/x", host=HOST))
    assert (await read_answer(reader)).status == 200
    writer.write(secured.gate.head("/x", host=PORTAL))
    assert (await read_answer(reader)).status == 421
    writer.close()
    assert secured.gate.portal.requests == []


def test_a_context_that_chooses_by_name_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _connection, _name, _context: None
    with pytest.raises(ConfigError, match="chooses by server name"):
        record_server_names(context)

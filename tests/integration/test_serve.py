"""`gateway serve` with a configuration fit for production: starts, serves over TLS, ends cleanly, leaves a log that verifies."""

import datetime as dt
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.configuration import MINIMAL, private, write_config

ROOT = Path(__file__).parents[2]
HOST = "portal.hospital.example"


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def certificate(key: ec.EllipticCurvePrivateKey) -> str:
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    hosts = x509.SubjectAlternativeName([x509.DNSName(HOST)])
    hour = dt.timedelta(hours=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - hour, now + hour)
    built = builder.add_extension(hosts, critical=False).sign(key, hashes.SHA256())
    return built.public_bytes(Encoding.PEM).decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def prepare(folder: Path, port: int) -> Path:
    text = MINIMAL.replace(
        'port = 8443\ntrusted_fronts = ["127.0.0.1/32"]',
        f'port = {port}\n[server.tls]\ncertificate_file = "tls.pem"\nkey_file = "tls.key"',
    )
    text = text.replace('"https://id.other.example"', '"https://id.hospital.example"\nembedded = true')
    text = text.replace("[devices]", '[idp]\ndata_dir = "idp"\n[devices]')
    path = write_config(folder, text)
    (folder / "audit.pem").unlink()  # made with the log
    key = ec.generate_private_key(ec.SECP256R1())
    private(folder / "assertion.pem", private_pem(ec.generate_private_key(ec.SECP256R1())))
    private(folder / "tls.key", private_pem(key))
    private(folder / "tls.pem", certificate(key))
    (folder / "policies").rmdir()
    shutil.copytree(ROOT / "policies", folder / "policies")
    return path


def fetch(folder: Path, port: int, path: str) -> tuple[int, bytes]:
    """GET over TLS as a browser would: the certificate checked, the server named."""
    context = ssl.create_default_context(cafile=folder / "tls.pem")
    connection = http.client.HTTPSConnection(HOST, port, context=context, timeout=20)
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sock = context.wrap_socket(raw, server_hostname=HOST)
    try:
        connection.request("GET", path, headers={"Host": HOST})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def gateway(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", "gateway.cli", *arguments]


def test_it_serves_over_tls_and_ends_cleanly(tmp_path: Path) -> None:
    port = free_port()
    path = prepare(tmp_path, port)
    checked = subprocess.run(gateway("check-config", path), capture_output=True, text=True, cwd=ROOT, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    with subprocess.Popen(gateway("serve", "--config", path), stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        try:
            lines = iter(process.stderr.readline, "")
            assert any(line == f"gateway: ready at https://{HOST}\n" for line in lines)
            status, body = fetch(tmp_path, port, "/.gateway/jwks.json")
            assert status == 200
            assert "d" not in json.loads(body)["keys"][0]
        finally:
            process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(60) == 0, rest
        assert "Traceback" not in rest
    verified = subprocess.run(
        gateway("audit", "verify", tmp_path / "audit"), capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    again = subprocess.run(gateway("check-config", path), capture_output=True, text=True, cwd=ROOT, check=False)
    assert (again.returncode, again.stderr) == (0, ""), "what it made itself is fit for the next start"


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        path = prepare(tmp_path, port)
        done = subprocess.run(
            gateway("serve", "--config", path), capture_output=True, text=True, cwd=ROOT, check=False, timeout=60
        )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"gateway: {path}:2: can't listen on 127.0.0.1:{port} (")

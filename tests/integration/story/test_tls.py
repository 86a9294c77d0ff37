"""`gateway demo --tls`: the client certificate is the device's evidence, and nothing else is worth a certificate."""

import datetime as dt
import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509.oid import NameOID
from playwright.sync_api import Browser, sync_playwright

from tests.support.demo import Demo, running_demo
from tests.support.visitor import Arrive, launch

CHART: Final = "/patients/P1001"

# Playwright shows client certificates from a process of its own, whose resolver does not know that *.localhost is this machine
# (RFC 6761 §6.3).
LOOPBACK: Final = """\
const dns = require("dns");
const home = (name) => (name.endsWith(".localhost") ? "127.0.0.1" : name);
for (const each of [dns, dns.promises]) {
  const { lookup } = each;
  each.lookup = (name, ...rest) => lookup.call(each, home(name), ...rest);
}
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium that may show certificates."""
    hook = tmp_path_factory.mktemp("node") / "loopback.js"
    hook.write_text(LOOPBACK, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NODE_OPTIONS", f"--require {hook}")
        with sync_playwright() as playwright:
            browser = launch(playwright)
            yield browser
            browser.close()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo with TLS."""
    with running_demo(tmp_path_factory.mktemp("tls"), tls=True) as running:
        yield running


def test_the_certificate_is_the_devices_evidence_and_a_copied_session_is_not(secured: Demo, arrive: Arrive) -> None:
    shown = secured.shown
    certificates = [
        {"origin": origin, "certPath": shown.client_certificate, "keyPath": shown.client_key} for origin in shown.urls.values()
    ]
    # The demo's CA is in no browser's store; that it is the right one is seen below, without Chromium.
    sato = arrive("dr.sato", secured, folder="tls", client_certificates=certificates, ignore_https_errors=True)
    sato.open("ehr", CHART)
    sato.sign_in()
    sato.page.wait_for_url(re.compile(r"//ehr\."))
    sato.press("#start")
    assert "この端末はクライアント証明書を提示しています" in sato.text()
    sato.look("device")
    sato.register_device()
    sato.reach("ehr", CHART)
    sato.page.wait_for_function("() => document.getElementById('vitals').dataset.now === 'live'")  # wss
    sato.open("portal")
    assert "登録済み(クライアント証明書)" in sato.text()
    sato.look("portal")
    assert _device_facts(secured)["evidence"] == "certificate"
    assert all(cookie["secure"] for cookie in sato.context.cookies() if cookie["name"].startswith("__Host-"))

    # The same session and the same cookies, without the certificate: not the certificate's evidence.
    thief = arrive("dr.sato", secured, storage_state=sato.context.storage_state(), ignore_https_errors=True)
    thief.open("ehr", CHART)
    assert _device_facts(secured)["evidence"] != "certificate"
    thief.open("portal")
    assert "登録済み(クライアント証明書)" not in thief.text()

    # Somebody else's browser without it: no device at all.
    suzuki = arrive("nurse.suzuki", secured, ignore_https_errors=True)
    suzuki.open("ehr")
    suzuki.sign_in()
    suzuki.page.wait_for_url(re.compile(r"//ehr\."))
    assert suzuki.heading() == "この端末の登録が必要です"
    assert _device_facts(secured)["evidence"] == "none"


def test_the_certificate_to_import_is_that_one(secured: Demo) -> None:
    _, certificate, others = pkcs12.load_key_and_certificates(
        Path(secured.shown.p12).read_bytes(), secured.shown.p12_password.encode()
    )
    assert certificate == x509.load_pem_x509_certificate(Path(secured.shown.client_certificate).read_bytes())
    assert others == [x509.load_pem_x509_certificate(Path(secured.shown.ca).read_bytes())]


def test_only_tls_1_3_and_only_for_the_host_that_was_asked_for(secured: Demo) -> None:
    status, version = _ask(secured, _trusting(secured), sni="portal.localhost", host="portal.localhost")
    assert (status, version) == (303, "TLSv1.3")
    old = _trusting(secured)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        _ask(secured, old, sni="portal.localhost", host="portal.localhost")
    # The certificate is good for all five names; still, a connection is for the one that its TLS began with.
    status, _ = _ask(secured, _trusting(secured), sni="portal.localhost", host="ehr.localhost")
    assert status == 421
    told = [row for row in secured.log() if row.get("reason") == "host_sni_mismatch"]
    assert [row["host"] for row in told] == [f"ehr.localhost:{secured.port}"]


def test_a_certificate_of_another_authority_is_refused_in_the_handshake(secured: Demo, tmp_path: Path) -> None:
    forged = _trusting(secured)
    forged.load_cert_chain(*_self_signed(tmp_path))
    with pytest.raises((ssl.SSLError, ConnectionResetError)):  # TLS 1.3: the client hears of it at its first read
        _ask(secured, forged, sni="portal.localhost", host="portal.localhost")


# ----------------------------------------------------------------------


def _device_facts(demo: Demo) -> dict[str, Any]:
    """What the policies were told of the device in the newest decision about the EHR."""
    decisions = [row for row in demo.log("--app", "ehr") if row["facts"] is not None and row["phase"] == "request"]
    facts: dict[str, Any] = decisions[-1]["facts"]["device"]
    return facts


def _trusting(demo: Demo) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=demo.shown.ca)


def _ask(demo: Demo, context: ssl.SSLContext, *, sni: str, host: str) -> tuple[int, str | None]:
    """GET / over a verified connection; the status, and the TLS version."""
    with (
        socket.create_connection(("127.0.0.1", demo.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=sni) as tls,
    ):
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}:{demo.port}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(tls)
        answer.begin()
        return answer.status, tls.version()


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "demo terminal")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "forged.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "forged.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "forged.pem", folder / "forged.key"

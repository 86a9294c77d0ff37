"""A gateway for a run: its folder and configuration, and a person who really signs in to it over HTTP.

The configuration is a demo's (plain HTTP on loopback, simulated proofing), because a run has no hospital's certificates and
verifiers; what is put together from it is what `gateway serve` puts together.
"""

import secrets
import shutil
import ssl
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import pyotp
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.children import ROOT, BenchError
from gateway.kernel.web.loopback import LoopbackResolver
from tests.support.clinician import Clinician, Person
from tests.support.served import write_certificates

APP: Final = "ehr"
LEASED: Final = "leased"
"""The same application once more, under a policy with a lease."""
CHART: Final = "/patients/p001"
SYNCED: Final = "/synced/p001"
STREAM: Final = "/patients/p001/vitals/stream"

_HEAD: Final = """\
demo = true
[server]
port = {port}
public_scheme = "{scheme}"
public_port = {port}
{tls}[portal]
host = "portal.localhost"
assertion_key_file = "keys/assertion.pem"
[identity]
issuer = "{scheme}://id.localhost:{port}"
embedded = true
client_secret_file = "keys/oidc-client"{ca}
[idp]
data_dir = "idp"
proofing = "simulated"
[sessions]
{sessions}
[devices]
database = "devices.sqlite3"
enrolment = "self-service"
[policies]
dir = "policies"
[audit]
dir = "audit"
key_file = "audit.pem"
anchor = "anchor/checkpoint.json"
[network.zones]
this-machine = ["127.0.0.0/8", "::1/128"]
[console]
host = "console.localhost"
"""

_TLS: Final = """\
[server.tls]
certificate_file = "tls/server.pem"
key_file = "tls/server.key"
"""

_APP: Final = """
[[apps]]
id = "{app}"
host = "{app}.localhost"
upstream = "http://127.0.0.1:{upstream}"
title_ja = "電子カルテ"
title_en = "Health records"
headers = {{ X-Remote-User = "login", X-Remote-Name = "name", X-Remote-Roles = "roles" }}
{routes}
"""

_ROUTES: Final = (
    ("home", ["GET", "HEAD"], "/", "read", ""),
    ("static", ["GET", "HEAD"], "/static/**", "read", ""),
    ("notices", ["GET"], "/notices/stream", "read", ""),
    ("patients", ["GET", "HEAD"], "/patients", "read", ""),
    ("prescribe", ["POST"], "/patients/{patient}/prescriptions", "write", 'sensitivity = "high"\npatient = "patient"'),
    ("vitals", ["GET"], "/patients/{patient}/vitals/stream", "read", 'websocket = true\npatient = "patient"'),
    ("upload", ["POST"], "/patients/{patient}/documents", "write", 'patient = "patient"'),
    ("documents", ["GET", "HEAD"], "/patients/{patient}/documents/{name}", "read", 'patient = "patient"'),
    ("chart", ["GET", "HEAD"], "/patients/{patient}", "read", 'patient = "patient"'),
    ("synced", ["GET"], "/synced/{patient}", "read", 'sync = true\npatient = "patient"'),
)

_LEASE_CASES: Final = """\
[[case]]
name = "a physician reads it"
base = "physician"
target = "leased.chart"
expect = { outcome = "allow", policies = ["leased-read-clinical"] }
"""
_LEASE_TARGET: Final = """
[target."leased.chart"]
app = "leased"
route = "leased.chart"
action = "read"
sensitivity = "normal"
patient = "p001"
"""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where a gateway of the run is, and who is known to it."""

    folder: Path
    config: Path
    port: int
    person: Person
    scheme: str = "http"

    def trust(self) -> ssl.SSLContext | None:
        """What its browsers check its certificate with; None over plain HTTP."""
        return ssl.create_default_context(cafile=self.folder / "tls" / "ca.pem") if self.scheme == "https" else None


def make_site(folder: Path, *, port: int, upstream: int, redis_url: str = "", more: str = "", tls: bool = False) -> Site:
    """Write keys, policies and `gateway.toml` (with `more` behind its first sections) into a new folder."""
    folder.mkdir(mode=0o700)
    for part in ("keys", "anchor", "idp", "nginx"):
        (folder / part).mkdir(mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    _private(folder / "keys" / "assertion.pem", pem)
    _private(folder / "keys" / "oidc-client", secrets.token_urlsafe(32))
    sessions = 'backend = "memory"'
    if redis_url:
        _private(folder / "keys" / "redis-url", redis_url)
        _private(folder / "keys" / "seal-key", secrets.token_urlsafe(32))
        sessions = 'backend = "redis"\nredis_url_file = "keys/redis-url"\nseal_key_file = "keys/seal-key"'
    _write_policies(folder / "policies")
    scheme = "https" if tls else "http"
    if tls:
        write_certificates(folder / "tls", *(f"{name}.localhost" for name in ("portal", "id", "console", APP, LEASED)))
    parts = {"scheme": scheme, "tls": _TLS if tls else "", "ca": '\nca_file = "tls/ca.pem"' if tls else ""}
    text = _HEAD.format(port=port, sessions=sessions, **parts) + more
    text += "".join(_APP.format(app=app, upstream=upstream, routes=_routes(app)) for app in (APP, LEASED))
    config = _private(folder / "gateway.toml", text)
    person = Person(login="dr.sato", password="Tombo-33-hasu", secret=pyotp.random_base32())  # noqa: S106  nobody's
    return Site(folder=folder, config=config, port=port, person=person, scheme=scheme)


def _routes(app: str) -> str:
    parts = []
    for name, methods, path, action, more in _ROUTES:
        listed = ", ".join(f'"{method}"' for method in methods)
        head = f'[[apps.routes]]\nid = "{app}.{name}"\nmethods = [{listed}]\npath = "{path}"\naction = "{action}"'
        parts.append(f"{head}\n{more}")
    return "\n".join(parts)


def _write_policies(folder: Path) -> None:
    """Copy the starter bundle; the leased application has the health record's own reading policy, with a lease."""
    shutil.copytree(ROOT / "policies", folder)
    text = (folder / "ehr.cedar").read_text("utf-8")
    begin = text.index('@id("ehr-read-clinical")')
    policy = text[begin : text.index("};", begin) + 2]
    policy = policy.replace('@id("ehr-', '@lease("1s")\n@id("leased-').replace('App::"ehr"', 'App::"leased"')
    (folder / "leased.cedar").write_text(policy + "\n", "utf-8")
    (folder / "cases" / "leased.toml").write_text(_LEASE_CASES, "utf-8")
    bases = folder / "cases" / "bases.toml"
    bases.write_text(bases.read_text("utf-8") + _LEASE_TARGET, "utf-8")


def _private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")
    return path


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """What the person's browser sends along after signing in, registering the device and proving who they are."""

    cookies: dict[str, str]
    """The Cookie field's value for each application."""


async def sign_in(site: Site) -> SignedIn:
    """Do over HTTP what the person does at a browser, at both applications."""
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=site.trust() or True)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        person = Clinician(http, f"{site.scheme}://{{}}.localhost:{site.port}", site.person)
        page = await person.register_device(await person.sign_in(APP, CHART))
        page = await person.proof(page)
        if page.status != 200:  # noqa: PLR2004
            raise BenchError(f"the person was not let in: {page.status} at {page.url}")
        page = await person.open(LEASED, CHART)
        if page.status != 200:  # noqa: PLR2004
            raise BenchError(f"the person was not let in to the leased application: {page.status}")
        return SignedIn(cookies={app: person.headers("GET", person.url(app))["Cookie"] for app in (APP, LEASED)})

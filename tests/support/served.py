"""`gateway serve` as a hospital runs it: a process of its own, TLS, keys and secrets in files, people by the command line."""

import asyncio
import contextlib
import datetime as dt
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import pyotp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.kernel.web.loopback import LoopbackResolver
from tests.support.clinician import Clinician, Person
from tests.support.configuration import private
from tests.support.ports import free_port

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
PASSWORD: Final = "Tombo-33-hasu"

CONFIG: Final = """\
[server]
port = {port}
public_port = {port}
workers = {workers}
drain_seconds = {drain}
[server.tls]
certificate_file = "tls/server.pem"
key_file = "tls/server.key"
[portal]
host = "portal.localhost"
assertion_key_file = "keys/assertion.pem"
[identity]
issuer = "https://id.localhost:{port}"
embedded = true
client_secret_file = "secrets/oidc-client"
ca_file = "tls/ca.pem"
[idp]
data_dir = "state/idp"
[sessions]
{sessions}
[devices]
database = "state/devices.sqlite3"
enrolment = "{enrolment}"
[policies]
dir = "policies"
[audit]
dir = "audit"
key_file = "keys/audit.pem"
anchor = "anchor/checkpoint"
[console]
host = "console.localhost"
"""

HOSTS: Final = ("ward", "imaging", "orthanc")
"""Of the applications that tests put behind it."""

WARD: Final = """\
[[apps]]
id = "ward"
host = "ward.localhost"
upstream = "http://127.0.0.1:{upstream}"
title_ja = "病棟システム"
title_en = "Ward"
[apps.headers]
X-Remote-User = "login"
X-Remote-Roles = "roles"
[[apps.routes]]
id = "ward.bulk"
methods = ["PUT"]
path = "/bulk"
action = "write"
[[apps.routes]]
id = "ward.page"
methods = ["GET"]
path = "/**"
action = "read"
"""
"""An application that its policies open to clinicians without identity proofing, of which production has none yet."""

WARD_POLICY: Final = """\
@id("{app}-clinical")
@title_ja("医師・看護師は病棟システムを利用できます")
@title_en("Physicians and nurses may use the system")
permit (
  principal,
  action in [Action::"read", Action::"write"],
  resource in App::"{app}"
)
when {{
  (principal in Role::"physician" || principal in Role::"nurse") &&
  context.authentication.factors >= 2 &&
  context.device.registered &&
  context.device.compliant &&
  context.device.evidence_strength >= 1
}};
"""
WARD_CASES: Final = """\
[[case]]
name = "a physician writes on a registered device, proofed or not"
base = "physician"
target = "{app}.write"
facts.proofing = {{ level = 0, method = "", age_days = 0 }}
expect = {{ outcome = "allow", policies = ["{app}-clinical"] }}

[[case]]
name = "a clerk does not"
base = "clerk"
target = "{app}.write"
expect = {{ outcome = "deny", policies = [], remedy = [] }}
"""
WARD_TARGET: Final = """
[target."{app}.write"]
app = "{app}"
route = "{app}.write"
action = "write"
sensitivity = "normal"
patient = ""
"""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A command that has ended."""

    status: int
    out: str
    err: str


class Served:
    """One installation; its process may be stopped, killed and started again."""

    def __init__(
        self,
        folder: Path,
        apps: str,
        *,
        redis_url: str | None = None,
        enrolment: str = "self-service",
        opened: tuple[str, ...] = ("ward",),
        workers: int = 1,
        drain: int = 10,
    ) -> None:
        """`apps`: their part of the configuration. `opened`: apps that get a policy (and cases) like the ward's.
        `workers` and `drain` (seconds) stand in [server].
        """
        self.folder: Final = folder
        self.port: Final = free_port()
        self.config: Final = folder / "gateway.toml"
        self._output: Final = folder / "output"
        self._output.parent.mkdir(parents=True, exist_ok=True)
        self._begun = 0
        self._generation = 1
        self.environment: Final[dict[str, str]] = {}
        """Of the process, beside the tests' own."""
        self.launcher = self._command()
        """What `serve` is given to."""
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("anchor", "state", "audit"):
            (folder / name).mkdir(mode=0o700)
        private(folder / "keys" / "assertion.pem", pem(ec.generate_private_key(ec.SECP256R1())))
        private(folder / "secrets" / "oidc-client", secrets.token_urlsafe(32))
        sessions = 'backend = "memory"'
        if redis_url is not None:
            private(folder / "secrets" / "redis-url", redis_url)
            private(folder / "secrets" / "seal-key", secrets.token_urlsafe(32))
            sessions = 'backend = "redis"\nredis_url_file = "secrets/redis-url"\nseal_key_file = "secrets/seal-key"'
        write_certificates(folder / "tls", *(f"{name}.localhost" for name in ("portal", "id", "console", *HOSTS)))
        write_policies(folder / "policies", opened)
        text = CONFIG.format(port=self.port, sessions=sessions, enrolment=enrolment, workers=workers, drain=drain)
        self.config.write_text(text + apps, "utf-8")
        self.trusted: Final = ssl.create_default_context(cafile=folder / "tls" / "ca.pem")
        self.http: Final = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=self.trusted, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    # ---- running

    async def start(self) -> None:
        """Start, and wait for the ready line."""
        self._begun = len(self.output())
        self._generation = 1
        self._process = self._launched()
        ready = f"gateway: ready at https://portal.localhost:{self.port}\n"
        deadline = time.monotonic() + START_SECONDS
        while ready not in self.said():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"gateway serve did not start:\n{self.said()}")
            await asyncio.sleep(0.02)

    def _launched(self) -> "subprocess.Popen[bytes]":
        command = [*self.launcher, "serve", "--config", str(self.config)]
        with self._output.open("ab") as output:
            environment = {**os.environ, **self.environment}
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    async def reload(self, said: str = "generation {} serves") -> None:
        """Tell it to take over its configuration, and wait until it says so, or something else."""
        self._generation += 1
        before = len(self.output())
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        await self.until_said(said.format(self._generation), before)

    async def until_said(self, text: str, since: int = 0) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + START_SECONDS
        while text not in self.output()[since:]:
            assert self._process is not None
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            await asyncio.sleep(0.02)

    async def outcome(self) -> int:
        """Wait until it ends by itself; return its exit status."""
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        return await asyncio.to_thread(process.wait, START_SECONDS)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> list[int]:
        """The processes that serve under it now, in the order of their start."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()]

    async def stop(self) -> None:
        """End it in order, and assert that it was."""
        assert await self.end() == 0, self.output()
        assert "Traceback" not in self.said(), self.said()

    async def end(self) -> int:
        """Tell it to end; return its exit status."""
        return await self._ended(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a crash would."""
        assert await self._ended(signal.SIGKILL) == -signal.SIGKILL, "it had ended before"

    async def _ended(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        process.send_signal(number)
        return await asyncio.to_thread(process.wait, STOP_SECONDS)

    async def close(self) -> None:
        """Leave nothing running, whatever happened."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        await self.http.close()

    def said(self) -> str:
        """What it has said since its last start."""
        return self.output()[self._begun :]

    def output(self) -> str:
        """What it has said since the first."""
        return self._output.read_text("utf-8", "replace") if self._output.exists() else ""

    # ---- the command line

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "gateway.cli", *arguments]

    async def command(self, *arguments: str, typed: str = "") -> Done:
        """Run another command beside it."""
        process = await asyncio.create_subprocess_exec(
            *self._command(*arguments), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate(typed.encode())
        assert process.returncode is not None
        return Done(status=process.returncode, out=out.decode(), err=err.decode())

    async def people(self, *arguments: str, typed: str = "") -> str:
        """Run `gateway people`, which must succeed; return what it printed."""
        done = await self.command("people", *arguments, "--config", str(self.config), typed=typed)
        assert (done.status, done.err) == (0, ""), done.err
        return done.out

    async def add(self, login: str, name: str, *roles: str) -> Person:
        """Add a person, who scans what it prints."""
        wanted = [part for role in roles for part in ("--role", role)]
        return scanned(login, PASSWORD, await self.people("add", "--login", login, "--name", name, *wanted, typed=PASSWORD))

    async def verify(self) -> Done:
        """Run `gateway audit verify`, as an auditor does with the anchor."""
        return await self.command(
            "audit", "verify", str(self.folder / "audit"), "--anchor", str(self.folder / "anchor/checkpoint")
        )

    async def log(self, *filters: str) -> list[dict[str, Any]]:
        """Its log by `gateway audit export`: a decision has how its request ended in `completion`."""
        return [{**row["record"], "completion": row["completion"]} for row in await self.rows(*filters)]

    async def rows(self, *filters: str) -> list[dict[str, Any]]:
        """What the export says, each with its log slot."""
        done = await self.command("audit", "export", str(self.folder / "audit"), "--format", "jsonl", *filters)
        assert done.status == 0, done.err
        return [json.loads(line) for line in done.out.splitlines()]

    async def events(self, name: str) -> list[dict[str, Any]]:
        """The events of a name."""
        return [record for record in await self.log() if record.get("event") == name]

    # ---- people

    def clinician(self, person: Person) -> Clinician:
        """Give a person a fresh browser."""
        return Clinician(self.http, f"https://{{}}.localhost:{self.port}", person)


@contextlib.asynccontextmanager
async def served(folder: Path, apps: str, **options: Any) -> AsyncIterator[Served]:
    """Run one, and leave nothing behind. It is not started yet."""
    site = Served(folder, apps, **options)
    try:
        yield site
    finally:
        await site.close()


def scanned(login: str, password: str, printed: str) -> Person:
    """Who somebody is whose authenticator app has scanned what the command printed."""
    return Person(login=login, password=password, secret=pyotp.parse_uri(printed.splitlines()[-1]).secret)


# ---------------------------------------------------------------- an application


class Ward:
    """An application in the test's process that notes what reaches it. `/stream` is open until somebody ends it."""

    def __init__(self) -> None:
        self.hits: list[Mapping[str, str]] = []
        self.port = 0

    def request_ids(self) -> list[str]:
        return [hit["X-Request-Id"] for hit in self.hits]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.hits.append(request.headers.copy())
        if request.path == "/stream":
            reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await reply.prepare(request)
            with contextlib.suppress(ConnectionError):
                while True:
                    await reply.write(b"data: beat\n\n")
                    await asyncio.sleep(0.05)
            return reply
        return web.Response(text=f"ward of {request.headers['X-Remote-User']} as {request.headers['X-Remote-Roles']}")


@contextlib.asynccontextmanager
async def ward() -> AsyncIterator[Ward]:
    """Serve one on loopback."""
    app = Ward()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", app.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    app.port = int(listening.getsockname()[1])
    try:
        await web.SockSite(runner, listening).start()
        yield app
    finally:
        await runner.cleanup()


# ---------------------------------------------------------------- files


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def write_certificates(folder: Path, *hosts: str) -> None:
    """Write `ca.pem`, and `server.pem` with `server.key` for these hosts."""
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of the tests")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    signs = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    ca = (
        x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        x509.CertificateBuilder(ca_name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private(folder / "ca.pem", ca.public_bytes(Encoding.PEM).decode())
    private(folder / "server.pem", server.public_bytes(Encoding.PEM).decode())
    private(folder / "server.key", pem(key))


def write_policies(folder: Path, apps: tuple[str, ...]) -> None:
    """Copy the starter bundle, and add what opens these apps: policies, targets and cases."""
    shutil.copytree(ROOT / "policies", folder)
    bases = folder / "cases" / "bases.toml"
    for app in apps:
        (folder / f"{app}.cedar").write_text(WARD_POLICY.format(app=app), "utf-8")
        (folder / "cases" / f"{app}.toml").write_text(WARD_CASES.format(app=app), "utf-8")
        bases.write_text(bases.read_text("utf-8") + WARD_TARGET.format(app=app), "utf-8")


def resident(pid: int, field: str = "VmRSS") -> int:
    """A process's memory in bytes, from /proc: `VmRSS` now, `VmHWM` at most since `count_from_here`."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def count_from_here(pid: int) -> int:
    """Let the most memory in use be counted from now on, and return what is in use now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")
    return resident(pid)

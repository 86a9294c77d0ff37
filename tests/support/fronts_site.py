"""`gateway serve` with all that a door's test needs around it: own Redis, an application that keeps bytes, people, devices.

One site is one installation as a hospital has it, with one front (or none) before it. The test process is no part of the gateway:
it makes sessions in the same Redis with the same key, as another node would, and reads the log as an auditor does.
"""

import asyncio
import contextlib
import json
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.domain.cookies import SESSION_COOKIE
from gateway.domain.identity import AuthEvent, Identity, Session
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from gateway.posture.observe import certificate_sha256
from gateway.posture.registry import SqliteDevices
from gateway.sessions.redis import RedisSessions
from gateway.sessions.redis_link import RedisLink
from tests.support.configuration import private
from tests.support.devices import new_device
from tests.support.fronts_certificates import DeviceCa
from tests.support.ports import free_port
from tests.support.raw_upstream import Hit, RawUpstream
from tests.support.redis import RedisServer
from tests.support.served import ROOT, START_SECONDS, STOP_SECONDS, pem, write_certificates

HOST: Final = "ehr.localhost"
OTHER_HOST: Final = "lab.localhost"
PORTAL: Final = "portal.localhost"
IDP: Final = "id.localhost"
HOSTS: Final = (HOST, OTHER_HOST, PORTAL, IDP)

CONFIG: Final = """\
{server}
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
backend = "redis"
redis_url_file = "secrets/redis-url"
seal_key_file = "secrets/seal-key"
[devices]
database = "state/devices.sqlite3"
enrolment = "self-service"
[policies]
dir = "policies"
[audit]
dir = "audit"
key_file = "keys/audit.pem"
[[apps]]
id = "ehr"
host = "ehr.localhost"
upstream = "http://127.0.0.1:{upstream}"
title_ja = "電子カルテ"
title_en = "EHR"
[apps.headers]
X-Remote-User = "login"
X-Remote-Name = "name"
X-Remote-Department = "department"
{routes}
[[apps]]
id = "lab"
host = "lab.localhost"
upstream = "http://127.0.0.1:{upstream}"
title_ja = "検査"
title_en = "Laboratory"
[[apps.routes]]
id = "lab.rest"
methods = ["*"]
path = "/**"
action = "read"
"""
DIRECT: Final = """\
[server]
port = {port}
public_port = {port}
[server.tls]
certificate_file = "tls/server.pem"
key_file = "tls/server.key"
client_ca_file = "device-ca/devices.pem"
"""
"""The embedded door, with TLS of its own."""

_ROUTES: Final = (
    ("admin", "*", "/admin", "read", ""),
    ("admin_page", "*", "/admin/**", "read", ""),
    ("write", "*", "/write/{name}", "write", 'patient = "query:patient"'),
    ("touch", "*", "/touch/**", "read", ""),
    ("ward", "*", "/ward/**", "read", ""),
    ("matrix", "*", "/matrix/**", "read", "allow_parameters = true"),
    ("ws", "GET", "/ws/**", "read", "websocket = true"),
    ("get", "GET", "/get/{name}", "read", ""),
    ("rest", "*", "/**", "read", ""),
)
POLICIES: Final = """\
@id("everything")
@title_ja("すべて許可")
@title_en("Everything is allowed")
permit (principal in Role::"physician", action, resource);

@id("not-admin")
@title_ja("管理画面は禁止")
@title_en("The admin pages are forbidden")
forbid (principal, action, resource) when { resource == Route::"ehr.admin" || resource == Route::"ehr.admin_page" };

@id("touch")
@title_ja("直前のセキュリティキー操作が必要")
@title_en("A fresh touch of the security key is needed")
forbid (principal, action, resource == Route::"ehr.touch")
unless { context.authentication has key_touch_age_seconds && context.authentication.key_touch_age_seconds < 300 };

@id("ward-terminals")
@title_ja("端末証明書のある端末のみ")
@title_en("Only terminals with a device certificate")
forbid (principal, action, resource == Route::"ehr.ward")
unless { context.device.evidence == "certificate" && context.device.compliant };
"""
_CASES: Final = """\
[base.physician]
situation = "normal"
grants = []
principal = { id = "usr_1", roles = ["physician"], organization = "" }
authentication = { kinds = ["pwd"], factors = 1, phishing_resistant = false, age_seconds = 60 }
proofing = { level = 0, method = "", age_days = 0 }
device = { registered = false, compliant = false, evidence = "none", evidence_strength = 0, ownership = "" }
network = { zone = "other", tls = true }
time = { hour = 10, weekday = 2, date = "2026-11-24" }
[target."ehr.rest"]
app = "ehr"
route = "ehr.rest"
action = "read"
sensitivity = "normal"
patient = ""
"""
_CASE: Final = """\
[[case]]
name = "a physician reads"
base = "physician"
target = "ehr.rest"
expect = { outcome = "allow", policies = ["everything"] }
"""

T = TypeVar("T")
Made = Literal["live", "idle", "expired", "revoked"]
OVER_SECONDS: Final = 2.2


class Site:
    """An installation in a folder; started once for many tests."""

    def __init__(self, folder: Path, server: str = DIRECT, policies: str = POLICIES) -> None:
        """`server`: the `[server]` part of the configuration, and the doors; `{port}` is the public port."""
        self.folder: Final = folder
        self.port: Final = free_port()
        """The port in people's address bar."""
        self.config: Final = folder / "gateway.toml"
        self.ca: Final = folder / "tls" / "ca.pem"
        for name in ("state", "audit", "redis"):
            (folder / name).mkdir(mode=0o700)
        (folder / "run").mkdir(mode=0o755)
        self.redis: Final = RedisServer(folder / "redis")
        self.upstream: Final = RawUpstream()
        self.devices: Final = DeviceCa(folder / "device-ca", "devices")
        self._output: Final = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None
        self._seal: Final = secrets.token_urlsafe(32)
        self._offsets: dict[Path, int] = {}
        private(folder / "keys" / "assertion.pem", pem(ec.generate_private_key(ec.SECP256R1())))
        private(folder / "secrets" / "oidc-client", secrets.token_urlsafe(32))
        private(folder / "secrets" / "redis-url", self.redis.url)
        private(folder / "secrets" / "seal-key", self._seal)
        write_certificates(folder / "tls", *HOSTS)
        self._write_policies(policies)
        routes = "\n".join(
            f'[[apps.routes]]\nid = "ehr.{name}"\nmethods = ["{method}"]\npath = "{path}"\naction = "{action}"\n{more}'
            for name, method, path, action, more in _ROUTES
        )
        text = CONFIG.format(server=server.format(port=self.port), port=self.port, upstream=self.upstream.port, routes=routes)
        self.config.write_text(text, "utf-8")

    def _write_policies(self, text: str) -> None:
        policies = self.folder / "policies"
        (policies / "cases").mkdir(parents=True)
        shutil.copy(ROOT / "policies" / "schema.cedarschema", policies)
        (policies / "doors.cedar").write_text(text, "utf-8")
        (policies / "cases" / "bases.toml").write_text(_CASES, "utf-8")
        (policies / "cases" / "doors.toml").write_text(_CASE, "utf-8")

    # ---- running

    def start(self) -> None:
        """Start Redis and the gateway, and wait for its ready line."""
        self.redis.start()
        self.start_gateway()

    def start_gateway(self) -> None:
        """Start the gateway alone, and wait for its ready line."""
        begun = len(self._output.read_bytes()) if self._output.exists() else 0
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "serve", "--config", str(self.config)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while b"gateway: ready at" not in self._output.read_bytes()[begun:]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"gateway serve did not start:\n{self.output()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End everything; the gateway must end in order, and have had nothing to complain of."""
        code = 0
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            code = self._process.wait(STOP_SECONDS)
        self.close()
        assert code == 0, self.output()
        assert "Traceback" not in self.output(), self.output()

    def stop_gateway(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the gateway alone, in order or as a crash would, and wait until it is gone."""
        assert self._process is not None
        pids = self.pids()
        self._process.send_signal(number)
        self._process.wait(STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        while any(Path(f"/proc/{pid}/stat").exists() for pid in pids):
            assert time.monotonic() < deadline, "a worker outlives the gateway"
            time.sleep(0.02)

    def pids(self) -> tuple[int, ...]:
        """The gateway's processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()
        return (self.pid, *map(int, children))

    def close(self) -> None:
        """Leave nothing running, whatever happened."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.redis.kill()
        self.upstream.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def alive(self) -> bool:
        """Whether the very process that was started still runs."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        return self._output.read_text("utf-8", "replace") if self._output.exists() else ""

    # ---- people and devices

    def cookie(self, kind: Made = "live", *, host: str = HOST, roles: tuple[str, ...] = ("physician",), **more: Any) -> str:
        """Make a session, and return the Cookie value of its handle at `host`."""
        return self.sign_in(kind, host=host, roles=roles, **more)[1]

    def sign_in(
        self, kind: Made = "live", *, host: str = HOST, roles: tuple[str, ...] = ("physician",), **more: Any
    ) -> tuple[Session, str]:
        """Make a session; return it with the Cookie value of its handle. It is idle or expired `OVER_SECONDS` from now."""
        now = int(time.time())
        fields: dict[str, Any] = {
            "id": new_id("ses"), "generation": 1, "created_at": now, "last_seen_at": now, "expires_at": now + 36_000,
            "identity": Identity(subject="usr_1", login="dr.sato", name="佐藤 恵", roles=roles),
            "events": (AuthEvent(kind="pwd", at=now, generation=1),), "idle_seconds": 36_000,
        }  # fmt: skip
        if kind == "expired":
            fields |= {"expires_at": now + 2}
        if kind == "idle":
            fields |= {"idle_seconds": 1}
        session = Session(**{**fields, **more})

        async def make(store: RedisSessions) -> str:
            token = await store.create(session, host)
            if kind == "revoked":
                await store.revoke(session.id)
            return token.reveal()

        token = self.with_sessions(make)
        return session, f"{SESSION_COOKIE}={token}"

    def with_sessions(self, work: Callable[[RedisSessions], Coroutine[Any, Any, T]]) -> T:
        """Do something at the session store, as another node would."""

        async def run() -> T:
            link = RedisLink(Secret(self.redis.url))
            store = RedisSessions(link, key=Secret(self._seal), clock=SystemClock())
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())

    def with_devices(self, work: Callable[[SqliteDevices], Coroutine[Any, Any, T]]) -> T:
        """Do something at the ledger of devices, as a command beside the gateway would."""

        async def run() -> T:
            ledger = SqliteDevices(self.folder / "state" / "devices.sqlite3")
            try:
                return await work(ledger)
            finally:
                await ledger.close()

        return asyncio.run(run())

    def register(self, der: bytes, **changes: Any) -> str:
        """Put a device with this certificate into the ledger; return its id."""
        device = new_device(certificate_sha256=certificate_sha256(der), compliance_at=int(time.time()), **changes)
        self.with_devices(lambda ledger: ledger.add(device))
        return device.id

    def block(self, device_id: str) -> None:
        """Block a device."""
        self.with_devices(
            lambda ledger: ledger.update(device_id, lambda device: msgspec.structs.replace(device, status="blocked"))
        )

    # ---- what is left of requests

    def forget(self) -> None:
        """Begin a test: what was recorded and what has reached the application so far does not count."""
        self.records()
        self.upstream.forget()

    def records(self) -> list[dict[str, Any]]:
        """The records since this was last called, in the order of the log."""
        found: list[dict[str, Any]] = []
        for path in sorted((self.folder / "audit").rglob("segment-*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)
            found += [json.loads(line)["record"] for line in whole.splitlines()]
        return found

    def decisions(self) -> list[dict[str, Any]]:
        """The decision records since the last call of this or `records`."""
        return [record for record in self.records() if record["type"] == "decision"]

    @staticmethod
    def unjustified(decisions: list[dict[str, Any]], hits: list[Hit]) -> list[Hit]:
        """The requests at the application that no decision allowed: each must carry the id of one Allow, for this very target.

        Two may carry the same: a GET whose connection died idle is sent again.
        """
        allowed = {record["id"]: record for record in decisions if record["outcome"] == "allow"}
        wrong = []
        for hit in hits:
            ids = hit.values("X-Request-Id")
            record = allowed.get(ids[0]) if len(ids) == 1 else None
            path = hit.target.partition(b"?")[0].decode("latin-1")
            if record is None or (record["method"], record["path"]) != (hit.method, path):
                wrong.append(hit)
        return wrong


@contextlib.contextmanager
def open_site(server: str = DIRECT, policies: str = POLICIES) -> Iterator[Site]:
    """Run one in a folder of its own, which others than its owner may enter (a front's workers are another user)."""
    with tempfile.TemporaryDirectory(prefix="gw-site-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        site = Site(folder, server, policies)
        try:
            site.start()
            yield site
            site.stop()
        finally:
            site.close()

"""`gateway demo`: the whole product on this machine, with sample apps, synthetic people, and a simulated card verifier.

Everything that it writes is in its data directory, keys and databases with the mark that `gateway serve` refuses. The gateway
itself is the one of production: the same composition root, on a configuration that this module writes.
"""

import contextlib
import fcntl
import os
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.app import open_gateway
from gateway.config import load_config
from gateway.config.demo_mark import mark_database, mark_folder
from gateway.config.production import DEMO_MARK
from gateway.demo.assertion import AssertionVerifier, fetch_jwks
from gateway.demo.ehr.app import create_ehr
from gateway.demo.imaging.app import create_imaging
from gateway.demo.orders.app import create_orders
from gateway.demo.people import ORGANIZATION, PEOPLE, Secrets, load_secrets
from gateway.demo.tls import P12_PASSWORD, TlsFiles, prepare
from gateway.kernel.clock import Clock, SystemClock
from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from gateway.kernel.web.site import Front

HOSTS: Final = ("portal", "ehr", "imaging", "orders", "id", "console")
BEHIND: Final = ("ehr", "imaging", "orders")
"""The sample apps."""
POLICIES: Final = Path(__file__).parents[2] / "policies"
TEMPLATE: Final = Path(__file__).parent / "gateway.toml.in"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    port: int
    data_dir: Path
    ready_file: Path | None
    tls: bool


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a person (or a test) needs to know once it serves; the ready file is this as JSON."""

    urls: dict[str, str]
    people: list[dict[str, object]]
    log_dir: str
    config: str
    p12: str = ""
    p12_password: str = ""
    ca: str = ""
    client_certificate: str = ""
    client_key: str = ""


async def run_demo(options: Options, ready: Callable[[Shown], None]) -> None:
    """Run until cancelled. `ready` is called, and the ready file written, once everything serves."""
    clock = SystemClock()
    folder = options.data_dir.resolve()
    _check_ready_file(options.ready_file)
    _make_folder(folder)
    with _alone(folder):
        await _run(options, ready, clock, folder)


async def _run(options: Options, ready: Callable[[Shown], None], clock: Clock, folder: Path) -> None:
    people = load_secrets(folder / "people.json")
    scheme = "https" if options.tls else "http"
    usual = options.port == {"http": 80, "https": 443}[scheme]
    origins = {name: f"{scheme}://{name}.localhost" + ("" if usual else f":{options.port}") for name in HOSTS}
    hosts = tuple(f"{name}.localhost" for name in HOSTS)
    files = prepare(folder / "tls", hosts, clock.now()) if options.tls else None
    _make_keys(folder / "keys")
    trusted = ssl.create_default_context(cafile=files.ca) if files else None

    def verifier(audience: str) -> AssertionVerifier:
        fetch = partial(fetch_jwks, f"{origins['portal']}/.gateway/jwks.json", tls=trusted)
        return AssertionVerifier(fetch, issuer=origins["portal"], audience=audience, clock=clock)

    def front(name: str) -> Front:
        return Front(origin=origins[name], portal=origins["portal"], form_origins=(origins["portal"], origins["id"]))

    async with contextlib.AsyncExitStack() as stack:
        ehr = await stack.enter_async_context(_listening(create_ehr(folder / "ehr", verifier("ehr"), clock, front=front("ehr"))))
        imaging = await stack.enter_async_context(_listening(create_imaging(verifier("imaging"), front=front("imaging"))))
        orders = await stack.enter_async_context(
            _listening(create_orders(folder / "orders", verifier("orders"), clock, front=front("orders")))
        )
        upstreams = {"ehr": ehr, "imaging": imaging, "orders": orders}
        config_file = _write_config(folder, options.port, scheme, files, issuer=origins["id"], upstreams=upstreams)
        gateway = await stack.enter_async_context(open_gateway(load_config(config_file, os.environ), clock))
        if gateway.provider is None:
            raise AssertionError("the demo's provider is embedded")
        for person in PEOPLE:
            await gateway.provider.seed_user(
                login=person.login,
                name=person.name,
                roles=person.roles,
                organization=ORGANIZATION,
                department=person.department,
                birth_date=person.birth_date,
                kana=person.kana,
                password=Secret(people[person.login].password),
                totp_secret=Secret(people[person.login].totp_secret),
            )
        for database in (folder / "devices.sqlite3", folder / "policies.sqlite3", folder / "idp" / "idp.sqlite3"):
            mark_database(database)
        shown = _shown(folder, config_file, origins, people, files)
        if options.ready_file is not None:
            # Whole or absent: whoever waits for it reads it the moment it is there.
            part = options.ready_file.with_name(f"{options.ready_file.name}.part")
            _write_private(part, msgspec.json.format(msgspec.json.encode(shown)))
            part.replace(options.ready_file)
            stack.callback(options.ready_file.unlink, missing_ok=True)
        ready(shown)
        await gateway.failed


@contextlib.asynccontextmanager
async def _listening(app: web.Application) -> AsyncIterator[int]:
    """Serve an app on loopback, on a port of the system's choice; yield the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        bound = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, bound).start()
        yield int(bound.getsockname()[1])
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only demo on this folder: before anything in it is written anew."""
    with (folder / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                "another demo runs on this data directory", where=str(folder), todo="Stop it, or choose another with --data-dir."
            ) from error
        yield


def _check_ready_file(path: Path | None) -> None:
    if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise ConfigError("the ready file can't be written there", where=str(path), todo="Make its folder first.")


def _make_folder(folder: Path) -> None:
    try:
        for part in (folder, folder / "keys", folder / "anchor", folder / "idp"):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the data directory can't be made ({error.strerror})", where=str(folder), todo="Choose another with --data-dir."
        ) from error
    # In each: a folder that is copied away alone is a demo's folder still.
    for part in (folder, folder / "keys", folder / "idp"):
        mark_folder(part)


def _make_keys(folder: Path) -> None:
    if not (folder / "assertion.pem").exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write_private(folder / "assertion.pem", DEMO_MARK + b": made by `gateway demo`\n" + pem)
    if not (folder / "audit.pem").exists():
        signing = ed25519.Ed25519PrivateKey.generate()
        pem = signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write_private(folder / "audit.pem", DEMO_MARK + b": made by `gateway demo`\n" + pem)
    if not (folder / "oidc-client").exists():
        _write_private(folder / "oidc-client", DEMO_MARK + b"-" + secrets.token_urlsafe(32).encode())


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _write_config(
    folder: Path, port: int, scheme: str, files: TlsFiles | None, *, issuer: str, upstreams: dict[str, int]
) -> Path:
    tls = (
        f'\n[server.tls]\ncertificate_file = "{files.certificate}"\nkey_file = "{files.key}"\nclient_ca_file = "{files.ca}"\n'
        if files
        else ""
    )
    ca = f'ca_file = "{files.ca}"\n' if files else ""
    text = TEMPLATE.read_text("utf-8").format(
        port=port, scheme=scheme, issuer=issuer, tls=tls, ca=ca, policies=POLICIES, **upstreams
    )
    path = folder / "gateway.toml"
    _write_private(path, text.encode())
    return path


def _shown(folder: Path, config: Path, origins: dict[str, str], people: dict[str, Secrets], files: TlsFiles | None) -> Shown:
    return Shown(
        urls=origins,
        people=[
            {
                "name": person.login,
                "display_name": person.name,
                "password": people[person.login].password,
                "totp_secret": people[person.login].totp_secret,
                "roles": list(person.roles),
            }
            for person in PEOPLE
        ],
        log_dir=str(folder / "audit"),
        config=str(config),
        p12=str(files.p12) if files else "",
        p12_password=P12_PASSWORD if files else "",
        ca=str(files.ca) if files else "",
        client_certificate=str(files.client_certificate) if files else "",
        client_key=str(files.client_key) if files else "",
    )

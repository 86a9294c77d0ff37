"""What would stop `gateway serve` from starting, found without starting it.

`gateway.config.load` has read the file, `gateway.config.production` says whether it is fit for real patients; this looks into the
files that it names, with the code that will use them. Nothing is made, written or connected to. Not looked at: whether ports are
free, whether Redis, another identity provider and the applications answer, and whether a log goes on where it ended.
"""

import datetime as dt
import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography import x509

from gateway.app.doors import front_context
from gateway.app.verifiers import verifier_of
from gateway.audit.keys import load_key
from gateway.config import Config
from gateway.config.listeners import front_listeners
from gateway.doors.tls import server_context
from gateway.kernel.clock import Clock, SystemClock
from gateway.kernel.errors import AuditError, BundleError, ConfigError
from gateway.policy.compile import problems_of
from gateway.policy.holder import PolicyHolder
from gateway.rp.keys import FileSigner

MAX_SOCKET_PATH: Final = 107
"""Bytes of a unix socket's path (unix(7): 108 with the end)."""


def preflight(config: Config, clock: Clock | None = None) -> list[ConfigError]:
    """Return everything that would stop this configuration from serving, each with `file:line` and what to do.

    Judges by the rights of the user who asks. Reads the policies and runs their cases, which may take seconds.
    """
    now = dt.datetime.fromtimestamp((clock or SystemClock()).now(), dt.UTC)
    return [
        *_tls(config, now),
        *_front_tls(config),
        *_keys(config),
        *_provider_ca(config),
        *_verifier(config),
        *_state(config),
        *_policies(config),
    ]


# ---------------------------------------------------------------- TLS


def _tls(config: Config, now: dt.datetime) -> Iterator[ConfigError]:
    tls = config.server.tls
    if tls is None:
        return
    where = config.where("server", "tls", "certificate_file")
    try:
        server_context(certificate=tls.certificate_file, key=tls.key_file, client_ca=None, preset=tls.preset)
        # The first one is the server's own, RFC 8446 §4.4.2.
        certificate = x509.load_pem_x509_certificates(tls.certificate_file.read_bytes())[0]
        yield from _server_certificate(config, tls.certificate_file, certificate, now)
    except ConfigError as error:
        yield ConfigError(f"{tls.certificate_file}, {tls.key_file}: {error.what}", where=where, todo=error.todo)
    except (OSError, ValueError, x509.DuplicateExtension) as error:
        yield ConfigError(f"{tls.certificate_file} can't be read as X.509 ({error})", where=where, todo="Have it issued anew.")
    if tls.client_ca_file is not None:
        yield from _device_ca(config.where("server", "tls", "client_ca_file"), tls.client_ca_file, now)


def _front_tls(config: Config) -> Iterator[ConfigError]:
    for path, listener in front_listeners(config):
        try:
            front_context(listener)
        except ConfigError as error:
            where = config.where(*path, "certificate_file")
            yield ConfigError(f"{error.where}: {error.what}", where=where, todo=error.todo)


def _server_certificate(config: Config, path: Path, certificate: x509.Certificate, now: dt.datetime) -> Iterator[ConfigError]:
    where = config.where("server", "tls", "certificate_file")
    untimely = _untimely(certificate, now)
    if untimely:
        yield ConfigError(
            f"the certificate {path} {untimely}", where=where, todo="Have a new one issued, or set the clock right."
        )
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except x509.ExtensionNotFound:
        names = []
    missing = [host for host in _hosts(config) if not any(_covers(name.lower(), host) for name in names)]
    if missing:
        yield ConfigError(
            f"the certificate {path} is not for {', '.join(missing)} (it is for {', '.join(names) or 'no host name'})",
            where=where,
            todo="Have one issued with every host as subjectAltName.",
        )


def _hosts(config: Config) -> list[str]:
    hosts = [config.portal.host, *(app.host for app in config.apps)]
    hosts += [host for host in (config.console.host if config.console else None, config.idp_host()) if host]
    return list(dict.fromkeys(hosts))


def _covers(name: str, host: str) -> bool:
    """Whether a certificate's DNS name is for a host: a `*` stands for the whole leftmost label (RFC 9525 §6.3)."""
    return name == host or (name.startswith("*.") and name[1:] == f".{host.partition('.')[2]}")


def _untimely(certificate: x509.Certificate, now: dt.datetime) -> str:
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if now > certificate.not_valid_after_utc:
        return f"has expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    return ""


def _device_ca(where: str, path: Path, now: dt.datetime) -> Iterator[ConfigError]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(cafile=path)
        authorities = [x509.load_der_x509_certificate(der) for der in context.get_ca_certs(binary_form=True)]
        found = [fault for fault in (_ca_fault(authority, now) for authority in authorities) if fault]
    except (OSError, ValueError, x509.DuplicateExtension) as error:  # ssl.SSLError is an OSError
        yield ConfigError(f"the device CA {path} can't be read ({error})", where=where, todo="It must be PEM certificates.")
        return
    if not authorities:
        yield ConfigError(f"{path} holds no CA certificate", where=where, todo="Put the PEM of the device CA there.")
    elif len(found) == len(authorities):
        yield ConfigError(
            f"no device certificate would be taken: the device CA {path} {found[0]}", where=where, todo="Have it issued anew."
        )


def _ca_fault(authority: x509.Certificate, now: dt.datetime) -> str:
    """Why the listener, which checks strictly (RFC 5280 §4.2.1), would take no certificate of this CA; empty when it would."""
    untimely = _untimely(authority, now)
    if untimely:
        return untimely
    extensions = authority.extensions
    try:
        if not extensions.get_extension_for_class(x509.BasicConstraints).critical:
            return "has basicConstraints that are not critical"
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return "may not sign certificates (keyUsage has no keyCertSign)"
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        return f"has no {error.oid._name}"  # noqa: SLF001  cryptography has no public way from an identifier to its name
    return ""


# ---------------------------------------------------------------- keys and the provider


def _keys(config: Config) -> Iterator[ConfigError]:
    try:
        FileSigner.load(config.portal.assertion_key_file)
    except ConfigError as error:
        what = f"{config.portal.assertion_key_file}: {error.what}"
        yield ConfigError(what, where=config.where("portal", "assertion_key_file"), todo=_sentence(error.todo))
    try:
        load_key(config.audit.key_file)
    except AuditError as error:
        what = f"{config.audit.key_file}: {error.what}"
        yield ConfigError(what, where=config.where("audit", "key_file"), todo=_sentence(error.todo))


def _provider_ca(config: Config) -> Iterator[ConfigError]:
    path = config.identity.ca_file
    if path is None:
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        yield ConfigError(
            f"the provider's CA {path} can't be read ({error})", where=config.where("identity", "ca_file"), todo="It must be PEM."
        )


# ---------------------------------------------------------------- places to write


def _verifier(config: Config) -> Iterator[ConfigError]:
    if config.idp is None or config.idp.proofing == "simulated":
        return
    try:
        verifier_of(config, SystemClock())  # asks nobody, and has nothing to close yet
    except ConfigError as error:
        where = config.where("idp", config.idp.proofing.replace("-", "_"))
        yield ConfigError(f"{error.where}: {error.what}" if error.where else error.what, where=where, todo=error.todo)


def _state(config: Config) -> Iterator[ConfigError]:
    if config.idp is not None:
        yield from _own_folder(config.where("idp", "data_dir"), config.idp.data_dir)
    database = config.devices.database
    yield from _file_in_folder(config.where("devices", "database"), database)
    if database.exists() and not (database.is_file() and os.access(database, os.R_OK | os.W_OK)):
        yield ConfigError(
            f"{database} is no file that can be read and written",
            where=config.where("devices", "database"),
            todo="Name another, or make the gateway's user its owner.",
        )
    yield from _own_folder(config.where("audit", "dir"), config.audit.dir)
    if not config.audit.key_file.exists():
        yield from _file_in_folder(config.where("audit", "key_file"), config.audit.key_file)
    if config.audit.anchor is not None:
        yield from _file_in_folder(config.where("audit", "anchor"), config.audit.anchor)
    for path, listener in front_listeners(config):
        if listener.socket is not None:
            yield from _socket(config.where(*path, "socket"), listener.socket)
    for index, door in enumerate(config.doors):
        if door.access_log_state is not None:
            yield from _file_in_folder(config.where("doors", index, "access_log_state"), door.access_log_state)
        if door.access_log is not None and door.access_log.exists() and not os.access(door.access_log, os.R_OK):
            yield ConfigError(
                f"{door.access_log} can't be read, so there would be no record of what the front let through",
                where=config.where("doors", index, "access_log"),
                todo="Let the gateway's user read it: on Debian, usermod -aG adm USER.",
            )


def _own_folder(where: str, folder: Path) -> Iterator[ConfigError]:
    """A folder that the gateway makes when it is missing."""
    if folder.exists():
        yield from _writable(where, folder)
    else:
        yield from _file_in_folder(where, folder)


def _file_in_folder(where: str, path: Path) -> Iterator[ConfigError]:
    """A file that the gateway makes, or puts another in place of: that takes a folder."""
    if path.parent.exists():
        yield from _writable(where, path.parent)
    else:
        yield ConfigError(
            f"there is no folder {path.parent} for {path.name}",
            where=where,
            todo="Make it, writable by the gateway's user only, or mount it.",
        )


def _writable(where: str, folder: Path) -> Iterator[ConfigError]:
    if not folder.is_dir():
        yield ConfigError(f"{folder} is not a folder", where=where, todo="Name a folder.")
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield ConfigError(f"the folder {folder} can't be written", where=where, todo="Make the gateway's user its owner.")


def _socket(where: str, path: Path) -> Iterator[ConfigError]:
    yield from _file_in_folder(where, path)
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        yield ConfigError(f"{path} is too long for a socket", where=where, todo=f"Choose one of {MAX_SOCKET_PATH} bytes at most.")
    elif path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        yield ConfigError(f"{path} is there and is no socket", where=where, todo="Remove it, or choose another path.")


# ---------------------------------------------------------------- policies


def _policies(config: Config) -> Iterator[ConfigError]:
    """Each problem where it is: in the bundle's own files, which is where it is mended."""
    try:
        PolicyHolder.open(config.policies.dir)
    except BundleError as error:
        for problem in problems_of(error):
            todo = _sentence(problem.todo)
            if problem.where.rpartition(":")[2].isdigit():
                yield ConfigError(problem.what, where=problem.where, todo=todo)
            else:
                yield ConfigError(f"{problem.where}: {problem.what}", where=config.where("policies", "dir"), todo=todo)


def _sentence(todo: str) -> str:
    return f"{todo.rstrip('.')}." if todo else ""

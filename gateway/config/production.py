"""What a configuration must not have before real patients' records stand behind it.

`gateway serve` refuses to start while `check_production` finds anything. It looks at the configuration and at the files that it
names; it can't judge firewalls, the machine, or how people keep their keys.
"""

import contextlib
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.config.emergency import is_loopback
from gateway.config.listeners import front_listeners
from gateway.config.model import Config
from gateway.kernel.errors import ConfigError
from gateway.lasting.postgres import crosses_unproved

DEMO_MARK: Final = b"demo-only"
"""Stands in every key and secret that the demo makes (before the PEM block, as a member of JSON, within a secret), so that none
of them can be carried over into production.
"""
DEMO_APPLICATION_ID: Final = 0x5A54_444D
"""`PRAGMA application_id` of every SQLite database that the demo makes: its people and devices are nobody's."""
DEMO_FOLDER_MARK: Final = "DEMO-ONLY.txt"
"""A file that the demo leaves in its data folder: nothing in or below that folder is for production."""
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_ACCOUNTS: Final = "idp.sqlite3"
"""The accounts database in the embedded provider's folder."""
_SCANNED_BYTES: Final = 65_536
_BUSY_SECONDS: Final = 5.0
_LET_IT_READ: Final = "Let the gateway's user read it."


def check_production(config: Config) -> list[ConfigError]:
    """Return every reason not to start in production, each with `file:line` and what to do, in the order of the file."""
    checks = (_demo, _transport, _sessions, _records, _identity, _secrets, _folders, _keys, _databases, _state_modes)
    problems = [problem for check in checks for problem in check(config)]
    return sorted(problems, key=lambda problem: int(problem.where.rpartition(":")[2]))


def _demo(config: Config) -> Iterator[ConfigError]:
    if config.demo:
        yield ConfigError(
            "this is a demo configuration",
            where=config.where("demo"),
            todo="Use `gateway demo`, or begin with deploy/gateway.toml.",
        )
    if config.idp is not None and config.idp.proofing == "simulated":
        yield ConfigError(
            "the identity proofing verifier is a simulation",
            where=config.where("idp", "proofing"),
            todo='Write the verifier that proofs your people, or "none".',
        )
    yield from _rehearsed(config)


def _rehearsed(config: Config) -> Iterator[ConfigError]:
    idp = config.idp
    if idp is None:
        return
    agency, jpki, operator = idp.digital_agency, idp.jpki, idp.platform_operator
    rehearsals = {
        "digital-agency": agency is not None and agency.environment != "production",
        "jpki": jpki is not None and jpki.environment != "production",
        "platform-operator": operator is not None and (operator.host in {"mock", "test"} or operator.host.startswith("http:")),
    }
    if rehearsals.get(idp.proofing) and not idp.rehearsal:
        yield ConfigError(
            "the identity proofing verifier is one for tests: nobody is really checked",
            where=config.where("idp", idp.proofing.replace("-", "_")),
            todo="Name the service's production environment; for the connection test write rehearsal = true in [idp].",
        )


def _transport(config: Config) -> Iterator[ConfigError]:
    server = config.server
    if server.public_scheme != "https":
        yield ConfigError(
            "people would reach the gateway without TLS", where=config.where("server", "public_scheme"), todo='Write "https".'
        )
    if server.tls is None and server.port is not None:
        yield ConfigError(
            "the listener for people has no TLS",
            where=config.where("server", "port"),
            todo="Add [server.tls]; or, if a front has it, remove the port and add [server.front].",
        )


def _sessions(config: Config) -> Iterator[ConfigError]:
    sessions = config.sessions
    url = sessions.redis_url.reveal() if sessions.redis_url is not None else ""
    host = url.partition("://")[2].rpartition("@")[2].partition("/")[0]
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if url.startswith("redis://") and not is_loopback(name):
        yield ConfigError(
            "sessions would cross the network to Redis in clear",
            where=config.where(*config.secret_key("sessions", "redis_url")),
            todo="Use a rediss:// URL (TLS).",
        )


def _records(config: Config) -> Iterator[ConfigError]:
    url = config.policies.postgres_url
    if url is not None and crosses_unproved(url):
        yield ConfigError(
            "policies would cross the network to a PostgreSQL that has not proved who it is",
            where=config.where(*config.secret_key("policies", "postgres_url")),
            todo="Add sslmode=verify-full (and sslrootcert=FILE) to the URL.",
        )


def _identity(config: Config) -> Iterator[ConfigError]:
    if config.identity.issuer.startswith("http://"):
        yield ConfigError(
            "the identity provider is reached without TLS",
            where=config.where("identity", "issuer"),
            todo="Write an https issuer.",
        )


def _secrets(config: Config) -> Iterator[ConfigError]:
    for section, name, secret in (
        ("identity", "client_secret", config.identity.client_secret),
        ("sessions", "seal_key", config.sessions.seal_key),
    ):
        if secret is not None and DEMO_MARK.decode() in secret.reveal().lower():
            yield ConfigError(
                f"the secret `{section}.{name}` is the demo's",
                where=config.where(*config.secret_key(section, name)),
                todo="Make a new one.",
            )


def _folders(config: Config) -> Iterator[ConfigError]:
    for where, path in [*_key_files(config), *_data(config), *_others(config)]:
        # As it is written and as links lead: the mark may stand on either way.
        folders = dict.fromkeys(folder for way in (path, path.resolve()) for folder in (way, *way.parents))
        try:
            marked = next((folder for folder in folders if _is_there(folder / DEMO_FOLDER_MARK)), None)
        except OSError as error:
            yield ConfigError(f"can't look for the demo's mark above {path}: {_why(error)}", where=where, todo=_LET_IT_READ)
            continue
        if marked is not None:
            yield ConfigError(f"{path} lies in the demo's folder {marked}", where=where, todo="Make a new one elsewhere.")


def _is_there(path: Path) -> bool:
    """Unlike `Path.exists` the same on every Python: what can't be looked at raises OSError."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _key_files(config: Config) -> list[tuple[str, Path]]:
    named = [
        (config.where("portal", "assertion_key_file"), config.portal.assertion_key_file),
        (config.where("audit", "key_file"), config.audit.key_file),
    ]
    tls = config.server.tls
    if tls is not None:
        named.append((config.where("server", "tls", "key_file"), tls.key_file))
        named.append((config.where("server", "tls", "certificate_file"), tls.certificate_file))
        if tls.client_ca_file is not None:
            named.append((config.where("server", "tls", "client_ca_file"), tls.client_ca_file))
    for path, listener in front_listeners(config):
        files = {key: getattr(listener, key) for key in ("key_file", "certificate_file", "client_ca_file")}
        named += [(config.where(*path, key), file) for key, file in files.items() if file is not None]
    return named


def _data(config: Config) -> list[tuple[str, Path]]:
    named = [(config.where("devices", "database"), config.devices.database), (config.where("audit", "dir"), config.audit.dir)]
    if config.policies.database is not None:
        named.append((config.where("policies", "database"), config.policies.database))
    if config.idp is not None:
        named.append((config.where("idp", "data_dir"), config.idp.data_dir))
    return named


def _others(config: Config) -> list[tuple[str, Path]]:
    """What else is named, and is neither a key nor private."""
    named = [(config.where("policies", "dir"), config.policies.dir)]
    if config.identity.ca_file is not None:
        named.append((config.where("identity", "ca_file"), config.identity.ca_file))
    if config.audit.anchor is not None:
        named.append((config.where("audit", "anchor"), config.audit.anchor))
    named += [
        (config.where(*path, "socket"), listener.socket)
        for path, listener in front_listeners(config)
        if listener.socket is not None
    ]
    return named


def _keys(config: Config) -> Iterator[ConfigError]:
    named = _key_files(config)
    if config.idp is not None:
        named += [(config.where("idp", "data_dir"), file) for file in _files(config.idp.data_dir, "*.json", "*.pem")]
    for where, file in named:
        try:
            marked = DEMO_MARK in _head(file).lower()
        except OSError as error:
            yield ConfigError(f"can't read {file}: {_why(error)}", where=where, todo=_LET_IT_READ)
            continue
        if marked:
            yield ConfigError(f"{file} was made by the demo, so everybody could have it", where=where, todo="Make a new one.")


def _databases(config: Config) -> Iterator[ConfigError]:
    for where, file in _database_files(config):
        try:
            demo = _application_id(file) == DEMO_APPLICATION_ID
        except (OSError, sqlite3.Error) as error:
            yield ConfigError(
                f"can't read the database {file}: {_why(error)}",
                where=where,
                todo="Let the gateway's user read and write it, restore it, or begin with an empty one.",
            )
            continue
        if demo:
            yield ConfigError(f"{file} holds what the demo made", where=where, todo="Begin with an empty one.")


def _database_files(config: Config) -> Iterator[tuple[str, Path]]:
    """The databases that are opened, and whatever else in the provider's folder looks like one."""
    yield config.where("devices", "database"), config.devices.database
    if config.policies.database is not None:
        yield config.where("policies", "database"), config.policies.database
    if config.idp is not None:
        where, accounts = config.where("idp", "data_dir"), config.idp.data_dir / _ACCOUNTS
        yield where, accounts
        for file in _files(config.idp.data_dir, "*"):
            with contextlib.suppress(OSError):  # unreadable and no database of ours: nobody opens it
                if file != accounts and _head(file).startswith(_SQLITE_MAGIC):
                    yield where, file


def _application_id(file: Path) -> int:
    """Read a database's `application_id` as its next user would see it: what is committed may still lie in the `-wal` file, and
    not yet in the header. 0 while there is no such file.

    Writes nothing into the database or its log. Where there is a log without its index (`-shm`), SQLite makes the index.
    """
    if not _is_there(file):
        return 0
    log = file.with_name(f"{file.name}-wal")
    # Without a log the file is all there is. Immutable: else SQLite would leave an empty log and index beside it.
    access = "mode=ro" if _is_there(log) and log.stat().st_size else "mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?{access}", uri=True, timeout=_BUSY_SECONDS)) as connection:
        found = int(connection.execute("PRAGMA application_id").fetchone()[0])
        # The pragma alone answers 0 for what is no database at all.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return found


def _state_modes(config: Config) -> Iterator[ConfigError]:
    """What was private when it was made may have been opened since; what the loader reads it has checked itself."""
    named = _data(config)
    if config.idp is not None:
        named += [(config.where("idp", "data_dir"), path) for path in _files(config.idp.data_dir, "*")]
    for where, path in named:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # there is none yet, or `_folders` says that it can't be looked at
        if mode & 0o007:
            yield ConfigError(f"{path} is open to everybody on this machine", where=where, todo=f"Run: chmod o= {path}")


def _files(folder: Path, *patterns: str) -> list[Path]:
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})


def _head(file: Path) -> bytes:
    """The first bytes of a file; empty while there is none yet. Raises OSError when it can't be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(_SCANNED_BYTES)
    except FileNotFoundError:
        return b""


def _why(error: OSError | sqlite3.Error) -> str:
    return ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()

"""What `gateway serve` does not start with."""

import contextlib
import errno
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from gateway.audit.keys import create_key, load_key
from gateway.config import Config, check_production, load_config
from gateway.config.demo_mark import mark_database, mark_folder, mark_key
from gateway.config.production import DEMO_APPLICATION_ID, DEMO_FOLDER_MARK, DEMO_MARK
from gateway.rp.keys import FileSigner
from tests.support.configuration import MINIMAL, private, write_config

SERVER = '[server]\npublic_port = 443\nfront = { socket = "front.sock", trusted_uids = [33] }\n'
TLS = '[server.tls]\ncertificate_file = "tls.pem"\nkey_file = "tls.key"\nclient_ca_file = "ca.pem"\n'
EMBEDDED = MINIMAL.replace(
    'issuer = "https://id.other.example"', 'issuer = "https://id.hospital.example"\nembedded = true'
).replace("[devices]", '[idp]\ndata_dir = "idp"\n\n[devices]')
assert SERVER in MINIMAL


def server(lines: str) -> str:
    return MINIMAL.replace(SERVER, f"[server]\nport = 8443\n{lines}\n")


def loaded(folder: Path, text: str = MINIMAL) -> Config:
    for name in ("tls.pem", "tls.key", "ca.pem"):
        private(folder / name, "-----BEGIN X-----\n")
    return load_config(write_config(folder, text), {})


def told(folder: Path, text: str = MINIMAL) -> list[str]:
    return [str(problem) for problem in check_production(loaded(folder, text))]


def only(folder: Path, text: str, key: str, what: str) -> None:
    """Exactly one problem, at `key`'s line."""
    found = told(folder, text)
    assert len(found) == 1, found
    where, _, message = found[0].partition(": ")
    assert message.startswith(what), message
    file, _, line = where.rpartition(":")
    assert file == str(folder / "gateway.toml")
    assert text.split("\n")[int(line) - 1].startswith(key)


def test_behind_a_trusted_front(tmp_path: Path) -> None:
    assert told(tmp_path) == []


def test_with_tls(tmp_path: Path) -> None:
    assert told(tmp_path, server(f'host = "0.0.0.0"\n{TLS}')) == []


def test_a_demo_configuration(tmp_path: Path) -> None:
    only(tmp_path, f"demo = true\n{MINIMAL}", "demo", "this is a demo configuration. Use `gateway demo`")


def test_a_simulated_verifier(tmp_path: Path) -> None:
    text = "demo = true\n" + EMBEDDED.replace('"idp"', '"idp"\nproofing = "simulated"')
    assert [line.partition(": ")[2] for line in told(tmp_path, text)] == [
        "this is a demo configuration. Use `gateway demo`, or begin with deploy/gateway.toml.",
        'the identity proofing verifier is a simulation. Write the verifier that proofs your people, or "none".',
    ]


AGENCY = """
[idp.digital_agency]
environment = "sandbox"
client_id = "RP1"
key_file = "agency.pem"
"""


def test_a_verifiers_test_environment_is_for_a_rehearsal(tmp_path: Path) -> None:
    private(tmp_path / "agency.pem", "-----BEGIN X-----\n")
    text = EMBEDDED.replace('"idp"', '"idp"\nproofing = "digital-agency"') + AGENCY
    only(tmp_path, text, "[idp.digital_agency]", "the identity proofing verifier is one for tests: nobody is really checked")
    assert told(tmp_path, text.replace('"digital-agency"', '"digital-agency"\nrehearsal = true')) == []
    assert told(tmp_path, text.replace("sandbox", "production")) == []


def test_neither_tls_nor_a_front(tmp_path: Path) -> None:
    only(tmp_path, server(""), "port", "the listener for people has no TLS")
    front = 'front = { socket = "front.sock", trusted_uids = [33] }'
    only(tmp_path, server(front), "port", "the listener for people has no TLS")


def test_people_without_tls(tmp_path: Path) -> None:
    only(tmp_path, server(f'public_scheme = "http"\n{TLS}'), "public_scheme", "people would reach the gateway without TLS")


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("redis://10.0.0.1:6379/0", False),
        ("redis://:hunter2@redis.example/0", False),
        ("redis://user:p@ss@redis.example", False),
        ("redis://[fd00::1]:6379", False),
        ("redis://localhost.example", False),
        ("redis://127.0.0.1:6379", True),
        ("redis://[::1]:6379", True),
        ("redis://localhost", True),
        ("rediss://:hunter2@redis.example/0", True),
        ("unix:///run/redis.sock", True),
    ],
)
def test_redis_over_the_network_in_clear(tmp_path: Path, url: str, fine: bool) -> None:
    text = f'{MINIMAL}[sessions]\nbackend = "redis"\nredis_url_file = "redis-url"\nseal_key_file = "client-secret"\n'
    private(tmp_path / "redis-url", url)
    if fine:
        assert told(tmp_path, text) == []
    else:
        only(tmp_path, text, "redis_url_file", "sessions would cross the network to Redis in clear")
    assert "hunter2" not in "".join(told(tmp_path, text))


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("postgresql://u:hunter2@db.example/x", False),
        ("postgresql://u:hunter2@db.example/x?sslmode=require", False),
        ("postgresql://u:hunter2@127.0.0.1,db.example/x?sslmode=verify-ca", False),
        ("postgresql://u:hunter2@/x?host=db.example", False),
        ("postgresql://u:hunter2@localhost/x?hostaddr=10.0.0.1", False),
        ("postgresql://u:hunter2@db.example/x?sslmode=verify-full", True),
        ("postgresql://u:hunter2@127.0.0.1/x", True),
        ("postgresql://u:hunter2@[::1]:5433/x", True),
        ("postgresql://u:hunter2@/x?host=/run/postgresql", True),
        ("postgresql:///x", True),
    ],
)
def test_postgres_over_the_network_unproved(tmp_path: Path, url: str, fine: bool) -> None:
    private(tmp_path / "postgres-url", url)
    text = MINIMAL.replace('dir = "policies"', 'dir = "policies"\npostgres_url_file = "postgres-url"')
    if fine:
        assert told(tmp_path, text) == []
    else:
        only(
            tmp_path, text, "postgres_url_file", "policies would cross the network to a PostgreSQL that has not proved who it is"
        )
    assert "hunter2" not in "".join(told(tmp_path, text))


def test_a_provider_without_tls(tmp_path: Path) -> None:
    text = MINIMAL.replace("https://id.other.example", "http://id.localhost:9000")
    only(tmp_path, text, "issuer", "the identity provider is reached without TLS")


@pytest.mark.parametrize("name", ["assertion.pem", "audit.pem", "tls.pem", "tls.key", "ca.pem"])
def test_a_key_of_the_demo(tmp_path: Path, name: str) -> None:
    config = loaded(tmp_path, server(TLS))
    assert check_production(config) == []
    mark_key(tmp_path / name)
    mark_key(tmp_path / name)  # once more changes nothing
    assert (tmp_path / name).read_bytes().count(DEMO_MARK) == 1
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    [problem] = check_production(config)
    assert problem.what == f"{tmp_path / name} was made by the demo, so everybody could have it"
    assert problem.where.startswith(f"{tmp_path}/gateway.toml:")


def test_a_client_secret_of_the_demo(tmp_path: Path) -> None:
    text = MINIMAL.replace('"client-secret"', '"demo-secret"')
    private(tmp_path / "demo-secret", f"{DEMO_MARK.decode()}-{'x' * 32}")
    only(tmp_path, text, "client_secret_file", "the secret `identity.client_secret` is the demo's")


def test_a_session_key_of_the_demo(tmp_path: Path) -> None:
    text = f'{MINIMAL}[sessions]\nseal_key_file = "demo-secret"\n'
    private(tmp_path / "demo-secret", f"{DEMO_MARK.decode()}-{'x' * 32}")
    only(tmp_path, text, "seal_key_file", "the secret `sessions.seal_key` is the demo's")


def test_signing_keys_of_the_demos_provider(tmp_path: Path) -> None:
    config = loaded(tmp_path, EMBEDDED)
    assert check_production(config) == []  # there is no data yet
    private(tmp_path / "idp/idp-keys.json", '{"keys": [], "note": "demo-only"}')
    (tmp_path / "idp").chmod(0o700)
    [problem] = check_production(config)
    assert problem.what == f"{tmp_path}/idp/idp-keys.json was made by the demo, so everybody could have it"


def test_a_marked_key_still_loads(tmp_path: Path) -> None:
    private(tmp_path / "assertion.pem", ECKey.generate_key("P-256", private=True).as_pem(private=True).decode())
    create_key(tmp_path / "audit.pem")
    for name in ("assertion.pem", "audit.pem"):
        mark_key(tmp_path / name)
    assert FileSigner.load(tmp_path / "assertion.pem").jwks()
    assert load_key(tmp_path / "audit.pem") is not None


@pytest.mark.parametrize("folder", [".", "idp", "audit"])
def test_whatever_lies_in_the_demos_folder(tmp_path: Path, folder: str) -> None:
    config = loaded(tmp_path, EMBEDDED)
    for name in ("idp", "audit"):
        (tmp_path / name).mkdir(mode=0o700)
    assert check_production(config) == []
    mark_folder(tmp_path / folder)
    marked = (tmp_path / folder).resolve()
    found = [problem.what for problem in check_production(config)]
    named = [
        tmp_path / name for name in ("assertion.pem", "audit.pem", "devices.sqlite3", "audit", "idp", "policies", "front.sock")
    ]
    assert sorted(found) == sorted(f"{path} lies in the demo's folder {marked}" for path in named if path.is_relative_to(marked))
    assert found


def database(path: Path, *, demo: bool) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE people (id TEXT)")
        if demo:
            mark_database(path)  # while the store has it open
    path.chmod(0o600)


@pytest.mark.parametrize("name", ["idp/idp.sqlite3", "devices.sqlite3", "policies.sqlite3"])
def test_people_and_devices_of_the_demo(tmp_path: Path, name: str) -> None:
    config = loaded(tmp_path, EMBEDDED.replace('dir = "policies"', 'dir = "policies"\ndatabase = "policies.sqlite3"'))
    database(tmp_path / name, demo=False)
    assert check_production(config) == []
    mark_database(tmp_path / name)
    assert len(check_production(config)) == 1
    (tmp_path / name).unlink()
    database(tmp_path / name, demo=True)
    [problem] = check_production(config)
    assert problem.what == f"{tmp_path / name} holds what the demo made"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda folder: database(folder / "devices.sqlite3", demo=False), "devices.sqlite3"),
        (lambda folder: database(folder / "idp/idp.sqlite3", demo=False), "idp/idp.sqlite3"),
        (lambda folder: (folder / "idp").mkdir(), "idp"),
        (lambda folder: (folder / "audit").mkdir(), "audit"),
    ],
)
def test_data_that_everybody_can_read(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    config = loaded(tmp_path, EMBEDDED)
    make(tmp_path)
    (tmp_path / name).chmod(0o700)
    assert check_production(config) == []
    (tmp_path / name).chmod(0o704)
    [problem] = check_production(config)
    assert problem.what == f"{tmp_path / name} is open to everybody on this machine"
    assert problem.todo == f"Run: chmod o= {tmp_path / name}"


def test_a_file_that_can_not_be_read_is_not_waved_through(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    (tmp_path / "audit.pem").unlink()
    (tmp_path / "audit.pem").mkdir()
    [problem] = check_production(config)
    assert problem.what == f"can't read {tmp_path}/audit.pem: is a directory"
    assert problem.where == config.where("audit", "key_file")


# ---------------------------------------------------------------- the demo's people, whatever became of the demo

PLACES = pytest.mark.parametrize("name", ["idp/idp.sqlite3", "devices.sqlite3"])


def killed(path: Path, *statements: str) -> None:
    """Leave a database as a killed process does: what it committed last is in the log beside it, not in the file."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    code = "import os, sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    code += "".join(
        f"c.execute({statement!r})\n" for statement in ("PRAGMA journal_mode = WAL", "CREATE TABLE people (id TEXT)", *statements)
    )
    subprocess.run([sys.executable, "-c", f"{code}os._exit(0)", path], check=True, timeout=60)
    for file in path.parent.glob(f"{path.name}*"):
        file.chmod(0o600)
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0


def seen(folder: Path) -> dict[str, bytes]:
    # The index of a log (-shm) holds read marks that every reader sets.
    return {
        str(file): file.read_bytes() if file.suffix != ".sqlite3-shm" else b"" for file in folder.rglob("*") if file.is_file()
    }


@PLACES
@pytest.mark.parametrize("index", [True, False])
def test_the_mark_of_a_demo_that_was_killed(tmp_path: Path, name: str, index: bool) -> None:
    config, path = loaded(tmp_path, EMBEDDED), tmp_path / name
    killed(path, f"PRAGMA application_id = {DEMO_APPLICATION_ID}")
    assert path.read_bytes()[68:72] == bytes(4), "the file itself does not say it"
    if not index:  # a copy that was made without it
        path.with_name(f"{path.name}-shm").unlink()
    before = seen(tmp_path)
    [problem] = check_production(config)
    assert problem.what == f"{path} holds what the demo made"
    if index:
        assert seen(tmp_path) == before


@PLACES
def test_the_mark_of_a_demo_that_runs(tmp_path: Path, name: str) -> None:
    config, path = loaded(tmp_path, EMBEDDED), tmp_path / name
    database(path, demo=False)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as running:
        running.execute("INSERT INTO people VALUES ('usr_1')")
        assert check_production(config) == []
        running.execute(f"PRAGMA application_id = {DEMO_APPLICATION_ID}")
        assert [problem.what for problem in check_production(config)] == [f"{path} holds what the demo made"]
        running.execute("INSERT INTO people VALUES ('usr_2')")  # it is not in the way


def test_the_mark_goes_along_with_the_file_alone(tmp_path: Path) -> None:
    """Somebody copies the database of a running demo, and not the log beside it."""
    config = loaded(tmp_path, EMBEDDED)
    database(tmp_path / "demo.sqlite3", demo=False)
    with contextlib.closing(sqlite3.connect(tmp_path / "demo.sqlite3", isolation_level=None)) as running:
        running.execute("INSERT INTO people VALUES ('usr_1')")
        mark_database(tmp_path / "demo.sqlite3")
        private(tmp_path / "devices.sqlite3", "")
        (tmp_path / "devices.sqlite3").write_bytes((tmp_path / "demo.sqlite3").read_bytes())
    [problem] = check_production(config)
    assert problem.what == f"{tmp_path}/devices.sqlite3 holds what the demo made"


def test_looking_leaves_nothing_beside_a_database(tmp_path: Path) -> None:
    config = loaded(tmp_path, EMBEDDED)
    for name in ("idp/idp.sqlite3", "devices.sqlite3"):
        database(tmp_path / name, demo=False)
    before = seen(tmp_path)
    assert check_production(config) == []
    assert seen(tmp_path) == before


@PLACES
@pytest.mark.parametrize("content", ["SQLite format 3\0 and no more", "these are no people" * 100])
def test_a_database_that_can_not_be_opened(tmp_path: Path, name: str, content: str) -> None:
    config = loaded(tmp_path, EMBEDDED)
    private(tmp_path / name, content)
    (tmp_path / name).parent.chmod(0o700)
    [problem] = check_production(config)
    assert problem.what == f"can't read the database {tmp_path / name}: file is not a database"


def test_another_database_in_the_providers_folder(tmp_path: Path) -> None:
    config = loaded(tmp_path, EMBEDDED)
    private(tmp_path / "idp/notes", "no database")
    (tmp_path / "idp").chmod(0o700)
    database(tmp_path / "idp/before.sqlite3", demo=True)
    [problem] = check_production(config)
    assert problem.what == f"{tmp_path}/idp/before.sqlite3 holds what the demo made"


@pytest.mark.parametrize("key", ["key_file", "dir", "anchor", "data_dir", "database", "assertion_key_file", "ca_file", "socket"])
def test_each_path_is_looked_for_in_the_demos_folder(tmp_path: Path, key: str) -> None:
    """By its own folder, by a folder far above it, and through a link."""
    demo = tmp_path / "demo"
    mark_folder_in = demo / "a" / "b"
    mark_folder_in.mkdir(parents=True)
    mark_folder(demo)
    (tmp_path / "link").symlink_to(mark_folder_in)
    private(mark_folder_in / "file", "-----BEGIN X-----\n")
    text = EMBEDDED.replace("client_secret_file", 'ca_file = "client-secret"\nclient_secret_file')
    text = text.replace('key_file = "audit.pem"', 'key_file = "audit.pem"\nanchor = "anchor"')
    text += '[[doors]]\nkind = "nginx"\nsocket = "door.sock"\ntrusted_uids = [33]\n'
    section = text.index("[audit]") if key in {"dir", "key_file"} else 0
    for way in (mark_folder_in, tmp_path / "link"):
        changed = text[:section] + re.sub(rf'^{key} = ".*"', f'{key} = "{way}/file"', text[section:], count=1, flags=re.MULTILINE)
        found = [problem for problem in check_production(loaded(tmp_path, changed)) if "the demo's folder" in problem.what]
        assert [problem.what for problem in found] == [f"{way}/file lies in the demo's folder {demo}"]
        line = int(found[0].where.rpartition(":")[2])
        assert changed.split("\n")[line - 1] == f'{key} = "{way}/file"'


def test_a_folder_that_can_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, look = loaded(tmp_path), Path.lstat

    def refused(path: Path) -> os.stat_result:
        if path == tmp_path / "audit" / DEMO_FOLDER_MARK:
            raise PermissionError(errno.EACCES, "Permission denied")
        return look(path)

    monkeypatch.setattr(Path, "lstat", refused)  # root, who may run the tests, is refused nothing
    [problem] = check_production(config)
    assert problem.what == f"can't look for the demo's mark above {tmp_path}/audit: permission denied"

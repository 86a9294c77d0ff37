"""Secrets come from private files or the environment; never from the configuration itself."""

import os
import re
from pathlib import Path

import pytest

from gateway.config import InvalidConfigError, load_config
from gateway.config.secrets import read_private_file, read_secret_file
from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from tests.support.configuration import MINIMAL, private, write_config

GIVEN = 'client_secret_file = "client-secret"'
LINE = MINIMAL[: MINIMAL.index(GIVEN)].count("\n") + 1


def refused(path: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(InvalidConfigError) as caught:
        load_config(path, environ or {})
    return str(caught.value)


def with_secret(folder: Path, line: str) -> Path:
    return write_config(folder, MINIMAL.replace(GIVEN, line))


def test_from_the_environment(tmp_path: Path) -> None:
    path = with_secret(tmp_path, 'client_secret_env = "GW_SECRET"')
    assert load_config(path, {"GW_SECRET": "from outside"}).identity.client_secret == Secret("from outside")


def test_an_inline_secret_is_refused_and_not_repeated(tmp_path: Path) -> None:
    message = refused(with_secret(tmp_path, 'client_secret = "hunter2hunter2"'))
    assert message == (
        f"{tmp_path}/gateway.toml:{LINE}: the secret `identity.client_secret` stands in the file itself. Move it to a file "
        'that only the gateway can read and write client_secret_file = "FILE", or client_secret_env = "VARIABLE".'
    )
    assert "hunter2" not in message


def test_a_missing_secret(tmp_path: Path) -> None:
    assert refused(with_secret(tmp_path, "")).endswith(
        '[identity] has no `client_secret`. Add client_secret_file = "FILE" or client_secret_env = "VARIABLE" there.'
    )


def test_a_secret_given_twice(tmp_path: Path) -> None:
    message = refused(with_secret(tmp_path, f'{GIVEN}\nclient_secret_env = "X"'), {"X": "x"})
    assert f":{LINE + 1}: `client_secret` is given twice, by file and by environment. Keep one of the two." in message


@pytest.mark.parametrize("value", ["1", "true", '""', "[]"])
def test_a_secret_reference_that_is_no_text(tmp_path: Path, value: str) -> None:
    assert f":{LINE}: `identity.client_secret_file` should be a text in quotes" in refused(
        with_secret(tmp_path, f"client_secret_file = {value}")
    )


@pytest.mark.parametrize(("environ", "what"), [({}, "GW_SECRET is not set"), ({"GW_SECRET": ""}, "GW_SECRET is empty")])
def test_a_variable_that_holds_nothing(tmp_path: Path, environ: dict[str, str], what: str) -> None:
    message = refused(with_secret(tmp_path, 'client_secret_env = "GW_SECRET"'), environ)
    assert f":{LINE}: `identity.client_secret_env`: the environment variable {what}. " in message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o610])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = write_config(tmp_path)
    (tmp_path / "client-secret").chmod(mode)
    message = refused(path)
    assert f"client-secret is open to its group or to everybody (mode {mode:04o}). Run: chmod 600 " in message
    assert f":{LINE}: " in message


@pytest.mark.parametrize("name", ["assertion.pem", "audit.pem"])
def test_a_key_file_open_to_others_is_refused(tmp_path: Path, name: str) -> None:
    path = write_config(tmp_path)
    (tmp_path / name).chmod(0o640)
    assert re.search(rf"{name} is open to its group or to everybody \(mode 0640\)\. Run: chmod 600 ", refused(path))


def test_a_symbolic_link_counts_as_its_target(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    (tmp_path / "client-secret").rename(tmp_path / "mounted")
    (tmp_path / "client-secret").symlink_to("mounted")
    assert load_config(path, {}).identity.client_secret.reveal()
    (tmp_path / "mounted").chmod(0o644)
    assert "mode 0644" in refused(path)


def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="is not a regular file"):
        read_private_file(tmp_path / "pipe")
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="is not a regular file"):
        read_private_file(tmp_path / "folder")
    with pytest.raises(ConfigError, match=r"can't open .*/nothing: no such file or directory"):
        read_private_file(tmp_path / "nothing")


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = private(tmp_path / "secret", "x")
    owner = file.stat().st_uid
    if owner == 0:
        os.chown(file, 12_345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        read_private_file(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"  \n", "is empty"),
        (b"one\ntwo\n", "more than one line"),
        (b"tab\there", "more than one line or control characters"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"x" * 65_537, "is larger than 65536 bytes"),
    ],
)
def test_files_that_hold_no_secret(tmp_path: Path, content: bytes, message: str) -> None:
    file = private(tmp_path / "secret", "")
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_secret_file(file)


@pytest.mark.parametrize("content", ["secret", "secret\n", "secret\r\n"])
def test_the_newline_at_the_end_is_not_part_of_it(tmp_path: Path, content: str) -> None:
    file = private(tmp_path / "secret", "")
    file.write_bytes(content.encode())
    assert read_secret_file(file) == Secret("secret")


def test_a_configuration_never_prints_its_secrets(tmp_path: Path) -> None:
    config = load_config(with_secret(tmp_path, 'client_secret_env = "S"'), {"S": "hunter2hunter2"})
    assert "hunter2" not in repr(config)
    assert "hunter2" not in f"{config.identity}"

"""The key file: made once, private, never replaced silently."""

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from idp.keys import KeyFile
from idp.protocol.jwks import document

NOW = 1_800_000_000
DAY = 86_400


def kids(keys: KeyFile) -> list[object]:
    return [key["kid"] for key in keys.keyset().public()]


def test_it_is_made_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first = KeyFile.open(path, now=NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = KeyFile.open(path, now=NOW + 1)
    assert kids(again) == kids(first)
    assert again.sealing_key() == first.sealing_key()
    assert len(first.sealing_key()) == 32
    person = Secret("card")
    assert again.digest_keys().candidates("v", person) == first.digest_keys().candidates("v", person)
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    one, two = (KeyFile.open(tmp_path / name, now=NOW) for name in ("a", "b"))
    assert kids(one) != kids(two)
    assert one.sealing_key() != two.sealing_key()


async def test_rotation_keeps_one_before(tmp_path: Path) -> None:
    keys = KeyFile.open(tmp_path / "keys.json", now=NOW)
    (first,) = kids(keys)
    seal = keys.sealing_key()
    await keys.rotate(NOW)
    second = kids(keys)[0]
    assert kids(keys) == [second, first]
    await keys.rotate(NOW)
    assert kids(keys)[1:] == [second]
    assert keys.sealing_key() == seal
    assert kids(KeyFile.open(tmp_path / "keys.json", now=NOW)) == kids(keys)
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


async def test_it_rotates_when_old_and_not_before(tmp_path: Path) -> None:
    keys = KeyFile.open(tmp_path / "keys.json", now=NOW)
    assert not await keys.rotate_if_older(90, NOW + 90 * DAY)
    assert await keys.rotate_if_older(90, NOW + 90 * DAY + 1)
    assert not await keys.rotate_if_older(90, NOW + 90 * DAY + 1)


async def test_another_process_sees_the_new_key_and_both_rotate_once(tmp_path: Path) -> None:
    one, two = (KeyFile.open(tmp_path / "keys.json", now=NOW) for _ in range(2))
    assert not two.refresh()
    old = kids(one)
    later = NOW + 90 * DAY + 1
    assert await one.rotate_if_older(90, later)
    assert kids(two) == old
    assert await two.rotate_if_older(90, later), "it has another key now"
    assert kids(two) == kids(one)
    assert kids(one)[1:] == old
    assert not one.refresh(), "nothing was rotated twice"
    await two.rotate(later)
    assert one.refresh()
    assert kids(one) == kids(two)


def test_a_file_that_is_gone_or_damaged_is_said_and_what_was_known_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = KeyFile.open(path, now=NOW)
    before = kids(keys)
    path.write_bytes(b"{}")
    with pytest.raises(ConfigError, match="damaged"):
        keys.refresh()
    path.unlink()
    with pytest.raises(ConfigError, match="can't be read"):
        keys.refresh()
    assert kids(keys) == before


def test_nothing_private_is_published(tmp_path: Path) -> None:
    keys = KeyFile.open(tmp_path / "keys.json", now=NOW)
    assert b'"d"' in (tmp_path / "keys.json").read_bytes()
    assert b'"d"' not in msgspec.json.encode(document(keys.keyset()))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.json"
    KeyFile.open(path, now=NOW)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        KeyFile.open(path, now=NOW)


def _without_private(text: bytes) -> bytes:
    content = msgspec.json.decode(text)
    del content["signing"][0]["jwk"]["d"]
    return msgspec.json.encode(content)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda text: b"",
    "cut": lambda text: text[:-10],
    "no keys": lambda text: msgspec.json.encode({**msgspec.json.decode(text), "signing": []}),
    "public key only": _without_private,
    "short seal": lambda text: msgspec.json.encode({**msgspec.json.decode(text), "seal": "AAAA"}),
    "seal not base64": lambda text: msgspec.json.encode({**msgspec.json.decode(text), "seal": "%"}),
    "unknown member": lambda text: msgspec.json.encode({**msgspec.json.decode(text), "x": 1}),
    "another curve": lambda text: text.replace(b"P-256", b"P-384"),
    "kid of another key": lambda text: text.replace(b'"kid":"', b'"kid":"x'),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / "keys.json"
    KeyFile.open(path, now=NOW)
    damaged = DAMAGE[name](path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(ConfigError, match="backup"):
        KeyFile.open(path, now=NOW)
    assert path.read_bytes() == damaged


def test_a_directory_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be written"):
        KeyFile.open(tmp_path / "missing" / "keys.json", now=NOW)


async def test_a_lock_that_another_process_keeps_stops_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyFile.open(tmp_path / "keys.json", now=NOW)
    old = kids(keys)
    monkeypatch.setattr("idp.keys._PATIENCE_SECONDS", 0.3)
    other = await asyncio.create_subprocess_exec(
        *("flock", str(tmp_path), "sh", "-c", "echo locked; read -r _"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout is not None
    assert await other.stdout.readline() == b"locked\n"
    rotating = asyncio.create_task(keys.rotate(NOW))
    await asyncio.sleep(0.1)
    assert not rotating.done(), "it waits, and this went on meanwhile"
    with pytest.raises(ConfigError, match=r"another process keeps this directory locked"):
        await rotating
    with pytest.raises(ConfigError, match=r"the signing key is not rotated"):
        await keys.rotate_if_older(90, NOW + 90 * DAY + 1)
    assert kids(keys) == kids(KeyFile.open(tmp_path / "keys.json", now=NOW)) == old
    monkeypatch.setattr("idp.keys._PATIENCE_SECONDS", 10.0)
    rotating = asyncio.create_task(keys.rotate(NOW))
    await asyncio.sleep(0)
    await other.communicate(b"\n")
    await rotating
    assert kids(keys)[1:] == old

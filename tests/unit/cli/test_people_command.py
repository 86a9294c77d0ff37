"""`gateway people` as an administrator meets it."""

import asyncio
import io
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pyotp
import pytest

from gateway.cli import main
from gateway.kernel.clock import SystemClock
from idp.model import AccountChange
from idp.store import SqliteStore, open_store
from tests.support.configuration import MINIMAL, write_config

ROOT = Path(__file__).parents[3]
PASSWORD = "Tombo-33-hasu"
EMBEDDED = MINIMAL.replace('"https://id.other.example"', '"https://id.hospital.example"\nembedded = true').replace(
    "[devices]", '[idp]\ndata_dir = "idp"\n\n[devices]'
)
MORI = ("--login", "dr.mori", "--name", "森 あゆみ", "--role", "physician")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "etc", EMBEDDED)


@pytest.fixture
def people(config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in this process; `typed` is its standard input."""

    def run(*arguments: str, typed: bytes = f"{PASSWORD}\n".encode()) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        status = main(["people", *arguments, "--config", str(config)])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


def stored(config: Path, look: Callable[[SqliteStore], Coroutine[Any, Any, Any]]) -> Any:
    """Look into the accounts with another connection."""

    async def work() -> Any:
        path = config.parent / "idp" / "idp.sqlite3"
        store = await open_store(path, clock=SystemClock(), sealing_key=b"x" * 32, idle_seconds=1, seconds=1)
        try:
            return await look(store)
        finally:
            await store.close()

    return asyncio.run(work())


def pending(config: Path) -> list[AccountChange]:
    found: list[AccountChange] = stored(config, lambda store: store.accounts.pending())
    return found


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text.removeprefix("gateway: ").rstrip("\n")


def test_an_account_is_made_and_its_app_shown_once(people: Run, config: Path) -> None:
    status, out, err = people("add", *MORI, "--kana", "モリ アユミ", "--birth-date", "1985-04-01", "--department", "内科",
                              "--role", "auditor", "--organization", "中央病院", "--email", "mori@hospital.example")  # fmt: skip
    assert (status, err) == (0, "")
    assert "dr.mori was added" in out
    scanned = pyotp.parse_uri(out.splitlines()[-1])
    assert (scanned.name, scanned.issuer, len(scanned.secret)) == ("dr.mori", "Access Gateway", 32)
    assert PASSWORD not in out
    status, out, _ = people("list")
    head, row = out.splitlines()
    assert head.split() == ["login", "name", "department", "roles", "state", "has"]
    assert row.split() == ["dr.mori", "森", "あゆみ", "内科", "physician", "auditor", "active", "password,", "app"]
    assert scanned.secret not in out
    for file in config.parent.rglob("*"):
        if file.is_file():
            assert scanned.secret.encode() not in file.read_bytes(), file
            assert PASSWORD.encode() not in file.read_bytes(), file
    [change] = pending(config)
    assert (change.name, change.login, change.by) == ("account.added", "dr.mori", f"os:{pwd.getpwuid(os.getuid()).pw_name}")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("deactivate", "dr.mori"), "dr.mori is deactivated. A running gateway ends their sessions within a second."),
        (("activate", "DR.MORI"), "dr.mori may sign in again."),
        (("unlock", "dr.mori"), "dr.mori is not locked."),
        (
            ("set-roles", "dr.mori", "--role", "nurse", "--role", "clerk"),
            "dr.mori: nurse, clerk. A running gateway ends their sessions within a second; they sign in again.",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_changes_say_what_they_did_and_leave_a_note(people: Run, config: Path, arguments: tuple[str, ...], line: str) -> None:
    people("add", *MORI)
    assert people(*arguments) == (0, f"{line}\n", "")
    names = {
        "deactivate": "account.deactivated", "activate": "account.activated", "unlock": "account.unlocked",
        "set-roles": "account.roles",
    }  # fmt: skip
    assert [change.name for change in pending(config)] == ["account.added", names[arguments[0]]]


def user_of(config: Path) -> Any:
    return stored(config, lambda store: store.users.by_login("dr.mori"))


def test_details_are_given_with_an_account_and_changed_later(people: Run, config: Path) -> None:
    status, _, err = people("add", *MORI, "--kana", "ﾓﾘ ｱﾕﾐ", "--birth-date", "S60.4.1", "--former-name", "林 あゆみ",
                            "--former-name", "原", "--licence", "第123456号")  # fmt: skip
    assert (status, err) == (0, "")
    user = user_of(config)
    assert (user.birth_date, user.kana) == ("1985-04-01", "モリ アユミ")
    assert (user.former_names, user.licences) == (("林 あゆみ", "原"), ("第123456号",))
    asked = ("set", "dr.mori", "--birth-date", "昭和60年4月2日", "--former-name", "", "--licence", "1", "--licence", "2")
    assert people(*asked) == (0, "dr.mori: birth date, former names, licences changed.\n", "")
    user = user_of(config)
    assert (user.birth_date, user.kana, user.former_names, user.licences) == ("1985-04-02", "モリ アユミ", (), ("1", "2"))
    assert people(*asked) == (0, "dr.mori: nothing changed.\n", "")
    assert people("set", "dr.mori", "--name", "森 歩", "--kana", "")[:2] == (0, "dr.mori: name, kana changed.\n")
    assert (user_of(config).name, user_of(config).kana) == ("森 歩", None)
    assert [(change.name, dict(change.detail)) for change in pending(config)][1:] == [
        ("account.details", {"changed": "birth_date former_names licences"}), ("account.details", {"changed": "name kana"}),
    ]  # fmt: skip


def test_the_list_says_who_is_out_or_has_nothing(people: Run, config: Path) -> None:
    people("add", *MORI)
    people("deactivate", "dr.mori")
    assert "  deactivated  password, app" in people("list")[1]
    assert people("unlock", "dr.mori")[1] == "dr.mori is not locked. The account is deactivated.\n"
    people("activate", "dr.mori")

    async def guess(store: SqliteStore) -> None:
        user = await store.users.by_login("dr.mori")
        assert user is not None
        while (await store.attempts.begin("dr.mori", "192.0.2.1", int(SystemClock().now()))).allowed:
            pass
        await store.credentials.remove_totp(user.id)
        await store._database.run(lambda connection: connection.execute("DELETE FROM password"))

    stored(config, guess)
    [row] = people("list")[1].splitlines()[1:]
    assert "  locked until " in row
    assert row.endswith("  nothing to sign in with")


def test_a_reset_gives_a_new_app(people: Run, config: Path) -> None:
    first = people("add", *MORI)[1].splitlines()[-1]
    status, out, err = people("reset-factors", "dr.mori", typed=b"Hotaru-88-umi")
    assert (status, err) == (0, "")
    second = pyotp.parse_uri(out.splitlines()[-1])
    assert second.secret != pyotp.parse_uri(first).secret
    assert "keys and recovery codes of before are removed" in out
    assert [change.name for change in pending(config)] == ["account.added", "account.reset"]


def test_an_unusual_role_is_pointed_out(people: Run) -> None:
    status, _, err = people("add", *MORI[:-1], "physican")
    assert status == 0
    assert err == (
        "note: the starter policies know no role 'physican', only physician, resident, nurse, pharmacist, technologist, clerk, "
        "external_reader, vendor, security_officer, auditor\n"
    )


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        (b"", "there is no password on the standard input. Give one line, or run this at a terminal."),
        (b"\n", "there is no password on the standard input. Give one line, or run this at a terminal."),
        (b"Tombo-33-hasu\nTombo-33-hasu\n", "there is more than one line on the standard input. Give one line, or run"),
        (b"\xff\xfe", "the password on the standard input is not UTF-8 text. Give another."),
        (b"kame1\n", "the password can't be used: it has fewer than 8 characters. Choose another."),
    ],
)
def test_a_password_that_can_not_be_used(people: Run, config: Path, typed: bytes, error: str) -> None:
    status, out, err = people("add", *MORI, typed=typed)
    assert (status, out) == (2, "")
    assert one_line(err).startswith(error)
    assert pending(config) == []


def test_windows_line_ends_are_no_part_of_a_password(people: Run) -> None:
    assert people("add", *MORI, typed=b"Tombo-33-hasu\r\n")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("add", *MORI), "login 'dr.mori' is taken"),
        (("add", "--login", "d r", "--name", "x", "--role", "nurse"), "login name 'd r' is not acceptable: use a-z, 0-9"),
        (("deactivate", "dr.nobody"), "there is nobody called 'dr.nobody'"),
        (("reset-factors", "dr.nobody"), "there is nobody called 'dr.nobody'"),
        (("set-roles", "dr.mori", "--role", " "), "user dr.mori has an empty role"),
        (("set", "dr.mori"), "nothing was said to change. Give --name, --kana, --birth-date, --former-name or --licence."),
        (("set", "dr.nobody", "--kana", "モリ"), "there is nobody called 'dr.nobody'"),
        (("set", "dr.mori", "--birth-date", "S64.2.1"), "'S64.2.1' is no date. Write YYYY-MM-DD, or with the era"),
        (("set", "dr.mori", "--kana", "Mori"), "the kana has 'M' in it. Write the reading of the name in katakana."),
        (("set", "dr.mori", "--name", " "), "user dr.mori has no name"),
    ],
)
def test_what_can_not_be_done_is_one_line(people: Run, arguments: tuple[str, ...], error: str) -> None:
    people("add", *MORI)
    status, out, err = people(*arguments)
    assert (status, out) == (2, "")
    assert error in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("gateway: ")


def test_a_person_without_a_role_is_not_made(people: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        people("add", *MORI[:-2])
    assert caught.value.code == 2
    assert "required: --role" in capsys.readouterr().err


def test_accounts_of_another_provider_are_not_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path)
    assert main(["people", "list", "--config", str(path)]) == 2
    error = one_line(capsys.readouterr().err)
    assert error == f"{path}:9: accounts are kept by the provider at https://id.other.example, not here. Manage people there."


def test_root_does_not_make_files_that_the_gateway_could_not_open(
    people: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = config.stat().st_uid
    name = pwd.getpwuid(owner).pw_name
    monkeypatch.setattr(os, "geteuid", lambda: 0 if owner else 4711)
    if not owner:
        (config.parent / "idp").mkdir()
    status, _, err = people("list")
    assert status == 2
    assert f"belongs to the user {name}, and what is made there must. Run this as {name}: sudo -u {name} ..." in one_line(err)
    assert not (config.parent / "idp" / "idp.sqlite3").exists()


def test_sudo_is_told(people: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "tanaka")
    people("add", *MORI)
    assert pending(config)[0].by == f"os:tanaka as {pwd.getpwuid(os.getuid()).pw_name}"


# ---------------------------------------------------------------- processes and terminals

_AT_A_TERMINAL = """\
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


def at_a_terminal(config: Path, *arguments: str, answers: tuple[str, ...]) -> tuple[int, str]:
    """Run the command on a terminal of its own, type an answer at each prompt; return its status and what was to be seen."""
    command = [sys.executable, "-m", "gateway.cli", "people", *arguments, "--config", str(config)]
    with subprocess.Popen(
        [sys.executable, "-c", _AT_A_TERMINAL, *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        seen = b""
        for answer in answers:
            while not seen.endswith(b": "):
                piece = os.read(process.stdout.fileno(), 1024)
                assert piece, seen
                seen += piece
            process.stdin.write(answer.encode() + b"\n")
            process.stdin.flush()
            seen += b"\n"
        seen += process.stdout.read()
        return process.wait(30), seen.decode()


def test_at_a_terminal_the_password_is_typed_twice_unseen_and_the_code_can_be_scanned(config: Path) -> None:
    status, seen = at_a_terminal(config, "add", *MORI, answers=(PASSWORD, PASSWORD))
    assert status == 0, seen
    assert "New password: " in seen
    assert "Once more: " in seen
    assert PASSWORD not in seen
    assert seen.count("█") > 50, "a QR code"
    assert "\notpauth://totp/Access%20Gateway:dr.mori?secret=" in seen.replace("\r", "")


def test_two_different_passwords_change_nothing(config: Path) -> None:
    status, seen = at_a_terminal(config, "add", *MORI, answers=(PASSWORD, PASSWORD + "x"))
    assert status == 2
    assert "gateway: the two passwords differ; nothing was changed. Try again." in seen
    assert pending(config) == []


def test_several_may_begin_at_once_where_nothing_is_yet(config: Path) -> None:
    command = [sys.executable, "-m", "gateway.cli", "people", "list", "--config", str(config)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(6)]
    outputs = [process.communicate(timeout=60)[0].decode() for process in running]
    assert [process.returncode for process in running] == [0] * 6, outputs

"""The `gateway` command as people meet it: help, errors, exit status."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway import cli
from gateway.audit.keys import create_key
from gateway.cli import COMMANDS, main
from gateway.kernel.errors import GatewayError
from tests.support.configuration import MINIMAL, private, write_config
from tests.support.served import pem

FRONT = 'front = { socket = "front.sock", trusted_uids = [33] }'
ROOT = Path(__file__).parents[3]


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environ}, timeout=60, check=False,
    )  # fmt: skip


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    assert text.startswith("gateway: ")
    return text.removeprefix("gateway: ").rstrip("\n")


# ---------------------------------------------------------------- help


def test_help_lists_every_command_and_shows_examples() -> None:
    done = run("--help", COLUMNS="100")
    assert done.returncode == 0
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", done.stdout, re.MULTILINE), name
    assert "examples:\n  gateway demo " in done.stdout
    assert done.stderr == ""


def test_help_loads_no_command() -> None:
    code = "import sys; from gateway.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert not [module for module in loaded if module.startswith("gateway.cli.") or module in {"aiohttp", "msgspec", "asyncio"}]


def help_of(*command: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    return output.getvalue()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_examples(name: str) -> None:
    """A group of commands has them at each of its commands."""
    _, _, group = help_of(name).partition("\ncommands:\n")
    commands: list[tuple[str, ...]] = [(name, inner) for inner in re.findall(r"^    ([a-z-]+)  ", group, re.MULTILINE)] or [
        (name,)
    ]
    for command in commands:
        text = help_of(*command)
        assert re.search(rf"^examples:\n(?:  .*\n)*  .*gateway {' '.join(command)}\b", text, re.MULTILINE), text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith(f"gateway {version('zt-gateway')} (Python 3.")


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "the following arguments are required: COMMAND. See: gateway --help"),
        (["serve"], "the following arguments are required: --config. See: gateway serve --help"),
        (["check-config"], "the following arguments are required: FILE. See: gateway check-config --help"),
        (["check-config", "x", "y"], "unrecognized arguments: y. See: gateway --help"),
    ],
)
def test_wrong_arguments(arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert one_line(capsys.readouterr().err) == what


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["sreve"])
    assert caught.value.code == 2
    assert "sreve" in one_line(capsys.readouterr().err)


def test_our_errors_come_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: object) -> int:
        raise GatewayError("it is broken", where="file:3", todo="Mend it.")

    monkeypatch.setattr("gateway.cli.version.run", fail)
    assert main(["version"]) == 2
    assert capsys.readouterr().err == "gateway: file:3: it is broken. Mend it.\n"


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: object) -> int:
        raise RuntimeError("a flaw of the program")

    monkeypatch.setattr("gateway.cli.version.run", fail)
    with pytest.raises(RuntimeError, match="a flaw of the program"):
        main(["version"])


def test_control_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.cli.version.run", interrupt)
    assert main(["version"]) == 130
    assert capsys.readouterr().err == "\n"


def test_a_reader_that_goes_away() -> None:
    code = (
        "import sys, time; from gateway import cli; import gateway.cli.version as v\n"
        "def run(arguments):\n    time.sleep(0.5); print('x' * 100_000); return 0\n"
        "v.run = run; sys.exit(cli.main(['version']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == cli.BROKEN_PIPE


# ---------------------------------------------------------------- check-config


def usable(folder: Path, text: str) -> Path:
    """A configuration whose keys and policies are real ones."""
    path = write_config(folder, text)
    private(folder / "assertion.pem", pem(ec.generate_private_key(ec.SECP256R1())))
    create_key(folder / "audit.pem")
    (folder / "policies").rmdir()
    shutil.copytree(ROOT / "policies", folder / "policies")
    return path


def test_check_config_prints_what_a_good_file_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = usable(tmp_path, MINIMAL + '[network.zones]\nward = ["10.1.0.0/16"]\n[console]\nhost = "c.hospital.example"\n')
    assert main(["check-config", str(path)]) == 0
    out = capsys.readouterr().out
    assert out == (
        f"{path} is good.\n\n"
        "  portal      https://portal.hospital.example\n"
        "  console     https://c.hospital.example\n"
        "  listens on  no address of its own\n"
        f"  front       {tmp_path}/front.sock, for user ids 33\n"
        "  workers     1, each with 10 s to finish\n"
        "  identity    https://id.other.example (external)\n"
        "  sessions    memory, end after 900 s without use, 36000 s at most\n"
        f"  devices     officer-approval, {tmp_path}/devices.sqlite3\n"
        f"  policies    {tmp_path}/policies, Asia/Tokyo\n"
        f"  log         {tmp_path}/audit, no anchor\n"
        "  zones       ward (10.1.0.0/16)\n\n"
        "  app  address                       upstream               routes\n"
        "  ehr  https://ehr.hospital.example  http://127.0.0.1:9001  1\n"
    )


def test_check_config_shows_tls_doors_and_the_embedded_provider(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tls = '[server.tls]\ncertificate_file = "audit.pem"\nkey_file = "audit.pem"\nclient_ca_file = "audit.pem"'
    text = MINIMAL.replace(f"public_port = 443\n{FRONT}", f'port = 8443\nhost = "::"\n{FRONT}\n{tls}')
    text = text.replace('"https://id.other.example"', '"https://id.hospital.example"\nembedded = true')
    text += (
        '[idp]\ndata_dir = "idp"\n[sessions]\nbackend = "redis"\nredis_url_file = "redis-url"\nseal_key_file = "client-secret"\n'
    )
    text += '[[doors]]\nkind = "forward-auth"\nsocket = "door.sock"\ntrusted_uids = [33]\n'
    private(tmp_path / "redis-url", "unix:///run/redis/redis-server.sock?db=0")
    path = write_config(tmp_path, text)
    assert main(["check-config", "--file-only", str(path)]) == 0
    out = capsys.readouterr().out
    assert "  listens on         [::]:8443, TLS (high), asks for client certificates\n" in out
    assert f"  door forward-auth  {tmp_path}/door.sock, for user ids 33\n" in out
    assert "  identity           https://id.hospital.example (embedded, proofing: none)\n" in out
    assert "unix:" not in out


def test_check_config_of_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path, MINIMAL.replace("public_port = 443", "public_prot = 443").replace("read", "reed"))
    assert main(["check-config", str(path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    choices = " or ".join(f'"{action}"' for action in ("read", "write", "delete", "export", "administer"))
    assert output.err.splitlines() == [
        f"gateway: {path}:2: unknown key `public_prot` in [server]. Did you mean `public_port`?",
        f'gateway: {path}:33: `apps[1].routes[1].action` should be {choices}, not the text "reed". Did you mean `read`?',
    ]


def test_check_config_says_what_production_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = usable(tmp_path, f"demo = true\n{MINIMAL}")
    assert main(["check-config", str(path)]) == 2
    assert one_line(capsys.readouterr().err).startswith(f"{path}:1: this is a demo configuration. ")
    assert main(["check-config", "--file-only", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path} is good.\n")


def test_check_config_and_serve_say_the_same_and_all_of_it(tmp_path: Path) -> None:
    """Neither the configuration's own faults hide those of its files, nor the other way round."""
    text = MINIMAL.replace("public_port = 443", "port = 8443")
    path = usable(tmp_path, text + '[[doors]]\nkind = "forward-auth"\nsocket = "run/door.sock"\ntrusted_uids = [33]\n')
    private(tmp_path / "assertion.pem", "no key")
    (tmp_path / "policies/zz.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    checked, served = run("check-config", str(path)), run("serve", "--config", str(path))
    assert (checked.returncode, checked.stdout) == (served.returncode, served.stdout) == (2, "")
    assert checked.stderr == served.stderr
    assert [line.partition(". ")[0] for line in checked.stderr.splitlines()] == [
        f"gateway: {path}:2: the listener for people has no TLS",
        f"gateway: {path}:7: {tmp_path}/assertion.pem: this is not an EC private key in PEM form",
        f"gateway: {path}:36: there is no folder {tmp_path}/run for door.sock",
        f"gateway: {path}:17: {tmp_path}/policies/zz.txt: this does not belong into a bundle",
    ]
    assert sorted(tmp_path.rglob("*")) == before
    assert run("check-config", "--file-only", str(path)).returncode == 0


# ---------------------------------------------------------------- serve


def test_serve_does_not_start_with_a_demo_configuration(tmp_path: Path) -> None:
    text = MINIMAL.replace("public_port = 443", "port = 8443").replace(FRONT, 'public_scheme = "http"')
    path = usable(tmp_path, f"demo = true\n{text}")
    done = run("serve", "--config", str(path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert [line.partition(": ")[2].partition(". ")[0] for line in done.stderr.splitlines()] == [
        f"{path}:1: this is a demo configuration",
        f"{path}:3: the listener for people has no TLS",
        f"{path}:4: people would reach the gateway without TLS",
    ]
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        "assertion.pem", "audit.pem", "client-secret", "gateway.toml", "policies",
    ]  # fmt: skip


def test_serve_without_its_file(tmp_path: Path) -> None:
    done = run("serve", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert one_line(done.stderr) == f"{tmp_path}/none.toml: can't be read: no such file or directory. Name a configuration file."


# ---------------------------------------------------------------- running until stopped

SERVER = """
import asyncio, sys
from gateway.cli.running import run_until_stopped

async def serve():
    print("ready", flush=True)
    try:
        await asyncio.sleep({seconds})
    finally:
        print("ending", flush=True)
        await asyncio.sleep(0.3)
        print("ended", flush=True)

run_until_stopped(serve())
print("after", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER.format(seconds=60)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "ending\n"
        process.send_signal(number)  # impatience changes nothing
        assert process.stdout.read() == "ended\nafter\n"
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_it_ends_by_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVER.format(seconds=0)], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert done.stdout == "ready\nending\nended\nafter\n"


def test_its_errors_are_raised() -> None:
    code = SERVER.format(seconds=0).replace('print("ended", flush=True)', 'raise RuntimeError("broken")')
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 1
    assert "RuntimeError: broken" in done.stderr

"""`gateway front-config`: the same for every front."""

from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.front import read_options
from gateway.frontconf import FRONTS
from gateway.frontconf.nginx import Options
from gateway.kernel.errors import ConfigError
from tests.support.configuration import MINIMAL, write_config

DOOR = '\n[[doors]]\nkind = "nginx"\nsocket = "door.sock"\ntrusted_uids = [33]\ntells_tls = true\n'


def run(folder: Path, *arguments: str) -> int:
    text = MINIMAL.replace("trusted_uids = [33]", "trusted_uids = [33], tells_tls = true") + DOOR
    return main(["front-config", *arguments, "--config", str(write_config(folder, text))])


def test_it_prints_the_configuration_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "nginx", "--set", "listen=8443", "--set", "worker_connections=77") == 0
    out, err = capsys.readouterr()
    assert (out[0], out[-2:], err) == ("#", "}\n", "")
    assert "listen 8443 ssl http2 default_server;" in out
    assert "worker_connections 77;" in out


@pytest.mark.parametrize("front", list(FRONTS))
def test_each_front_says_what_can_be_set(tmp_path: Path, front: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, front, "--options") == 0
    shown = [line.partition(" = ")[0] for line in capsys.readouterr().out.splitlines()]
    assert tuple(shown) == FRONTS[front].options.__struct_fields__


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("prot=1", "names nothing that can be set"),
        ("listen", "names nothing that can be set"),
        ("worker_connections=many", "Expected `int`"),
        ("preset=low", "Invalid enum value"),
        ("redirect_port=-1", "Expected `int` >= 0"),
    ],
)
def test_what_can_not_be_set(given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_options(Options, [given])


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "nginx", "--set", "prot=1") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gateway: --set prot=1 names nothing that can be set. Write NAME=VALUE with one of: listen, ")
    assert err.count("\n") == 1

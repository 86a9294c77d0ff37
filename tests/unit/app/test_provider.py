"""How the gateway reaches its provider: names of this machine, and whose certificates count."""

import socket
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp.abc import ResolveResult

from gateway.app import provider as module
from gateway.demo.tls import prepare
from gateway.kernel.errors import ConfigError
from gateway.kernel.web import loopback
from gateway.kernel.web.loopback import LoopbackResolver


class Usual:
    """Stands for DNS, and remembers who was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.closed = False

    async def resolve(self, host: str, port: int, family: int) -> list[ResolveResult]:
        self.asked.append((host, port, family))
        return []

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
async def usual(monkeypatch: pytest.MonkeyPatch) -> Usual:
    usual = Usual()
    monkeypatch.setattr(loopback, "DefaultResolver", lambda: usual)
    return usual


@pytest.mark.parametrize("host", ["localhost", "id.localhost", "a.b.localhost"])
async def test_names_of_this_machine_never_leave_it(usual: Usual, host: str) -> None:
    await LoopbackResolver().resolve(host, 8080, socket.AF_INET6)
    assert usual.asked == [("127.0.0.1", 8080, socket.AF_INET)]


@pytest.mark.parametrize("host", ["id.example", "localhost.example", "evillocalhost", "localhost.", "id.localhost.evil.example"])
async def test_no_other_name_becomes_this_machine(usual: Usual, host: str) -> None:
    resolver = LoopbackResolver()
    await resolver.resolve(host, 443, socket.AF_INET6)
    assert usual.asked == [(host, 443, socket.AF_INET6)]
    await resolver.close()
    assert usual.closed


def configured(ca_file: Path | None) -> Any:
    return SimpleNamespace(
        identity=SimpleNamespace(ca_file=ca_file), where=lambda *path: f"gateway.toml:{'.'.join(map(str, path))}"
    )


def test_a_named_ca_is_the_only_one(tmp_path: Path) -> None:
    files = prepare(tmp_path / "tls", ("id.localhost",), 1_800_000_000.0)
    context = module._client_context(cast("Any", configured(files.ca)))
    assert ["demo CA" in str(ca["subject"]) for ca in context.get_ca_certs()] == [True]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    usual = module._client_context(cast("Any", configured(None)))
    assert (usual.verify_mode, usual.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_ca_that_cannot_be_read_is_an_error_with_a_place(tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    for text in (None, "", "no certificate"):
        if text is not None:
            bad.write_text(text)
        with pytest.raises(ConfigError) as caught:
            module._client_context(cast("Any", configured(bad)))
        assert caught.value.where == "gateway.toml:identity.ca_file"

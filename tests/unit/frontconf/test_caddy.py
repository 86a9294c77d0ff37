"""The generator of Caddy's configuration, and the example in deploy/caddy."""

import re
from pathlib import Path

import pytest

from gateway.config import load_config
from gateway.domain.headers import CLAIM_PREFIXES, CLAIMS
from gateway.frontconf.caddy import Options, render
from gateway.kernel.errors import ConfigError
from tests.support.caddy import Caddy
from tests.support.configuration import CLIENT_SECRET, MINIMAL, private, write_config
from tests.support.ports import free_port

ROOT = Path(__file__).parents[3]
DOOR = """
[[doors]]
kind = "forward-auth"
socket = "door.sock"
trusted_uids = [33]
tells_tls = true
"""


def _made(folder: Path, old: str = "", new: str = "", door: str = DOOR, **options: object) -> str:
    text = MINIMAL.replace('sock", trusted_uids = [33] }', 'sock", trusted_uids = [33], tells_tls = true }') + door
    assert old in text
    return render(load_config(write_config(folder, text.replace(old, new)), {}), Options(**options))  # type: ignore[arg-type]  # paths


@pytest.mark.parametrize(
    ("old", "new", "door", "options", "said"),
    [
        ("", "", "", {}, 'no door of kind "forward-auth"'),
        ("", "", DOOR.replace("tells_tls = true", ""), {}, "tells_tls = true"),
        ('sock", trusted_uids = [33], tells_tls = true }', 'sock", trusted_uids = [33] }', DOOR, {}, "tells_tls = true"),
        ("", "", DOOR, {"client_ca": "/ca.pem"}, "certificate_field"),
        ("public_port = 443", 'public_port = 443\npublic_scheme = "http"', DOOR, {}, "public_scheme"),
    ],
)  # fmt: skip
def test_a_configuration_that_would_not_believe_caddy_is_an_error(
    tmp_path: Path, old: str, new: str, door: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        _made(tmp_path, old, new, door, **options)


def test_what_is_made_is_as_caddy_would_format_it(tmp_path: Path) -> None:
    text = _made(tmp_path)
    assert "client_auth" not in text
    assert Caddy(tmp_path / "caddy", text, free_port()).formatted() == text


def test_doors_on_an_address_are_asked_with_a_certificate(tmp_path: Path) -> None:
    for name in ("a.pem", "b.pem"):
        (tmp_path / name).write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "k.pem").touch(0o600)
    address = """
[[doors]]
kind = "forward-auth"
host = "10.0.0.5"
port = 9000
certificate_file = "a.pem"
key_file = "k.pem"
client_ca_file = "b.pem"
client_names = ["caddy.hospital.example"]
tells_tls = true
"""
    with pytest.raises(ConfigError, match="front_certificate"):
        _made(tmp_path, door=address)
    text = _made(tmp_path, door=address, front_certificate="/c/f.pem", front_key="/c/f.key", front_ca="/c/ca.pem")
    asked = text[text.index("(ask)") : text.index("(forget)")]
    assert "reverse_proxy 10.0.0.5:9000 {" in asked
    assert "tls_client_auth /c/f.pem /c/f.key" in asked
    assert "tls_trusted_ca_certs /c/ca.pem" in asked


def test_every_name_that_only_a_proxy_may_say_is_cleared(tmp_path: Path) -> None:
    text = _made(tmp_path, 'title_en = "Records"', 'title_en = "Records"\nheaders = { X-Remote-User = "login" }')
    clean = text[text.index("(clean)") : text.index("(certificate)")]
    cleared = {line.split()[1].strip('"').removeprefix("-").lower() for line in clean.splitlines() if "request_header" in line}
    families = tuple(name.removesuffix("*") for name in cleared if name.endswith("*") and not name.startswith("*"))
    assert {prefix.lower() for prefix in CLAIM_PREFIXES} == set(families)
    for name in (*CLAIMS, "X-Remote-User", "X-Gateway-Assertion"):
        assert name.lower() in cleared or name.lower().startswith(families), name
    # Every character of a name but letters, digits and "-" (RFC 9110 §5.6.2).
    assert {name.strip("*") or "*" for name in cleared if name.startswith("*")} == set("!#$%&'*+._`|~^")


def test_plain_http_is_sent_to_https_for_hosts_of_ours_only(tmp_path: Path) -> None:
    text = _made(tmp_path, redirect_port=80)
    assert "@ours host ehr.hospital.example portal.hospital.example\n\tredir @ours https://{host}{uri} 308\n\trespond 421" in text
    assert "redir" not in _made(tmp_path / "none", redirect_port=0)


def test_several_instances_and_their_health(tmp_path: Path) -> None:
    one = 'upstream = "http://127.0.0.1:9001"'
    more = f'{one}\nupstreams = ["http://127.0.0.1:9002"]\nhealth = {{ path = "/health", unhealthy_after = 3 }}'
    text = _made(tmp_path, one, more)
    proxied = text[text.index("reverse_proxy http://") :]
    assert proxied.startswith("reverse_proxy http://127.0.0.1:9001 http://127.0.0.1:9002 {\n")
    for line in ("lb_policy round_robin", "lb_try_duration 3s", "health_uri /health", "health_interval 5s", "max_fails 3"):
        assert f"\t{line}\n" in proxied
    assert "read_timeout 60s" in proxied
    assert Caddy(tmp_path / "caddy", text, free_port()).formatted() == text
    with pytest.raises(ConfigError, match="one scheme"):
        _made(tmp_path, one, f'{one}\nupstreams = ["https://127.0.0.1:9002"]')


# ---- deploy/caddy


def example(folder: Path) -> Path:
    """deploy/gateway.toml with the two sections of deploy/caddy/README.md in place of its own."""
    for name in ("keys/assertion.pem", "keys/audit.pem", "tls/server.pem", "tls/server.key", "tls/device-ca.pem"):
        private(folder / name, "-----BEGIN X-----\n")
    for name in ("oidc-client", "seal-key"):
        private(folder / "secrets" / name, CLIENT_SECRET)
    private(folder / "secrets" / "redis-url", "rediss://:password@redis.hospital.example:6379/0")
    (folder / "policies").mkdir()
    readme = (ROOT / "deploy" / "caddy" / "README.md").read_text("utf-8")
    text = (ROOT / "deploy" / "gateway.toml").read_text("utf-8")
    for block in re.findall(r"```toml\n(.*?)```", readme, re.DOTALL):
        header = block.splitlines()[0]
        old = re.search(rf"^{re.escape(header)}\n(?:.+\n)+", text, re.MULTILINE)  # a section ends where a line is empty
        assert old is not None
        text = text.replace(old[0], block)
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_example_is_what_the_generator_makes(tmp_path: Path) -> None:
    options = Options(client_ca="/etc/caddy/tls/device-ca.pem")
    text = render(load_config(example(tmp_path), {}), options).replace(str(tmp_path), "/etc/gateway")
    assert text == (ROOT / "deploy" / "caddy" / "Caddyfile").read_text("utf-8")

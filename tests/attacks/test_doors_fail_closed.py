"""Facts, sections 2, 3 and 4 of what they add up to, at every door: whatever is broken, nobody gets in.

CVE-2026-27586 (Caddy started without a CA that it could not read), Envoy's `failure_mode_allow`, authentik's and Traefik's
answers to a policy server that is gone.
"""

import signal

import pytest

from tests.support import caddy, envoy, nginx
from tests.support.fronts import DOORS, NAVIGATION, SCRIPT, Door, OpenDoors
from tests.support.fronts_site import Site
from tests.support.raw import NoReplyError

HANDSHAKE = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
ASKED = [name for name in DOORS if name != "embedded"]


def status(door: Door, target: str, *lines: str) -> int:
    """The status, or 0 when the connection was closed instead."""
    with door.line() as line:
        line.send(door.head(target, *lines, "Connection: close"))
        try:
            return line.reply().status
        except NoReplyError:
            return 0


@pytest.mark.parametrize("name", ASKED)
def test_a_gateway_that_is_gone(doors: OpenDoors, name: str) -> None:
    """Killed while the front lives: 5xx for everything, nothing reaches the application, and it gets well by itself."""
    door = doors(name)
    assert status(door, "/x") == 200
    door.site.forget()
    door.site.stop_gateway(signal.SIGKILL)
    try:
        found = {
            status(door, target, *lines) for target in ("/x", "/admin", "/.gateway/sign-in") for lines in (NAVIGATION, SCRIPT)
        }
        found |= {status(door, "/ws/x", *HANDSHAKE), status(door, "/x", "X-Remote-User: root", "X-Gateway-Assertion: a.b.c")}
        assert all(each in {0, 500, 502, 503, 504} for each in found), found
        assert door.site.upstream.hits == []
    finally:
        door.site.start_gateway()
    door.begin()
    assert status(door, "/x") == 200
    door.assert_sound()


BROKEN = {"missing": None, "empty": "", "no PEM": "nonsense\n", "half": "-----BEGIN CERTIFICATE-----\nMIIB\n"}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("name", ["nginx", "caddy", "envoy"])
def test_a_device_ca_that_can_not_be_read_CVE_2026_27586(tmp_path_factory: pytest.TempPathFactory, name: str, how: str) -> None:  # noqa: N802  an id
    """A front that would ask nobody for a certificate does not start."""
    site = Site(
        tmp_path_factory.mktemp("site"), {"nginx": nginx.SERVER, "caddy": caddy.SERVER, "envoy": envoy.by_socket("http")}[name]
    )
    try:
        site.devices.file.unlink()
        text = BROKEN[how]
        if text is not None:
            site.devices.file.write_text(text, "ascii")
        start = {"nginx": nginx.with_nginx, "caddy": caddy.with_caddy, "envoy": envoy.with_envoy}[name]
        with pytest.raises(AssertionError, match="did not start"), start(site):
            pass
    finally:
        site.close()

"""deploy/traefik is written by hand, for Traefik does not run here; what it must list can be checked all the same."""

import re
from pathlib import Path

from gateway.domain.headers import CLAIMS
from gateway.doors.forward_auth.door import ENDPOINT
from gateway.doors.tls import HSTS, PROFILES
from gateway.pipeline.outgoing import ASSERTION_HEADER, REQUEST_ID_HEADER

FILE = Path(__file__).parents[3] / "deploy" / "traefik" / "gateway.yml"
TEXT = FILE.read_text("utf-8")


def test_no_client_says_who_it_is() -> None:
    cleared = {name.lower() for name in re.findall(r'^ {10}([A-Za-z-]+): ""$', TEXT, re.MULTILINE)}
    answered = {name.lower() for name in re.findall(r"^ {10}- ([A-Za-z-]+)$", TEXT, re.MULTILINE)}
    example = (FILE.parents[1] / "gateway.toml").read_text("utf-8")
    headers = re.findall(r'^(X-[A-Za-z-]+) = "', example, re.MULTILINE)
    assert {ASSERTION_HEADER.lower(), REQUEST_ID_HEADER.lower(), *(name.lower() for name in headers)} == answered
    # X-Forwarded-... and X-Real-Ip of strangers are Traefik's own to remove.
    left = {name.lower() for name in CLAIMS} - cleared - answered
    assert all(name.startswith("x-forwarded-") or name == "x-real-ip" for name in left), left


def test_tls_is_the_high_preset() -> None:
    profile = PROFILES["high"]
    assert profile.versions == ("TLSv1.3",)
    assert "minVersion: VersionTLS13" in TEXT
    assert f"curvePreferences: [{', '.join(group.go for group in profile.groups)}]" in TEXT
    assert f"stsSeconds: {HSTS[1].removeprefix('max-age=')}" in TEXT
    assert f"{ENDPOINT}\n" in TEXT

"""A whole gateway that relies on another provider: what its `verified_claims` say is asked for, and counts where it is mapped."""

import asyncio
import json
import logging
import os
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from aiohttp import web
from joserfc import jws
from joserfc.jwk import ECKey

from gateway.app import Gateway, open_gateway
from gateway.config import load_config
from gateway.demo import run as demo
from gateway.domain.record import DecisionRecord, Record
from gateway.kernel.clock import ManualClock
from gateway.rp.verified import Acceptance, Accepted, claims_request
from tests.support.clinician import Clinician, Person
from tests.support.ports import free_port
from tests.support.whole import open_http

FRAMEWORK = "https://partner.example/trust/staff"
SECTION = f"""
[identity.verified_claims]
max_age_days = 365
[[identity.verified_claims.accept]]
trust_framework = "{FRAMEWORK}"
assurance_level = "ial2"
level = 2
method = "partner-idp"
"""
GOOD = {
    "verification": {
        "trust_framework": FRAMEWORK, "assurance_level": "ial2", "time": "2026-11-01T00:00:00Z", "verification_process": "p-1",
    },
    "claims": {"name": "佐藤 恵"},
}  # fmt: skip


class Partner:
    """An OpenID Provider of somebody else's: it signs whoever comes in at once, and says what it is told to."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.key = ECKey.generate_key("P-256", private=True)
        self.issuer = ""
        self.more: dict[str, Any] = {}
        self.asked: list[dict[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
            return web.json_response({"issuer": self.issuer} | {name: f"{self.issuer}/{path}" for name, path in names.items()})
        if request.path == "/jwks":
            return web.json_response({"keys": [{**self.key.as_dict(private=False), "kid": "k"}]})
        if request.path == "/authorize":
            asked = dict(request.query)
            self.asked.append(asked)
            return web.Response(status=303, headers={"Location": f"{asked['redirect_uri']}?code=c&state={asked['state']}"})
        now = int(self.clock.now())
        claims = {
            "iss": self.issuer, "aud": "gateway", "sub": "u-1", "nonce": self.asked[-1]["nonce"], "iat": now, "exp": now + 300,
            "auth_time": now, "amr": ["pwd", "otp"], "preferred_username": "dr.sato", "roles": ["physician"], **self.more,
        }  # fmt: skip
        header = {"alg": "ES256", "kid": "k"}
        token = jws.serialize_compact(header, json.dumps(claims).encode(), self.key, algorithms=["ES256"])
        return web.json_response({"id_token": token, "access_token": "never-used", "token_type": "Bearer"})


class Site:
    """The gateway, its provider, and what it decided."""

    def __init__(self, gateway: Gateway, partner: Partner, browser: Clinician, records: list[Record]) -> None:
        self.gateway, self.partner, self.browser, self.records = gateway, partner, browser, records

    async def proofing(self, **claims: Any) -> dict[str, Any]:
        """Sign in anew with these claims; return what the policies read of the proofing."""
        self.partner.more = claims
        self.browser.cookies.clear()
        page = await self.browser.open("ehr")
        assert page.host == "ehr.localhost", page.text
        await asyncio.sleep(0)
        (decided,) = [one for one in self.records[-1:] if isinstance(one, DecisionRecord)]
        facts: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(decided.facts))
        found: dict[str, Any] = facts["proofing"]
        return found


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    clock = ManualClock()
    partner = Partner(clock)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", partner.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    behind = int(listening.getsockname()[1])
    partner.issuer = f"http://partner.localhost:{behind}"
    port = free_port()
    folder = tmp_path / "data"
    demo._make_folder(folder)
    demo._make_keys(folder / "keys")
    file = demo._write_config(folder, port, "http", None, issuer=partner.issuer, upstreams=dict.fromkeys(demo.BEHIND, behind))
    text = file.read_text("utf-8").replace("embedded = true", "embedded = false")
    file.write_text(re.sub(r"(?ms)^\[idp\].*?(?=^\[)", SECTION + "\n", text), "utf-8")
    config = load_config(file, os.environ)
    records: list[Record] = []
    async with open_gateway(config, clock) as gateway, open_http() as http:
        gateway.log.subscribe(lambda _, record: records.append(record))
        browser = Clinician(http, f"http://{{}}.localhost:{port}", Person(login="dr.sato", password="", secret=""))
        yield Site(gateway, partner, browser, records)
    await runner.cleanup()


async def test_mapped_verified_claims_are_a_proofing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gateway.doors.portal.signin")
    seen = await site.proofing(verified_claims=GOOD)
    assert (seen["level"], seen["method"], seen["authenticator_bound"]) == (2, "partner-idp", False)
    assert 0 < seen["expires_in_days"] < 365
    (session, *_) = await site.gateway.sessions.list(0)
    assert session.identity.proofing is not None
    assert (session.identity.proofing.verifier, session.identity.proofing.transaction) == (site.partner.issuer, "p-1")
    assert not caplog.records
    accepted = Accepted(trust_framework=FRAMEWORK, assurance_level="ial2", level=2, method="partner-idp")
    assert site.partner.asked[-1]["claims"] == claims_request(Acceptance(accepted=(accepted,), max_age_days=365))


@pytest.mark.parametrize(
    ("claims", "logged"),
    [
        ({}, False),
        ({"verified_claims": {**GOOD, "verification": {**GOOD["verification"], "trust_framework": "jp_aml"}}}, True),
        ({"verified_claims": {**GOOD, "verification": {**GOOD["verification"], "assurance_level": "ial1"}}}, True),
        ({"verified_claims": {**GOOD, "verification": {**GOOD["verification"], "time": "2027-11-01T00:00:00Z"}}}, True),
        ({"verified_claims": {**GOOD, "verification": {**GOOD["verification"], "time": "2025-11-01T00:00:00Z"}}}, True),
        ({"verified_claims": "yes"}, True),
        ({"verified_claims": [GOOD, {"verification": 1}]}, True),
        ({"_claim_names": {"verified_claims": ["a"]}, "_claim_sources": {"a": {"JWT": "x.y.z"}}}, False),
    ],
    ids=["none", "other-framework", "other-level", "future", "old", "text", "half-broken", "aggregated"],
)
async def test_anything_else_is_none_and_the_sign_in_goes_on(
    site: Site, caplog: pytest.LogCaptureFixture, claims: dict[str, Any], logged: bool
) -> None:
    caplog.set_level(logging.WARNING, "gateway.doors.portal.signin")
    seen = await site.proofing(**claims)
    assert (seen["level"], seen["expires_in_days"], seen["authenticator_bound"]) == (0, None, False)
    assert bool(caplog.records) is logged
    assert "佐藤" not in caplog.text


async def test_what_our_own_provider_would_say_does_not_go_past_the_table(site: Site) -> None:
    now = int(site.partner.clock.now())
    own = {
        "proofing": {
            "level": 3,
            "method": "jpki_sign",
            "verified_at": now,
            "expires_at": None,
            "verifier": "v",
            "transaction": "t",
        },
        "bound_kinds": ["pwd", "otp", "fido2"],
        "auth_events": [{"kind": kind, "at": now, "phishing_resistant": False, "bound": True} for kind in ("pwd", "otp")],
    }
    seen = await site.proofing(**own)
    assert (seen["level"], seen["authenticator_bound"]) == (0, False)
    seen = await site.proofing(verified_claims=GOOD, **own)
    assert (seen["level"], seen["method"], seen["authenticator_bound"]) == (2, "partner-idp", False)
    (session, *_) = await site.gateway.sessions.list(0)
    assert session.identity.bound_kinds == ()


async def test_a_huge_claim_is_no_sign_in(site: Site) -> None:
    """The ID token is limited before anything in it is read."""
    site.partner.more = {"verified_claims": [GOOD] * 60}
    page = await site.browser.open("ehr")
    assert page.status >= 400
    assert await site.gateway.sessions.list(0) == []
    assert not any(isinstance(record, DecisionRecord) and record.outcome == "allow" for record in site.records)
    assert dict(parse_qsl(urlsplit(page.url).query)).get("code") == "c"

"""The Digital Agency's stand-in with one client registered, and a person before it."""

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.kernel.clock import Clock, ManualClock
from gateway.kernel.secret import Secret
from idp.proofing.digital_agency.assertion import load_key
from idp.proofing.digital_agency.backend import DigitalAgencyBackend, digital_agency_backend
from idp.proofing.digital_agency.settings import Algorithm, DigitalAgencySettings
from idp.proofing.port import NotProofedReason, Outcome, Person, Proofed, Started
from tests.support.standin import StandIn, standin

CLIENT: Final = "RP00000001"
REDIRECT: Final = "http://id.localhost:8080/login/proofing/return"
SATO: Final = Person(user_id="usr_sato", name="佐藤 恵", birth_date="1984-05-12", kana="サトウ メグミ")
SUZUKI: Final = Person(user_id="usr_suzuki", name="鈴木 翔", birth_date="1990-01-02", kana="スズキ ショウ")
CARDS: Final = {SATO.user_id: "sato", SUZUKI.user_id: "suzuki"}


def private_pem(algorithm: Algorithm) -> Secret:
    """A new key."""
    made = ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else rsa.generate_private_key(65_537, 2048)
    return Secret(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii"))


KEYS: Final[dict[Algorithm, Secret]] = {"ES256": private_pem("ES256"), "RS256": private_pem("RS256")}


class Agency:
    """A running service, and whoever sits before its page."""

    def __init__(self, stand_in: StandIn, ca: Path | None = None) -> None:
        self.stand_in = stand_in
        self.ca = ca
        self.redirect = REDIRECT
        self.control = stand_in.control
        self.issuer: Final = f"{stand_in.origin}/api/realms/main"

    def settings(self, **changes: Any) -> DigitalAgencySettings:
        algorithm: Algorithm = changes.get("assertion_algorithm", "ES256")
        chosen: dict[str, Any] = {
            "issuer": self.issuer, "stand_in": True, "client_id": CLIENT, "redirect_uri": self.redirect,
            "private_key": KEYS[algorithm], "total_seconds": 4.0, "connect_seconds": 2.0, "ca_file": self.ca, **changes,
        }  # fmt: skip
        return DigitalAgencySettings(**chosen)

    async def register(self, algorithm: Algorithm = "ES256", **changes: Any) -> None:
        jwk = load_key(KEYS[algorithm], algorithm).public_jwk()
        await self.control(
            "client", **{"client_id": CLIENT, "redirect_uris": [self.redirect], "jwk": jwk, "algorithm": algorithm, **changes}
        )  # fmt: skip

    def backend(self, clock: Clock, **changes: Any) -> DigitalAgencyBackend:
        return digital_agency_backend(self.settings(**changes), clock)

    async def mode(self, name: str, **more: Any) -> None:
        await self.stand_in.mode(name, **more)

    async def seen(self, endpoint: str = "") -> list[dict[str, Any]]:
        """What arrived since the last time, at one endpoint or everywhere."""
        found: list[dict[str, Any]] = (await self.control("seen"))["seen"]
        return [item for item in found if endpoint in {"", item["endpoint"]}]

    async def choose(self, link: str, choice: str) -> dict[str, str]:
        """Open the link, press a button; return the query that the browser comes back with."""
        async with self.stand_in.http.get(link) as shown:
            text = await shown.text()
            assert shown.status == 200, text
        (ask,) = re.findall(r'name="ask" value="([^"]+)"', text)
        assert f'value="{choice}"' in text
        url = f"{self.issuer}/protocol/openid-connect/card"
        async with self.stand_in.http.post(url, data={"ask": ask, "choice": choice}, allow_redirects=False) as reply:
            location = reply.headers["Location"]
        assert location.startswith(f"{self.redirect}?")
        return dict(parse_qsl(urlsplit(location).query, strict_parsing=True))

    async def run(self, backend: DigitalAgencyBackend, choice: str = "sato", mode: str = "ok", **more: Any) -> Outcome:
        """Begin, go there, set a mode, come back."""
        started = await backend.begin(SATO, "sign_in")
        assert isinstance(started, Started), started
        answer = await self.choose(started.show.link, choice)
        await self.mode(mode, **more)
        return await backend.complete(started.state, answer)


@contextlib.asynccontextmanager
async def agency(*options: str, scheme: str = "http", ca: Path | None = None) -> AsyncIterator[Agency]:
    """Start it and register the client with both kinds of key: ES256 as RP00000001."""
    async with standin("digital_agency", *options, scheme=scheme) as stand_in:
        made = Agency(stand_in, ca)
        await made.register()
        yield made


class AgencyBench:
    """The backend's bench in tests/contract/test_proofing_contract.py."""

    def __init__(self, service: Agency, clock: ManualClock) -> None:
        self.clock = clock
        self.backend = service.backend(clock)
        self._service = service

    async def success(self, begun: Started, person: Person) -> Mapping[str, str]:
        return await self._service.choose(begun.show.link, CARDS[person.user_id])

    def refusals(self) -> tuple[NotProofedReason, ...]:
        return ("cancelled", "unusable_answer")

    async def refused(self, begun: Started, reason: NotProofedReason) -> Mapping[str, str]:
        if reason == "cancelled":
            return await self._service.choose(begun.show.link, "cancelled")
        return {**await self._service.choose(begun.show.link, "sato"), "code": "made-up"}

    async def outage(self, begun: Started) -> Mapping[str, str]:
        answer = await self._service.choose(begun.show.link, "sato")
        await self._service.mode("down_token")
        return answer

    async def revoke(self, proofed: Proofed) -> bool:
        return False


@contextlib.asynccontextmanager
async def agency_bench(clock: ManualClock) -> AsyncIterator[AgencyBench]:
    """A service whose clock stands where the backend's does."""
    async with agency() as service:
        await service.control("clock", now=int(clock.now()))
        yield AgencyBench(service, clock)

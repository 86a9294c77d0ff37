"""The platform operator's backend against its stand-in: settings, cards of people, and what their reader makes of them."""

import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret
from idp.proofing.platform_operator import PlatformOperatorBackend, PlatformOperatorSettings, platform_operator_backend
from idp.proofing.port import NotProofedReason, Person, Proofed, Started
from tests.standins.platform_operator import TOKEN
from tests.support.standin import StandIn, standin

NOW: Final = 1_800_000_000
RETURN: Final = "https://id.hospital.example/login/proofing/return"
_ERAS: Final = ((2019, 5, "5"), (1989, 1, "4"), (1926, 12, "3"))


class Operator:
    """One backend and its operator."""

    def __init__(self, backend: PlatformOperatorBackend, clock: ManualClock, service: StandIn) -> None:
        self.backend, self.clock, self.service = backend, clock, service
        self._cards: dict[str, str] = {}

    async def card(self, person: Person, **more: Any) -> str:
        """Issue a person's card, and return its name at the stand-in."""
        card = {
            "person": person.user_id,
            "name": person.name.replace(" ", "\u3000"),
            "birth_date": era_date(person.birth_date or ""),
        }
        made = await self.service.control("card", **{**card, **more})
        return str(made["card"])

    async def own(self, person: Person) -> str:
        """Return the person's card, the same one every time."""
        if person.user_id not in self._cards:
            self._cards[person.user_id] = await self.card(person)
        return self._cards[person.user_id]

    async def answer(self, begun: Started, card: str) -> dict[str, str]:
        """Hold a card to the reader, as the page shows it, and return what the browser brings back."""
        if not begun.show.link:
            signed: dict[str, str] = await self.service.control("sign", card=card, digest=begun.show.values["digest"])
            return signed
        return await self.choose(begun.show.link, card)

    async def choose(self, link: str, card: str) -> dict[str, str]:
        """Choose a card on the operator's page ("": cancel), and return the query of the way back."""
        async with self.service.http.get(link) as page:
            assert re.search(r"<button", await page.text())
        async with self.service.http.post(link, data={"card": card}, allow_redirects=False) as back:
            assert back.status == 303
            query = urlsplit(back.headers["Location"]).query
        return {name: value for name, value in parse_qsl(query) if name != "state"}

    async def sent(self) -> list[Mapping[str, Any]]:
        """Return the bodies that the operator got, in order."""
        return [json.loads(call["body"]) for call in await self.service.calls()]


def era_date(date: str) -> str:
    """Return `YYYY-MM-DD` as the certificate writes it: `EYYYYMMDD`."""
    year, month, day = date.split("-")
    era = next((letter for first, begins, letter in _ERAS if (int(year), int(month)) >= (first, begins)), "0")
    return f"{era}{year}{month}{day}"


def settings(origin: str, **more: Any) -> PlatformOperatorSettings:
    """Return good settings, changed as asked."""
    usual: dict[str, Any] = {
        "host": origin, "token": Secret(TOKEN), "settings": {"organization": "見本病院"}, "return_url": RETURN,
        "timeout_seconds": 5.0,
    }  # fmt: skip
    return PlatformOperatorSettings(**{**usual, **more})


@contextlib.asynccontextmanager
async def operator(clock: ManualClock, *, options: tuple[str, ...] = (), **more: Any) -> AsyncIterator[Operator]:
    """Run a stand-in and a backend that asks it."""
    async with standin("platform_operator", "--now", str(clock.now()), *options) as service:
        backend = platform_operator_backend(settings(service.origin, **more), clock)
        try:
            yield Operator(backend, clock, service)
        finally:
            await backend.close()


class OperatorBench(Operator):
    """For the suite that every backend passes."""

    async def success(self, begun: Started, person: Person) -> Mapping[str, str]:
        return await self.answer(begun, await self.own(person))

    def refusals(self) -> tuple[NotProofedReason, ...]:
        return ("cancelled", "card_revoked", "card_expired", "wrong_card", "unusable_answer")

    async def refused(self, begun: Started, reason: NotProofedReason) -> Mapping[str, str]:
        person = Person(user_id="usr_other", name="見本 一", birth_date="2000-02-29")
        match reason:
            case "cancelled":
                return await self.choose(begun.show.link, "") if begun.show.link else {"cancel": "1"}
            case "unusable_answer":
                another = await self.backend.begin(person, "sign_in")
                assert isinstance(another, Started)
                return await self.answer(another, await self.own(person))
            case "wrong_card":
                return await self.answer(begun, await self.card(person, type="TYPE_JPKI_CARD_USER_AUTHENTICATION"))
        state = {"card_revoked": "REVOKED", "card_expired": "EXPIRED"}[reason]
        return await self.answer(begun, await self.card(person, state=state))

    async def outage(self, begun: Started) -> Mapping[str, str]:
        person = Person(user_id="usr_other", name="見本 一", birth_date="2000-02-29")
        answer = await self.answer(begun, await self.own(person))
        await self.service.mode("status", status=503)
        return answer

    async def revoke(self, proofed: Proofed) -> bool:
        for card in self._cards.values():
            found = await self.service.control("card", card=card)
            if found["user"] == proofed.person.reveal():
                await self.service.control("card", card=card, state="REVOKED")
                return True
        raise AssertionError("no card of that person")


@contextlib.asynccontextmanager
async def verify_bench(clock: ManualClock) -> AsyncIterator[OperatorBench]:
    """The contract in which the card signs our text."""
    async with operator(clock) as made:
        yield OperatorBench(made.backend, clock, made.service)


@contextlib.asynccontextmanager
async def stamp_bench(clock: ManualClock) -> AsyncIterator[OperatorBench]:
    """The contract with a session and pages of the operator's own."""
    async with operator(clock, profile="pocketsign-stamp-v1") as made:
        yield OperatorBench(made.backend, clock, made.service)

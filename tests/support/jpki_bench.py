"""The JPKI in the contract suite of the proofing backends: signing certificates of both people, revocation lists in a folder."""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from gateway.kernel.clock import ManualClock
from idp.proofing.jpki.backend import JpkiBackend
from idp.proofing.port import NotProofedReason, Person, Proofed, Started
from tests.support import asn1
from tests.support.jpki import JpkiSite
from tests.support.jpki_ca import SIGN_POLICY, Card, attributes, challenge_of

_HOLDERS: Final = {"usr_sato": (0x5A70, "佐藤　恵", "319840512"), "usr_suzuki": (0x5502, "鈴木　翔", "419900102")}


class JpkiBench:
    """A verifier in production, as far as policies go: its CAs are our own."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.site = JpkiSite(folder, at=int(clock.now()))
        self.site.publish()
        self.backend: JpkiBackend = self.site.backend(clock=clock, environment="production")

    def card(self, person: Person, **changes: object) -> Card:
        serial, name, birth_date = _HOLDERS[person.user_id]
        names = attributes(name, birth_date=birth_date)
        return self.site.ca().issue(None, **({"serial": serial, "names": names, "policies": (SIGN_POLICY,)} | changes))

    async def success(self, begun: Started, person: Person) -> Mapping[str, str]:
        return self.card(person).answer(challenge_of(begun.show.values))

    def refusals(self) -> tuple[NotProofedReason, ...]:
        return (
            "card_expired", "card_not_yet_valid", "card_revoked", "wrong_card", "pin_locked", "cancelled", "unusable_answer",
        )  # fmt: skip

    async def refused(self, begun: Started, reason: NotProofedReason) -> Mapping[str, str]:
        now, sato = self.site.at, Person(user_id="usr_sato", name="")
        match reason:
            case "pin_locked" | "cancelled":
                return {"error": reason}
            case "card_expired":
                card = self.card(sato, not_after=asn1.utc_time(now))
            case "card_not_yet_valid":
                card = self.card(sato, not_before=asn1.utc_time(now + 1))
            case "card_revoked":
                card = self.card(sato, serial=0xDEAD)
                self.site.publish(revoked=(0xDEAD,))
            case "wrong_card":
                card = self.site.ca("auth").issue()
            case _:
                card = Card("sign", b"\x30\x00", self.card(sato).key)
        return card.answer(challenge_of(begun.show.values))

    async def outage(self, begun: Started) -> Mapping[str, str]:
        for file in self.site.lists("sign").iterdir():
            file.unlink()
        return self.card(Person(user_id="usr_sato", name="")).answer(challenge_of(begun.show.values))

    async def revoke(self, proofed: Proofed) -> bool:
        self.site.publish(revoked=(int(proofed.person.reveal().rpartition(":")[2], 16), 0xBEEF))
        return True


@contextlib.asynccontextmanager
async def jpki_bench(clock: ManualClock) -> AsyncIterator[JpkiBench]:
    folder = Path(tempfile.mkdtemp(prefix="jpki-"))
    try:
        yield JpkiBench(folder, clock)
    finally:
        shutil.rmtree(folder)

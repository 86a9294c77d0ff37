"""A verifier's installation in a folder: roots of both CAs in both generations, revocation lists, settings, a backend."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from gateway.kernel.clock import Clock, ManualClock
from idp.proofing.jpki.backend import JpkiBackend, jpki_backend
from idp.proofing.jpki.settings import JpkiSettings, RootFile
from idp.proofing.port import Broken, NotProofed, Outcome, Person
from tests.support.jpki_ca import Authority, Card, Kind, challenge_of, fingerprint

NOW: Final = 1_800_000_000
"""2027-01-15, when cards of both generations are alive."""
SATO: Final = Person(user_id="usr_sato", name="佐藤 恵", birth_date="1984-05-12")


class JpkiSite:
    """Both CAs (`site.ca("sign")`), and what a verifier has of them."""

    def __init__(self, folder: Path, *, at: int = NOW) -> None:
        self.folder, self.at = folder, at
        self._made: dict[tuple[Kind, int], Authority] = {}
        for kind in ("sign", "auth"):
            self.lists(kind).mkdir(parents=True, exist_ok=True)

    def ca(self, kind: Kind = "sign", generation: int = 2) -> Authority:
        if (kind, generation) not in self._made:
            self._made[kind, generation] = Authority(kind, generation)
        return self._made[kind, generation]

    def lists(self, kind: Kind) -> Path:
        return self.folder / "crl" / kind

    def publish(self, kind: Kind = "sign", revoked: Iterable[int] = (), *, at: int | None = None) -> None:
        """Deliver fresh lists of both generations; `revoked` by the second."""
        for generation in (1, 2):
            serials = revoked if generation == 2 else ()
            data = self.ca(kind, generation).crl(serials, this_update=self.at - 3600 if at is None else at)
            self.deliver(kind, f"{generation}.crl", data)

    def deliver(self, kind: Kind, name: str, data: bytes) -> Path:
        """Put a file there as a verifier has to: written beside, then renamed."""
        path = self.lists(kind) / name
        beside = path.with_suffix(".new")
        beside.write_bytes(data)
        beside.replace(path)
        return path

    def root(self, kind: Kind, generation: int) -> RootFile:
        ca = self.ca(kind, generation)
        return RootFile(file=ca.save(self.folder / "roots"), sha256=fingerprint(ca.certificate))

    def settings(self, kind: Kind = "sign", **changes: object) -> JpkiSettings:
        fields: dict[str, object] = {
            "verifier": "ひまわり検証", "institution": "ひまわり病院", "certificate": kind, "environment": "test",
            "roots": (self.root(kind, 1), self.root(kind, 2)), "crl_folder": self.lists(kind),
        }  # fmt: skip
        return JpkiSettings(**(fields | changes))  # type: ignore[arg-type]

    def backend(self, kind: Kind = "sign", *, clock: Clock | None = None, **changes: object) -> JpkiBackend:
        return jpki_backend(self.settings(kind, **changes), clock if clock is not None else ManualClock(self.at))


async def outcome(
    backend: JpkiBackend, card: Card, *, person: Person = SATO, changed: Mapping[str, str] | None = None
) -> Outcome:
    """One whole proofing with this card; `changed` fields of the answer."""
    started = await backend.begin(person, "sign_in")
    answer = card.answer(challenge_of(started.show.values))
    return await backend.complete(started.state, answer | dict(changed or {}))


def word(result: Outcome) -> str:
    """How it ended, in a word: `proofed`, the reason, or `broken: ...`."""
    if isinstance(result, NotProofed):
        return result.reason
    return f"broken: {result.detail}" if isinstance(result, Broken) else "proofed"


async def verdict(backend: JpkiBackend, card: Card, **changed: str) -> str:
    """One whole proofing with this card, in a word."""
    return word(await outcome(backend, card, changed=changed))

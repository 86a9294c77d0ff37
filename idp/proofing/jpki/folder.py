"""The verifier's revocation lists in a folder: each file is read once for each change, beside the event loop.

Closed to the safe side: one file that can't be used (unreadable, of another CA, unsigned, not understood) and there is no answer
for anybody, since nobody knows what it would have said. A list that is merely old does no harm beside a fresh one.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.secret import Secret
from idp.proofing.jpki.certificate import DISTRIBUTION_POINTS, Certificate, names_of_points
from idp.proofing.jpki.crl import Crl, parse_crl
from idp.proofing.jpki.der import Malformed
from idp.proofing.jpki.roots import Root
from idp.proofing.jpki.standing import Good, NoAnswer, RevokedThere, Standing, person_of
from idp.proofing.port import Recorded, Revoked, Unknown, Valid

_FILE_BYTES: Final = 268_435_456
_AHEAD: Final = 300
"""How far a CA's clock may be ahead of ours, in seconds."""
_RECORDS: Final = 20_000

_Stamp = tuple[int, int, int]
_Scope = tuple[bytes, frozenset[bytes]]


class _Read(msgspec.Struct, frozen=True):
    stamp: _Stamp
    crl: Crl | None
    fault: str


class CrlFolder:
    """Answers from `*.crl` files. `hours`: the age at which a list counts no more, whatever it says itself."""

    def __init__(self, folder: Path, roots: tuple[Root, ...], hours: int, clock: Clock) -> None:
        self._folder, self._roots, self._age, self._clock = folder, roots, hours * 3600, clock
        self._files: dict[str, _Read] = {}
        self._alone = asyncio.Lock()
        self._one_recheck = asyncio.Lock()
        self._looked: dict[str, dict[_Scope, frozenset[int]]] = {}

    async def standing(self, certificate: Certificate, root: Root) -> Standing:
        """Look one certificate up."""
        lists = await self._lists()
        if isinstance(lists, NoAnswer):
            return lists
        points = names_of_points(certificate.extensions.get(DISTRIBUTION_POINTS))
        # [18] in a list of its own CA (name and key), for all its certificates or for the point that this one names
        ours = [
            crl
            for crl in lists
            if crl.issuer == certificate.issuer and crl.key_id == root.key_id and (not crl.names or crl.names & points)
        ]
        if any(certificate.serial in crl.serials for crl in ours):
            return RevokedThere()
        if not ours:
            return NoAnswer(detail="jpki: there is no revocation list for this card")
        if not any(self._fresh(crl) for crl in ours):
            return NoAnswer(detail="jpki: the revocation list for this card is too old, or not yet in force")
        return Good()

    async def recheck(self, record: Recorded) -> Valid | Revoked | Unknown:
        """Look for a person of whom nothing but a digest was kept: go through every serial number that came since the last time.

        Valid takes a fresh list of all certificates of each pinned root, for nothing says which of them issued the card.
        """
        lists = await self._lists()
        if isinstance(lists, NoAnswer):
            return Unknown(detail=lists.detail)
        async with self._one_recheck:
            if await asyncio.to_thread(self._is_listed, record, lists):
                return Revoked()
        for root in self._roots:
            if not any(crl.key_id == root.key_id and not crl.names and self._fresh(crl) for crl in lists):
                return Unknown(detail="jpki: there is no fresh list of all certificates for each pinned root")
        return Valid()

    def _is_listed(self, record: Recorded, lists: Iterable[Crl]) -> bool:
        before = self._looked.pop(record.transaction, {})
        for crl in lists:
            for serial in crl.serials - before.get((crl.key_id, crl.names), frozenset()):
                if record.is_person(Secret(person_of(crl.issuer, crl.key_id, serial))):
                    return True
        while len(self._looked) >= _RECORDS:  # the oldest goes: it costs time, once
            self._looked.pop(next(iter(self._looked)))
        self._looked[record.transaction] = {(crl.key_id, crl.names): crl.serials for crl in lists}
        return False

    def _fresh(self, crl: Crl) -> bool:
        now = self._clock.now()
        return crl.this_update - _AHEAD <= now < crl.next_update and now - crl.this_update < self._age

    async def _lists(self) -> list[Crl] | NoAnswer:
        """Return the newest list of each scope."""
        async with self._alone:
            faults = await asyncio.to_thread(self._look)
            read = [entry.crl for entry in self._files.values() if entry.crl is not None]
        if faults:
            return NoAnswer(detail=faults[0])
        newest: dict[_Scope, Crl] = {}
        for crl in sorted(read, key=lambda crl: crl.this_update):
            newest[crl.key_id, crl.names] = crl
        return list(newest.values())

    def _look(self) -> list[str]:
        """Read what changed; return what is wrong."""
        try:
            paths = sorted(self._folder.glob("*.crl"))
            stamps = {path.name: _stamp(path) for path in paths}
        except OSError as error:
            return [f"jpki: the folder of revocation lists can't be read: {error.strerror}"]
        if not paths:
            return ["jpki: there are no revocation lists"]
        self._files = {
            name: known
            if (known := self._files.get(name)) is not None and known.stamp == stamp
            else self._read(self._folder / name, stamp)
            for name, stamp in stamps.items()
        }
        return [f"jpki: revocation list {name!a}: {entry.fault}" for name, entry in self._files.items() if entry.fault]

    def _read(self, path: Path, stamp: _Stamp) -> _Read:
        try:
            if stamp[1] > _FILE_BYTES:
                return _Read(stamp, None, "too large")
            return _Read(stamp, parse_crl(path.read_bytes(), self._roots), "")
        except OSError as error:
            return _Read((0, 0, 0), None, f"can't be read: {error.strerror}")  # looked at again the next time
        except Malformed as error:
            return _Read(stamp, None, str(error))


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino

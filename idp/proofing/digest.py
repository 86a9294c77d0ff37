"""The digest by which the same person or card is recognised at the same verifier. It says nothing to whoever has no key.

Keys rotate: a new record gets the newest key's digest, and older records are found under the key that made theirs. A record moves
to the newest key when its person is recognised again; a key that no living record uses can be dropped.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret, same
from idp.model import PersonDigest, ProofingRecord

_MINIMUM_KEY: Final = 32


class DigestKeys:
    """Keys of person digests, newest first. A value: after a rotation there is another one."""

    def __init__(self, keys: Sequence[tuple[str, Secret]]) -> None:
        """`keys` are (short id, key), newest first; the id of an installation's first key is empty. ConfigError when there is
        none, an id is there twice, or a key has fewer than 32 characters.
        """
        if not keys or len({name for name, _ in keys}) != len(keys):
            raise ConfigError(
                "person digests have no key, or two with one name",
                where="idp.proofing",
                todo="Restore the key file from a backup.",
            )
        if any(len(key.reveal()) < _MINIMUM_KEY for _, key in keys):
            raise ConfigError(
                f"the key of the person digest is shorter than {_MINIMUM_KEY} characters", where="idp.proofing",
                todo="Generate one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )  # fmt: skip
        self._keys: Final = tuple(keys)

    @property
    def ids(self) -> tuple[str, ...]:
        """The keys' ids, newest first."""
        return tuple(name for name, _ in self._keys)

    def digest(self, verifier: str, person: Secret) -> PersonDigest:
        """Return the digest for a new record. `person` is what this verifier recognises the person by."""
        return self.candidates(verifier, person)[0]

    def candidates(self, verifier: str, person: Secret) -> tuple[PersonDigest, ...]:
        """Return the digests that records of this person may have, one for each key, newest first."""
        return tuple(PersonDigest(key=name, digest=_digest(key, verifier, person)) for name, key in self._keys)

    def same_person(self, record: ProofingRecord, person: Secret) -> bool:
        """Whether a record is of whom its verifier recognises by `person`. False when its key is gone: nobody can tell."""
        return any(
            name == record.digest_key and same(record.person_digest, _digest(key, record.verifier, person))
            for name, key in self._keys
        )

    def renewed(self, record: ProofingRecord, person: Secret) -> PersonDigest | None:
        """Return the newest key's digest for a record of this same person that an older key made; else None."""
        old = record.digest_key != self._keys[0][0] and self.same_person(record, person)
        return self.digest(record.verifier, person) if old else None


def _digest(key: Secret, verifier: str, person: Secret) -> str:
    text = f"{verifier}\x00{person.reveal()}"
    return hmac.new(key.reveal().encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

"""Passwords: argon2id, and the rule of the guideline (system operation volume, section 14.1.1) for new ones.

The rule applied here is the one for sign-in with two factors: at least 8 characters, letters and digits, nothing easily
guessed, no periodic change. This provider never signs anybody in with a password alone, so the rule for that (13) is unused.
"""

import re
import unicodedata
from typing import Final, Literal

import argon2
import msgspec
from argon2.low_level import Type

from gateway.kernel.secret import Secret

MINIMUM_LENGTH: Final = 8
MAXIMUM_LENGTH: Final = 256
"""Longer ones are refused before hashing: work for the hash must not be the sender's to choose."""

Weakness = Literal["too_short", "too_long", "no_letter", "no_digit", "contains_login", "common"]

# fmt: off
_COMMON_WORDS: Final = frozenset({
    "password", "passw0rd", "passwort", "pass", "pasword", "pa55word", "p4ssword", "p@ssw0rd", "p@ssword", "welcome",
    "admin", "administrator", "root", "user", "guest", "test", "demo", "letmein", "login", "iloveyou", "monkey", "dragon",
    "sunshine", "princess", "football", "baseball", "master", "shadow", "secret", "changeme", "default", "qwerty",
    "qwertyuiop", "asdfgh", "asdfghjkl", "zxcvbn", "zxcvbnm", "qwer", "asdf", "zxcv", "abc", "abcd", "abcde", "abcdef",
    "abcdefg", "abcdefgh", "hospital", "byouin", "byoin", "clinic", "doctor", "nurse", "isha", "kangoshi", "karte",
    "chart", "medical", "iryou", "iryo", "denshi", "denshikarte", "ehr", "emr", "sakura", "nippon", "nihon", "japan",
    "tokyo", "osaka", "sakamoto", "doraemon", "pokemon", "pikachu", "aishiteru", "kobe", "hanshin", "spring", "summer",
    "autumn", "winter", "january", "april", "monday",
})
_COMMON_WHOLE: Final = frozenset({
    "1q2w3e4r", "1q2w3e4r5t", "1qaz2wsx", "q1w2e3r4", "zaq12wsx", "qazwsx123", "a1b2c3d4", "abc12345", "1234abcd",
    "12345abc", "123456ab", "123abc456", "aa123456", "a1234567", "a12345678", "1a2b3c4d", "qwe123qwe", "asd123asd",
    "123qweasd", "123qweasdzxc", "q1w2e3r4t5", "trustno1", "ncc1701d",
})
# fmt: on


class HashParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of argon2id. The default is RFC 9106's second recommended option (64 MiB), about 50 ms on one core."""

    time_cost: int = 3
    memory_kib: int = 65536
    parallelism: int = 4


class PasswordCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check. `rehash`: right, but stored with other parameters: store it anew."""

    ok: bool
    rehash: bool = False


class Passwords:
    """Hashes and checks. Each call takes tens of milliseconds of one core: keep it off the event loop."""

    def __init__(self, dummy_salt: bytes, parameters: HashParameters | None = None) -> None:
        cost = parameters or HashParameters()
        self._hasher = argon2.PasswordHasher(
            time_cost=cost.time_cost, memory_cost=cost.memory_kib, parallelism=cost.parallelism, type=Type.ID
        )
        # A person who does not exist costs as much time as one who does: this is what their password is checked against.
        self._dummy = self._hasher.hash("no account has this password", salt=dummy_salt)

    def hash(self, password: Secret, salt: bytes) -> str:
        """Return the PHC string to store. `salt` is 16 fresh random bytes. It does not check `weaknesses`."""
        return self._hasher.hash(_prepared(password), salt=salt)

    def check(self, stored: str | None, password: Secret) -> PasswordCheck:
        """Compare with what is stored. None (nobody by that name, or no password set) takes the same time and is never ok.

        A stored text that is no argon2 hash is a damaged store, not a wrong password: argon2.exceptions.InvalidHashError.
        """
        text = _prepared(password)
        if len(text) > MAXIMUM_LENGTH:
            text, stored = "", None  # nobody's password is longer: see weaknesses()
        try:
            self._hasher.verify(stored or self._dummy, text)
        except argon2.exceptions.VerifyMismatchError:
            return PasswordCheck(ok=False)
        if not stored:
            return PasswordCheck(ok=False)
        return PasswordCheck(ok=True, rehash=self._hasher.check_needs_rehash(stored))


def weaknesses(password: Secret, login: str, minimum: int = MINIMUM_LENGTH) -> tuple[Weakness, ...]:
    """Return what the rule has against a new password; empty when acceptable.

    "Common" means: a word from a short list with digits or signs around it, or a keyboard walk from another. It does not ask
    a list of leaked passwords, which is far longer and has to be fetched.
    """
    text = _prepared(password)
    folded = text.casefold()
    name = unicodedata.normalize("NFKC", login).casefold()
    # dr.sato's "sato2026x" holds the telling part of the name, too.
    pieces = {name, *(piece for piece in re.split(r"[^\w]|_", name) if len(piece) >= 4)}  # noqa: PLR2004  shorter pieces ("dr", "ito") are in half of all words
    found: list[Weakness] = []
    if len(text) < minimum:
        found.append("too_short")
    if len(text) > MAXIMUM_LENGTH:
        found.append("too_long")
    if not any(letter.isalpha() for letter in text):
        found.append("no_letter")
    if not any(digit.isdecimal() for digit in text):
        found.append("no_digit")
    if any(piece and piece in folded for piece in pieces):
        found.append("contains_login")
    if folded in _COMMON_WHOLE or _word_within(folded) in _COMMON_WORDS or len(set(folded)) <= 2:  # noqa: PLR2004  "aaaaaaa1"
        found.append("common")
    return tuple(found)


def _word_within(folded: str) -> str:
    """Return what is left without the digits and signs at both ends: `!!password2026` is still `password`."""
    return re.sub(r"^[\W\d_]+|[\W\d_]+$", "", folded)


def _prepared(password: Secret) -> str:
    """Return the text in NFKC: an input method that types full-width letters must not lock anybody out (SP 800-63B)."""
    return unicodedata.normalize("NFKC", password.reveal())

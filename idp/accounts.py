"""What an account may be called, and when two spellings are the same name."""

import re
import unicodedata
from typing import Final

_LOGIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_EMAIL: Final = re.compile(r"[a-z0-9](?:[a-z0-9._+-]{0,62}[a-z0-9_+-])?@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_LONGEST: Final = 254  # of an e-mail address, RFC 5321 §4.5.3.1


def canonical(identifier: str) -> str:
    """Return the one spelling of a login name or e-mail address: NFKC, case folded, no blanks around it.

    `ＤＲ.Sato ` and `dr.sato` are the same account, with the same failure counter. What is longer than any name is cut, which
    makes it no name. Total: odd input gives odd output, never an error.
    """
    sound = identifier[: 4 * _LONGEST].encode("utf-8", "replace").decode()  # lone surrogates become question marks
    folded = unicodedata.normalize("NFKC", sound).casefold()
    return unicodedata.normalize("NFKC", folded).strip()[: _LONGEST + 1]


def check_login(login: str) -> None:
    """Raise ValueError unless `login` is canonical and acceptable: ASCII letters, digits, dot, hyphen, underscore inside.

    Only ASCII, so that no account looks like another through letters of another script (Cyrillic `а` for `a`). It does not tell
    apart what looks alike within ASCII (`l`, `1`): staff numbers need both.
    """
    if login != canonical(login) or not _LOGIN.fullmatch(login):
        raise ValueError(f"login name {login!r} is not acceptable: use a-z, 0-9, dot, hyphen, underscore; at most 64 characters")
    if login.startswith("usr_"):
        raise ValueError(f"login name {login!r} is not acceptable: usr_ begins internal ids")


def check_email(email: str) -> None:
    """Raise ValueError unless `email` is canonical, ASCII, and has exactly one `@`. It does not check that it is deliverable."""
    if email != canonical(email) or len(email) > _LONGEST or not _EMAIL.fullmatch(email):
        raise ValueError(f"e-mail address {email!r} is not acceptable: use a plain ASCII address, name@domain")

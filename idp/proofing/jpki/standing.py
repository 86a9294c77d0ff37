"""Whether a certificate is revoked: three answers, and the name that a card is recognised by."""

import msgspec


class Good(msgspec.Struct, frozen=True):
    """Its CA says, freshly, that it is not revoked."""


class RevokedThere(msgspec.Struct, frozen=True):
    """Its CA revoked it."""


class NoAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody knows. `detail` is for the log, without personal data."""

    detail: str


Standing = Good | RevokedThere | NoAnswer


def person_of(issuer: bytes, key_id: bytes, serial: int) -> str:
    """Return what recognises a card: the CA (its name, and its key, since generations share the name) and the serial number."""
    return f"{issuer.hex()}:{key_id.hex()}:{serial:x}"

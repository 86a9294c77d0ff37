"""The people whom the embedded provider knows, as the console sees them: plain values."""

import msgspec


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with an account."""

    subject: str
    login: str
    name: str
    roles: tuple[str, ...]
    organization: str = ""
    department: str = ""
    active: bool = True

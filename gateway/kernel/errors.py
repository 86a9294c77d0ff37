"""Errors that say what, where, and what to do.

Two vocabularies meet in one place: inside, code raises these; at the doors, `gateway.present` maps a decision to HTTP.
Nothing here is ever turned into a reply directly.
"""


class GatewayError(Exception):
    """Base of every error that this project raises on purpose."""

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.todo = todo

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}. {self.todo}" if self.todo else head


class ConfigError(GatewayError):
    """The configuration can't be used. `where` is `file:line` where known."""


class BundleError(GatewayError):
    """A policy bundle can't be used. `where` is `file:line` where known."""


class AuditError(GatewayError):
    """The log could not be written, synced or read: no request may proceed on it."""


class StoreUnavailable(GatewayError):  # noqa: N818  it names a state that callers handle, as decision.Unavailable does
    """A store (sessions, devices, users) did not answer. Never the same as "not found"."""


class ProtocolError(GatewayError):
    """The other side of OIDC broke its protocol: bad token, wrong issuer, replayed state."""

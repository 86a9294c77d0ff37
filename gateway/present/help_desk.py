"""People who are told only to ask the help desk: what would let them in is for the log, not for them. Pure."""

import msgspec

from gateway.domain.identity import Identity
from gateway.kernel.i18n import Language


class HelpDesk(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask, and who is told nothing more."""

    roles: frozenset[str] = frozenset()
    """Whoever has one of these."""
    organization: str | None = None
    """Whoever belongs to another than this one; None: that makes no difference."""
    ja: str = ""
    """How to reach it: a telephone number, say. Empty: our own words alone."""
    en: str = ""

    def only(self, identity: Identity) -> bool:
        """Whether a person learns nothing but whom to ask. Somebody of no known organisation counts as of another."""
        if not self.roles.isdisjoint(identity.roles):
            return True
        return self.organization is not None and identity.organization != self.organization

    def text(self, language: Language) -> str:
        """How to reach it."""
        return self.ja if language == "ja" else self.en

"""Grants as the portal and the console see them: the ledger, what is in force, and which names there are."""

from collections.abc import Callable, Iterable
from typing import Final

from gateway.grants.book import GrantBook
from gateway.grants.ledger import Ledger
from gateway.policy.facts import PrincipalFacts
from gateway.policy.granted import GrantUse, names_of


class GrantOffice:
    """Where grants are asked for and decided."""

    def __init__(self, ledger: Ledger, book: GrantBook, uses: Callable[[], Iterable[GrantUse]]) -> None:
        """`uses`: where the policies in force ask for grants."""
        self.ledger: Final = ledger
        self.book: Final = book
        self._uses = uses

    def names(self) -> tuple[str, ...]:
        """Return the names that the policies in force know, sorted."""
        return names_of(self._uses())

    def names_for(self, person: PrincipalFacts) -> tuple[str, ...]:
        """Return those that could matter to somebody: no policy that is for others only speaks of them."""
        return names_of(self._uses(), person)

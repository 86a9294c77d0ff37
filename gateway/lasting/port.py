"""What those who keep something need from the database. One suite holds every backend to it.

SQL is the part that SQLite and PostgreSQL share: `?` for values, TEXT and BIGINT columns (bodies are JSON text), `ON CONFLICT`.
What one `write` does is one serialisable transaction: checking and consuming in it is one atomic step, on every node.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Value = str | int | None
Row = tuple[Any, ...]


class Cursor(Protocol):
    """Inside one transaction."""

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        ...

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """Return all rows of a query."""
        ...

    def one(self, sql: str, values: Sequence[Value] = ()) -> Row | None:
        """Return the first row of a query, or None."""
        ...

    def touched(self, topic: str) -> None:
        """Say that something of this topic changed: `stamp` differs from now on, on every node."""
        ...


class Lasting(Protocol):
    """The database. Every method raises `StoreUnavailable` when it does not answer; any other error is what `work` raised: then
    nothing was changed.
    """

    def prepare(self, part: str, schema: Sequence[str]) -> None:
        """Make the tables of a part: `schema[n]` are the statements (`;` between them) that lead from version n to n + 1.

        Blocking; once, at the start. StoreUnavailable when a newer program has been here.
        """
        ...

    async def read(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` in a transaction that changes nothing, in a thread."""
        ...

    async def write(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` in one serialisable transaction, in a thread; it may be called again on conflict. On disk afterwards."""
        ...

    def read_now(self, work: Callable[[Cursor], T]) -> T:
        """`read`, blocking, for threads and command lines."""
        ...

    def write_now(self, work: Callable[[Cursor], T]) -> T:
        """`write`, blocking, for threads and command lines."""
        ...

    def stamp(self, topic: str) -> int:
        """Return a number that differs when something of this topic was changed by anybody since. Blocking, cheap; any thread."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...

"""What every backend has: which part has which tables, and the counters of what was touched."""

from collections.abc import Sequence
from typing import Final

from gateway.kernel.errors import StoreUnavailable
from gateway.lasting.port import Cursor

WHERE: Final = "records"
"""`where` of every StoreUnavailable."""
BASE: Final = """
CREATE TABLE IF NOT EXISTS part (name TEXT PRIMARY KEY, version BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS topic (name TEXT PRIMARY KEY, stamp BIGINT NOT NULL);
"""
TOUCH: Final = "INSERT INTO topic (name, stamp) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET stamp = topic.stamp + 1"


def statements(script: str) -> list[str]:
    """Split a schema into its statements: none of ours holds a `;` within."""
    bare = "\n".join(line.partition("--")[0] for line in script.splitlines())
    return [text for part in bare.split(";") if (text := part.strip())]


def migrate(cursor: Cursor, part: str, schema: Sequence[str], where: str) -> None:
    """Bring a part's tables to the newest version, within the caller's transaction."""
    row = cursor.one("SELECT version FROM part WHERE name = ?", (part,))
    version = int(row[0]) if row is not None else 0
    if version > len(schema):
        raise StoreUnavailable(
            f"the tables of {part} in {where} are of a newer version ({version}, this program knows {len(schema)})",
            where=WHERE,
            todo="Run the newer program, or restore a backup of before",
        )
    for script in schema[version:]:
        for statement in statements(script):
            cursor.run(statement)
    cursor.run(
        "INSERT INTO part (name, version) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version",
        (part, len(schema)),
    )

"""Marks that the demo leaves on what it makes, so that `gateway serve` can tell and refuse. Used by the demo only."""

import contextlib
import sqlite3
from pathlib import Path

from gateway.config.production import DEMO_APPLICATION_ID, DEMO_FOLDER_MARK, DEMO_MARK


def mark_folder(folder: Path) -> None:
    """Mark everything in and below `folder`, whatever it is."""
    mark = folder / DEMO_FOLDER_MARK
    mark.touch(mode=0o600)
    mark.write_text(
        "Everything in this folder was made by `gateway demo`: synthetic people, keys for trying out.\n"
        "`gateway serve` refuses what lies here.\n",
        "utf-8",
    )


def mark_key(path: Path) -> None:
    """Mark a PEM file, by a line before its first block (RFC 7468 §5.2 lets it stand there). Keeps mode and owner."""
    content = path.read_bytes()
    if DEMO_MARK not in content:
        path.write_bytes(DEMO_MARK + b": made by `gateway demo`\n" + content)


def mark_database(path: Path) -> None:
    """Mark a SQLite database; it may be open elsewhere."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {DEMO_APPLICATION_ID}")
        # Into the file itself where no reader is in the way, so that the mark goes along when somebody copies that alone.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

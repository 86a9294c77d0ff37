"""Rows of the life of a change: one `Cursor` in, values out. Each function runs within its caller's transaction.

Bundles are kept under the hash of their content, and for ever: records name their version, and what is past is decided again
under it.
"""

from typing import Final

import msgspec

from gateway.changes.model import ChangeRefused, Draft, NodeState, Publication
from gateway.lasting.port import Cursor

PART: Final = "changes"
TOPIC: Final = "policies"
"""Touched by every publication, and by every beginning and end of a trial."""
SCHEMA: Final = (
    """
    CREATE TABLE changes_bundle (content TEXT PRIMARY KEY, version TEXT NOT NULL, ordinal BIGINT NOT NULL, files TEXT NOT NULL);
    CREATE INDEX changes_bundle_version ON changes_bundle (version);
    CREATE TABLE changes_publication (number BIGINT PRIMARY KEY, content TEXT NOT NULL REFERENCES changes_bundle (content),
        body TEXT NOT NULL);
    CREATE TABLE changes_draft (id TEXT PRIMARY KEY, ordinal BIGINT NOT NULL, trial BIGINT NOT NULL, body TEXT NOT NULL);
    CREATE TABLE changes_node (node TEXT PRIMARY KEY, at BIGINT NOT NULL, body TEXT NOT NULL);
    """,
)
FORGOTTEN_SECONDS: Final = 86_400
"""A process that has said nothing for so long is not listed any more."""

_files: Final = msgspec.json.Decoder(dict[str, bytes]).decode
_draft: Final = msgspec.json.Decoder(Draft).decode
_publication: Final = msgspec.json.Decoder(Publication).decode
_node: Final = msgspec.json.Decoder(NodeState).decode


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _gone(what: str) -> ChangeRefused:
    return ChangeRefused("gone", f"there is no {what}", "Look at the list anew")


# ---------------------------------------------------------------- bundles


def keep_bundle(cursor: Cursor, content: str, version: str, files: dict[str, bytes]) -> None:
    """Keep a bundle, if it is not kept yet."""
    cursor.run(
        "INSERT INTO changes_bundle (content, version, ordinal, files) "
        "VALUES (?, ?, (SELECT COUNT(*) FROM changes_bundle), ?) ON CONFLICT (content) DO NOTHING",
        (content, version, _json(files)),
    )


def bundle_by_content(cursor: Cursor, content: str) -> dict[str, bytes]:
    """Return the files of a kept bundle."""
    row = cursor.one("SELECT files FROM changes_bundle WHERE content = ?", (content,))
    if row is None:
        raise _gone(f"bundle {content[:12]}")
    return _files(row[0])


def bundle_by_version(cursor: Cursor, version: str) -> dict[str, bytes]:
    """Return the files of the newest kept bundle of a version: those of one version differ in their cases alone."""
    sql = "SELECT files FROM changes_bundle WHERE version = ? ORDER BY ordinal DESC LIMIT 1"
    row = cursor.one(sql, (version,)) if _plain(version) else None
    if row is None:
        raise _gone(f"bundle of version {version[:12]!a}")
    return _files(row[0])


# ---------------------------------------------------------------- publications


def newest(cursor: Cursor) -> Publication | None:
    """Return what is in force; None when nothing was ever published."""
    row = cursor.one("SELECT body FROM changes_publication ORDER BY number DESC LIMIT 1")
    return _publication(row[0]) if row is not None else None


def in_force(cursor: Cursor) -> Publication:
    """Return what is in force. ChangeRefused (`gone`) when nothing was ever published."""
    found = newest(cursor)
    if found is None:
        raise ChangeRefused(
            "gone", "nothing was published yet", "Start the gateway once: the policies of its folder are the first"
        )
    return found


def publication(cursor: Cursor, number: int) -> Publication:
    """Return one."""
    row = cursor.one("SELECT body FROM changes_publication WHERE number = ?", (number,)) if 0 < number < 1 << 62 else None
    if row is None:
        raise _gone(f"publication {number}")
    return _publication(row[0])


def history(cursor: Cursor) -> list[Publication]:
    """Return all, newest first."""
    return [_publication(row[0]) for row in cursor.rows("SELECT body FROM changes_publication ORDER BY number DESC")]


def publish(cursor: Cursor, new: Publication, files: dict[str, bytes]) -> None:
    """Put it in force. A number that is taken is `overtaken`."""
    keep_bundle(cursor, new.content, new.version, files)
    changed = cursor.run(
        "INSERT INTO changes_publication (number, content, body) VALUES (?, ?, ?) ON CONFLICT (number) DO NOTHING",
        (new.number, new.content, _json(new)),
    )
    if changed != 1:
        raise ChangeRefused("overtaken", f"publication {new.number} came into force meanwhile", "Look at it, then decide again")
    cursor.touched(TOPIC)


# ---------------------------------------------------------------- drafts


def keep_draft(cursor: Cursor, draft: Draft) -> None:
    """Store a draft as the one that changed last."""
    cursor.run(
        "INSERT INTO changes_draft (id, ordinal, trial, body) "
        "VALUES (?, (SELECT COALESCE(MAX(ordinal), 0) + 1 FROM changes_draft), ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET ordinal = excluded.ordinal, trial = excluded.trial, body = excluded.body",
        (draft.id, int(draft.trial), _json(draft)),
    )


def draft(cursor: Cursor, draft_id: str) -> Draft:
    """Return one."""
    row = cursor.one("SELECT body FROM changes_draft WHERE id = ?", (draft_id,)) if _plain(draft_id) else None
    if row is None:
        raise _gone(f"change {draft_id[:60]!a}")
    return _draft(row[0])


def _plain(name: str) -> bool:
    return name.isascii() and name.isprintable()


def drafts(cursor: Cursor) -> list[Draft]:
    """Return all, the last changed first."""
    return [_draft(row[0]) for row in cursor.rows("SELECT body FROM changes_draft ORDER BY ordinal DESC")]


def on_trial(cursor: Cursor) -> Draft | None:
    """Return the draft that is tried out."""
    row = cursor.one("SELECT body FROM changes_draft WHERE trial = 1 ORDER BY ordinal DESC LIMIT 1")
    return _draft(row[0]) if row is not None else None


# ---------------------------------------------------------------- nodes


def report(cursor: Cursor, state: NodeState) -> None:
    """Keep what a process says, and forget those that are long gone."""
    cursor.run(
        "INSERT INTO changes_node (node, at, body) VALUES (?, ?, ?) "
        "ON CONFLICT (node) DO UPDATE SET at = excluded.at, body = excluded.body",
        (state.node, state.at, _json(state)),
    )
    cursor.run("DELETE FROM changes_node WHERE at < ?", (state.at - FORGOTTEN_SECONDS,))


def leave(cursor: Cursor, node: str) -> None:
    """Forget a process that ends."""
    cursor.run("DELETE FROM changes_node WHERE node = ?", (node,))


def nodes(cursor: Cursor) -> list[NodeState]:
    """Return what each said last, by name."""
    return [_node(row[0]) for row in cursor.rows("SELECT body FROM changes_node ORDER BY node")]

-- What was done to accounts, by whatever process, until the running provider has told the embedder's log. A row is written in the
-- transaction of the change itself: neither is there without the other.

CREATE TABLE account_change (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT NOT NULL,
    user_id TEXT NOT NULL,
    login   TEXT NOT NULL,
    done_by TEXT NOT NULL,
    at      INTEGER NOT NULL,
    detail  TEXT NOT NULL  -- JSON object of short texts
) STRICT;

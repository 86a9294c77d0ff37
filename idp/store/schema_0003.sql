-- Identity proofing by real verifiers: what is kept of a result, who has to compare what, who was invited, and what was asked again.

ALTER TABLE proofing ADD COLUMN evidence TEXT NOT NULL DEFAULT 'none';
ALTER TABLE proofing ADD COLUMN digest_key TEXT NOT NULL DEFAULT '';  -- which key made person_digest; '': the first one
ALTER TABLE proofing ADD COLUMN ended_at INTEGER;                     -- ended before its time
ALTER TABLE proofing ADD COLUMN ended_why TEXT NOT NULL DEFAULT '';
ALTER TABLE proofing ADD COLUMN checked_at INTEGER NOT NULL DEFAULT 0;

-- Authenticators that were registered in the ceremony of a proofing, or confirmed after it.
CREATE TABLE proofing_binding (
    proofing_id   INTEGER NOT NULL REFERENCES proofing (id) ON DELETE CASCADE,
    authenticator TEXT NOT NULL,  -- 'fido2:CREDENTIAL', 'otp', 'pwd'
    bound_at      INTEGER NOT NULL,
    PRIMARY KEY (proofing_id, authenticator)
) STRICT;

-- What officers have to look at. `sealed` holds both sides and the result that waits; it goes when they have decided.
CREATE TABLE proofing_case (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL DEFAULT 'open',
    opened_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    first_by   TEXT NOT NULL DEFAULT '',
    first_at   INTEGER,
    decided_by TEXT NOT NULL DEFAULT '',
    decided_at INTEGER,
    note       TEXT NOT NULL DEFAULT '',
    sealed     BLOB
) STRICT;
CREATE INDEX proofing_case_of_user ON proofing_case (user_id, opened_at);
CREATE INDEX proofing_case_open ON proofing_case (state, opened_at);

CREATE TABLE proofing_invitation (
    id         INTEGER PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    batch      TEXT NOT NULL,
    invited_by TEXT NOT NULL,
    invited_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    UNIQUE (batch, user_id)
) STRICT;
CREATE INDEX proofing_invitation_of_user ON proofing_invitation (user_id, id);

-- One row for each run of asking all verifiers again.
CREATE TABLE proofing_recheck (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at  INTEGER NOT NULL,
    started_by  TEXT NOT NULL,
    finished_at INTEGER,
    total       INTEGER NOT NULL,
    valid       INTEGER NOT NULL DEFAULT 0,
    revoked     INTEGER NOT NULL DEFAULT 0,
    expired     INTEGER NOT NULL DEFAULT 0,
    unknown     INTEGER NOT NULL DEFAULT 0
) STRICT;

ALTER TABLE user ADD COLUMN former_names TEXT NOT NULL DEFAULT '[]';  -- JSON arrays of texts
ALTER TABLE user ADD COLUMN licences TEXT NOT NULL DEFAULT '[]';

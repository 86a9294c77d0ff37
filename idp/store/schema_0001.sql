-- The identity provider's tables. Times are whole seconds since the Unix epoch, UTC. `*_hash` is the SHA-256, in hex, of a
-- 256-bit secret that is kept nowhere.

CREATE TABLE user (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    roles        TEXT NOT NULL,  -- JSON array
    organization TEXT NOT NULL,
    department   TEXT NOT NULL,
    active       INTEGER NOT NULL CHECK (active IN (0, 1)),
    birth_date   TEXT,
    kana         TEXT
) STRICT;

-- Login names and e-mail addresses share one name space: whatever is typed names at most one person.
CREATE TABLE identifier (
    canonical TEXT PRIMARY KEY,
    user_id   TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    kind      TEXT NOT NULL CHECK (kind IN ('login', 'email')),
    UNIQUE (user_id, kind)
) STRICT;

CREATE TABLE password (
    user_id    TEXT PRIMARY KEY REFERENCES user (id) ON DELETE CASCADE,
    encoded    TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE totp (
    user_id    TEXT PRIMARY KEY REFERENCES user (id) ON DELETE CASCADE,
    sealed     BLOB NOT NULL,  -- the Base32 secret under the sealing key, which lies in another file
    created_at INTEGER NOT NULL,
    last_step  INTEGER NOT NULL
) STRICT;

CREATE TABLE fido2 (
    id              TEXT PRIMARY KEY,
    user_id         TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    label           TEXT NOT NULL,
    public_data     BLOB NOT NULL,
    sign_count      INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    last_used_at    INTEGER NOT NULL,
    backup_eligible INTEGER NOT NULL CHECK (backup_eligible IN (0, 1))
) STRICT;
CREATE INDEX fido2_of_user ON fido2 (user_id, created_at);

CREATE TABLE recovery_code (
    user_id    TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    code_hash  TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE proofing (
    id             INTEGER PRIMARY KEY,
    user_id        TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    level          INTEGER NOT NULL CHECK (level BETWEEN 1 AND 3),
    method         TEXT NOT NULL,
    verified_at    INTEGER NOT NULL,
    expires_at     INTEGER,
    verifier       TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    person_digest  TEXT NOT NULL,
    UNIQUE (verifier, transaction_id)  -- one proofing proves one account, once
) STRICT;
CREATE INDEX proofing_of_user ON proofing (user_id, id);
CREATE INDEX proofing_of_person ON proofing (person_digest, id);

CREATE TABLE session (
    id           TEXT PRIMARY KEY,
    token_hash   TEXT NOT NULL UNIQUE,
    user_id      TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    events       TEXT NOT NULL,  -- JSON array
    created_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    address      TEXT NOT NULL
) STRICT;
CREATE INDEX session_of_user ON session (user_id);

CREATE TABLE login_transaction (
    id         TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    body       BLOB NOT NULL
) STRICT;

CREATE TABLE one_time (
    name_hash  TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    value      BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- A used code stays until nothing issued for it can be alive, so that its second use is recognised (RFC 6749 §4.1.2).
CREATE TABLE code (
    code_hash  TEXT PRIMARY KEY,
    client_id  TEXT NOT NULL,
    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    body       BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    used       INTEGER NOT NULL DEFAULT 0 CHECK (used IN (0, 1)),
    reused     INTEGER NOT NULL DEFAULT 0 CHECK (reused IN (0, 1))
) STRICT;
CREATE INDEX code_of_session ON code (session_id);

CREATE TABLE access_token (
    token_hash TEXT PRIMARY KEY,
    code_hash  TEXT NOT NULL REFERENCES code (code_hash) ON DELETE CASCADE,
    body       BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX access_token_of_code ON access_token (code_hash);

CREATE TABLE attempt (
    subject       TEXT PRIMARY KEY,  -- `account:` or `address:` and a hash
    failures      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    blocked_until INTEGER NOT NULL
) STRICT;

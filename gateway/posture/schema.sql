-- The ledger of devices (guideline 7.0/ops/8.5). `body` is the device as JSON; the other columns are there for the constraints
-- and for `sequence`, by which a reader finds what changed since it last looked. Devices are never deleted, only blocked.
CREATE TABLE device (
    id TEXT PRIMARY KEY,
    cookie_hash TEXT UNIQUE,
    certificate_sha256 TEXT UNIQUE,
    sequence INTEGER NOT NULL UNIQUE,
    body TEXT NOT NULL
) STRICT;

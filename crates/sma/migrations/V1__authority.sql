-- One row: whose installation this is, and with which master key it belongs together.
CREATE TABLE authority (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    authority_id   TEXT    NOT NULL,
    key_check      BLOB    NOT NULL CHECK (length(key_check) = 16),
    created_minute INTEGER NOT NULL
) STRICT;

-- The cameras. Rows are never deleted, so the greatest id is their number.
CREATE TABLE device_registry (
    id                INTEGER PRIMARY KEY,
    serial            TEXT    NOT NULL UNIQUE,
    family            TEXT    NOT NULL,
    -- HMAC-SHA256 of the sensor's fingerprint under a key derived from the master key: whoever has
    -- this file alone can neither learn a fingerprint nor test a guess.
    nuc_digest        BLOB    NOT NULL UNIQUE CHECK (length(nuc_digest) = 32),
    -- n x be16, in the order in which they were handed out.
    tables            BLOB    NOT NULL CHECK (length(tables) >= 2 AND length(tables) % 2 = 0),
    min_token_version INTEGER NOT NULL CHECK (min_token_version IN (1, 2)),
    status            TEXT    NOT NULL CHECK (status IN ('active', 'revoked')),
    created_minute    INTEGER NOT NULL
) STRICT;

-- Version 1 tokens that have passed. Names no camera.
CREATE TABLE used_token (
    -- be16 table, be16 index, 12 bytes of nonce.
    token         BLOB    NOT NULL PRIMARY KEY CHECK (length(token) = 16),
    -- Keyed digest of caller, request id and token; null if the request named no id.
    repeat_digest BLOB    CHECK (length(repeat_digest) = 16),
    -- Days since 1970: enough to clear old rows one day, too coarse for a time line.
    day           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

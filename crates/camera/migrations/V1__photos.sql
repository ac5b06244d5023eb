-- One row a photograph, from "captured" to its proof. Rows are never deleted.
--
-- state: 0 queued, 1 sent, 2 confirmed, 3 parked (queue/row.rs).
-- jpeg, dng, proof: relative to the data folder.
-- token: JSON, stored before it is first sent and repeated until the receipt ends; gone with the end.
-- seals: tokens sealed for this photograph so far.
-- holder, held_until: the process that is submitting it now, and how long it may.
CREATE TABLE photo (
    id              INTEGER PRIMARY KEY,
    frame           INTEGER NOT NULL UNIQUE CHECK (frame >= 0),
    taken_at        INTEGER NOT NULL,
    time_source     TEXT NOT NULL CHECK (time_source IN ('ntp', 'rtc', 'unsynced')),
    jpeg            TEXT NOT NULL,
    dng             TEXT NOT NULL,
    raw_hash        BLOB NOT NULL CHECK (length(raw_hash) = 32),
    processed_hash  BLOB NOT NULL CHECK (length(processed_hash) = 32),
    image_data_hash BLOB NOT NULL CHECK (length(image_data_hash) = 32),
    state           INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3),
    token           TEXT,
    seals           INTEGER NOT NULL DEFAULT 0,
    receipt         TEXT,
    tx_id           INTEGER,
    block_height    INTEGER,
    proof           TEXT,
    last_error      TEXT,
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_try        INTEGER NOT NULL DEFAULT 0,
    holder          INTEGER,
    held_until      INTEGER,
    CHECK (state != 1 OR receipt IS NOT NULL),
    CHECK (state < 2 OR token IS NULL),
    CHECK ((state = 2) = (tx_id IS NOT NULL)),
    CHECK ((state = 2) = (block_height IS NOT NULL)),
    CHECK (state != 3 OR last_error IS NOT NULL),
    CHECK ((holder IS NULL) = (held_until IS NULL))
) STRICT;

-- Rows with something left to do: the registry's record, or its proof. Partial, so that finished ones cost nothing.
CREATE INDEX photo_unfinished ON photo (attempts, id) WHERE state < 2 OR (state = 2 AND proof IS NULL);

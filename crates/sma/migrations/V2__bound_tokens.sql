-- What version 2 tokens, quotas and renewed keys need to know of a camera.
ALTER TABLE device_registry ADD COLUMN key_generation INTEGER NOT NULL DEFAULT 0 CHECK (key_generation >= 0);
-- Own limits; null for the authority's.
ALTER TABLE device_registry ADD COLUMN quota_warn INTEGER CHECK (quota_warn >= 0);
ALTER TABLE device_registry ADD COLUMN quota_stop INTEGER CHECK (quota_stop >= 0);

CREATE INDEX device_revoked ON device_registry (id) WHERE status = 'revoked';

-- What changes with each pass, in rows of their own: twenty bytes, where a camera's row has two hundred.
CREATE TABLE device_use (
    device_id       INTEGER PRIMARY KEY,
    -- The latest day with a pass, and the passes of that day alone: no time line.
    day             INTEGER NOT NULL,
    day_count       INTEGER NOT NULL CHECK (day_count >= 0),
    highest_counter INTEGER NOT NULL CHECK (highest_counter >= 0)
) STRICT;

-- Version 2 tokens that have passed: of each camera the last 1,024 counters.
CREATE TABLE used_counter (
    device_id INTEGER NOT NULL,
    -- counter mod 1024
    slot      INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 1023),
    counter   INTEGER NOT NULL CHECK (counter > 0 AND counter % 1024 = slot),
    -- Keyed digest of the token.
    digest    BLOB    NOT NULL CHECK (length(digest) = 8),
    PRIMARY KEY (device_id, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE endorsement_key (
    -- In the order in which they were made.
    id             INTEGER PRIMARY KEY,
    key_id         BLOB    NOT NULL UNIQUE CHECK (length(key_id) = 8),
    spki           BLOB    NOT NULL,
    -- The private key, encrypted under a key derived from the master key.
    sealed         BLOB    NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('current', 'previous', 'retired', 'revoked')),
    created_minute  INTEGER NOT NULL,
    -- When it stopped being current.
    replaced_minute INTEGER
) STRICT;

CREATE UNIQUE INDEX endorsement_key_current ON endorsement_key (state) WHERE state = 'current';

-- Acts of admins. Append-only; each row's digest covers the row before.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    minute   INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    act      TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    digest   BLOB    NOT NULL CHECK (length(digest) = 32)
) STRICT;

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit log is append-only');
END;

-- Also against INSERT OR REPLACE, which deletes without asking the trigger above.
CREATE TRIGGER audit_at_the_end BEFORE INSERT ON audit
WHEN new.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
BEGIN
    SELECT raise(ABORT, 'the audit log is append-only');
END;

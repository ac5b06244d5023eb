-- One row: whose installation this is, and with which master key it belongs together.
CREATE TABLE authority (
    id             smallint PRIMARY KEY CHECK (id = 1),
    authority_id   text     NOT NULL,
    key_check      bytea    NOT NULL CHECK (octet_length(key_check) = 16),
    created_minute bigint   NOT NULL
);

-- The cameras. Rows are never deleted and their ids have no gaps, so the greatest id is their number.
-- Each pass changes the row: some room on every page, so that it need not move.
CREATE TABLE device_registry (
    id                bigint   PRIMARY KEY CHECK (id > 0),
    serial            text     NOT NULL UNIQUE,
    family            text     NOT NULL,
    -- HMAC-SHA256 of the sensor's fingerprint under a key derived from the master key: whoever has
    -- this database alone can neither learn a fingerprint nor test a guess.
    nuc_digest        bytea    NOT NULL UNIQUE CHECK (octet_length(nuc_digest) = 32),
    -- n x be16, in the order in which they were handed out.
    tables            bytea    NOT NULL CHECK (octet_length(tables) >= 2 AND octet_length(tables) % 2 = 0),
    min_token_version smallint NOT NULL CHECK (min_token_version IN (1, 2)),
    status            text     NOT NULL CHECK (status IN ('active', 'revoked')),
    created_minute    bigint   NOT NULL,
    key_generation    bigint   NOT NULL DEFAULT 0 CHECK (key_generation >= 0),
    -- Own limits; null for the authority's.
    quota_warn        bigint   CHECK (quota_warn >= 0),
    quota_stop        bigint   CHECK (quota_stop >= 0),
    -- The latest day with a pass, and the passes of that day alone: no time line.
    day               bigint   NOT NULL DEFAULT 0 CHECK (day >= 0),
    day_count         bigint   NOT NULL DEFAULT 0 CHECK (day_count >= 0),
    highest_counter   bigint   NOT NULL DEFAULT 0 CHECK (highest_counter >= 0)
) WITH (fillfactor = 80);

CREATE INDEX device_revoked ON device_registry (id) WHERE status = 'revoked';

-- Version 1 tokens that have passed. Names no camera.
CREATE TABLE used_token (
    -- be16 table, be16 index, 12 bytes of nonce.
    token         bytea  PRIMARY KEY CHECK (octet_length(token) = 16),
    -- Keyed digest of caller, request id and token; null if the request named no id.
    repeat_digest bytea  CHECK (octet_length(repeat_digest) = 16),
    -- Days since 1970: enough to clear old rows one day, too coarse for a time line.
    day           bigint NOT NULL
);

-- Version 2 tokens that have passed: of each camera the last 1,024 counters.
CREATE TABLE used_counter (
    device_id bigint   NOT NULL,
    -- counter mod 1024
    slot      smallint NOT NULL CHECK (slot BETWEEN 0 AND 1023),
    counter   bigint   NOT NULL CHECK (counter > 0 AND counter % 1024 = slot),
    -- Keyed digest of the token.
    digest    bytea    NOT NULL CHECK (octet_length(digest) = 8),
    PRIMARY KEY (device_id, slot)
) WITH (fillfactor = 80);

CREATE TABLE endorsement_key (
    -- In the order in which they were made.
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id         bytea  NOT NULL UNIQUE CHECK (octet_length(key_id) = 8),
    spki           bytea  NOT NULL,
    -- The private key, encrypted under a key derived from the master key.
    sealed         bytea  NOT NULL,
    state          text   NOT NULL CHECK (state IN ('current', 'previous', 'retired', 'revoked')),
    created_minute  bigint NOT NULL,
    -- When it stopped being current.
    replaced_minute bigint
);

CREATE UNIQUE INDEX endorsement_key_current ON endorsement_key (state) WHERE state = 'current';

-- Acts of admins. Append-only; each row's digest covers the row before.
CREATE TABLE audit (
    sequence bigint PRIMARY KEY,
    minute   bigint NOT NULL,
    actor    text   NOT NULL,
    act      text   NOT NULL,
    subject  text   NOT NULL,
    detail   text   NOT NULL,
    digest   bytea  NOT NULL CHECK (octet_length(digest) = 32)
);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END;
$$;

CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

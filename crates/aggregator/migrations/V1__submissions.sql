-- One row a submission, from intake to its end.
--
-- state: 0 received, 1 validated, 2 confirmed, 3 rejected (pipeline/state.rs).
-- token: sealed token and binding (store/token.rs); gone in the same transaction that stores a verdict.
CREATE TABLE submission (
    id              INTEGER PRIMARY KEY,
    receipt         BLOB NOT NULL UNIQUE CHECK (length(receipt) = 16),
    idempotency_key BLOB NOT NULL UNIQUE CHECK (length(idempotency_key) = 32),
    request_id      BLOB NOT NULL CHECK (length(request_id) = 16),
    authority       TEXT NOT NULL,
    body            BLOB NOT NULL,
    body_digest     BLOB NOT NULL CHECK (length(body_digest) = 32),
    token           BLOB,
    state           INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3),
    received_at     INTEGER NOT NULL,
    tx_id           INTEGER,
    block_height    INTEGER,
    reason          TEXT,
    CHECK ((state = 0) = (token IS NOT NULL)),
    CHECK ((state = 2) = (tx_id IS NOT NULL)),
    CHECK ((state = 2) = (block_height IS NOT NULL)),
    CHECK ((state = 3) = (reason IS NOT NULL))
) STRICT;

-- The two queues. Partial, so that finished rows cost them nothing.
CREATE INDEX submission_to_validate ON submission (authority, id) WHERE state = 0;
CREATE INDEX submission_to_post ON submission (id) WHERE state = 1;

-- Which bodies are on record. Not unique: two tokens may have vouched for one body.
CREATE INDEX submission_recorded ON submission (body_digest) WHERE state = 2;

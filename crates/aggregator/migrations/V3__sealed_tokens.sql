-- Tokens are kept sealed under keys that are destroyed at the verdict (store/sqlite/keys.rs).
--
-- token: sealed request id and token. key_slot: the place of its key in token.keys; null in rows of earlier versions,
-- whose token is request id ‖ token in the clear until the program that applies this has sealed them.
-- Both are gone in the same transaction that stores a verdict. The request id, which the authority knows, goes too.
CREATE TABLE submission_3 (
    id              INTEGER PRIMARY KEY,
    receipt         BLOB NOT NULL UNIQUE CHECK (length(receipt) = 16),
    idempotency_key BLOB NOT NULL UNIQUE CHECK (length(idempotency_key) = 32),
    authority       TEXT NOT NULL,
    body            BLOB NOT NULL,
    body_digest     BLOB NOT NULL CHECK (length(body_digest) = 32),
    token           BLOB,
    key_slot        INTEGER,
    assurance       INTEGER NOT NULL CHECK (assurance IN (1, 2)),
    endorsement     BLOB,
    state           INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3),
    received_at     INTEGER NOT NULL,
    tx_id           INTEGER,
    block_height    INTEGER,
    reason          TEXT,
    CHECK ((state = 0) = (token IS NOT NULL)),
    CHECK (state = 0 OR key_slot IS NULL),
    CHECK ((endorsement IS NOT NULL) = (state = 1 AND assurance = 2)),
    CHECK ((state = 2) = (tx_id IS NOT NULL)),
    CHECK ((state = 2) = (block_height IS NOT NULL)),
    CHECK ((state = 3) = (reason IS NOT NULL))
) STRICT;

INSERT INTO submission_3 (id, receipt, idempotency_key, authority, body, body_digest, token, assurance, endorsement, state,
                          received_at, tx_id, block_height, reason)
SELECT id, receipt, idempotency_key, authority, body, body_digest,
       CASE WHEN token IS NOT NULL THEN unhex(hex(request_id) || hex(token)) END,
       assurance, endorsement, state, received_at, tx_id, block_height, reason
FROM submission;

DROP TABLE submission;
ALTER TABLE submission_3 RENAME TO submission;

CREATE INDEX submission_to_validate ON submission (authority, id) WHERE state = 0;
CREATE INDEX submission_to_post ON submission (id) WHERE state = 1;
CREATE INDEX submission_recorded ON submission (body_digest) WHERE state = 2;

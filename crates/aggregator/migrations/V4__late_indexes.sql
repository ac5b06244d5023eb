-- Receipts and bodies lead to rows through two tables of their own, which get many rows at once, in their order.
--
-- As indexes of this table they cost each submission three pages, anywhere in the file. What is not in them yet is
-- kept in memory (store/sqlite/recent.rs), and found anew at each start: rows above indexed.through. That a submission
-- is stored once is seen to by the one thread that inserts.
CREATE TABLE submission_4 (
    id              INTEGER PRIMARY KEY,
    receipt         BLOB NOT NULL CHECK (length(receipt) = 16),
    idempotency_key BLOB NOT NULL CHECK (length(idempotency_key) = 32),
    authority       TEXT NOT NULL,
    body            BLOB NOT NULL,
    body_digest     BLOB NOT NULL CHECK (length(body_digest) = 32),
    token           BLOB,
    key_slot        INTEGER,
    assurance       INTEGER NOT NULL CHECK (assurance IN (1, 2)),
    endorsement     BLOB,
    state           INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
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

INSERT INTO submission_4 (id, receipt, idempotency_key, authority, body, body_digest, token, key_slot, assurance,
                          endorsement, state, received_at, tx_id, block_height, reason)
SELECT id, receipt, idempotency_key, authority, body, body_digest, token, key_slot, assurance,
       endorsement, state, received_at, tx_id, block_height, reason
FROM submission;

DROP TABLE submission;
ALTER TABLE submission_4 RENAME TO submission;

CREATE INDEX submission_to_validate ON submission (authority, id) WHERE state = 0;
CREATE INDEX submission_to_post ON submission (id) WHERE state = 1;

-- A row that is not there, or has another receipt, was not stored or is forgotten: whoever comes this way looks.
CREATE TABLE by_receipt (
    receipt BLOB PRIMARY KEY,
    id      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE by_body (
    body_digest     BLOB NOT NULL,
    idempotency_key BLOB NOT NULL,
    id              INTEGER NOT NULL,
    PRIMARY KEY (body_digest, idempotency_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE indexed (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    through INTEGER NOT NULL
) STRICT;

INSERT INTO by_receipt (receipt, id) SELECT receipt, id FROM submission ORDER BY receipt;
INSERT INTO by_body (body_digest, idempotency_key, id)
SELECT body_digest, idempotency_key, id FROM submission ORDER BY body_digest, idempotency_key;
INSERT INTO indexed (one, through) SELECT 1, coalesce(max(id), 0) FROM submission;

-- One row: the network that all of these submissions are for. In another they would be judged by other authorities.
CREATE TABLE network (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  bytea   NOT NULL CHECK (octet_length(id) = 32)
);

-- Aggregators that share this database. Rows are never deleted: a row of submission may name them.
CREATE TABLE aggregator (
    id          integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Random, from the file `instance` in the aggregator's folder.
    instance    bytea       NOT NULL UNIQUE CHECK (octet_length(instance) = 16),
    -- Random, of its present process: another one with a copy of the folder is noticed.
    session     bytea       NOT NULL CHECK (octet_length(session) = 16),
    -- After this, others take its work over.
    alive_until timestamptz NOT NULL
) WITH (fillfactor = 20);

-- One row a submission, from intake to its end.
--
-- state: 0 received, 1 validated, 2 confirmed, 3 rejected (pipeline/state.rs).
-- token: sealed token and binding (store/token.rs); it goes, and the request id with it, in the transaction
-- that stores a verdict.
-- assurance: 1 attested (version 1 token), 2 endorsed (version 2). Of a confirmed row: that of its record, at least.
-- endorsement: key_id, signature; stored with the verdict, gone with the record, since the registry has it then.
-- owner: the aggregator that works on it.
CREATE TABLE submission (
    id              bigint   GENERATED ALWAYS AS IDENTITY,
    owner           integer  NOT NULL,
    receipt         bytea    PRIMARY KEY CHECK (octet_length(receipt) = 16),
    idempotency_key bytea    NOT NULL UNIQUE CHECK (octet_length(idempotency_key) = 32),
    request_id      bytea    CHECK (octet_length(request_id) = 16),
    authority       text     NOT NULL,
    body            bytea    NOT NULL,
    body_digest     bytea    NOT NULL CHECK (octet_length(body_digest) = 32),
    token           bytea,
    assurance       smallint NOT NULL CHECK (assurance IN (1, 2)),
    endorsement     bytea,
    state           smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3),
    received_at     bigint   NOT NULL,
    tx_id           bigint,
    block_height    bigint,
    reason          text,
    CHECK ((state = 0) = (token IS NOT NULL)),
    CHECK ((state = 0) = (request_id IS NOT NULL)),
    CHECK ((endorsement IS NOT NULL) = (state = 1 AND assurance = 2)),
    CHECK ((state = 2) = (tx_id IS NOT NULL)),
    CHECK ((state = 2) = (block_height IS NOT NULL)),
    CHECK ((state = 3) = (reason IS NOT NULL))
);

-- For moves. Hashed, because an ordered index would serve "the first of those that wait" as well, and the planner,
-- counting by yesterday's statistics, would then read past every finished row to find them.
CREATE INDEX submission_id ON submission USING hash (id);

-- The two queues. Partial, so that finished rows cost them nothing.
CREATE INDEX submission_to_validate ON submission (owner, authority, id) WHERE state = 0;
CREATE INDEX submission_to_post ON submission (owner, id) WHERE state = 1;

-- Which bodies are on record. Not unique: two tokens may have vouched for one body.
CREATE INDEX submission_recorded ON submission (body_digest) WHERE state = 2;

-- For forgetting what ended long ago.
CREATE INDEX submission_ended ON submission (received_at) WHERE state >= 2;

-- Queues of rows that come and go: most of both is dead rows soon.
ALTER TABLE submission SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);

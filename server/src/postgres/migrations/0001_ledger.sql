-- The ledger of all replicas. The columns of `records` are those of the local ledger (SQLite), so that a report is the
-- same question to both: what is filtered, grouped and summed has a column, and `record` holds all of it, as the
-- message tollgate.v1.UsageRecord. Text is compared by its bytes, as there.

-- The order in which records were committed: batches take turns, so that whoever has read up to a number has missed none
-- below it.
CREATE SEQUENCE tollgate.records_seq AS BIGINT;

-- One partition for each month (UTC), made ahead; retention drops them whole.
CREATE TABLE tollgate.records (
    seq BIGINT NOT NULL DEFAULT nextval('tollgate.records_seq'),
    id UUID NOT NULL,
    create_ms BIGINT NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    requested_model TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    operation TEXT COLLATE "C" NOT NULL,
    surface TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    error_reason TEXT COLLATE "C" NOT NULL,
    streamed BIGINT NOT NULL,
    cache_status BIGINT NOT NULL,
    recovered BIGINT NOT NULL,
    source BIGINT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read BIGINT,
    cache_write BIGINT,
    reasoning BIGINT,
    cost_nanos BIGINT,
    saved_nanos BIGINT,
    price_version TEXT COLLATE "C",
    estimated BIGINT,
    unpriced BIGINT NOT NULL,
    tags JSONB,
    record BYTEA NOT NULL,
    PRIMARY KEY (id, create_ms)
) PARTITION BY RANGE (create_ms);
CREATE INDEX records_seq ON tollgate.records (seq);
CREATE INDEX records_time ON tollgate.records (create_ms, seq);
CREATE INDEX records_key_time ON tollgate.records (key_id, create_ms, seq);

-- Sums by hour, made in the transaction that inserts the records. They are kept when the records go.
CREATE TABLE tollgate.rollups (
    hour_ms BIGINT NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    requested_model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    surface TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    calls BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    source_min BIGINT,
    source_max BIGINT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read BIGINT,
    cache_write BIGINT,
    reasoning BIGINT,
    cost_nanos BIGINT,
    saved_nanos BIGINT,
    version_min TEXT COLLATE "C",
    version_max TEXT COLLATE "C",
    estimated BIGINT,
    PRIMARY KEY (hour_ms, key_id, team_id, requested_model, provider, target, surface, status)
);

-- Up to which number of its own each replica's records are here, written in the transaction that inserts them.
CREATE TABLE tollgate.replicas (
    id UUID PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    shipped_seq BIGINT NOT NULL,
    ship_time TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- The ledger of all replicas. Tables and columns are those of the local ledger (SQLite), so that a report is the same
-- question to both: what is filtered, grouped and summed has a column, and `record` holds all of it, as the message
-- tollgate.v1.UsageRecord. Text is compared by its bytes, as there.

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
CREATE INDEX records_seq_order ON tollgate.records (seq);
CREATE INDEX records_time ON tollgate.records (create_ms, seq);
CREATE INDEX records_key_time ON tollgate.records (key_id, create_ms, seq);

-- Up to which number of its own each replica's records are here, written in the transaction that inserts them.
CREATE TABLE tollgate.replicas (
    id UUID PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    shipped_seq BIGINT NOT NULL,
    ship_time TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- Sums of the records up to `rolled.seq`, by hour; there may be several rows of one hour and group. All sums are kept when
-- records go.
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
    estimated BIGINT
);
CREATE INDEX rollups_time ON tollgate.rollups (hour_ms);
CREATE TABLE tollgate.rolled (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), seq BIGINT NOT NULL);
INSERT INTO tollgate.rolled VALUES (1, 0);

-- Sums of the records up to `totalled.seq`, by day (level 1) and month (level 2): one row for each group. `tag_gaps` says
-- from which day on a tag has none for the rest of the month; the tag '' is all of them.
CREATE TABLE tollgate.totals (
    level BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    requested_model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    surface TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    calls BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read BIGINT,
    cache_write BIGINT,
    reasoning BIGINT,
    cost_nanos BIGINT,
    saved_nanos BIGINT,
    source_min BIGINT,
    source_max BIGINT,
    version_min TEXT COLLATE "C",
    version_max TEXT COLLATE "C",
    estimated BIGINT,
    PRIMARY KEY (level, start_ms, team_id, requested_model, provider, key_id, target, surface, status)
);
CREATE TABLE tollgate.tag_totals (
    tag TEXT COLLATE "C" NOT NULL,
    level BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    requested_model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    calls BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read BIGINT,
    cache_write BIGINT,
    reasoning BIGINT,
    cost_nanos BIGINT,
    saved_nanos BIGINT,
    source_min BIGINT,
    source_max BIGINT,
    version_min TEXT COLLATE "C",
    version_max TEXT COLLATE "C",
    estimated BIGINT,
    PRIMARY KEY (tag, level, start_ms, team_id, requested_model, provider, value)
);
CREATE TABLE tollgate.tag_gaps (
    tag TEXT COLLATE "C" NOT NULL,
    month_ms BIGINT NOT NULL,
    since_ms BIGINT NOT NULL,
    PRIMARY KEY (tag, month_ms)
);
CREATE TABLE tollgate.totalled (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), seq BIGINT NOT NULL);
INSERT INTO tollgate.totalled VALUES (1, 0);

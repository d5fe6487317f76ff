-- Keys, teams, and what operators changed of their limits, for all replicas. The columns are those of SQLite, so that the
-- same statements serve both. Holds keyed hashes, never keys. Text is compared by its bytes.

CREATE TABLE tollgate.auth_meta (
    name TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE tollgate.keys (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order of the list: changes take turns
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT COLLATE "C" NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    old_hash BYTEA,
    old_expire_time BIGINT, -- all times but the last use: microseconds since 1970
    hint TEXT NOT NULL,
    team_id TEXT COLLATE "C" NOT NULL,
    scopes TEXT NOT NULL, -- JSON, as the next three
    allowed_models TEXT NOT NULL,
    limits TEXT NOT NULL,
    default_tags TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    expire_time BIGINT,
    last_use_time BIGINT NOT NULL, -- seconds since 1970; 0: never
    disabled BOOLEAN NOT NULL,
    revoke_time BIGINT,
    created_by TEXT NOT NULL,
    declared BOOLEAN NOT NULL,
    version BIGINT NOT NULL,
    priority TEXT NOT NULL DEFAULT 'normal'
);
CREATE INDEX keys_by_name ON tollgate.keys (name);
CREATE INDEX keys_by_team ON tollgate.keys (team_id, seq);

CREATE TABLE tollgate.key_requests (
    caller_id TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL,
    nonce BYTEA NOT NULL, -- gives the secret again, together with the pepper
    key BYTEA NOT NULL,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (caller_id, request_id)
);

CREATE TABLE tollgate.teams (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT NOT NULL,
    parent_id TEXT COLLATE "C" NOT NULL,
    allowed_models TEXT NOT NULL, -- JSON, as the next two
    limits TEXT NOT NULL,
    default_key_limits TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    disabled BOOLEAN NOT NULL,
    created_by TEXT NOT NULL,
    declared BOOLEAN NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX teams_by_parent ON tollgate.teams (parent_id);

CREATE TABLE tollgate.adjustments (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order of the list
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    create_time BIGINT NOT NULL,
    kind TEXT NOT NULL, -- top_up, reset_at, or reset of earlier versions
    subject TEXT COLLATE "C" NOT NULL,
    metric TEXT NOT NULL,
    period TEXT NOT NULL,
    amount BIGINT NOT NULL,
    used TEXT NOT NULL, -- JSON: what each counter had come to (reset_at) or was set back by (reset)
    end_time BIGINT, -- of the window that it holds for; absent: for ever
    created_by TEXT COLLATE "C" NOT NULL,
    reason TEXT NOT NULL,
    request_id TEXT COLLATE "C"
);
CREATE UNIQUE INDEX adjustments_by_request ON tollgate.adjustments (created_by, request_id);
CREATE INDEX adjustments_by_subject ON tollgate.adjustments (subject, seq);

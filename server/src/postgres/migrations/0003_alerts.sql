-- Which alerts were made and which were delivered, for all replicas: each is told once, by one of them.
CREATE TABLE tollgate.alerts (
    id TEXT COLLATE "C" PRIMARY KEY,
    destination TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    make_time TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    holder UUID NOT NULL, -- the process that delivers it
    held_until TIMESTAMPTZ NOT NULL, -- then another may take it over
    done_time TIMESTAMPTZ
);
CREATE INDEX alerts_waiting ON tollgate.alerts (destination) WHERE done_time IS NULL;

-- A key that is not known on a replica is looked for by its secret, also by one that a rotation replaced.
CREATE INDEX keys_by_old_hash ON tollgate.keys (old_hash) WHERE old_hash IS NOT NULL;

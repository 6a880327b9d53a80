-- Calibration by measuring, and pools that grow with what waits.

-- +goose Up

-- The last run for a model on a spec with an engine, and what the last one that succeeded
-- has found.
CREATE TABLE calibrations (
    id         TEXT PRIMARY KEY,
    model_name TEXT NOT NULL,
    spec_name  TEXT NOT NULL,
    engine     TEXT NOT NULL,
    spec       TEXT NOT NULL, -- JSON
    status     TEXT NOT NULL,
    reason     TEXT NOT NULL,
    budget     INTEGER NOT NULL, -- nanoseconds
    node_id    TEXT NOT NULL,
    nonce      TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    start_time INTEGER NOT NULL, -- clock ticks since boot, as the kernel says it
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    found      TEXT NOT NULL, -- JSON
    UNIQUE (model_name, spec_name, engine)
) STRICT;

-- A calibration holds hardware without being a replica.
CREATE TABLE holds_new (
    id             TEXT PRIMARY KEY,
    node_id        TEXT NOT NULL REFERENCES nodes (id) DEFERRABLE INITIALLY DEFERRED,
    replica_id     TEXT UNIQUE REFERENCES replicas (id) DEFERRABLE INITIALLY DEFERRED,
    deployment_id  TEXT REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    pool_id        TEXT REFERENCES pools (id) DEFERRABLE INITIALLY DEFERRED,
    calibration_id TEXT UNIQUE REFERENCES calibrations (id) DEFERRABLE INITIALLY DEFERRED,
    threads        INTEGER NOT NULL,
    memory_bytes   INTEGER NOT NULL,
    accelerators   INTEGER NOT NULL,
    gpus           TEXT NOT NULL -- JSON
) STRICT;

INSERT INTO holds_new (id, node_id, replica_id, deployment_id, pool_id, threads, memory_bytes, accelerators, gpus)
    SELECT id, node_id, replica_id, deployment_id, pool_id, threads, memory_bytes, accelerators, gpus FROM holds;
DROP TABLE holds;
ALTER TABLE holds_new RENAME TO holds;

CREATE INDEX holds_by_pool ON holds (pool_id);
CREATE INDEX holds_of_deployment ON holds (deployment_id);
CREATE INDEX holds_with_accelerators ON holds (node_id) WHERE accelerators > 0;

-- What a pool has grown to beyond what was sold, and by which figures its members' loads
-- were written.
ALTER TABLE pools ADD COLUMN grown_base INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pools ADD COLUMN grown_lora INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pools ADD COLUMN rated_by TEXT NOT NULL DEFAULT '';

-- Whether a model's plans are those of its kind, to which ptu comes with a calibration.
ALTER TABLE models ADD COLUMN plans_by_kind INTEGER NOT NULL DEFAULT 0;
UPDATE models SET plans_by_kind = 1 WHERE kind = 'base' AND plans = '["mu"]';

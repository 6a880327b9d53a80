-- +goose Up

-- What the holds on a node take together, so that a purchase need not add them up.
ALTER TABLE nodes ADD COLUMN held_threads INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN held_memory_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN held_accelerators INTEGER NOT NULL DEFAULT 0;

UPDATE nodes SET
    held_threads = (SELECT COALESCE(SUM(threads), 0) FROM holds WHERE node_id = nodes.id),
    held_memory_bytes = (SELECT COALESCE(SUM(memory_bytes), 0) FROM holds WHERE node_id = nodes.id),
    held_accelerators = (SELECT COALESCE(SUM(accelerators), 0) FROM holds WHERE node_id = nodes.id);

CREATE INDEX holds_with_accelerators ON holds (node_id) WHERE accelerators > 0;

-- Which owners a routing version changed, newest last; rows up to routing.forgotten are
-- gone. The routing row is written by one transaction at a time, so versions are in the
-- order of commits.
CREATE TABLE changes (
    version INTEGER NOT NULL,
    noun    TEXT NOT NULL,
    id      TEXT NOT NULL,
    PRIMARY KEY (version, noun, id)
) STRICT, WITHOUT ROWID;

ALTER TABLE routing ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;

UPDATE routing SET forgotten = version;

CREATE INDEX deployments_by_model ON deployments (model_name) WHERE deleted_at = 0;
CREATE INDEX deployments_by_base_model ON deployments (base_model) WHERE deleted_at = 0;
CREATE INDEX deployments_by_pool ON deployments (pool_id) WHERE deleted_at = 0;

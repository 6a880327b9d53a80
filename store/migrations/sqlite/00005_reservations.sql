-- Throughput of ptu deployments is bought in instances that are scaled, renewed and
-- released by themselves.

-- +goose Up

ALTER TABLE deployments ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN kept TEXT NOT NULL DEFAULT '{}'; -- JSON
ALTER TABLE deployments ADD COLUMN service_tier TEXT NOT NULL DEFAULT '';
ALTER TABLE deployments ADD COLUMN prepaid TEXT NOT NULL DEFAULT '{}'; -- JSON

UPDATE deployments SET service_tier = 'ptu_fast' WHERE plan = 'ptu';

-- Released instances keep their row for ever, as their deployments do.
CREATE TABLE capacity_instances (
    id            TEXT PRIMARY KEY,
    deployment_id TEXT NOT NULL REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    charge_type   TEXT NOT NULL,
    status        TEXT NOT NULL,
    effective     TEXT NOT NULL, -- JSON
    configured    TEXT NOT NULL, -- JSON
    target        TEXT NOT NULL, -- JSON
    terms         TEXT NOT NULL, -- JSON
    effective_at  INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    reason        TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    modified_at   INTEGER NOT NULL,
    deleted_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX capacity_instances_by_deployment ON capacity_instances (deployment_id, created_at, id);
CREATE INDEX capacity_instances_due ON capacity_instances (due_at) WHERE due_at <> 0;

CREATE TABLE capacity_operations (
    id            TEXT PRIMARY KEY,
    deployment_id TEXT NOT NULL REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    instance_id   TEXT NOT NULL REFERENCES capacity_instances (id) DEFERRABLE INITIALLY DEFERRED,
    request_id    TEXT NOT NULL,
    fingerprint   TEXT NOT NULL,
    type          TEXT NOT NULL,
    status        TEXT NOT NULL,
    from_status   TEXT NOT NULL,
    to_status     TEXT NOT NULL,
    error_code    TEXT NOT NULL,
    error_message TEXT NOT NULL,
    target        TEXT NOT NULL, -- JSON
    terms         TEXT NOT NULL, -- JSON
    charge        TEXT NOT NULL, -- JSON
    created_at    INTEGER NOT NULL,
    finished_at   INTEGER NOT NULL
) STRICT;

-- The same request begins one operation at most.
CREATE UNIQUE INDEX capacity_operations_by_request ON capacity_operations (deployment_id, request_id) WHERE request_id <> '';
CREATE INDEX capacity_operations_under_way ON capacity_operations (deployment_id, created_at, id) WHERE status = 'PROCESSING';

-- Times are integers: nanoseconds since 1970 in UTC, 0 = the zero time. Booleans are
-- 0 and 1. Columns that say JSON hold values that are never queried. A reference that
-- may be absent is NULL. References are checked at the commit, so that one transaction
-- may write its rows in any order.

-- +goose Up

CREATE TABLE accounts (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    currency  TEXT NOT NULL,
    time_zone TEXT NOT NULL
) STRICT;

CREATE TABLE workspaces (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) DEFERRABLE INITIALLY DEFERRED,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
    id           TEXT PRIMARY KEY,
    workspace_id TEXT REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    role         TEXT NOT NULL,
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE,
    hint         TEXT NOT NULL,
    deployments  TEXT NOT NULL, -- JSON
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    revoked_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX keys_by_workspace ON keys (workspace_id, created_at, id);

CREATE TABLE models (
    name                   TEXT PRIMARY KEY,
    kind                   TEXT NOT NULL,
    workspace_id           TEXT REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    base                   TEXT NOT NULL,
    engine                 TEXT NOT NULL,
    file                   TEXT NOT NULL, -- JSON
    url                    TEXT NOT NULL,
    remote_name            TEXT NOT NULL,
    sealed_key             BLOB,
    plans                  TEXT NOT NULL, -- JSON
    specs                  TEXT NOT NULL, -- JSON
    pool_spec              TEXT NOT NULL,
    pool_min               INTEGER NOT NULL,
    pool_max               INTEGER NOT NULL,
    calibration_input_tpm  INTEGER NOT NULL,
    calibration_output_tpm INTEGER NOT NULL,
    calibration_declared   INTEGER NOT NULL,
    thinking               TEXT NOT NULL,
    context_length         INTEGER NOT NULL,
    stand_in               INTEGER NOT NULL,
    description            TEXT NOT NULL,
    configured             INTEGER NOT NULL,
    created_at             INTEGER NOT NULL
) STRICT;

CREATE TABLE nodes (
    id           TEXT PRIMARY KEY,
    threads      INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL,
    accelerators INTEGER NOT NULL,
    gpus         TEXT NOT NULL, -- JSON
    online       INTEGER NOT NULL,
    version      INTEGER NOT NULL
) STRICT;

CREATE TABLE pools (
    id         TEXT PRIMARY KEY,
    key        TEXT NOT NULL UNIQUE,
    model_name TEXT NOT NULL,
    engine     TEXT NOT NULL,
    spec       TEXT NOT NULL, -- JSON
    max        INTEGER NOT NULL,
    min        INTEGER NOT NULL,
    idle_since INTEGER NOT NULL,
    grew_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- A tombstone keeps its row for ever, so it refers to nothing that may go away: neither
-- its model nor its pool is a foreign key.
CREATE TABLE deployments (
    id                 TEXT PRIMARY KEY,
    deployed_model     TEXT NOT NULL,
    display_name       TEXT NOT NULL,
    workspace_id       TEXT NOT NULL REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    model_name         TEXT NOT NULL,
    base_model         TEXT NOT NULL,
    plan               TEXT NOT NULL,
    suffix             TEXT NOT NULL,
    status             TEXT NOT NULL,
    reason             TEXT NOT NULL,
    capacity           INTEGER NOT NULL,
    base_capacity      INTEGER NOT NULL,
    ready_capacity     INTEGER NOT NULL,
    spec               TEXT NOT NULL, -- JSON
    input_tpm          INTEGER NOT NULL,
    output_tpm         INTEGER NOT NULL,
    thinking_tpm       INTEGER NOT NULL,
    overflow           TEXT NOT NULL,
    pool_id            TEXT NOT NULL,
    enable_thinking    INTEGER, -- NULL: each call decides
    max_context_length INTEGER NOT NULL,
    rpm_limit          INTEGER NOT NULL,
    tpm_limit          INTEGER NOT NULL,
    charge_type        TEXT NOT NULL,
    creator            TEXT NOT NULL,
    modifier           TEXT NOT NULL,
    created_at         INTEGER NOT NULL,
    modified_at        INTEGER NOT NULL,
    deleted_at         INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX deployments_live_name ON deployments (deployed_model) WHERE deleted_at = 0;
CREATE INDEX deployments_newest ON deployments (created_at DESC, deployed_model) WHERE deleted_at = 0;
CREATE INDEX deployments_newest_of_workspace ON deployments (workspace_id, created_at DESC, deployed_model) WHERE deleted_at = 0;
CREATE INDEX deployments_tombstones ON deployments (workspace_id, deployed_model) WHERE deleted_at <> 0;

CREATE TABLE members (
    deployment_id  TEXT PRIMARY KEY REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    pool_id        TEXT NOT NULL REFERENCES pools (id) DEFERRABLE INITIALLY DEFERRED,
    plan           TEXT NOT NULL,
    load_ppm       INTEGER NOT NULL,
    adapter_digest TEXT NOT NULL,
    adapter_path   TEXT NOT NULL
) STRICT;

CREATE INDEX members_by_pool ON members (pool_id, deployment_id);

CREATE TABLE replicas (
    id            TEXT PRIMARY KEY,
    deployment_id TEXT REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    pool_id       TEXT REFERENCES pools (id) DEFERRABLE INITIALLY DEFERRED,
    node_id       TEXT REFERENCES nodes (id) DEFERRABLE INITIALLY DEFERRED,
    lane          TEXT NOT NULL,
    engine        TEXT NOT NULL,
    model_name    TEXT NOT NULL,
    spec          TEXT NOT NULL, -- JSON
    adapters      TEXT NOT NULL, -- JSON
    state         TEXT NOT NULL,
    reason        TEXT NOT NULL,
    nonce         TEXT NOT NULL,
    pid           INTEGER NOT NULL,
    start_time    INTEGER NOT NULL, -- clock ticks since boot, as the kernel says it
    url           TEXT NOT NULL,
    failures      TEXT NOT NULL, -- JSON
    restart_at    INTEGER NOT NULL,
    started_at    INTEGER NOT NULL,
    ready_at      INTEGER NOT NULL,
    drain_from    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX replicas_by_deployment ON replicas (deployment_id, created_at, id);
CREATE INDEX replicas_by_pool ON replicas (pool_id, created_at, id);

CREATE TABLE holds (
    id            TEXT PRIMARY KEY,
    node_id       TEXT NOT NULL REFERENCES nodes (id) DEFERRABLE INITIALLY DEFERRED,
    replica_id    TEXT NOT NULL UNIQUE REFERENCES replicas (id) DEFERRABLE INITIALLY DEFERRED,
    deployment_id TEXT REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    pool_id       TEXT REFERENCES pools (id) DEFERRABLE INITIALLY DEFERRED,
    threads       INTEGER NOT NULL,
    memory_bytes  INTEGER NOT NULL,
    accelerators  INTEGER NOT NULL,
    gpus          TEXT NOT NULL -- JSON
) STRICT;

CREATE INDEX holds_by_pool ON holds (pool_id);

CREATE TABLE events (
    id             TEXT PRIMARY KEY,
    deployment_id  TEXT NOT NULL REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    at             INTEGER NOT NULL,
    status         TEXT NOT NULL,
    capacity       INTEGER NOT NULL,
    ready_capacity INTEGER NOT NULL,
    reason         TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_deployment ON events (deployment_id, id);

-- Audits and usage are facts about the past: they refer to nothing, so that nothing can
-- keep them from being written.
CREATE TABLE audits (
    id           TEXT PRIMARY KEY,
    at           INTEGER NOT NULL,
    key_id       TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    action       TEXT NOT NULL,
    target       TEXT NOT NULL
) STRICT;

-- Ids are in order of time, so clustering by them appends.
CREATE TABLE usage (
    id              TEXT PRIMARY KEY,
    call_id         TEXT NOT NULL,
    workspace_id    TEXT NOT NULL,
    key_id          TEXT NOT NULL,
    deployment_id   TEXT NOT NULL,
    deployed_model  TEXT NOT NULL,
    model_name      TEXT NOT NULL,
    plan            TEXT NOT NULL,
    class           TEXT NOT NULL,
    replica_id      TEXT NOT NULL,
    started_at      INTEGER NOT NULL,
    first_token_at  INTEGER NOT NULL,
    ended_at        INTEGER NOT NULL,
    input_tokens    INTEGER NOT NULL,
    cached_tokens   INTEGER NOT NULL,
    output_tokens   INTEGER NOT NULL,
    thinking_tokens INTEGER NOT NULL,
    billable        INTEGER NOT NULL,
    ended_by        TEXT NOT NULL,
    http_status     INTEGER NOT NULL,
    source          TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_by_time ON usage (started_at);
CREATE INDEX usage_by_workspace_and_time ON usage (workspace_id, started_at);
CREATE INDEX usage_of_workspace ON usage (workspace_id, id);

-- One row: the version that the gateway must have taken.
CREATE TABLE routing (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL
) STRICT;

INSERT INTO routing (id, version) VALUES (1, 0);

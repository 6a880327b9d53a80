-- The schema that SQLite's migrations 1 to 22 make; from 23 on both folders have the same
-- numbers. Times are BIGINT: nanoseconds since 1970 in UTC, 0 = the zero time. Columns that
-- say JSON hold values that are never queried. A reference that may be absent is NULL, and
-- references are checked at the commit. Text is compared and ordered by its bytes, as
-- SQLite does, whatever the database's own collation is.

-- +goose Up

CREATE TABLE accounts (
    id        TEXT COLLATE "C" PRIMARY KEY,
    name      TEXT COLLATE "C" NOT NULL,
    currency  TEXT COLLATE "C" NOT NULL,
    time_zone TEXT COLLATE "C" NOT NULL
);

CREATE TABLE workspaces (
    id               TEXT COLLATE "C" PRIMARY KEY,
    account_id       TEXT COLLATE "C" NOT NULL REFERENCES accounts (id) DEFERRABLE INITIALLY DEFERRED,
    name             TEXT COLLATE "C" NOT NULL,
    created_at       BIGINT NOT NULL,
    models           TEXT COLLATE "C" NOT NULL, -- JSON; null: any
    threads_max      BIGINT NOT NULL,           -- 0 in a quota: no bound
    memory_bytes_max BIGINT NOT NULL,
    accelerators_max BIGINT NOT NULL,
    deployments_max  BIGINT NOT NULL,
    deleted_at       BIGINT NOT NULL
);

CREATE TABLE keys (
    id           TEXT COLLATE "C" PRIMARY KEY,
    workspace_id TEXT COLLATE "C" REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    role         TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    hash         BYTEA NOT NULL UNIQUE,
    hint         TEXT COLLATE "C" NOT NULL,
    deployments  TEXT COLLATE "C" NOT NULL, -- JSON
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT NOT NULL,
    parent_id    TEXT COLLATE "C" REFERENCES keys (id) DEFERRABLE INITIALLY DEFERRED
);

CREATE INDEX keys_by_workspace ON keys (workspace_id, created_at, id);
CREATE INDEX keys_of_parent ON keys (parent_id, expires_at) WHERE parent_id IS NOT NULL;

CREATE TABLE models (
    name                   TEXT COLLATE "C" PRIMARY KEY,
    kind                   TEXT COLLATE "C" NOT NULL,
    workspace_id           TEXT COLLATE "C" REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    base                   TEXT COLLATE "C" NOT NULL,
    engine                 TEXT COLLATE "C" NOT NULL,
    file                   TEXT COLLATE "C" NOT NULL, -- JSON
    url                    TEXT COLLATE "C" NOT NULL,
    remote_name            TEXT COLLATE "C" NOT NULL,
    sealed_key             BYTEA,
    plans                  TEXT COLLATE "C" NOT NULL, -- JSON
    specs                  TEXT COLLATE "C" NOT NULL, -- JSON
    pool_spec              TEXT COLLATE "C" NOT NULL,
    pool_min               BIGINT NOT NULL,
    pool_max               BIGINT NOT NULL,
    calibration_input_tpm  BIGINT NOT NULL,
    calibration_output_tpm BIGINT NOT NULL,
    calibration_declared   BOOLEAN NOT NULL,
    thinking               TEXT COLLATE "C" NOT NULL,
    context_length         BIGINT NOT NULL,
    stand_in               BOOLEAN NOT NULL,
    description            TEXT COLLATE "C" NOT NULL,
    configured             BOOLEAN NOT NULL,
    created_at             BIGINT NOT NULL,
    plans_by_kind          BOOLEAN NOT NULL,
    args                   TEXT COLLATE "C" NOT NULL, -- JSON
    ptu                    TEXT COLLATE "C" NOT NULL  -- JSON
);

CREATE TABLE nodes (
    id                TEXT COLLATE "C" PRIMARY KEY,
    threads           BIGINT NOT NULL,
    memory_bytes      BIGINT NOT NULL,
    accelerators      BIGINT NOT NULL,
    gpus              TEXT COLLATE "C" NOT NULL, -- JSON
    online            BOOLEAN NOT NULL,
    version           BIGINT NOT NULL,
    held_threads      BIGINT NOT NULL,
    held_memory_bytes BIGINT NOT NULL,
    held_accelerators BIGINT NOT NULL
);

CREATE TABLE pools (
    id         TEXT COLLATE "C" PRIMARY KEY,
    key        TEXT COLLATE "C" NOT NULL UNIQUE,
    model_name TEXT COLLATE "C" NOT NULL,
    engine     TEXT COLLATE "C" NOT NULL,
    spec       TEXT COLLATE "C" NOT NULL, -- JSON
    max        BIGINT NOT NULL,
    min        BIGINT NOT NULL,
    idle_since BIGINT NOT NULL,
    grew_at    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    grown_base BIGINT NOT NULL,
    grown_lora BIGINT NOT NULL,
    rated_by   TEXT COLLATE "C" NOT NULL
);

-- A tombstone keeps its row for ever, so it refers to nothing that may go away: neither
-- its model nor its pool is a foreign key.
CREATE TABLE deployments (
    id                 TEXT COLLATE "C" PRIMARY KEY,
    deployed_model     TEXT COLLATE "C" NOT NULL,
    display_name       TEXT COLLATE "C" NOT NULL,
    workspace_id       TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    model_name         TEXT COLLATE "C" NOT NULL,
    base_model         TEXT COLLATE "C" NOT NULL,
    plan               TEXT COLLATE "C" NOT NULL,
    suffix             TEXT COLLATE "C" NOT NULL,
    status             TEXT COLLATE "C" NOT NULL,
    reason             TEXT COLLATE "C" NOT NULL,
    capacity           BIGINT NOT NULL,
    base_capacity      BIGINT NOT NULL,
    ready_capacity     BIGINT NOT NULL,
    spec               TEXT COLLATE "C" NOT NULL, -- JSON
    input_tpm          BIGINT NOT NULL,
    output_tpm         BIGINT NOT NULL,
    thinking_tpm       BIGINT NOT NULL,
    overflow           TEXT COLLATE "C" NOT NULL,
    pool_id            TEXT COLLATE "C" NOT NULL,
    enable_thinking    BOOLEAN, -- NULL: each call decides
    max_context_length BIGINT NOT NULL,
    rpm_limit          BIGINT NOT NULL,
    tpm_limit          BIGINT NOT NULL,
    charge_type        TEXT COLLATE "C" NOT NULL,
    creator            TEXT COLLATE "C" NOT NULL,
    modifier           TEXT COLLATE "C" NOT NULL,
    created_at         BIGINT NOT NULL,
    modified_at        BIGINT NOT NULL,
    deleted_at         BIGINT NOT NULL,
    prefill_capacity   BIGINT NOT NULL,
    decode_capacity    BIGINT NOT NULL,
    before             TEXT COLLATE "C" NOT NULL, -- JSON
    reserved           BOOLEAN NOT NULL,
    kept               TEXT COLLATE "C" NOT NULL, -- JSON
    service_tier       TEXT COLLATE "C" NOT NULL,
    prepaid            TEXT COLLATE "C" NOT NULL  -- JSON
);

CREATE UNIQUE INDEX deployments_live_name ON deployments (deployed_model) WHERE deleted_at = 0;
CREATE INDEX deployments_newest ON deployments (created_at DESC, deployed_model) WHERE deleted_at = 0;
CREATE INDEX deployments_newest_of_workspace ON deployments (workspace_id, created_at DESC, deployed_model) WHERE deleted_at = 0;
CREATE INDEX deployments_tombstones ON deployments (workspace_id, deployed_model) WHERE deleted_at <> 0;
CREATE INDEX deployments_by_model ON deployments (model_name) WHERE deleted_at = 0;
CREATE INDEX deployments_by_base_model ON deployments (base_model) WHERE deleted_at = 0;
CREATE INDEX deployments_by_pool ON deployments (pool_id) WHERE deleted_at = 0;
CREATE INDEX deployments_of_pool ON deployments (pool_id, id) WHERE deleted_at = 0 AND pool_id <> '';

CREATE TABLE members (
    deployment_id  TEXT COLLATE "C" PRIMARY KEY REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    pool_id        TEXT COLLATE "C" NOT NULL REFERENCES pools (id) DEFERRABLE INITIALLY DEFERRED,
    plan           TEXT COLLATE "C" NOT NULL,
    load_ppm       BIGINT NOT NULL,
    adapter_digest TEXT COLLATE "C" NOT NULL,
    adapter_path   TEXT COLLATE "C" NOT NULL
);

CREATE INDEX members_by_pool ON members (pool_id, deployment_id);
CREATE INDEX members_sums ON members (pool_id, plan) INCLUDE (adapter_digest, load_ppm);

CREATE TABLE replicas (
    id            TEXT COLLATE "C" PRIMARY KEY,
    deployment_id TEXT COLLATE "C" REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    pool_id       TEXT COLLATE "C" REFERENCES pools (id) DEFERRABLE INITIALLY DEFERRED,
    node_id       TEXT COLLATE "C" REFERENCES nodes (id) DEFERRABLE INITIALLY DEFERRED,
    lane          TEXT COLLATE "C" NOT NULL,
    engine        TEXT COLLATE "C" NOT NULL,
    model_name    TEXT COLLATE "C" NOT NULL,
    spec          TEXT COLLATE "C" NOT NULL, -- JSON
    adapters      TEXT COLLATE "C" NOT NULL, -- JSON
    state         TEXT COLLATE "C" NOT NULL,
    reason        TEXT COLLATE "C" NOT NULL,
    nonce         TEXT COLLATE "C" NOT NULL,
    pid           BIGINT NOT NULL,
    start_time    BIGINT NOT NULL, -- clock ticks since boot, as the kernel says it
    url           TEXT COLLATE "C" NOT NULL,
    failures      TEXT COLLATE "C" NOT NULL, -- JSON
    restart_at    BIGINT NOT NULL,
    started_at    BIGINT NOT NULL,
    ready_at      BIGINT NOT NULL,
    drain_from    BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    proving       TEXT COLLATE "C" NOT NULL -- what the present start is to prove; '' = it takes calls
);

CREATE INDEX replicas_by_deployment ON replicas (deployment_id, created_at, id);
CREATE INDEX replicas_by_pool ON replicas (pool_id, created_at, id);

-- The last run for a model on a spec with an engine, and what the last one that succeeded
-- has found.
CREATE TABLE calibrations (
    id         TEXT COLLATE "C" PRIMARY KEY,
    model_name TEXT COLLATE "C" NOT NULL,
    spec_name  TEXT COLLATE "C" NOT NULL,
    engine     TEXT COLLATE "C" NOT NULL,
    spec       TEXT COLLATE "C" NOT NULL, -- JSON
    status     TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL,
    budget     BIGINT NOT NULL, -- nanoseconds
    node_id    TEXT COLLATE "C" NOT NULL,
    nonce      TEXT COLLATE "C" NOT NULL,
    pid        BIGINT NOT NULL,
    start_time BIGINT NOT NULL, -- clock ticks since boot, as the kernel says it
    started_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL,
    found      TEXT COLLATE "C" NOT NULL, -- JSON
    UNIQUE (model_name, spec_name, engine)
);

CREATE TABLE holds (
    id             TEXT COLLATE "C" PRIMARY KEY,
    node_id        TEXT COLLATE "C" NOT NULL REFERENCES nodes (id) DEFERRABLE INITIALLY DEFERRED,
    replica_id     TEXT COLLATE "C" UNIQUE REFERENCES replicas (id) DEFERRABLE INITIALLY DEFERRED,
    deployment_id  TEXT COLLATE "C" REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    pool_id        TEXT COLLATE "C" REFERENCES pools (id) DEFERRABLE INITIALLY DEFERRED,
    calibration_id TEXT COLLATE "C" UNIQUE REFERENCES calibrations (id) DEFERRABLE INITIALLY DEFERRED,
    threads        BIGINT NOT NULL,
    memory_bytes   BIGINT NOT NULL,
    accelerators   BIGINT NOT NULL,
    gpus           TEXT COLLATE "C" NOT NULL -- JSON
);

CREATE INDEX holds_by_pool ON holds (pool_id);
CREATE INDEX holds_of_deployment ON holds (deployment_id);
CREATE INDEX holds_with_accelerators ON holds (node_id) WHERE accelerators > 0;

CREATE TABLE events (
    id             TEXT COLLATE "C" PRIMARY KEY,
    deployment_id  TEXT COLLATE "C" NOT NULL REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    at             BIGINT NOT NULL,
    status         TEXT COLLATE "C" NOT NULL,
    capacity       BIGINT NOT NULL,
    ready_capacity BIGINT NOT NULL,
    reason         TEXT COLLATE "C" NOT NULL
);

CREATE INDEX events_by_deployment ON events (deployment_id, id);

-- Audits and usage are facts about the past: they refer to nothing, so that nothing can
-- keep them from being written.
CREATE TABLE audits (
    id           TEXT COLLATE "C" PRIMARY KEY,
    at           BIGINT NOT NULL,
    key_id       TEXT COLLATE "C" NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    action       TEXT COLLATE "C" NOT NULL,
    target       TEXT COLLATE "C" NOT NULL
);

CREATE TABLE usage (
    id              TEXT COLLATE "C" PRIMARY KEY,
    call_id         TEXT COLLATE "C" NOT NULL,
    workspace_id    TEXT COLLATE "C" NOT NULL,
    key_id          TEXT COLLATE "C" NOT NULL,
    deployment_id   TEXT COLLATE "C" NOT NULL,
    deployed_model  TEXT COLLATE "C" NOT NULL,
    model_name      TEXT COLLATE "C" NOT NULL,
    plan            TEXT COLLATE "C" NOT NULL,
    class           TEXT COLLATE "C" NOT NULL,
    replica_id      TEXT COLLATE "C" NOT NULL,
    started_at      BIGINT NOT NULL,
    first_token_at  BIGINT NOT NULL,
    ended_at        BIGINT NOT NULL,
    input_tokens    BIGINT NOT NULL,
    cached_tokens   BIGINT NOT NULL,
    output_tokens   BIGINT NOT NULL,
    thinking_tokens BIGINT NOT NULL,
    billable        BOOLEAN NOT NULL,
    ended_by        TEXT COLLATE "C" NOT NULL,
    http_status     BIGINT NOT NULL,
    source          TEXT COLLATE "C" NOT NULL,
    nonce           TEXT COLLATE "C" NOT NULL -- which run of an engine the record is of
);

CREATE INDEX usage_by_time ON usage (started_at);
CREATE INDEX usage_by_workspace_and_time ON usage (workspace_id, started_at);
CREATE INDEX usage_of_workspace ON usage (workspace_id, id);

-- How far the journal of each instance has become records, kept in their transaction.
CREATE TABLE usage_folds (
    instance TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL,
    life     BIGINT NOT NULL
);

-- One row: the version that the gateway must have taken, and up to which one changes are
-- forgotten.
CREATE TABLE routing (
    id        BIGINT PRIMARY KEY CHECK (id = 1),
    version   BIGINT NOT NULL,
    forgotten BIGINT NOT NULL
);

INSERT INTO routing (id, version, forgotten) VALUES (1, 0, 0);

-- Which owners a routing version changed, newest last. The routing row is written by one
-- transaction at a time, so versions are in the order of commits.
CREATE TABLE changes (
    version BIGINT NOT NULL,
    noun    TEXT COLLATE "C" NOT NULL,
    id      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (version, noun, id)
);

-- What a create made, so that a repeat of it makes nothing. Ended ones are removed by the
-- next write of one.
CREATE TABLE receipts (
    workspace_id  TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    name          TEXT COLLATE "C" NOT NULL,
    body          BYTEA NOT NULL, -- SHA-256
    deployment_id TEXT COLLATE "C" NOT NULL REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, name)
);

CREATE INDEX receipts_by_end ON receipts (expires_at);

-- Throughput of ptu deployments is bought in instances. Released ones keep their row for
-- ever, as their deployments do.
CREATE TABLE capacity_instances (
    id            TEXT COLLATE "C" PRIMARY KEY,
    deployment_id TEXT COLLATE "C" NOT NULL REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    charge_type   TEXT COLLATE "C" NOT NULL,
    status        TEXT COLLATE "C" NOT NULL,
    effective     TEXT COLLATE "C" NOT NULL, -- JSON
    configured    TEXT COLLATE "C" NOT NULL, -- JSON
    target        TEXT COLLATE "C" NOT NULL, -- JSON
    terms         TEXT COLLATE "C" NOT NULL, -- JSON
    effective_at  BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    due_at        BIGINT NOT NULL,
    reason        TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL,
    modified_at   BIGINT NOT NULL,
    deleted_at    BIGINT NOT NULL
);

CREATE INDEX capacity_instances_by_deployment ON capacity_instances (deployment_id, created_at, id);
CREATE INDEX capacity_instances_due ON capacity_instances (due_at) WHERE due_at <> 0;

CREATE TABLE capacity_operations (
    id            TEXT COLLATE "C" PRIMARY KEY,
    deployment_id TEXT COLLATE "C" NOT NULL REFERENCES deployments (id) DEFERRABLE INITIALLY DEFERRED,
    instance_id   TEXT COLLATE "C" NOT NULL REFERENCES capacity_instances (id) DEFERRABLE INITIALLY DEFERRED,
    request_id    TEXT COLLATE "C" NOT NULL,
    fingerprint   TEXT COLLATE "C" NOT NULL,
    type          TEXT COLLATE "C" NOT NULL,
    status        TEXT COLLATE "C" NOT NULL,
    from_status   TEXT COLLATE "C" NOT NULL,
    to_status     TEXT COLLATE "C" NOT NULL,
    error_code    TEXT COLLATE "C" NOT NULL,
    error_message TEXT COLLATE "C" NOT NULL,
    target        TEXT COLLATE "C" NOT NULL, -- JSON
    terms         TEXT COLLATE "C" NOT NULL, -- JSON
    charge        TEXT COLLATE "C" NOT NULL, -- JSON
    created_at    BIGINT NOT NULL,
    finished_at   BIGINT NOT NULL
);

-- The same request begins one operation at most.
CREATE UNIQUE INDEX capacity_operations_by_request ON capacity_operations (deployment_id, request_id) WHERE request_id <> '';
CREATE INDEX capacity_operations_under_way ON capacity_operations (deployment_id, created_at, id) WHERE status = 'PROCESSING';

-- Jobs that bring models from object stores. The base and the model to be are no foreign
-- keys: a job tells what happened, also when they are gone.
CREATE TABLE imports (
    id           TEXT COLLATE "C" PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    base_model   TEXT COLLATE "C" NOT NULL,
    model_name   TEXT COLLATE "C" NOT NULL UNIQUE,
    display_name TEXT COLLATE "C" NOT NULL,
    weights      TEXT COLLATE "C" NOT NULL,
    store        TEXT COLLATE "C" NOT NULL,
    prefix       TEXT COLLATE "C" NOT NULL,
    status       TEXT COLLATE "C" NOT NULL,
    reason       TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT NOT NULL,
    started_at   BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL
);

CREATE INDEX imports_newest_of_workspace ON imports (workspace_id, created_at DESC, id);
CREATE INDEX imports_unfinished ON imports (status) WHERE status IN ('PENDING', 'RUNNING');

-- What scratch runs have shown of the adapters of a pool.
CREATE TABLE proofs (
    pool_id  TEXT COLLATE "C" NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
    adapter  TEXT COLLATE "C" NOT NULL, -- a digest, or 'weights'
    proved   BOOLEAN NOT NULL,
    failures BIGINT NOT NULL,
    PRIMARY KEY (pool_id, adapter)
);

-- Files on their way to the server, until a model is made of them.
CREATE TABLE uploads (
    id           TEXT COLLATE "C" PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    files        TEXT COLLATE "C" NOT NULL, -- JSON
    created_at   BIGINT NOT NULL,
    touched_at   BIGINT NOT NULL
);

CREATE INDEX uploads_by_workspace ON uploads (workspace_id, created_at, id);

-- Records of jobs that tuned a model elsewhere. They outlive the model that came of them.
CREATE TABLE fine_tunes (
    id                  TEXT COLLATE "C" PRIMARY KEY,
    workspace_id        TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) DEFERRABLE INITIALLY DEFERRED,
    name                TEXT COLLATE "C" NOT NULL,
    model               TEXT COLLATE "C" NOT NULL,
    output              TEXT COLLATE "C" NOT NULL,
    training_type       TEXT COLLATE "C" NOT NULL,
    training_file_ids   TEXT COLLATE "C" NOT NULL, -- JSON
    validation_file_ids TEXT COLLATE "C" NOT NULL, -- JSON
    hyper_parameters    BYTEA NOT NULL, -- a JSON object, as it was given
    usage_tokens        BIGINT NOT NULL,
    creator             TEXT COLLATE "C" NOT NULL,
    created_at          BIGINT NOT NULL
);

CREATE INDEX fine_tunes_newest_of_workspace ON fine_tunes (workspace_id, created_at DESC, id DESC);

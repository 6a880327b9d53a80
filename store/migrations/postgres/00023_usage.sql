-- Usage records that are cheap to write, and their sums. What many records say alike is
-- kept once: the workspace with the time zone of its account (usage_spaces), whose call of
-- what it was (usage_subjects), and which run of which replica served it (usage_origins).

-- +goose Up

-- One row: the number of the last record, and how often names or boundaries changed in a
-- way that whoever remembers them must know.
CREATE TABLE usage_state (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    seq        BIGINT NOT NULL,
    generation BIGINT NOT NULL
);

INSERT INTO usage_state (id, seq, generation) VALUES (1, 0, 1);

-- kept_from: earlier records have been deleted.
CREATE TABLE usage_spaces (
    id           BIGINT PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL UNIQUE,
    zone         TEXT COLLATE "C" NOT NULL,
    kept_from    BIGINT NOT NULL
);

CREATE TABLE usage_subjects (
    id             BIGINT PRIMARY KEY,
    space          BIGINT NOT NULL REFERENCES usage_spaces (id) DEFERRABLE INITIALLY DEFERRED,
    deployment_id  TEXT COLLATE "C" NOT NULL,
    deployed_model TEXT COLLATE "C" NOT NULL,
    key_id         TEXT COLLATE "C" NOT NULL,
    model_name     TEXT COLLATE "C" NOT NULL,
    plan           TEXT COLLATE "C" NOT NULL,
    class          TEXT COLLATE "C" NOT NULL,
    UNIQUE (space, deployment_id, deployed_model, key_id, model_name, plan, class)
);

CREATE INDEX usage_subjects_of_deployment ON usage_subjects (deployment_id);

-- seen: the last day since 1970 in UTC on which a call of it was admitted.
CREATE TABLE usage_origins (
    id         BIGINT PRIMARY KEY,
    subject    BIGINT NOT NULL REFERENCES usage_subjects (id) DEFERRABLE INITIALLY DEFERRED,
    replica_id TEXT COLLATE "C" NOT NULL,
    nonce      TEXT COLLATE "C" NOT NULL,
    seen       BIGINT NOT NULL,
    UNIQUE (subject, replica_id, nonce)
);

-- What was written before; it is moved when the store is opened, and the table stays empty.
DROP INDEX usage_by_time;
DROP INDEX usage_by_workspace_and_time;
DROP INDEX usage_of_workspace;
ALTER TABLE usage RENAME TO usage_before;

-- seq is the order of writing. The index is the order of admission within a workspace and
-- what keeps a record from being there twice. The numbers of ended_by and source are those
-- of the program (store/usage.go). origin refers to usage_origins, unchecked: it is looked
-- up for every record.
CREATE TABLE usage (
    seq             BIGINT PRIMARY KEY,
    space           BIGINT NOT NULL,
    started_at      BIGINT NOT NULL,
    id              TEXT COLLATE "C" NOT NULL,
    origin          BIGINT NOT NULL,
    call_id         TEXT COLLATE "C" NOT NULL,
    first_token_at  BIGINT NOT NULL,
    ended_at        BIGINT NOT NULL,
    input_tokens    BIGINT NOT NULL,
    cached_tokens   BIGINT NOT NULL,
    output_tokens   BIGINT NOT NULL,
    thinking_tokens BIGINT NOT NULL,
    billable        BOOLEAN NOT NULL,
    ended_by        BIGINT NOT NULL,
    http_status     BIGINT NOT NULL,
    source          BIGINT NOT NULL
);

CREATE UNIQUE INDEX usage_by_admission ON usage (space, started_at, id);

-- Sums of the records of a day in the workspace's zone: apart by the length of the prompt
-- (at least from_tokens, less than the next boundary) and by the change of prices that came
-- last before (epoch; 0: none). They stay when records are deleted.
CREATE TABLE usage_days (
    subject           BIGINT NOT NULL REFERENCES usage_subjects (id) DEFERRABLE INITIALLY DEFERRED,
    day               TEXT COLLATE "C" NOT NULL,
    from_tokens       BIGINT NOT NULL,
    epoch             BIGINT NOT NULL,
    calls             BIGINT NOT NULL,
    input_tokens      BIGINT NOT NULL,
    cached_tokens     BIGINT NOT NULL,
    output_tokens     BIGINT NOT NULL,
    thinking_tokens   BIGINT NOT NULL,
    billable_calls    BIGINT NOT NULL,
    billable_input    BIGINT NOT NULL,
    billable_cached   BIGINT NOT NULL,
    billable_output   BIGINT NOT NULL,
    billable_thinking BIGINT NOT NULL,
    unknown_calls     BIGINT NOT NULL,
    counted_calls     BIGINT NOT NULL,
    PRIMARY KEY (subject, day, from_tokens, epoch)
);

-- The same by hour, as the instant at which the hour of the zone began; kept as long as
-- records.
CREATE TABLE usage_hours (
    subject           BIGINT NOT NULL REFERENCES usage_subjects (id) DEFERRABLE INITIALLY DEFERRED,
    hour              BIGINT NOT NULL,
    calls             BIGINT NOT NULL,
    input_tokens      BIGINT NOT NULL,
    cached_tokens     BIGINT NOT NULL,
    output_tokens     BIGINT NOT NULL,
    thinking_tokens   BIGINT NOT NULL,
    billable_calls    BIGINT NOT NULL,
    billable_input    BIGINT NOT NULL,
    billable_cached   BIGINT NOT NULL,
    billable_output   BIGINT NOT NULL,
    billable_thinking BIGINT NOT NULL,
    unknown_calls     BIGINT NOT NULL,
    counted_calls     BIGINT NOT NULL,
    PRIMARY KEY (subject, hour)
);

-- Sums of what the calls of one run of an engine that ended in an hour of UTC used, to
-- compare with the engine's counters.
CREATE TABLE usage_engines (
    replica_id      TEXT COLLATE "C" NOT NULL,
    nonce           TEXT COLLATE "C" NOT NULL,
    hour            BIGINT NOT NULL,
    class           TEXT COLLATE "C" NOT NULL,
    ended_by        BIGINT NOT NULL,
    source          BIGINT NOT NULL,
    billable        BOOLEAN NOT NULL,
    calls           BIGINT NOT NULL,
    input_tokens    BIGINT NOT NULL,
    cached_tokens   BIGINT NOT NULL,
    output_tokens   BIGINT NOT NULL,
    thinking_tokens BIGINT NOT NULL,
    PRIMARY KEY (replica_id, nonce, hour, class, ended_by, source, billable)
);

CREATE INDEX usage_engines_by_hour ON usage_engines (hour);

-- Days of deployments whose sums changed: version counts the changes, rated is the version
-- that has been charged.
CREATE TABLE usage_changes (
    deployment_id TEXT COLLATE "C" NOT NULL,
    day           TEXT COLLATE "C" NOT NULL,
    version       BIGINT NOT NULL,
    rated         BIGINT NOT NULL,
    PRIMARY KEY (deployment_id, day)
);

CREATE INDEX usage_changes_open ON usage_changes (day, deployment_id) WHERE version <> rated;

-- Sums never mix calls from before and after one of these instants.
CREATE TABLE price_instants (at BIGINT PRIMARY KEY);

-- Nor calls with prompts of fewer and of at least so many tokens. These are the lengths at
-- which the prices of api.md 5.3 and 5.4 change, K read either way.
CREATE TABLE price_lengths (from_tokens BIGINT PRIMARY KEY);

INSERT INTO price_lengths (from_tokens) VALUES (0), (32000), (32768), (128000), (131072), (256000), (262144);

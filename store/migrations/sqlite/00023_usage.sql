-- Usage records that are cheap to write, and their sums. What many records say alike is
-- kept once: the workspace with the time zone of its account (usage_spaces), whose call of
-- what it was (usage_subjects), and which run of which replica served it (usage_origins).

-- +goose Up

-- One row: the number of the last record, and how often names or boundaries changed in a
-- way that whoever remembers them must know.
CREATE TABLE usage_state (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    seq        INTEGER NOT NULL,
    generation INTEGER NOT NULL
) STRICT;

INSERT INTO usage_state (id, seq, generation) VALUES (1, 0, 1);

-- kept_from: earlier records have been deleted.
CREATE TABLE usage_spaces (
    id           INTEGER PRIMARY KEY,
    workspace_id TEXT NOT NULL UNIQUE,
    zone         TEXT NOT NULL,
    kept_from    INTEGER NOT NULL
) STRICT;

CREATE TABLE usage_subjects (
    id             INTEGER PRIMARY KEY,
    space          INTEGER NOT NULL REFERENCES usage_spaces (id),
    deployment_id  TEXT NOT NULL,
    deployed_model TEXT NOT NULL,
    key_id         TEXT NOT NULL,
    model_name     TEXT NOT NULL,
    plan           TEXT NOT NULL,
    class          TEXT NOT NULL,
    UNIQUE (space, deployment_id, deployed_model, key_id, model_name, plan, class)
) STRICT;

CREATE INDEX usage_subjects_of_deployment ON usage_subjects (deployment_id);

-- seen: the last day since 1970 in UTC on which a call of it was admitted.
CREATE TABLE usage_origins (
    id         INTEGER PRIMARY KEY,
    subject    INTEGER NOT NULL REFERENCES usage_subjects (id),
    replica_id TEXT NOT NULL,
    nonce      TEXT NOT NULL,
    seen       INTEGER NOT NULL,
    UNIQUE (subject, replica_id, nonce)
) STRICT;

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
    seq             INTEGER PRIMARY KEY,
    space           INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    id              TEXT NOT NULL,
    origin          INTEGER NOT NULL,
    call_id         TEXT NOT NULL,
    first_token_at  INTEGER NOT NULL,
    ended_at        INTEGER NOT NULL,
    input_tokens    INTEGER NOT NULL,
    cached_tokens   INTEGER NOT NULL,
    output_tokens   INTEGER NOT NULL,
    thinking_tokens INTEGER NOT NULL,
    billable        INTEGER NOT NULL,
    ended_by        INTEGER NOT NULL,
    http_status     INTEGER NOT NULL,
    source          INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX usage_by_admission ON usage (space, started_at, id);

-- Sums of the records of a day in the workspace's zone: apart by the length of the prompt
-- (at least from_tokens, less than the next boundary) and by the change of prices that came
-- last before (epoch; 0: none). They stay when records are deleted.
CREATE TABLE usage_days (
    subject           INTEGER NOT NULL REFERENCES usage_subjects (id),
    day               TEXT NOT NULL,
    from_tokens       INTEGER NOT NULL,
    epoch             INTEGER NOT NULL,
    calls             INTEGER NOT NULL,
    input_tokens      INTEGER NOT NULL,
    cached_tokens     INTEGER NOT NULL,
    output_tokens     INTEGER NOT NULL,
    thinking_tokens   INTEGER NOT NULL,
    billable_calls    INTEGER NOT NULL,
    billable_input    INTEGER NOT NULL,
    billable_cached   INTEGER NOT NULL,
    billable_output   INTEGER NOT NULL,
    billable_thinking INTEGER NOT NULL,
    unknown_calls     INTEGER NOT NULL,
    counted_calls     INTEGER NOT NULL,
    PRIMARY KEY (subject, day, from_tokens, epoch)
) STRICT, WITHOUT ROWID;

-- The same by hour, as the instant at which the hour of the zone began; kept as long as
-- records.
CREATE TABLE usage_hours (
    subject           INTEGER NOT NULL REFERENCES usage_subjects (id),
    hour              INTEGER NOT NULL,
    calls             INTEGER NOT NULL,
    input_tokens      INTEGER NOT NULL,
    cached_tokens     INTEGER NOT NULL,
    output_tokens     INTEGER NOT NULL,
    thinking_tokens   INTEGER NOT NULL,
    billable_calls    INTEGER NOT NULL,
    billable_input    INTEGER NOT NULL,
    billable_cached   INTEGER NOT NULL,
    billable_output   INTEGER NOT NULL,
    billable_thinking INTEGER NOT NULL,
    unknown_calls     INTEGER NOT NULL,
    counted_calls     INTEGER NOT NULL,
    PRIMARY KEY (subject, hour)
) STRICT, WITHOUT ROWID;

-- Sums of what the calls of one run of an engine that ended in an hour of UTC used, to
-- compare with the engine's counters.
CREATE TABLE usage_engines (
    replica_id      TEXT NOT NULL,
    nonce           TEXT NOT NULL,
    hour            INTEGER NOT NULL,
    class           TEXT NOT NULL,
    ended_by        INTEGER NOT NULL,
    source          INTEGER NOT NULL,
    billable        INTEGER NOT NULL,
    calls           INTEGER NOT NULL,
    input_tokens    INTEGER NOT NULL,
    cached_tokens   INTEGER NOT NULL,
    output_tokens   INTEGER NOT NULL,
    thinking_tokens INTEGER NOT NULL,
    PRIMARY KEY (replica_id, nonce, hour, class, ended_by, source, billable)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_engines_by_hour ON usage_engines (hour);

-- Days of deployments whose sums changed: version counts the changes, rated is the version
-- that has been charged.
CREATE TABLE usage_changes (
    deployment_id TEXT NOT NULL,
    day           TEXT NOT NULL,
    version       INTEGER NOT NULL,
    rated         INTEGER NOT NULL,
    PRIMARY KEY (deployment_id, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_changes_open ON usage_changes (day, deployment_id) WHERE version <> rated;

-- Sums never mix calls from before and after one of these instants.
CREATE TABLE price_instants (at INTEGER PRIMARY KEY) STRICT;

-- Nor calls with prompts of fewer and of at least so many tokens. These are the lengths at
-- which the prices of api.md 5.3 and 5.4 change, K read either way.
CREATE TABLE price_lengths (from_tokens INTEGER PRIMARY KEY) STRICT;

INSERT INTO price_lengths (from_tokens) VALUES (0), (32000), (32768), (128000), (131072), (256000), (262144);

-- What engines' counters showed beside what was recorded: the open account of each start
-- of an engine, and its figures by the hour of UTC. They are facts about the past and refer
-- to nothing that may go away.

-- +goose Up

CREATE TABLE engine_accounts (
    replica_id     TEXT NOT NULL,
    nonce          TEXT NOT NULL,
    model_name     TEXT NOT NULL,
    lags           INTEGER NOT NULL,
    began_at       INTEGER NOT NULL,
    read_at        INTEGER NOT NULL,
    read_input     INTEGER NOT NULL,
    read_output    INTEGER NOT NULL,
    balance_input  INTEGER NOT NULL,
    balance_output INTEGER NOT NULL,
    since_input    INTEGER NOT NULL,
    since_output   INTEGER NOT NULL,
    slack          TEXT NOT NULL, -- JSON
    old_slack      TEXT NOT NULL, -- JSON
    turned_at      INTEGER NOT NULL,
    PRIMARY KEY (replica_id, nonce)
) STRICT, WITHOUT ROWID;

CREATE TABLE reconciliations (
    hour               INTEGER NOT NULL,
    replica_id         TEXT NOT NULL,
    nonce              TEXT NOT NULL,
    model_name         TEXT NOT NULL,
    deployed_models    TEXT NOT NULL, -- JSON
    engine_input       INTEGER NOT NULL,
    engine_output      INTEGER NOT NULL,
    recorded_input     INTEGER NOT NULL,
    recorded_output    INTEGER NOT NULL,
    probe_input        INTEGER NOT NULL,
    probe_output       INTEGER NOT NULL,
    unbilled_input     INTEGER NOT NULL,
    unbilled_output    INTEGER NOT NULL,
    explained_input    INTEGER NOT NULL,
    explained_output   INTEGER NOT NULL,
    inexact            INTEGER NOT NULL,
    unread_input       INTEGER NOT NULL,
    unread_output      INTEGER NOT NULL,
    unexplained_input  INTEGER NOT NULL,
    unexplained_output INTEGER NOT NULL,
    PRIMARY KEY (hour, replica_id, nonce)
) STRICT, WITHOUT ROWID;

CREATE INDEX reconciliations_unexplained ON reconciliations (hour) WHERE unexplained_input <> 0 OR unexplained_output <> 0;

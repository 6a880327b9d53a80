-- What engines' counters showed beside what was recorded: the open account of each start
-- of an engine, and its figures by the hour of UTC. They are facts about the past and refer
-- to nothing that may go away.

-- +goose Up

CREATE TABLE engine_accounts (
    replica_id     TEXT COLLATE "C" NOT NULL,
    nonce          TEXT COLLATE "C" NOT NULL,
    model_name     TEXT COLLATE "C" NOT NULL,
    lags           BOOLEAN NOT NULL,
    began_at       BIGINT NOT NULL,
    read_at        BIGINT NOT NULL,
    read_input     BIGINT NOT NULL,
    read_output    BIGINT NOT NULL,
    balance_input  BIGINT NOT NULL,
    balance_output BIGINT NOT NULL,
    since_input    BIGINT NOT NULL,
    since_output   BIGINT NOT NULL,
    slack          TEXT COLLATE "C" NOT NULL, -- JSON
    old_slack      TEXT COLLATE "C" NOT NULL, -- JSON
    turned_at      BIGINT NOT NULL,
    PRIMARY KEY (replica_id, nonce)
);

CREATE TABLE reconciliations (
    hour               BIGINT NOT NULL,
    replica_id         TEXT COLLATE "C" NOT NULL,
    nonce              TEXT COLLATE "C" NOT NULL,
    model_name         TEXT COLLATE "C" NOT NULL,
    deployed_models    TEXT COLLATE "C" NOT NULL, -- JSON
    engine_input       BIGINT NOT NULL,
    engine_output      BIGINT NOT NULL,
    recorded_input     BIGINT NOT NULL,
    recorded_output    BIGINT NOT NULL,
    probe_input        BIGINT NOT NULL,
    probe_output       BIGINT NOT NULL,
    unbilled_input     BIGINT NOT NULL,
    unbilled_output    BIGINT NOT NULL,
    explained_input    BIGINT NOT NULL,
    explained_output   BIGINT NOT NULL,
    inexact            BIGINT NOT NULL,
    unread_input       BIGINT NOT NULL,
    unread_output      BIGINT NOT NULL,
    unexplained_input  BIGINT NOT NULL,
    unexplained_output BIGINT NOT NULL,
    PRIMARY KEY (hour, replica_id, nonce)
);

CREATE INDEX reconciliations_unexplained ON reconciliations (hour) WHERE unexplained_input <> 0 OR unexplained_output <> 0;

-- Prices, the times that deployments are charged for, the lines of statements and a
-- double-entry ledger. Amounts are billionths of the currency beside them. Like usage they
-- are facts about the past and refer to nothing that may go away.

-- +goose Up

ALTER TABLE accounts ADD COLUMN later TEXT NOT NULL DEFAULT 'null'; -- JSON: currencies that follow
ALTER TABLE accounts ADD COLUMN prepaid INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN credit_limit INTEGER; -- NULL: none

CREATE TABLE prices (
    id          TEXT PRIMARY KEY,
    plan        TEXT NOT NULL,
    model       TEXT NOT NULL,
    spec        TEXT NOT NULL,
    dimension   TEXT NOT NULL,
    from_tokens INTEGER NOT NULL,
    nano        INTEGER NOT NULL,
    per         INTEGER NOT NULL,
    currency    TEXT NOT NULL,
    from_at     INTEGER NOT NULL,
    withdrawn   INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    creator     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    id             TEXT PRIMARY KEY,
    account_id     TEXT NOT NULL,
    workspace_id   TEXT NOT NULL,
    deployment_id  TEXT NOT NULL,
    deployed_model TEXT NOT NULL,
    model_name     TEXT NOT NULL,
    base_model     TEXT NOT NULL,
    plan           TEXT NOT NULL,
    spec           TEXT NOT NULL,
    started_at     INTEGER NOT NULL,
    ended_at       INTEGER NOT NULL, -- 0: it goes on
    rated          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX runs_live ON runs (deployment_id) WHERE ended_at = 0;
CREATE INDEX runs_by_deployment ON runs (deployment_id, started_at);
CREATE INDEX runs_unrated ON runs (id) WHERE NOT rated;

CREATE TABLE run_steps (
    run_id       TEXT NOT NULL REFERENCES runs (id) DEFERRABLE INITIALLY DEFERRED,
    at           INTEGER NOT NULL,
    units        INTEGER NOT NULL,
    input_tpm    INTEGER NOT NULL,
    output_tpm   INTEGER NOT NULL,
    thinking_tpm INTEGER NOT NULL,
    PRIMARY KEY (run_id, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE lines (
    account_id     TEXT NOT NULL,
    month          TEXT NOT NULL,
    day            TEXT NOT NULL,
    workspace_id   TEXT NOT NULL,
    deployment_id  TEXT NOT NULL,
    deployed_model TEXT NOT NULL,
    model_name     TEXT NOT NULL,
    plan           TEXT NOT NULL,
    class          TEXT NOT NULL,
    dimension      TEXT NOT NULL,
    from_tokens    INTEGER NOT NULL,
    price_id       TEXT NOT NULL,
    spec           TEXT NOT NULL,
    quantity       INTEGER NOT NULL,
    price          INTEGER NOT NULL,
    per            INTEGER NOT NULL,
    currency       TEXT NOT NULL,
    amount         INTEGER NOT NULL,
    PRIMARY KEY (account_id, month, day, deployment_id, dimension, class, from_tokens, price_id, currency)
) STRICT, WITHOUT ROWID;

CREATE INDEX lines_by_deployment ON lines (deployment_id, day);
CREATE INDEX lines_by_workspace ON lines (workspace_id, month, currency, day, amount);

CREATE TABLE months (
    account_id TEXT NOT NULL,
    month      TEXT NOT NULL,
    closed_at  INTEGER NOT NULL,
    PRIMARY KEY (account_id, month)
) STRICT, WITHOUT ROWID;

CREATE TABLE postings (
    id            TEXT PRIMARY KEY,
    at            INTEGER NOT NULL,
    account_id    TEXT NOT NULL,
    workspace_id  TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    cause         TEXT NOT NULL,
    reference     TEXT NOT NULL,
    currency      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX postings_by_cause ON postings (cause, reference);
CREATE INDEX postings_by_account ON postings (account_id, id);
CREATE INDEX postings_by_deployment ON postings (deployment_id, id) WHERE deployment_id <> '';

CREATE TABLE entries (
    posting_id TEXT NOT NULL REFERENCES postings (id) DEFERRABLE INITIALLY DEFERRED,
    number     INTEGER NOT NULL,
    side       TEXT NOT NULL,
    nano       INTEGER NOT NULL,
    PRIMARY KEY (posting_id, number)
) STRICT, WITHOUT ROWID;

-- The sums of entries, kept with them.
CREATE TABLE balances (
    account_id TEXT NOT NULL,
    side       TEXT NOT NULL,
    currency   TEXT NOT NULL,
    nano       INTEGER NOT NULL,
    PRIMARY KEY (side, currency)
) STRICT, WITHOUT ROWID;

CREATE INDEX balances_by_account ON balances (account_id, side, currency);

-- +goose StatementBegin
CREATE TRIGGER postings_stay BEFORE UPDATE ON postings BEGIN SELECT RAISE(ABORT, 'a posting is never changed'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER postings_remain BEFORE DELETE ON postings BEGIN SELECT RAISE(ABORT, 'a posting is never deleted'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'an entry is never changed'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER entries_remain BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'an entry is never deleted'); END;
-- +goose StatementEnd

-- Prices, the times that deployments are charged for, the lines of statements and a
-- double-entry ledger. Amounts are billionths of the currency beside them. Like usage they
-- are facts about the past and refer to nothing that may go away.

-- +goose Up

ALTER TABLE accounts ADD COLUMN later TEXT COLLATE "C" NOT NULL DEFAULT 'null'; -- JSON: currencies that follow
ALTER TABLE accounts ADD COLUMN prepaid BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE accounts ADD COLUMN credit_limit BIGINT; -- NULL: none

CREATE TABLE prices (
    id          TEXT COLLATE "C" PRIMARY KEY,
    plan        TEXT COLLATE "C" NOT NULL,
    model       TEXT COLLATE "C" NOT NULL,
    spec        TEXT COLLATE "C" NOT NULL,
    dimension   TEXT COLLATE "C" NOT NULL,
    from_tokens BIGINT NOT NULL,
    nano        BIGINT NOT NULL,
    per         BIGINT NOT NULL,
    currency    TEXT COLLATE "C" NOT NULL,
    from_at     BIGINT NOT NULL,
    withdrawn   BOOLEAN NOT NULL,
    created_at  BIGINT NOT NULL,
    creator     TEXT COLLATE "C" NOT NULL
);

CREATE TABLE runs (
    id             TEXT COLLATE "C" PRIMARY KEY,
    account_id     TEXT COLLATE "C" NOT NULL,
    workspace_id   TEXT COLLATE "C" NOT NULL,
    deployment_id  TEXT COLLATE "C" NOT NULL,
    deployed_model TEXT COLLATE "C" NOT NULL,
    model_name     TEXT COLLATE "C" NOT NULL,
    base_model     TEXT COLLATE "C" NOT NULL,
    plan           TEXT COLLATE "C" NOT NULL,
    spec           TEXT COLLATE "C" NOT NULL,
    started_at     BIGINT NOT NULL,
    ended_at       BIGINT NOT NULL, -- 0: it goes on
    rated          BOOLEAN NOT NULL
);

CREATE UNIQUE INDEX runs_live ON runs (deployment_id) WHERE ended_at = 0;
CREATE INDEX runs_by_deployment ON runs (deployment_id, started_at);
CREATE INDEX runs_unrated ON runs (id) WHERE NOT rated;

CREATE TABLE run_steps (
    run_id       TEXT COLLATE "C" NOT NULL REFERENCES runs (id) DEFERRABLE INITIALLY DEFERRED,
    at           BIGINT NOT NULL,
    units        BIGINT NOT NULL,
    input_tpm    BIGINT NOT NULL,
    output_tpm   BIGINT NOT NULL,
    thinking_tpm BIGINT NOT NULL,
    PRIMARY KEY (run_id, at)
);

CREATE TABLE lines (
    account_id     TEXT COLLATE "C" NOT NULL,
    month          TEXT COLLATE "C" NOT NULL,
    day            TEXT COLLATE "C" NOT NULL,
    workspace_id   TEXT COLLATE "C" NOT NULL,
    deployment_id  TEXT COLLATE "C" NOT NULL,
    deployed_model TEXT COLLATE "C" NOT NULL,
    model_name     TEXT COLLATE "C" NOT NULL,
    plan           TEXT COLLATE "C" NOT NULL,
    class          TEXT COLLATE "C" NOT NULL,
    dimension      TEXT COLLATE "C" NOT NULL,
    from_tokens    BIGINT NOT NULL,
    price_id       TEXT COLLATE "C" NOT NULL,
    spec           TEXT COLLATE "C" NOT NULL,
    quantity       BIGINT NOT NULL,
    price          BIGINT NOT NULL,
    per            BIGINT NOT NULL,
    currency       TEXT COLLATE "C" NOT NULL,
    amount         BIGINT NOT NULL,
    PRIMARY KEY (account_id, month, day, deployment_id, dimension, class, from_tokens, price_id, currency)
);

CREATE INDEX lines_by_deployment ON lines (deployment_id, day);
CREATE INDEX lines_by_workspace ON lines (workspace_id, month, currency, day, amount);

CREATE TABLE months (
    account_id TEXT COLLATE "C" NOT NULL,
    month      TEXT COLLATE "C" NOT NULL,
    closed_at  BIGINT NOT NULL,
    PRIMARY KEY (account_id, month)
);

CREATE TABLE postings (
    id            TEXT COLLATE "C" PRIMARY KEY,
    at            BIGINT NOT NULL,
    account_id    TEXT COLLATE "C" NOT NULL,
    workspace_id  TEXT COLLATE "C" NOT NULL,
    deployment_id TEXT COLLATE "C" NOT NULL,
    cause         TEXT COLLATE "C" NOT NULL,
    reference     TEXT COLLATE "C" NOT NULL,
    currency      TEXT COLLATE "C" NOT NULL
);

CREATE UNIQUE INDEX postings_by_cause ON postings (cause, reference);
CREATE INDEX postings_by_account ON postings (account_id, id);
CREATE INDEX postings_by_deployment ON postings (deployment_id, id) WHERE deployment_id <> '';

CREATE TABLE entries (
    posting_id TEXT COLLATE "C" NOT NULL REFERENCES postings (id) DEFERRABLE INITIALLY DEFERRED,
    number     BIGINT NOT NULL,
    side       TEXT COLLATE "C" NOT NULL,
    nano       BIGINT NOT NULL,
    PRIMARY KEY (posting_id, number)
);

-- The sums of entries, kept with them.
CREATE TABLE balances (
    account_id TEXT COLLATE "C" NOT NULL,
    side       TEXT COLLATE "C" NOT NULL,
    currency   TEXT COLLATE "C" NOT NULL,
    nano       BIGINT NOT NULL,
    PRIMARY KEY (side, currency)
);

CREATE INDEX balances_by_account ON balances (account_id, side, currency);

-- +goose StatementBegin
CREATE FUNCTION ledger_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME;
END $$;
-- +goose StatementEnd
CREATE TRIGGER postings_stay BEFORE UPDATE OR DELETE ON postings FOR EACH ROW EXECUTE FUNCTION ledger_stays();
CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION ledger_stays();

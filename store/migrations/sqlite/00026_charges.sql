-- What money must know of what is sold: the part of a pool's throughput that serves, what
-- is left on deposit, terms that were paid in advance, budgets, who is overdue, and when a
-- server last gave a sign of life.

-- +goose Up

ALTER TABLE deployments ADD COLUMN part_ppm INTEGER NOT NULL DEFAULT 0; -- ptu: of its throughput, while not all serves
ALTER TABLE deployments ADD COLUMN deposit TEXT NOT NULL DEFAULT '{}'; -- JSON: of the last purchase
ALTER TABLE accounts ADD COLUMN standing TEXT NOT NULL DEFAULT '{}'; -- JSON: since when it is overdue
ALTER TABLE workspaces ADD COLUMN budget TEXT NOT NULL DEFAULT '{}'; -- JSON: amount a month, and what came of it

CREATE TABLE beats (
    instance TEXT PRIMARY KEY,
    at       INTEGER NOT NULL -- it was alive
) STRICT, WITHOUT ROWID;

-- Throughput that was paid in advance, and what of it was given back (minutes below 0).
CREATE TABLE orders (
    id             TEXT PRIMARY KEY,
    account_id     TEXT NOT NULL,
    workspace_id   TEXT NOT NULL,
    deployment_id  TEXT NOT NULL,
    deployed_model TEXT NOT NULL,
    model_name     TEXT NOT NULL,
    base_model     TEXT NOT NULL,
    instance_id    TEXT NOT NULL,
    operation_id   TEXT NOT NULL,
    at             INTEGER NOT NULL,
    price_at       INTEGER NOT NULL,
    minutes        INTEGER NOT NULL,
    input_tpm      INTEGER NOT NULL,
    output_tpm     INTEGER NOT NULL,
    thinking_tpm   INTEGER NOT NULL,
    rated          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX orders_by_deployment ON orders (deployment_id, at);
CREATE INDEX orders_unrated ON orders (id) WHERE NOT rated;

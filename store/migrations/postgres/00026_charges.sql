-- What money must know of what is sold: the part of a pool's throughput that serves, what
-- is left on deposit, terms that were paid in advance, budgets, who is overdue, and when a
-- server last gave a sign of life.

-- +goose Up

ALTER TABLE deployments ADD COLUMN part_ppm BIGINT NOT NULL DEFAULT 0; -- ptu: of its throughput, while not all serves
ALTER TABLE deployments ADD COLUMN deposit TEXT COLLATE "C" NOT NULL DEFAULT '{}'; -- JSON: of the last purchase
ALTER TABLE accounts ADD COLUMN standing TEXT COLLATE "C" NOT NULL DEFAULT '{}'; -- JSON: since when it is overdue
ALTER TABLE workspaces ADD COLUMN budget TEXT COLLATE "C" NOT NULL DEFAULT '{}'; -- JSON: amount a month, and what came of it

CREATE TABLE beats (
    instance TEXT COLLATE "C" PRIMARY KEY,
    at       BIGINT NOT NULL -- it was alive
);

-- Throughput that was paid in advance, and what of it was given back (minutes below 0).
CREATE TABLE orders (
    id             TEXT COLLATE "C" PRIMARY KEY,
    account_id     TEXT COLLATE "C" NOT NULL,
    workspace_id   TEXT COLLATE "C" NOT NULL,
    deployment_id  TEXT COLLATE "C" NOT NULL,
    deployed_model TEXT COLLATE "C" NOT NULL,
    model_name     TEXT COLLATE "C" NOT NULL,
    base_model     TEXT COLLATE "C" NOT NULL,
    instance_id    TEXT COLLATE "C" NOT NULL,
    operation_id   TEXT COLLATE "C" NOT NULL,
    at             BIGINT NOT NULL,
    price_at       BIGINT NOT NULL,
    minutes        BIGINT NOT NULL,
    input_tpm      BIGINT NOT NULL,
    output_tpm     BIGINT NOT NULL,
    thinking_tpm   BIGINT NOT NULL,
    rated          BOOLEAN NOT NULL
);

CREATE INDEX orders_by_deployment ON orders (deployment_id, at);
CREATE INDEX orders_unrated ON orders (id) WHERE NOT rated;

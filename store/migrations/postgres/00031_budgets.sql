-- What was said of budgets, each once: that four fifths of one were spent, or all of it. The id
-- says what of: workspace, month, amount and kind.

-- +goose Up

CREATE TABLE budget_news (
    id           TEXT COLLATE "C" PRIMARY KEY,
    at           BIGINT NOT NULL,
    account_id   TEXT COLLATE "C" NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    month        TEXT COLLATE "C" NOT NULL,
    kind         TEXT COLLATE "C" NOT NULL,
    amount       BIGINT NOT NULL,
    spent        BIGINT NOT NULL,
    currency     TEXT COLLATE "C" NOT NULL
);

-- The push URL is told of them, too.
ALTER TABLE notices ADD COLUMN budget_id TEXT COLLATE "C" NOT NULL DEFAULT '';

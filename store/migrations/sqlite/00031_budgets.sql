-- What was said of budgets, each once: that four fifths of one were spent, or all of it. The id
-- says what of: workspace, month, amount and kind.

-- +goose Up

CREATE TABLE budget_news (
    id           TEXT PRIMARY KEY,
    at           INTEGER NOT NULL,
    account_id   TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    month        TEXT NOT NULL,
    kind         TEXT NOT NULL,
    amount       INTEGER NOT NULL,
    spent        INTEGER NOT NULL,
    currency     TEXT NOT NULL
) STRICT;

-- The push URL is told of them, too.
ALTER TABLE notices ADD COLUMN budget_id TEXT NOT NULL DEFAULT '';

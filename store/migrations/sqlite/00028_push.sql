-- How far the push URL has been told (docs/push.md). One row: active while a URL is
-- configured; delivered is the number (usage.seq) of the last record that it took, below 0
-- before the first time; noticed is the number of the last notice.

-- +goose Up

CREATE TABLE pushes (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    active    INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    noticed   INTEGER NOT NULL
) STRICT;

INSERT INTO pushes (id, active, delivered, noticed) VALUES (1, FALSE, -1, 0);

-- What it is to be told besides records, each until it was taken: an event of a deployment,
-- or a month of an account that was closed.
CREATE TABLE notices (
    number     INTEGER PRIMARY KEY,
    event_id   TEXT NOT NULL,
    account_id TEXT NOT NULL,
    month      TEXT NOT NULL
) STRICT;

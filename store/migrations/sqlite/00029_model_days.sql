-- Sums of days once more, without what only rating and few who ask tell apart: keys, prompt
-- lengths, changes of prices and the ids of deployments.

-- +goose Up

CREATE TABLE usage_model_days (
    space             INTEGER NOT NULL REFERENCES usage_spaces (id),
    day               TEXT NOT NULL,
    deployed_model    TEXT NOT NULL,
    model_name        TEXT NOT NULL,
    plan              TEXT NOT NULL,
    class             TEXT NOT NULL,
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
    PRIMARY KEY (space, day, deployed_model, model_name, plan, class)
) STRICT, WITHOUT ROWID;

INSERT INTO usage_model_days (space, day, deployed_model, model_name, plan, class,
    calls, input_tokens, cached_tokens, output_tokens, thinking_tokens,
    billable_calls, billable_input, billable_cached, billable_output, billable_thinking,
    unknown_calls, counted_calls)
SELECT s.space, d.day, s.deployed_model, s.model_name, s.plan, s.class,
    CAST(SUM(d.calls) AS BIGINT),
    CAST(SUM(d.input_tokens) AS BIGINT),
    CAST(SUM(d.cached_tokens) AS BIGINT),
    CAST(SUM(d.output_tokens) AS BIGINT),
    CAST(SUM(d.thinking_tokens) AS BIGINT),
    CAST(SUM(d.billable_calls) AS BIGINT),
    CAST(SUM(d.billable_input) AS BIGINT),
    CAST(SUM(d.billable_cached) AS BIGINT),
    CAST(SUM(d.billable_output) AS BIGINT),
    CAST(SUM(d.billable_thinking) AS BIGINT),
    CAST(SUM(d.unknown_calls) AS BIGINT),
    CAST(SUM(d.counted_calls) AS BIGINT)
FROM usage_days d JOIN usage_subjects s ON s.id = d.subject
GROUP BY s.space, d.day, s.deployed_model, s.model_name, s.plan, s.class;

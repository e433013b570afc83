-- Fits that did no better on held-out days than no model are kept with their card, and not used.

ALTER TABLE {{database}}.ltv_runs {{on_cluster}}
    ADD COLUMN IF NOT EXISTS mean_squared_error Float64 COMMENT 'Mean squared distance of predicted and actual orders for a person',
    ADD COLUMN IF NOT EXISTS naive_squared_error Float64 COMMENT 'The same for the rule: everybody goes on as before';

CREATE TABLE IF NOT EXISTS {{database}}.ltv_refused_runs {{on_cluster}}
(
    run_id String COMMENT 'Name of the run',
    fitted_at DateTime64(3, 'UTC') COMMENT 'When it was fitted',
    model LowCardinality(String) COMMENT 'Name of the model of purchases and of the model of amounts',
    observed_until Date COMMENT 'Last day of the orders that it knows',
    horizon_days UInt32 COMMENT 'Days that it looks ahead',
    customers UInt64 COMMENT 'People it was fitted to',
    parameters String COMMENT 'What was fitted, JSON',
    holdout_days UInt32 COMMENT 'Days that a second fit did not see, to judge the first by',
    holdout_orders Float64 COMMENT 'Repeat orders in those days',
    predicted_orders Float64 COMMENT 'What the second fit had predicted for them',
    mean_absolute_error Float64 COMMENT 'Mean distance of the two for a person',
    naive_absolute_error Float64 COMMENT 'The same for the rule: everybody goes on as before',
    observed_from Date COMMENT 'Day of the first order that it knows',
    orders UInt64 COMMENT 'Their orders',
    left_out UInt64 COMMENT 'Orders without revenue that it was not fitted to',
    holdout_revenue Float64 COMMENT 'Revenue in those days',
    predicted_revenue Float64 COMMENT 'What the second fit had predicted of it',
    notes Array(String) COMMENT 'Populations of the customers, and assumptions of the model that the orders violate',
    mean_squared_error Float64 COMMENT 'Mean squared distance of predicted and actual orders for a person',
    naive_squared_error Float64 COMMENT 'The same for the rule: everybody goes on as before',
    objection String COMMENT 'Why it is not used'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY run_id
COMMENT 'Fits of the lifetime value that are not used, one row for each. Read v_ltv_runs.';

CREATE OR REPLACE VIEW {{database}}.v_ltv_runs {{on_cluster}}
(
    run_id String COMMENT 'Name of the run',
    fitted_at DateTime64(3, 'UTC') COMMENT 'When it was fitted; the newest run that is used counts',
    model LowCardinality(String) COMMENT 'Model of purchases and of amounts',
    observed_from Date COMMENT 'Day of the first order that it knows',
    observed_until Date COMMENT 'Last day of the orders that it knows',
    horizon_days UInt32 COMMENT 'Days that it looks ahead',
    customers UInt64 COMMENT 'People it was fitted to',
    orders UInt64 COMMENT 'Their orders; 0: a run of an older version',
    left_out UInt64 COMMENT 'Orders without revenue that it was not fitted to',
    parameters String COMMENT 'What was fitted, JSON; with ` before <day>` of an older population',
    holdout_days UInt32 COMMENT 'Days that a second fit did not see; 0: the history is too short',
    holdout_orders Float64 COMMENT 'Repeat orders in those days',
    predicted_orders Float64 COMMENT 'What the second fit had predicted for them',
    error Nullable(Float64) COMMENT 'predicted_orders / holdout_orders - 1',
    holdout_revenue Float64 COMMENT 'Revenue in those days',
    predicted_revenue Float64 COMMENT 'What the second fit had predicted of it',
    revenue_error Nullable(Float64) COMMENT 'predicted_revenue / holdout_revenue - 1',
    mean_absolute_error Float64 COMMENT 'Mean distance of predicted and actual orders for a person',
    naive_absolute_error Float64 COMMENT 'The same for the rule: everybody goes on as before',
    skill Nullable(Float64) COMMENT '1 - mean_squared_error / naive_squared_error: below 0 the rule predicts better; NULL: a run of an older version',
    notes Array(String) COMMENT 'Populations of the customers, and assumptions of the model that the orders violate',
    mean_squared_error Float64 COMMENT 'Mean squared distance of predicted and actual orders for a person: what a mean is judged by',
    naive_squared_error Float64 COMMENT 'The same for the rule: everybody goes on as before',
    is_used UInt8 COMMENT '1: its predictions were stored; 0: refused, those of the run before stay',
    objection String COMMENT 'Why it is not used; empty: it is'
)
AS SELECT
    run_id, fitted_at, model, observed_from, observed_until, horizon_days, customers, orders, left_out, parameters, holdout_days,
    holdout_orders, predicted_orders, predicted_orders / nullIf(holdout_orders, 0) - 1 AS error, holdout_revenue, predicted_revenue,
    predicted_revenue / nullIf(holdout_revenue, 0) - 1 AS revenue_error, mean_absolute_error, naive_absolute_error,
    1 - mean_squared_error / nullIf(naive_squared_error, 0) AS skill, notes, mean_squared_error, naive_squared_error,
    objection = '' AS is_used, objection
FROM
(
    SELECT
        run_id, fitted_at, model, observed_from, observed_until, horizon_days, customers, orders, left_out, parameters, holdout_days,
        holdout_orders, predicted_orders, holdout_revenue, predicted_revenue, mean_absolute_error, naive_absolute_error, notes,
        mean_squared_error, naive_squared_error, '' AS objection
    FROM {{database}}.ltv_runs FINAL
    UNION ALL
    SELECT
        run_id, fitted_at, model, observed_from, observed_until, horizon_days, customers, orders, left_out, parameters, holdout_days,
        holdout_orders, predicted_orders, holdout_revenue, predicted_revenue, mean_absolute_error, naive_absolute_error, notes,
        mean_squared_error, naive_squared_error, objection
    FROM {{database}}.ltv_refused_runs FINAL
)
COMMENT 'Fits of the lifetime value and how well they did on days that they had not seen, one row for each.';

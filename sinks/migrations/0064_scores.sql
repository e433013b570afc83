-- Predictions with their model card, and what is predicted of each person as columns.

ALTER TABLE {{database}}.ltv_runs {{on_cluster}}
    ADD COLUMN IF NOT EXISTS orders UInt64 DEFAULT 0 COMMENT 'Orders that it was fitted to; 0: a run of an older version',
    ADD COLUMN IF NOT EXISTS observed_from Date DEFAULT observed_until COMMENT 'Day of the first of them',
    ADD COLUMN IF NOT EXISTS left_out UInt64 DEFAULT 0 COMMENT 'Orders without revenue, as after a full refund, that it was not fitted to',
    ADD COLUMN IF NOT EXISTS holdout_revenue Float64 DEFAULT 0 COMMENT 'Revenue of the people known before, in the days held out',
    ADD COLUMN IF NOT EXISTS predicted_revenue Float64 DEFAULT 0 COMMENT 'What the second fit had predicted of it',
    ADD COLUMN IF NOT EXISTS notes Array(String) DEFAULT [] COMMENT 'Assumptions of the model that the orders violate';

CREATE TABLE IF NOT EXISTS {{database}}.ltv_calibration {{on_cluster}}
(
    run_id String COMMENT 'The run, see ltv_runs',
    decile UInt8 COMMENT 'Tenth of the customers by predicted orders, 1: the fewest',
    people UInt64 COMMENT 'Customers in it',
    predicted_orders Float64 COMMENT 'Orders that were predicted for the days held out',
    orders UInt64 COMMENT 'Days with an order of these customers in those days',
    predicted_revenue Float64 COMMENT 'Revenue that was predicted, in the currency of reports',
    revenue Float64 COMMENT 'Revenue of these customers'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY (run_id, decile)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Prediction and outcome of the days held out, one row for each run and tenth of the customers. Read v_ltv_calibration.';

CREATE TABLE IF NOT EXISTS {{database}}.score_runs {{on_cluster}}
(
    scored_at DateTime64(3, 'UTC') COMMENT 'When the predictions were written into the profiles',
    run_id String COMMENT 'The run of ltv_runs that they are of',
    prior_clicks Float64 COMMENT 'Clicks that the likelihood of engagement adds to those of the person, see engagement in the definitions of segments',
    prior_messages Float64 COMMENT 'Messages that it adds',
    changed UInt64 COMMENT 'Profiles whose scores changed',
    unchanged UInt64 COMMENT 'Profiles that had them already',
    missing UInt64 COMMENT 'People without a profile, such as erased ones',
    busy UInt64 COMMENT 'Profiles that changed all the time: left to the next run'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY scored_at
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Runs of `throughline segments score`, one row for each.';

CREATE OR REPLACE VIEW {{database}}.v_ltv_runs {{on_cluster}}
(
    run_id String COMMENT 'Name of the run',
    fitted_at DateTime64(3, 'UTC') COMMENT 'When it was fitted; the newest run counts',
    model LowCardinality(String) COMMENT 'Model of purchases and of amounts',
    observed_from Date COMMENT 'Day of the first order that it knows',
    observed_until Date COMMENT 'Last day of the orders that it knows',
    horizon_days UInt32 COMMENT 'Days that it looks ahead',
    customers UInt64 COMMENT 'People it was fitted to',
    orders UInt64 COMMENT 'Their orders; 0: a run of an older version',
    left_out UInt64 COMMENT 'Orders without revenue that it was not fitted to',
    parameters String COMMENT 'What was fitted, JSON',
    holdout_days UInt32 COMMENT 'Days that a second fit did not see; 0: the history is too short',
    holdout_orders Float64 COMMENT 'Repeat orders in those days',
    predicted_orders Float64 COMMENT 'What the second fit had predicted for them',
    error Nullable(Float64) COMMENT 'predicted_orders / holdout_orders - 1',
    holdout_revenue Float64 COMMENT 'Revenue in those days',
    predicted_revenue Float64 COMMENT 'What the second fit had predicted of it',
    revenue_error Nullable(Float64) COMMENT 'predicted_revenue / holdout_revenue - 1',
    mean_absolute_error Float64 COMMENT 'Mean distance of predicted and actual orders for a person',
    naive_absolute_error Float64 COMMENT 'The same for the rule: everybody goes on as before',
    skill Nullable(Float64) COMMENT '1 - mean_absolute_error / naive_absolute_error: below 0 the rule predicts better',
    notes Array(String) COMMENT 'Assumptions of the model that the orders violate'
)
AS SELECT
    run_id, fitted_at, model, observed_from, observed_until, horizon_days, customers, orders, left_out, parameters, holdout_days,
    holdout_orders, predicted_orders, predicted_orders / nullIf(holdout_orders, 0) - 1 AS error, holdout_revenue, predicted_revenue,
    predicted_revenue / nullIf(holdout_revenue, 0) - 1 AS revenue_error, mean_absolute_error, naive_absolute_error,
    1 - mean_absolute_error / nullIf(naive_absolute_error, 0) AS skill, notes
FROM {{database}}.ltv_runs FINAL
COMMENT 'Fits of the lifetime value and how well they did on days that they had not seen, one row for each.';

CREATE VIEW IF NOT EXISTS {{database}}.v_ltv_calibration {{on_cluster}}
(
    run_id String COMMENT 'The run, see v_ltv_runs',
    decile UInt8 COMMENT 'Tenth of the customers by predicted orders, 1: the fewest',
    people UInt64 COMMENT 'Customers in it',
    predicted_orders Float64 COMMENT 'Orders that were predicted for the days held out',
    orders UInt64 COMMENT 'Days with an order of these customers in those days',
    predicted_revenue Float64 COMMENT 'Revenue that was predicted, in the currency of reports',
    revenue Float64 COMMENT 'Revenue of these customers'
)
AS SELECT run_id, decile, people, predicted_orders, orders, predicted_revenue, revenue
FROM {{database}}.ltv_calibration FINAL
COMMENT 'How predictions of orders came true in the days held out, one row for each run and tenth of the customers.';

CREATE VIEW IF NOT EXISTS {{database}}.v_scores {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    probability_alive Nullable(Float64) COMMENT 'How likely the person is still a customer; NULL: no order, or not predicted yet',
    expected_orders Nullable(Float64) COMMENT 'Orders expected within the horizon of the run',
    expected_revenue Nullable(Float64) COMMENT 'Revenue expected of them, in the currency of reports',
    purchase_likelihood Nullable(Float64) COMMENT 'Probability of at least one order within the horizon',
    engage_email Float64 COMMENT 'Likelihood that an e-mail is clicked or answered: (clicked + prior clicks) / (sent + prior messages), see score_runs',
    engage_sms Float64 COMMENT 'The same of an SMS',
    engage_whatsapp Float64 COMMENT 'The same on WhatsApp',
    engage_messenger Float64 COMMENT 'The same on Messenger',
    engage_telegram Float64 COMMENT 'The same on Telegram',
    engage_web_push Float64 COMMENT 'The same of a push notification of the site',
    engage_app_push Float64 COMMENT 'The same of a push notification of the app',
    predicted_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the newest run was fitted; NULL: no run',
    horizon_days Nullable(UInt32) COMMENT 'Days that it looks ahead',
    age_hours Nullable(Float64) COMMENT 'Hours since then',
    in_profiles_since Nullable(DateTime64(3, 'UTC')) COMMENT 'When `throughline segments score` last wrote predictions into the profiles; NULL: never'
)
AS
WITH
    (SELECT maxOrNull(fitted_at) FROM {{database}}.ltv_runs) AS fitted,
    (SELECT maxOrNull(scored_at) FROM {{database}}.score_runs) AS scored,
    (SELECT if(count() = 0, 1., argMax(prior_clicks, scored_at)) FROM {{database}}.score_runs) AS clicks,
    (SELECT if(count() = 0, 20., argMax(prior_messages, scored_at)) FROM {{database}}.score_runs) AS messages,
    (answered, written) -> (answered + assumeNotNull(clicks)) / (written + assumeNotNull(messages)) AS engagement
SELECT
    profile_id,
    max(alive) AS probability_alive,
    max(orders) AS expected_orders,
    max(revenue) AS expected_revenue,
    if(probability_alive = 0, 0, probability_alive * (1 - exp(-expected_orders / nullIf(probability_alive, 0)))) AS purchase_likelihood,
    engagement(sumIf(engaged, channel = 'email'), sumIf(sent, channel = 'email')) AS engage_email,
    engagement(sumIf(engaged, channel = 'sms'), sumIf(sent, channel = 'sms')) AS engage_sms,
    engagement(sumIf(engaged, channel = 'whatsapp'), sumIf(sent, channel = 'whatsapp')) AS engage_whatsapp,
    engagement(sumIf(engaged, channel = 'messenger'), sumIf(sent, channel = 'messenger')) AS engage_messenger,
    engagement(sumIf(engaged, channel = 'telegram'), sumIf(sent, channel = 'telegram')) AS engage_telegram,
    engagement(sumIf(engaged, channel = 'web_push'), sumIf(sent, channel = 'web_push')) AS engage_web_push,
    engagement(sumIf(engaged, channel = 'app_push'), sumIf(sent, channel = 'app_push')) AS engage_app_push,
    fitted AS predicted_at,
    (SELECT argMax(toNullable(horizon_days), fitted_at) FROM {{database}}.ltv_runs) AS horizon_days,
    dateDiff('second', fitted, now64(3)) / 3600 AS age_hours,
    scored AS in_profiles_since
FROM
(
    SELECT
        profile_id, l.probability_alive AS alive, l.predicted_orders AS orders, l.predicted_revenue AS revenue,
        '' AS channel, toUInt64(0) AS sent, toUInt64(0) AS engaged
    FROM {{database}}.v_ltv AS l
    UNION ALL
    SELECT profile_id, NULL, NULL, NULL, m.channel AS channel, count(), countIf(m.responded)
    FROM {{database}}.v_messages AS m
    GROUP BY profile_id, channel
)
GROUP BY profile_id
COMMENT 'What is predicted of people, one row for each person with an order or a message.';

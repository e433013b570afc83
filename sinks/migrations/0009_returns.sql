-- What marketing brings back, in the currency of reports and with the margin of what was sold.

CREATE VIEW IF NOT EXISTS {{database}}.v_marketing_returns {{on_cluster}}
(
    day Date COMMENT 'Day of the conversion, and of the spend',
    model String COMMENT 'The model, see v_attribution_models',
    channel String COMMENT 'Marketing channel, or (unattributed)',
    campaign String COMMENT 'Campaign, or (unattributed); empty: the touch had none',
    conversions Float64 COMMENT 'Credited conversions of the settings'' goal',
    new_customers Float64 COMMENT 'Credited conversions that were the person''s first',
    revenue Float64 COMMENT 'Credited revenue in the currency of reports',
    net_revenue Float64 COMMENT 'The same after refunds',
    margin Float64 COMMENT 'What of revenue is margin: by campaign, else by the products sold',
    spend Decimal(38, 4) COMMENT 'Money spent in the currency of reports',
    roas Nullable(Float64) COMMENT 'revenue / spend',
    romi Nullable(Float64) COMMENT '(margin - spend) / spend',
    cpa Nullable(Float64) COMMENT 'spend / conversions',
    cac Nullable(Float64) COMMENT 'spend / new_customers',
    not_converted UInt64 COMMENT 'Conversions and spend whose amounts are missing above, see v_missing_rates'
)
AS
WITH toFloat64(spend) AS cost
SELECT
    day,
    model,
    channel,
    campaign,
    sum(c) AS conversions,
    sum(n) AS new_customers,
    sum(r) AS revenue,
    sum(k) AS net_revenue,
    sum(m) AS margin,
    sum(s) AS spend,
    revenue / nullIf(cost, 0) AS roas,
    (margin - cost) / nullIf(cost, 0) AS romi,
    cost / nullIf(conversions, 0) AS cpa,
    cost / nullIf(new_customers, 0) AS cac,
    sum(missing) AS not_converted
FROM
(
    SELECT
        v.day AS day,
        a.model AS model,
        a.channel AS channel,
        a.campaign AS campaign,
        a.credit AS c,
        a.credit * v.is_first AS n,
        a.credit * toFloat64(ifNull(v.revenue, 0)) AS r,
        a.credit * toFloat64(ifNull(v.net_revenue, 0)) AS k,
        r * if(p.key = '', v.margin_rate, p.margin) AS m,
        toDecimal128(0, 4) AS s,
        v.revenue IS NULL AS missing
    FROM {{database}}.v_attribution_default AS a
    INNER JOIN {{database}}.v_conversion_values AS v ON v.conversion_id = a.conversion_id AND v.conversion_type = a.conversion_type
    LEFT JOIN (SELECT key, margin FROM {{database}}.margins FINAL WHERE kind = 'campaign' AND key != '') AS p ON p.key = a.campaign
    WHERE a.conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
    UNION ALL
    SELECT date, models.model, channel, campaign, 0., 0., 0., 0., 0., toDecimal128(ifNull(spend, toDecimal128(0, 4)), 4), spend IS NULL
    FROM {{database}}.v_spend
    CROSS JOIN {{database}}.v_attribution_models AS models
)
GROUP BY day, model, channel, campaign
COMMENT 'Credit, margin and spend, one row for each day, model, channel and campaign: lookback 30 days, half-life 7 days. Add up rows of one model only, and rates not at all.';

CREATE VIEW IF NOT EXISTS {{database}}.v_cac {{on_cluster}}
(
    month Date COMMENT 'First day of the month',
    model String COMMENT 'An additive model, see v_attribution_models',
    channel String COMMENT 'Marketing channel, (unattributed), or (all)',
    spend Decimal(38, 4) COMMENT 'Money spent, in the currency of reports',
    new_customers Float64 COMMENT 'Credited first conversions',
    conversions Float64 COMMENT 'Credited conversions',
    cac Nullable(Float64) COMMENT 'spend / new_customers: what a new customer cost',
    cpa Nullable(Float64) COMMENT 'spend / conversions'
)
AS SELECT
    toStartOfMonth(r.day) AS month,
    r.model AS model,
    arrayJoin([r.channel, '(all)']) AS channel,
    sum(r.spend) AS spend,
    sum(r.new_customers) AS new_customers,
    sum(r.conversions) AS conversions,
    toFloat64(spend) / nullIf(new_customers, 0) AS cac,
    toFloat64(spend) / nullIf(conversions, 0) AS cpa
FROM {{database}}.v_marketing_returns AS r
WHERE r.model IN (SELECT model FROM {{database}}.v_attribution_models WHERE additive)
GROUP BY month, model, channel
COMMENT 'What a new customer cost, one row for each month, model and channel, and one for all channels.';

CREATE VIEW IF NOT EXISTS {{database}}.v_payback {{on_cluster}}
(
    cohort Date COMMENT 'Month of the first conversion, by its first day',
    model String COMMENT 'An additive model, see v_attribution_models',
    channel String COMMENT 'Marketing channel that is credited with the first conversion, (unattributed), or (all)',
    months UInt32 COMMENT 'Months since the cohort''s, from 0',
    customers Float64 COMMENT 'Customers won',
    cac Nullable(Float64) COMMENT 'What one of them cost: spend of the cohort''s month / customers',
    margin_per_customer Float64 COMMENT 'Margin, after refunds, that one of them has brought by the end of this month',
    paid_back UInt8 COMMENT '1: that is at least what one cost'
)
AS SELECT
    p.cohort AS cohort,
    p.model AS model,
    p.channel AS channel,
    toUInt32(p.place - 1) AS months,
    p.customers AS customers,
    toFloat64(c.spend) / p.customers AS cac,
    p.brought / p.customers AS margin_per_customer,
    ifNull(margin_per_customer >= cac, 0) AS paid_back
FROM
(
    SELECT cohort, model, channel, customers, brought, place
    FROM
    (
        WITH
            (SELECT max(day) FROM {{database}}.conversion_amounts) AS newest,
            sumMap(arrayMap(entry -> entry.1, later.entries), arrayMap(entry -> entry.2 * won.credit, later.entries)) AS by_month
        SELECT
            won.cohort AS cohort,
            won.model AS model,
            arrayJoin([won.channel, '(all)']) AS channel,
            sum(won.credit) AS customers,
            arrayCumSum(arrayMap(
                month -> if(has(by_month.1, month), by_month.2[indexOf(by_month.1, month)], 0.),
                range(toUInt32(dateDiff('month', won.cohort, newest) + 1)))) AS so_far
        FROM
        (
            SELECT toStartOfMonth(v.day) AS cohort, a.model AS model, a.channel AS channel, v.profile_id AS profile_id, sum(a.credit) AS credit
            FROM {{database}}.v_attribution_default AS a
            INNER JOIN {{database}}.conversion_amounts AS v ON v.conversion_id = a.conversion_id AND v.conversion_type = a.conversion_type
            WHERE v.is_first AND v.conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
                AND a.model IN (SELECT model FROM {{database}}.v_attribution_models WHERE additive)
            GROUP BY cohort, model, channel, profile_id
        ) AS won
        INNER JOIN
        (
            SELECT profile_id, groupArray((months, margin)) AS entries
            FROM
            (
                SELECT
                    profile_id,
                    toUInt32(dateDiff('month', min(day) OVER (PARTITION BY profile_id), day)) AS months,
                    toFloat64(ifNull(net_revenue, 0)) * margin_rate AS margin
                FROM {{database}}.v_conversion_values
                WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
            )
            GROUP BY profile_id
        ) AS later ON later.profile_id = won.profile_id
        GROUP BY cohort, model, channel
    )
    ARRAY JOIN so_far AS brought, arrayEnumerate(so_far) AS place
    WHERE customers > 0
) AS p
LEFT JOIN {{database}}.v_cac AS c ON c.month = p.cohort AND c.model = p.model AND c.channel = p.channel
COMMENT 'When the customers of a month have brought in what they cost, one row for each month, model, channel and month since.';

-- What a customer cost and when that is paid back, by market; and amounts without a rate by market, with what they are worth by the nearest rate.

CREATE VIEW IF NOT EXISTS {{database}}.v_cac_by_market {{on_cluster}}
(
    month Date COMMENT 'First day of the month',
    model String COMMENT 'An additive model, see v_attribution_models',
    channel String COMMENT 'Marketing channel, (unattributed), or (all)',
    market String COMMENT 'Market of the conversion, and of the spend, see v_markets; empty: of spend that names none',
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
    r.market AS market,
    sum(r.spend) AS spend,
    sum(r.new_customers) AS new_customers,
    sum(r.conversions) AS conversions,
    toFloat64(spend) / nullIf(new_customers, 0) AS cac,
    toFloat64(spend) / nullIf(conversions, 0) AS cpa
FROM {{database}}.v_marketing_returns_by_market AS r
WHERE r.model IN (SELECT model FROM {{database}}.v_attribution_models WHERE additive)
GROUP BY month, model, channel, market
COMMENT 'What a new customer cost in a market, one row for each month, model, channel and market, and one for all channels of it. Spend that names no market is in rows without one. v_cac has all markets together.';

CREATE VIEW IF NOT EXISTS {{database}}.v_payback_by_market {{on_cluster}}
(
    cohort Date COMMENT 'Month of the first conversion, by its first day',
    model String COMMENT 'An additive model, see v_attribution_models',
    channel String COMMENT 'Marketing channel that is credited with the first conversion, (unattributed), or (all)',
    market String COMMENT 'Market of the first conversion, and of the spend, see v_markets',
    months UInt32 COMMENT 'Months since the cohort''s, from 0',
    customers Float64 COMMENT 'Customers won',
    cac Nullable(Float64) COMMENT 'What one of them cost: spend of the cohort''s month for this market / customers',
    margin_per_customer Float64 COMMENT 'Margin, after refunds, that one of them has brought by the end of this month, in whichever market',
    paid_back UInt8 COMMENT '1: that is at least what one cost'
)
AS SELECT
    p.cohort AS cohort,
    p.model AS model,
    p.channel AS channel,
    p.market AS market,
    toUInt32(p.place - 1) AS months,
    p.customers AS customers,
    toFloat64(c.spend) / p.customers AS cac,
    p.brought / p.customers AS margin_per_customer,
    ifNull(margin_per_customer >= cac, 0) AS paid_back
FROM
(
    SELECT cohort, model, channel, market, customers, brought, place
    FROM
    (
        WITH
            (SELECT max(day) FROM {{database}}.conversion_amounts) AS newest,
            sumMap(arrayMap(entry -> entry.1, later.entries), arrayMap(entry -> entry.2 * won.credit, later.entries)) AS by_month
        SELECT
            won.cohort AS cohort,
            won.model AS model,
            arrayJoin([won.channel, '(all)']) AS channel,
            won.market AS market,
            sum(won.credit) AS customers,
            arrayCumSum(arrayMap(
                month -> if(has(by_month.1, month), by_month.2[indexOf(by_month.1, month)], 0.),
                range(toUInt32(dateDiff('month', won.cohort, newest) + 1)))) AS so_far
        FROM
        (
            SELECT toStartOfMonth(v.day) AS cohort, a.model AS model, a.channel AS channel, toString(v.market) AS market, v.profile_id AS profile_id, sum(a.credit) AS credit
            FROM {{database}}.v_attribution_default AS a
            INNER JOIN (SELECT * FROM {{database}}.sale_amounts WHERE NOT is_return) AS v ON v.conversion_id = a.conversion_id AND v.conversion_type = a.conversion_type
            WHERE v.is_first AND v.conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
                AND a.model IN (SELECT model FROM {{database}}.v_attribution_models WHERE additive)
            GROUP BY cohort, model, channel, market, profile_id
        ) AS won
        INNER JOIN
        (
            SELECT profile_id, groupArray((months, margin)) AS entries
            FROM
            (
                SELECT
                    profile_id,
                    -- An order of unknown time may arrive before the first one.
                    toUInt32(greatest(0, dateDiff('month', minIf(day, NOT time_doubtful) OVER (PARTITION BY profile_id), day))) AS months,
                    toFloat64(ifNull(net_revenue, 0)) * margin_rate AS margin
                FROM {{database}}.v_conversion_values
                WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
            )
            GROUP BY profile_id
        ) AS later ON later.profile_id = won.profile_id
        GROUP BY cohort, model, channel, market
    )
    ARRAY JOIN so_far AS brought, arrayEnumerate(so_far) AS place
    WHERE customers > 0
) AS p
LEFT JOIN
(
    SELECT toStartOfMonth(date) AS month, arrayJoin([channel, '(all)']) AS channel, toString(market) AS market, sum(ifNull(s.spend, 0)) AS spend
    FROM {{database}}.v_spend AS s
    GROUP BY month, channel, market
) AS c ON c.month = p.cohort AND c.channel = p.channel AND c.market = p.market
COMMENT 'When the customers whom a month has won in a market have brought in what they cost, one row for each month, model, channel, market and month since. v_payback has all markets together, and the spend that names none.';

CREATE OR REPLACE VIEW {{database}}.v_payback {{on_cluster}}
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
    p.months AS months,
    p.won AS customers,
    toFloat64(c.spend) / p.won AS cac,
    p.brought / p.won AS margin_per_customer,
    ifNull(margin_per_customer >= cac, 0) AS paid_back
FROM
(
    SELECT cohort, model, channel, months, sum(r.customers) AS won, sum(r.margin_per_customer * r.customers) AS brought
    FROM {{database}}.v_payback_by_market AS r
    GROUP BY cohort, model, channel, months
) AS p
LEFT JOIN
(
    SELECT toStartOfMonth(date) AS month, arrayJoin([channel, '(all)']) AS channel, sum(ifNull(s.spend, 0)) AS spend
    FROM {{database}}.v_spend AS s
    GROUP BY month, channel
) AS c ON c.month = p.cohort AND c.channel = p.channel
COMMENT 'When the customers of a month have brought in what they cost, one row for each month, model, channel and month since.';

CREATE OR REPLACE VIEW {{database}}.v_missing_rates {{on_cluster}}
(
    what String COMMENT 'conversions, returns, refunds or spend',
    day Date COMMENT 'The day whose rate is missing',
    currency LowCardinality(String) COMMENT 'ISO 4217; empty: the producer named none',
    amounts UInt64 COMMENT 'How many amounts could not be converted',
    total Decimal(38, 4) COMMENT 'Their sum, in units of currency',
    warning String COMMENT 'The same as a sentence',
    market String COMMENT 'Market of the sale or the spend, see v_markets; empty: of spend that names none',
    estimate Nullable(Decimal(38, 4)) COMMENT 'About what the sums lack, in the currency of reports: total at the nearest rate of another day; NULL: the currency has no rate at all'
)
AS
WITH
    assumeNotNull((SELECT currency FROM {{database}}.v_report_settings)) AS wanted,
    assumeNotNull((SELECT count() > 1 FROM {{database}}.v_markets)) AS has_markets
SELECT
    m.what AS what,
    m.day AS day,
    m.currency AS currency,
    m.amounts AS amounts,
    m.total AS total,
    concat(
        toString(m.total), ' ', if(m.currency = '', 'of no currency', m.currency), ' of ', toString(m.amounts), ' ', m.what,
        multiIf(NOT has_markets, '', m.market = '', ' of no market', concat(' of ', m.market)), ' on ', toString(m.day),
        ' are in no sum of money: there is no rate',
        if(estimate IS NULL, '', concat(' (about ', toString(round(assumeNotNull(estimate), 2)), ' ', wanted, ' by the nearest)'))) AS warning,
    m.market AS market,
    if(empty(r.rates), NULL, toDecimal128OrNull(toString(round(toFloat64(m.total) * arrayReduce('argMin', r.rates, arrayMap(one -> abs(dateDiff('day', one, m.day)), r.dates)), 4)), 4)) AS estimate
FROM
(
    SELECT what, day, currency, market, count() AS amounts, sum(amount) AS total
    FROM
    (
        SELECT if(is_return, 'returns', 'conversions') AS what, day, currency, toString(market) AS market, original_revenue AS amount
        FROM {{database}}.sale_amounts
        WHERE revenue IS NULL
        UNION ALL
        SELECT 'refunds' AS what, f.day AS day, f.currency AS currency, o.place AS market, f.original_amount AS amount
        FROM (SELECT * FROM {{database}}.refund_values AS v WHERE v.amount IS NULL AND NOT wholly) AS f
        LEFT JOIN (SELECT conversion_id, toString(any(market)) AS place FROM {{database}}.conversions_and_returns GROUP BY conversion_id) AS o ON o.conversion_id = f.order_id
        UNION ALL
        SELECT 'spend' AS what, date AS day, currency, toString(market) AS market, original_spend AS amount
        FROM {{database}}.v_spend
        WHERE spend IS NULL
    )
    GROUP BY what, day, currency, market
) AS m
LEFT JOIN
(
    SELECT currency, groupArray(date) AS dates, groupArray(rate) AS rates
    FROM {{database}}.v_rates
    GROUP BY currency
) AS r ON r.currency = m.currency
COMMENT 'Amounts that no view adds up since they could not be converted, one row for each kind, day, currency and market. Empty: all is well.';

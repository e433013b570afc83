-- What orders and customers are worth counts all orders; firsts, dates and new customers are of orders whose time is known.

CREATE OR REPLACE VIEW {{database}}.sale_amounts {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    day Date COMMENT 'That day in the time zone of reports',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    event_id String COMMENT 'The event that reported it first',
    original_revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    revenue Nullable(Decimal(38, 4)) COMMENT 'The same in the currency of reports; NULL: there is no rate',
    net_revenue Nullable(Decimal(38, 4)) COMMENT 'The same after refunds',
    rate Nullable(Float64) COMMENT 'Worth of one unit of currency in the currency of reports; NULL: not known',
    is_first UInt8 COMMENT '1: the person''s first of this goal, of those whose time is known',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    products String COMMENT 'Its lines, a JSON list; empty: it names none',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival'
)
AS
WITH
    (SELECT currency FROM {{database}}.v_report_settings) AS wanted,
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    c.conversion_id AS conversion_id,
    c.conversion_type AS conversion_type,
    c.profile_id AS profile_id,
    c.converted_at AS converted_at,
    c.day AS day,
    c.channel AS channel,
    c.event_id AS event_id,
    c.original_revenue AS original_revenue,
    c.currency AS currency,
    -- Exact where nothing is to be converted.
    multiIf(
        c.currency = wanted OR c.original_revenue = 0, toDecimal128(c.original_revenue, 4),
        r.rate > 0, toDecimal128(toString(round(toFloat64(c.original_revenue) * r.rate, 4)), 4),
        NULL) AS revenue,
    multiIf(
        c.currency = wanted OR c.original_revenue = 0, toDecimal128(c.original_net, 4),
        r.rate > 0, toDecimal128(toString(round(toFloat64(c.original_net) * r.rate, 4)), 4),
        NULL) AS net_revenue,
    multiIf(c.currency = wanted, 1., r.rate > 0, r.rate, c.original_revenue = 0, 0., NULL) AS rate,
    c.profile_id != toUUID('00000000-0000-0000-0000-000000000000') AND c.ordinal = 1 AND NOT c.is_return AND NOT c.time_doubtful AS is_first,
    c.is_return AS is_return,
    c.order_namespace AS order_namespace,
    c.source AS source,
    c.products AS products,
    c.time_doubtful AS time_doubtful
FROM
(
    SELECT
        conversion_id, conversion_type, profile_id, converted_at, channel, source, event_id, currency, is_return, order_namespace, products, time_doubtful,
        revenue AS original_revenue,
        net_revenue AS original_net,
        toDate(toTimeZone(converted_at, zone)) AS day,
        row_number() OVER (PARTITION BY profile_id, conversion_type, is_return ORDER BY time_doubtful, converted_at, conversion_id) AS ordinal
    FROM {{database}}.conversions_and_returns
) AS c
LEFT JOIN {{database}}.v_rates AS r ON r.currency = c.currency AND r.date = c.day
COMMENT 'Conversions and returns in the currency of reports, one row for each. Internal: feeds conversion_amounts, v_order_items and sale_values.';

CREATE OR REPLACE VIEW {{database}}.sale_values {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    day Date COMMENT 'That day in the time zone of reports',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    original_revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    revenue Nullable(Decimal(38, 4)) COMMENT 'The same in the currency of reports; NULL: there is no rate',
    net_revenue Nullable(Decimal(38, 4)) COMMENT 'The same after refunds',
    margin_rate Float64 COMMENT 'Share of it that is margin, by its products',
    is_first UInt8 COMMENT '1: the person''s first of this goal',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival'
)
AS SELECT
    c.conversion_id AS conversion_id,
    c.conversion_type AS conversion_type,
    c.profile_id AS profile_id,
    c.converted_at AS converted_at,
    c.day AS day,
    c.channel AS channel,
    c.original_revenue AS original_revenue,
    c.currency AS currency,
    c.revenue AS revenue,
    c.net_revenue AS net_revenue,
    if(i.order_id = '', assumeNotNull((SELECT margin FROM {{database}}.v_attribution_settings)), assumeNotNull(i.margin_rate)) AS margin_rate,
    c.is_first AS is_first,
    c.is_return AS is_return,
    c.time_doubtful AS time_doubtful
FROM {{database}}.sale_amounts AS c
LEFT JOIN
(
    -- Weighted by what lines are worth, those that came back too.
    SELECT order_id, (SELECT goal FROM {{database}}.v_attribution_settings) AS goal, if(sum(abs(revenue)) > 0, sum(abs(revenue) * margin_rate) / sum(abs(revenue)), avg(margin_rate)) AS margin_rate
    FROM {{database}}.v_order_items
    GROUP BY order_id
) AS i ON i.order_id = c.conversion_id AND i.goal = c.conversion_type
COMMENT 'Conversions and returns with their margin, one row for each. Internal: feeds v_conversion_values and customer_sales.';

CREATE OR REPLACE VIEW {{database}}.v_conversion_values {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    day Date COMMENT 'That day in the time zone of reports',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    original_revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    revenue Nullable(Decimal(38, 4)) COMMENT 'What it is worth in the currency of reports, at the rate of its day; NULL: there is no rate',
    net_revenue Nullable(Decimal(38, 4)) COMMENT 'The same after refunds',
    margin_rate Float64 COMMENT 'Share of it that is margin, by its products',
    is_first UInt8 COMMENT '1: the person''s first of this goal, of those whose time is known',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival'
)
AS SELECT
    conversion_id, conversion_type, profile_id, converted_at, day, channel, original_revenue, currency, revenue, net_revenue, margin_rate, is_first, time_doubtful
FROM {{database}}.sale_values
WHERE NOT is_return
COMMENT 'Conversions in the currency of reports with their margin, one row for each goal and conversion id.';

CREATE OR REPLACE VIEW {{database}}.customer_sales {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    day Date COMMENT 'Day in the time zone of reports',
    revenue Float64 COMMENT 'What it is worth after refunds, in the currency of reports; 0 when there is no rate; negative: what came back',
    margin_rate Float64 COMMENT 'Share of it that is margin',
    is_return UInt8 COMMENT '1: a return, which is no order',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival'
)
AS SELECT profile_id, day, toFloat64(ifNull(v.net_revenue, 0)) AS revenue, margin_rate, is_return, time_doubtful
FROM {{database}}.sale_values AS v
WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings) AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
COMMENT 'Orders and returns of known people, one row for each. Internal: feeds v_ltv and v_rfm.';

CREATE OR REPLACE VIEW {{database}}.customer_orders {{on_cluster}}
(
    order_id String COMMENT 'The order: a conversion of the settings'' goal',
    profile_id UUID COMMENT 'The person as known now',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was ordered',
    day Date COMMENT 'That day in the time zone of reports',
    revenue Float64 COMMENT 'What it is worth after refunds, in the currency of reports; 0 when there is no rate',
    margin_rate Float64 COMMENT 'Share of it that is margin',
    is_first UInt8 COMMENT '1: the person''s first'
)
AS SELECT conversion_id AS order_id, profile_id, converted_at, day, toFloat64(ifNull(net_revenue, 0)) AS revenue, margin_rate, is_first
FROM {{database}}.v_conversion_values
WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings) AND profile_id != toUUID('00000000-0000-0000-0000-000000000000') AND NOT time_doubtful
COMMENT 'Orders of known people whose time is known, one row for each. Internal: feeds the views about customers.';

CREATE OR REPLACE VIEW {{database}}.v_ltv {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    first_order Nullable(Date) COMMENT 'Day of the first order; NULL: the time of none can be believed',
    last_order Nullable(Date) COMMENT 'Day of the last order; likewise',
    orders UInt64 COMMENT 'Orders so far',
    revenue Float64 COMMENT 'Their revenue after refunds and returns, in the currency of reports: the historic lifetime value',
    margin Float64 COMMENT 'What of it is margin',
    average_order_value Float64 COMMENT 'revenue / orders',
    probability_alive Nullable(Float64) COMMENT 'How likely the person is still a customer; NULL: not predicted, see `throughline ltv fit`',
    predicted_orders Nullable(Float64) COMMENT 'Orders expected within the horizon of the newest run of v_ltv_runs',
    predicted_revenue Nullable(Float64) COMMENT 'Revenue expected of them',
    lifetime_value Float64 COMMENT 'revenue and, where there is one, predicted_revenue'
)
AS SELECT
    o.profile_id AS profile_id,
    o.first_order AS first_order,
    o.last_order AS last_order,
    o.orders AS orders,
    o.revenue AS revenue,
    o.margin AS margin,
    o.revenue / o.orders AS average_order_value,
    if(p.n = 0, NULL, p.probability_alive) AS probability_alive,
    if(p.n = 0, NULL, p.orders) AS predicted_orders,
    if(p.n = 0, NULL, p.revenue) AS predicted_revenue,
    o.revenue + p.revenue AS lifetime_value
FROM
(
    SELECT
        profile_id, minOrNullIf(day, NOT is_return AND NOT time_doubtful) AS first_order,
        maxOrNullIf(day, NOT is_return AND NOT time_doubtful) AS last_order, countIf(NOT is_return) AS orders,
        sum(c.revenue) AS revenue, sum(c.revenue * margin_rate) AS margin
    FROM {{database}}.customer_sales AS c
    GROUP BY profile_id
    HAVING orders > 0
) AS o
LEFT JOIN
(
    SELECT
        if(n.profile_id = l.profile_id, n.profile_id_now, l.profile_id) AS profile_id,
        count() AS n,
        max(l.probability_alive) AS probability_alive,
        sum(l.orders) AS orders,
        sum(l.revenue) AS revenue
    FROM
    (
        SELECT * FROM {{database}}.ltv_predictions FINAL
        WHERE run_id = (SELECT argMax(run_id, fitted_at) FROM {{database}}.ltv_runs)
    ) AS l
    LEFT JOIN {{database}}.profile_aliases AS n ON n.profile_id = l.profile_id
    GROUP BY profile_id
) AS p ON p.profile_id = o.profile_id
COMMENT 'What each customer has brought and is expected to bring, one row for each person with an order.';

CREATE OR REPLACE VIEW {{database}}.v_rfm {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    last_order Date COMMENT 'Day of the last order',
    recency_days UInt32 COMMENT 'Days from it to the newest order of anybody',
    frequency UInt64 COMMENT 'Orders',
    monetary Float64 COMMENT 'Their revenue after refunds and returns, in the currency of reports',
    r UInt8 COMMENT 'Fifth of the customers by recency, 5: the most recent; equal values are in one fifth',
    f UInt8 COMMENT 'Fifth by frequency, 5: the most orders',
    m UInt8 COMMENT 'Fifth by monetary, 5: the most revenue',
    class LowCardinality(String) COMMENT 'champions, loyal, promising, new, at risk, lost or other: the first that fits r and (f + m) / 2'
)
AS
SELECT
    profile_id,
    last_order,
    toUInt32(newest - last_order) AS recency_days,
    frequency,
    monetary,
    toUInt8(1 + intDiv(5 * (rank() OVER (ORDER BY last_order) - 1), total)) AS r,
    toUInt8(1 + intDiv(5 * (rank() OVER (ORDER BY frequency) - 1), total)) AS f,
    toUInt8(1 + intDiv(5 * (rank() OVER (ORDER BY monetary) - 1), total)) AS m,
    multiIf(
        r >= 4 AND f + m >= 8, 'champions',
        r >= 3 AND f + m >= 7, 'loyal',
        r <= 2 AND f + m >= 7, 'at risk',
        r >= 4 AND frequency = 1, 'new',
        r >= 3, 'promising',
        r = 1, 'lost',
        'other') AS class
FROM
(
    SELECT
        profile_id, maxIf(day, NOT is_return AND NOT time_doubtful) AS last_order, countIf(NOT is_return) AS frequency, sum(revenue) AS monetary,
        max(last_order) OVER () AS newest, count() OVER () AS total
    FROM {{database}}.customer_sales
    GROUP BY profile_id
    HAVING countIf(NOT is_return AND NOT time_doubtful) > 0
)
COMMENT 'Recency, frequency and money of customers, one row for each person with an order whose time is known.';

CREATE OR REPLACE VIEW {{database}}.v_sales {{on_cluster}}
(
    month Date COMMENT 'First day of the month',
    orders UInt64 COMMENT 'Conversions of the settings'' goal, also those of nobody known',
    revenue Float64 COMMENT 'Their revenue in the currency of reports',
    refunded Float64 COMMENT 'What of it was given back since, and what was paid back in this month for goods returned without an order',
    margin Float64 COMMENT 'What of revenue is margin',
    customers UInt64 COMMENT 'People who ordered',
    new_customers UInt64 COMMENT 'Those who did for the first time',
    active_people UInt64 COMMENT 'People with any event',
    aov Float64 COMMENT 'Average order value: revenue / orders',
    arpu Nullable(Float64) COMMENT 'Average revenue per user: revenue / active_people',
    arppu Nullable(Float64) COMMENT 'Average revenue per paying user: revenue / customers',
    orders_per_customer Nullable(Float64) COMMENT 'orders of known people / customers',
    repeat_rate Nullable(Float64) COMMENT 'Share of customers who had ordered before, in this month or earlier, by orders whose time is known'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    o.month AS month,
    o.orders AS orders,
    o.revenue AS revenue,
    o.refunded AS refunded,
    o.margin AS margin,
    o.customers AS customers,
    o.new_customers AS new_customers,
    a.active_people AS active_people,
    ifNull(o.revenue / nullIf(o.orders, 0), 0) AS aov,
    o.revenue / nullIf(a.active_people, 0) AS arpu,
    o.revenue / nullIf(o.customers, 0) AS arppu,
    o.known_orders / nullIf(o.customers, 0) AS orders_per_customer,
    o.repeaters / nullIf(o.customers, 0) AS repeat_rate
FROM
(
    SELECT
        toStartOfMonth(day) AS month,
        countIf(NOT is_return) AS orders,
        sumIf(toFloat64(ifNull(v.revenue, 0)), NOT is_return) AS revenue,
        revenue - sum(toFloat64(ifNull(v.net_revenue, 0))) AS refunded,
        sumIf(toFloat64(ifNull(v.revenue, 0)) * margin_rate, NOT is_return) AS margin,
        countIf(NOT is_return AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS known_orders,
        uniqExactIf(profile_id, NOT is_return AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS customers,
        countIf(is_first) AS new_customers,
        uniqExactIf(profile_id, NOT is_return AND NOT is_first AND NOT time_doubtful AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS repeaters
    FROM {{database}}.sale_values AS v
    WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
    GROUP BY month
) AS o
LEFT JOIN
(
    SELECT toStartOfMonth(toDate(toTimeZone(occurred_at, zone))) AS month, uniqExact(profile_id) AS active_people
    FROM {{database}}.v_touchpoints
    WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000')
    GROUP BY month
) AS a ON a.month = o.month
COMMENT 'Orders, customers and what they spend on average, one row for each month with an order or a return.';

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
                    -- An order of unknown time may arrive before the first one.
                    toUInt32(greatest(0, dateDiff('month', minIf(day, NOT time_doubtful) OVER (PARTITION BY profile_id), day))) AS months,
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

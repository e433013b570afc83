-- What people are worth, what they buy and when. Money is in the currency of reports; amounts without a rate count as
-- nothing here and are named by v_missing_rates.

CREATE TABLE IF NOT EXISTS {{database}}.ltv_runs {{on_cluster}}
(
    run_id String COMMENT 'Name of the run: a hash of its input and options',
    fitted_at DateTime64(3, 'UTC') COMMENT 'When it was fitted; the newest run counts',
    model LowCardinality(String) COMMENT 'Model of purchases and of amounts',
    observed_until Date COMMENT 'Last day of the orders that it knows',
    horizon_days UInt32 COMMENT 'Days that it looks ahead',
    customers UInt64 COMMENT 'People it was fitted to',
    parameters String COMMENT 'What was fitted, JSON',
    holdout_days UInt32 COMMENT 'Days at the end that a second fit did not see, to be judged by; 0: the history is too short',
    holdout_orders Float64 COMMENT 'Repeat orders of the people known before, in those days',
    predicted_orders Float64 COMMENT 'What the second fit had predicted for them',
    mean_absolute_error Float64 COMMENT 'Mean distance of the two for a person',
    naive_absolute_error Float64 COMMENT 'The same for the rule: everybody goes on as before'
)
ENGINE = {{replicated}}ReplacingMergeTree(fitted_at)
ORDER BY run_id
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Fits of the lifetime value and how well they did, one row for each. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.ltv_predictions {{on_cluster}}
(
    run_id String COMMENT 'The run, see ltv_runs',
    profile_id UUID COMMENT 'The person as known then',
    probability_alive Float64 COMMENT 'How likely the person is still a customer',
    orders Float64 COMMENT 'Orders expected within the horizon',
    order_value Float64 COMMENT 'Revenue expected of one, in the currency of reports',
    revenue Float64 COMMENT 'orders x order_value'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY (run_id, profile_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What each fit expects of each person, one row for each. Read v_ltv.';

CREATE VIEW IF NOT EXISTS {{database}}.customer_orders {{on_cluster}}
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
WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings) AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
COMMENT 'Orders of known people, one row for each. Internal: feeds the views about customers.';

CREATE VIEW IF NOT EXISTS {{database}}.v_ltv {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    first_order Date COMMENT 'Day of the first order',
    last_order Date COMMENT 'Day of the last order',
    orders UInt64 COMMENT 'Orders so far',
    revenue Float64 COMMENT 'Their revenue after refunds, in the currency of reports: the historic lifetime value',
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
    SELECT profile_id, min(day) AS first_order, max(day) AS last_order, count() AS orders, sum(c.revenue) AS revenue, sum(c.revenue * margin_rate) AS margin
    FROM {{database}}.customer_orders AS c
    GROUP BY profile_id
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

CREATE VIEW IF NOT EXISTS {{database}}.v_ltv_runs {{on_cluster}}
(
    run_id String COMMENT 'Name of the run',
    fitted_at DateTime64(3, 'UTC') COMMENT 'When it was fitted; the newest run counts',
    model LowCardinality(String) COMMENT 'Model of purchases and of amounts',
    observed_until Date COMMENT 'Last day of the orders that it knows',
    horizon_days UInt32 COMMENT 'Days that it looks ahead',
    customers UInt64 COMMENT 'People it was fitted to',
    parameters String COMMENT 'What was fitted, JSON',
    holdout_days UInt32 COMMENT 'Days that a second fit did not see; 0: the history is too short',
    holdout_orders Float64 COMMENT 'Repeat orders in those days',
    predicted_orders Float64 COMMENT 'What the second fit had predicted for them',
    error Nullable(Float64) COMMENT 'predicted_orders / holdout_orders - 1',
    mean_absolute_error Float64 COMMENT 'Mean distance of the two for a person',
    naive_absolute_error Float64 COMMENT 'The same for the rule: everybody goes on as before'
)
AS SELECT
    run_id, fitted_at, model, observed_until, horizon_days, customers, parameters, holdout_days, holdout_orders, predicted_orders,
    predicted_orders / nullIf(holdout_orders, 0) - 1 AS error, mean_absolute_error, naive_absolute_error
FROM {{database}}.ltv_runs FINAL
COMMENT 'Fits of the lifetime value and how well they did on days that they had not seen, one row for each.';

CREATE VIEW IF NOT EXISTS {{database}}.v_rfm {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    last_order Date COMMENT 'Day of the last order',
    recency_days UInt32 COMMENT 'Days from it to the newest order of anybody',
    frequency UInt64 COMMENT 'Orders',
    monetary Float64 COMMENT 'Their revenue after refunds, in the currency of reports',
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
        profile_id, max(day) AS last_order, count() AS frequency, sum(revenue) AS monetary,
        max(last_order) OVER () AS newest, count() OVER () AS total
    FROM {{database}}.customer_orders
    GROUP BY profile_id
)
COMMENT 'Recency, frequency and money of customers, one row for each person with an order.';

CREATE VIEW IF NOT EXISTS {{database}}.v_sales {{on_cluster}}
(
    month Date COMMENT 'First day of the month',
    orders UInt64 COMMENT 'Conversions of the settings'' goal, also those of nobody known',
    revenue Float64 COMMENT 'Their revenue in the currency of reports',
    refunded Float64 COMMENT 'What of it was given back since',
    margin Float64 COMMENT 'What of revenue is margin',
    customers UInt64 COMMENT 'People who ordered',
    new_customers UInt64 COMMENT 'Those who did for the first time',
    active_people UInt64 COMMENT 'People with any event',
    aov Float64 COMMENT 'Average order value: revenue / orders',
    arpu Nullable(Float64) COMMENT 'Average revenue per user: revenue / active_people',
    arppu Nullable(Float64) COMMENT 'Average revenue per paying user: revenue / customers',
    orders_per_customer Nullable(Float64) COMMENT 'orders of known people / customers',
    repeat_rate Nullable(Float64) COMMENT 'Share of customers who had ordered before, in this month or earlier'
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
    o.revenue / o.orders AS aov,
    o.revenue / nullIf(a.active_people, 0) AS arpu,
    o.revenue / nullIf(o.customers, 0) AS arppu,
    o.known_orders / nullIf(o.customers, 0) AS orders_per_customer,
    o.repeaters / nullIf(o.customers, 0) AS repeat_rate
FROM
(
    SELECT
        toStartOfMonth(day) AS month,
        count() AS orders,
        sum(toFloat64(ifNull(v.revenue, 0))) AS revenue,
        revenue - sum(toFloat64(ifNull(v.net_revenue, 0))) AS refunded,
        sum(toFloat64(ifNull(v.revenue, 0)) * margin_rate) AS margin,
        countIf(profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS known_orders,
        uniqExactIf(profile_id, profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS customers,
        countIf(is_first) AS new_customers,
        uniqExactIf(profile_id, NOT is_first AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS repeaters
    FROM {{database}}.v_conversion_values AS v
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
COMMENT 'Orders, customers and what they spend on average, one row for each month with an order.';

CREATE VIEW IF NOT EXISTS {{database}}.v_product_performance {{on_cluster}}
(
    product_id String COMMENT 'The product; empty: orders that do not name their products',
    name String COMMENT 'Its name as last ordered',
    category String COMMENT 'Its category as last ordered',
    viewers UInt64 COMMENT 'People who saw its page',
    adders UInt64 COMMENT 'People who put it into a cart',
    buyers UInt64 COMMENT 'People who ordered it',
    orders UInt64 COMMENT 'Orders with it, also those of nobody known',
    quantity Float64 COMMENT 'Pieces ordered',
    revenue Float64 COMMENT 'Their share of the orders'' revenue, in the currency of reports',
    margin Float64 COMMENT 'What of it is margin',
    view_to_cart Nullable(Float64) COMMENT 'adders / viewers',
    view_to_order Nullable(Float64) COMMENT 'buyers / viewers; above 1 where it sells without its page, as in a store'
)
AS SELECT
    key AS product_id,
    argMaxIf(label, at, ordered) AS name,
    argMaxIf(sort, at, ordered) AS category,
    uniqExactIf(person, event = 'Product Viewed' AND known) AS viewers,
    uniqExactIf(person, event = 'Product Added' AND known) AS adders,
    uniqExactIf(person, ordered AND known) AS buyers,
    uniqExactIf(order_key, ordered) AS orders,
    sum(pieces) AS quantity,
    sum(worth) AS revenue,
    sum(gain) AS margin,
    adders / nullIf(viewers, 0) AS view_to_cart,
    buyers / nullIf(viewers, 0) AS view_to_order
FROM
(
    SELECT
        product_id AS key, name AS label, category AS sort, ordered_at AS at, true AS ordered, 'Order' AS event,
        profile_id AS person, profile_id != toUUID('00000000-0000-0000-0000-000000000000') AS known, order_id AS order_key,
        quantity AS pieces, ifNull(i.revenue, 0) AS worth, worth * margin_rate AS gain
    FROM {{database}}.v_order_items AS i
    UNION ALL
    SELECT
        toString(product_id), '', '', occurred_at, false, toString(event),
        profile_id, profile_id != toUUID('00000000-0000-0000-0000-000000000000'), '', 0., 0., 0.
    FROM {{database}}.v_touchpoints
    WHERE event IN ('Product Viewed', 'Product Added') AND product_id != ''
)
GROUP BY product_id
COMMENT 'How products do from page to order, one row for each product.';

CREATE VIEW IF NOT EXISTS {{database}}.v_category_performance {{on_cluster}}
(
    category String COMMENT 'The category as ordered; empty: not named',
    products UInt64 COMMENT 'Products ordered',
    orders UInt64 COMMENT 'Orders with one of them',
    buyers UInt64 COMMENT 'People who ordered one',
    quantity Float64 COMMENT 'Pieces ordered',
    revenue Float64 COMMENT 'Their share of the orders'' revenue, in the currency of reports',
    margin Float64 COMMENT 'What of it is margin',
    share Float64 COMMENT 'Share of all revenue'
)
AS SELECT
    category,
    uniqExact(product_id) AS products,
    uniqExact(order_id) AS orders,
    uniqExactIf(profile_id, profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS buyers,
    sum(i.quantity) AS quantity,
    sum(ifNull(i.revenue, 0)) AS revenue,
    sum(ifNull(i.revenue, 0) * margin_rate) AS margin,
    ifNull(revenue / nullIf(sum(revenue) OVER (), 0), 0) AS share
FROM {{database}}.v_order_items AS i
GROUP BY category
COMMENT 'What sells, one row for each category.';

CREATE VIEW IF NOT EXISTS {{database}}.v_purchase_times {{on_cluster}}
(
    weekday UInt8 COMMENT '1 Monday to 7 Sunday, in the time zone of reports',
    hour UInt8 COMMENT 'Hour of the day, 0 to 23',
    orders UInt64 COMMENT 'Conversions of the settings'' goal',
    customers UInt64 COMMENT 'People who ordered',
    revenue Float64 COMMENT 'Revenue in the currency of reports',
    share Float64 COMMENT 'Share of all orders'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    toDayOfWeek(toTimeZone(converted_at, zone)) AS weekday,
    toHour(toTimeZone(converted_at, zone)) AS hour,
    count() AS orders,
    uniqExactIf(profile_id, profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS customers,
    sum(toFloat64(ifNull(c.revenue, 0))) AS revenue,
    orders / sum(orders) OVER () AS share
FROM {{database}}.conversion_amounts AS c
WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
GROUP BY weekday, hour
COMMENT 'When people buy, one row for each weekday and hour with an order.';

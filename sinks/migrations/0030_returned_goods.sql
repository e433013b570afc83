-- What customers, products and months are worth, returns taken off; what could not be converted; and whether orders add up.

CREATE OR REPLACE VIEW {{database}}.v_ltv {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    first_order Date COMMENT 'Day of the first order',
    last_order Date COMMENT 'Day of the last order',
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
        profile_id, minIf(day, NOT is_return) AS first_order, maxIf(day, NOT is_return) AS last_order, countIf(NOT is_return) AS orders,
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
        profile_id, maxIf(day, NOT is_return) AS last_order, countIf(NOT is_return) AS frequency, sum(revenue) AS monetary,
        max(last_order) OVER () AS newest, count() OVER () AS total
    FROM {{database}}.customer_sales
    GROUP BY profile_id
    HAVING frequency > 0
)
COMMENT 'Recency, frequency and money of customers, one row for each person with an order.';

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
        uniqExactIf(profile_id, NOT is_return AND NOT is_first AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS repeaters
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

CREATE OR REPLACE VIEW {{database}}.v_product_performance {{on_cluster}}
(
    product_id String COMMENT 'The product; empty: orders that do not name their products',
    name String COMMENT 'Its name as last ordered',
    category String COMMENT 'Its category as last ordered',
    viewers UInt64 COMMENT 'People who saw its page',
    adders UInt64 COMMENT 'People who put it into a cart',
    buyers UInt64 COMMENT 'People who ordered it',
    orders UInt64 COMMENT 'Orders with it, also those of nobody known',
    quantity Float64 COMMENT 'Pieces ordered, or what its unit is; those that came back are not taken off',
    revenue Float64 COMMENT 'Their share of the orders'' revenue, less that of what came back, in the currency of reports',
    margin Float64 COMMENT 'What of it is margin',
    view_to_cart Nullable(Float64) COMMENT 'adders / viewers',
    view_to_order Nullable(Float64) COMMENT 'buyers / viewers; above 1 where it sells without its page, as in a store',
    returned Float64 COMMENT 'Pieces that came back as lines of a receipt; refunds do not name products'
)
AS SELECT
    key AS product_id,
    argMaxIf(label, at, ordered) AS name,
    argMaxIf(sort, at, ordered) AS category,
    uniqExactIf(person, event = 'Product Viewed' AND known) AS viewers,
    uniqExactIf(person, event = 'Product Added' AND known) AS adders,
    uniqExactIf(person, ordered AND known AND pieces > 0) AS buyers,
    uniqExactIf(order_key, ordered AND pieces > 0) AS orders,
    sumIf(pieces, pieces > 0) AS quantity,
    sum(worth) AS revenue,
    sum(gain) AS margin,
    adders / nullIf(viewers, 0) AS view_to_cart,
    buyers / nullIf(viewers, 0) AS view_to_order,
    -sumIf(pieces, pieces < 0) AS returned
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

CREATE OR REPLACE VIEW {{database}}.v_category_performance {{on_cluster}}
(
    category String COMMENT 'The category as ordered; empty: not named',
    products UInt64 COMMENT 'Products ordered',
    orders UInt64 COMMENT 'Orders with one of them',
    buyers UInt64 COMMENT 'People who ordered one',
    quantity Float64 COMMENT 'Pieces ordered, or what their unit is; those that came back are not taken off',
    revenue Float64 COMMENT 'Their share of the orders'' revenue, less that of what came back, in the currency of reports',
    margin Float64 COMMENT 'What of it is margin',
    share Float64 COMMENT 'Share of all revenue',
    returned Float64 COMMENT 'Pieces that came back as lines of a receipt'
)
AS SELECT
    category,
    uniqExactIf(product_id, i.quantity > 0) AS products,
    uniqExactIf(order_id, i.quantity > 0) AS orders,
    uniqExactIf(profile_id, i.quantity > 0 AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS buyers,
    sumIf(i.quantity, i.quantity > 0) AS quantity,
    sum(ifNull(i.revenue, 0)) AS revenue,
    sum(ifNull(i.revenue, 0) * margin_rate) AS margin,
    ifNull(revenue / nullIf(sum(revenue) OVER (), 0), 0) AS share,
    -sumIf(i.quantity, i.quantity < 0) AS returned
FROM {{database}}.v_order_items AS i
GROUP BY category
COMMENT 'What sells, one row for each category.';

CREATE OR REPLACE VIEW {{database}}.v_missing_rates {{on_cluster}}
(
    what String COMMENT 'conversions, returns, refunds or spend',
    day Date COMMENT 'The day whose rate is missing',
    currency LowCardinality(String) COMMENT 'ISO 4217; empty: the producer named none',
    amounts UInt64 COMMENT 'How many amounts could not be converted',
    total Decimal(38, 4) COMMENT 'Their sum, in units of currency',
    warning String COMMENT 'The same as a sentence'
)
AS SELECT
    what,
    day,
    currency,
    count() AS amounts,
    sum(amount) AS total,
    concat(toString(total), ' ', if(currency = '', 'of no currency', currency), ' of ', toString(amounts), ' ', what, ' on ', toString(day), ' are in no sum of money: there is no rate') AS warning
FROM
(
    SELECT if(is_return, 'returns', 'conversions') AS what, day, currency, original_revenue AS amount FROM {{database}}.sale_amounts WHERE revenue IS NULL
    UNION ALL
    SELECT 'refunds' AS what, day, currency, original_amount AS amount FROM {{database}}.refund_values AS v WHERE v.amount IS NULL AND NOT wholly
    UNION ALL
    SELECT 'spend' AS what, date AS day, currency, original_spend AS amount FROM {{database}}.v_spend WHERE spend IS NULL
)
GROUP BY what, day, currency
COMMENT 'Amounts that no view adds up since they could not be converted, one row for each kind, day and currency. Empty: all is well.';

CREATE OR REPLACE VIEW {{database}}.v_reconciliation {{on_cluster}}
(
    day Date COMMENT 'Day of the conversions, in the time zone of the settings',
    conversion_type String COMMENT 'The goal; empty: events that should be conversions and are none',
    model String COMMENT 'The model; of participation only the orders are compared',
    orders UInt64 COMMENT 'Distinct orders (or converting events) among all events',
    conversions UInt64 COMMENT 'Conversions',
    credits Float64 COMMENT 'Credited conversions',
    revenue Decimal(38, 4) COMMENT 'Revenue of the conversions',
    credited_revenue Float64 COMMENT 'Credited revenue',
    difference Float64 COMMENT 'credits - conversions, else conversions - orders: other than 0, something is lost or invented',
    revenue_difference Float64 COMMENT 'credited_revenue - revenue, to the cent',
    alert UInt8 COMMENT '1: orders, conversions and credits are not the same, or revenue is off by a cent'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    o.day AS day,
    o.conversion_type AS conversion_type,
    m.model AS model,
    o.orders AS orders,
    o.conversions AS conversions,
    if(m.additive, k.credits, toFloat64(o.conversions)) AS credits,
    o.revenue AS revenue,
    if(m.additive, k.credited, toFloat64(o.revenue)) AS credited_revenue,
    if(abs(credits - o.conversions) > 1e-6 * (o.conversions + 1), credits - o.conversions, toFloat64(o.conversions) - o.orders) AS difference,
    round(credited_revenue - toFloat64(o.revenue), 2) AS revenue_difference,
    difference != 0 OR revenue_difference != 0 AS alert
FROM
(
    SELECT
        toDate(toTimeZone(if(c.conversion_id = '', t.happened_at, c.converted_at), zone)) AS day,
        c.conversion_type AS conversion_type,
        uniqExactIf(t.order_id, t.order_id != '' AND NOT c.is_return) AS orders,
        countIf(c.conversion_id != '' AND NOT c.is_return) AS conversions,
        sumIf(toDecimal128(c.revenue, 4), NOT c.is_return) AS revenue
    FROM {{database}}.conversions_and_returns AS c
    FULL JOIN
    (
        -- Updates and receipts were no conversions when older events were stored.
        SELECT
            if(conversion_id != '', conversion_id, if(t.order_id != '', t.order_id, if(receipt != '', receipt, event_id))) AS order_id,
            min(occurred_at) AS happened_at
        FROM (SELECT *, JSONExtractString(properties, 'receipt_id') AS receipt FROM {{database}}.touchpoints FINAL WHERE conversion_id != '' OR event IN ('Order Updated', 'Receipt Issued')) AS t
        GROUP BY order_id
        HAVING (max(conversion_id) != '' OR order_id IN (SELECT conversion_id FROM {{database}}.order_events WHERE notEmpty(goals)))
            AND order_id NOT IN
            (
                SELECT conversion_id FROM {{database}}.order_events FINAL
                WHERE kind IN ('order', 'receipt') AND conversion_id IN (SELECT claims FROM {{database}}.order_events FINAL WHERE claims != '')
                GROUP BY conversion_id
                HAVING max(authority) <= 1
            )
    ) AS t ON t.order_id = c.conversion_id
    GROUP BY day, conversion_type
) AS o
CROSS JOIN {{database}}.v_attribution_models AS m
LEFT JOIN
(
    SELECT toDate(toTimeZone(converted_at, zone)) AS credited_day, conversion_type AS goal, model AS by_model, sum(credit) AS credits, sum(revenue_credit) AS credited
    FROM {{database}}.v_attribution_default
    GROUP BY credited_day, goal, by_model
) AS k ON k.credited_day = o.day AND k.goal = o.conversion_type AND k.by_model = m.model
COMMENT 'Do orders, conversions and credits agree? One row for each day, goal and model. `throughline attribution check` exits 1 if one has an alert.';

-- One number in one name space that two people have, in two stores: very likely two shops that number alike.
CREATE VIEW IF NOT EXISTS {{database}}.v_order_conflicts {{on_cluster}}
(
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The number',
    people UInt64 COMMENT 'People who have it, as known now',
    stores Array(String) COMMENT 'Stores that report it',
    sources Array(String) COMMENT 'Producers that report it',
    first_at DateTime64(3, 'UTC') COMMENT 'Time of the first report',
    warning String COMMENT 'The same as a sentence, with what to do'
)
AS SELECT
    e.order_namespace AS order_namespace,
    e.order_id AS order_id,
    uniqExactIf(if(o.version > e.identity_version, o.profile_id, e.profile_id) AS person, person != toUUID('00000000-0000-0000-0000-000000000000')) AS people,
    arraySort(groupUniqArrayIf(toString(e.store_id), e.store_id != '')) AS stores,
    arraySort(groupUniqArray(toString(e.source))) AS sources,
    min(e.occurred_at) AS first_at,
    concat(
        'order ', order_id, if(order_namespace = '', '', concat(' of the name space ', order_namespace)), ' has ', toString(people), ' people and the stores ',
        arrayStringConcat(stores, ', '), ': do they number their orders alike? Declare `orders` for ', arrayStringConcat(sources, ', '), ' in sources.yaml') AS warning
FROM {{database}}.order_events AS e FINAL
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = e.anchor
GROUP BY order_namespace, order_id
HAVING people > 1 AND length(stores) > 1
COMMENT 'Orders that are probably two, one row for each. Empty: all is well. `throughline attribution check` warns of them.';

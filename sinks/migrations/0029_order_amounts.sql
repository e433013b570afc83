-- What orders bring in, line by line, with returns: goods that come back without an order are no conversions, and take their
-- amounts off what customers and products are worth.

CREATE VIEW IF NOT EXISTS {{database}}.sale_amounts {{on_cluster}}
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
    is_first UInt8 COMMENT '1: the person''s first of this goal',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    products String COMMENT 'Its lines, a JSON list; empty: it names none'
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
    c.profile_id != toUUID('00000000-0000-0000-0000-000000000000') AND c.ordinal = 1 AND NOT c.is_return AS is_first,
    c.is_return AS is_return,
    c.order_namespace AS order_namespace,
    c.source AS source,
    c.products AS products
FROM
(
    SELECT
        conversion_id, conversion_type, profile_id, converted_at, channel, source, event_id, currency, is_return, order_namespace, products,
        revenue AS original_revenue,
        net_revenue AS original_net,
        toDate(toTimeZone(converted_at, zone)) AS day,
        row_number() OVER (PARTITION BY profile_id, conversion_type, is_return ORDER BY converted_at, conversion_id) AS ordinal
    FROM {{database}}.conversions_and_returns
) AS c
LEFT JOIN {{database}}.v_rates AS r ON r.currency = c.currency AND r.date = c.day
COMMENT 'Conversions and returns in the currency of reports, one row for each. Internal: feeds conversion_amounts, v_order_items and sale_values.';

CREATE OR REPLACE VIEW {{database}}.conversion_amounts {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    day Date COMMENT 'That day in the time zone of reports',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    event_id String COMMENT 'The event that reported it first',
    original_revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    revenue Nullable(Decimal(38, 4)) COMMENT 'What it is worth in the currency of reports; NULL: there is no rate',
    net_revenue Nullable(Decimal(38, 4)) COMMENT 'The same after refunds',
    is_first UInt8 COMMENT '1: the person''s first of this goal',
    source LowCardinality(String) COMMENT 'Which producer reported it first'
)
AS SELECT
    conversion_id, conversion_type, profile_id, converted_at, day, channel, event_id, original_revenue, currency, revenue, net_revenue, is_first, source
FROM {{database}}.sale_amounts
WHERE NOT is_return
COMMENT 'Conversions in the currency of reports, one row for each. Internal: feeds the views of visits, cohorts and purchase times.';

-- A line is worth its share of the order''s revenue. Where a line comes back, shares of a sum near nothing would be
-- huge, so there each line is worth what it costs, and what the order differs from the sum of its lines by (a discount, a tax)
-- is divided by their size.
CREATE OR REPLACE VIEW {{database}}.v_order_items {{on_cluster}}
(
    order_id String COMMENT 'The order, as v_conversions.conversion_id: a conversion of the settings'' goal, or a return',
    position UInt32 COMMENT 'Place of the line in the order, from 1',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    ordered_at DateTime64(3, 'UTC') COMMENT 'When it was ordered',
    day Date COMMENT 'That day in the time zone of reports',
    channel LowCardinality(String) COMMENT 'Where it was ordered, such as web',
    product_id String COMMENT 'The product; empty: the order does not name its products',
    name String COMMENT 'Its name',
    category String COMMENT 'Its category',
    brand String COMMENT 'Its brand',
    quantity Float64 COMMENT 'Pieces, or what its unit is; negative: they came back',
    price Float64 COMMENT 'Price of one piece before discounts, in units of currency',
    currency LowCardinality(String) COMMENT 'Currency of the order, ISO 4217',
    revenue Nullable(Float64) COMMENT 'Share of the order''s revenue, by what its lines cost, in the currency of reports; NULL: there is no rate',
    margin_rate Float64 COMMENT 'Share of it that is margin: by product, else category, else the settings',
    order_namespace LowCardinality(String) COMMENT 'Name space of the order''s own id; empty: the one that sources share'
)
AS
WITH
    CAST([('', '', '', '', '', NULL)], 'Array(Tuple(product_id String, name String, category String, brand String, price String, quantity Nullable(Float64)))') AS unknown,
    (SELECT margin FROM {{database}}.v_attribution_settings) AS usual_margin,
    (SELECT mapFromArrays(groupArray(concat(kind, ' ', key)), groupArray(margin)) FROM {{database}}.margins FINAL) AS margins
SELECT
    order_id,
    place AS position,
    profile_id,
    ordered_at,
    day,
    channel,
    product.product_id AS product_id,
    product.name AS name,
    product.category AS category,
    product.brand AS brand,
    pieces AS quantity,
    toFloat64OrZero(product.price) AS price,
    currency,
    multiIf(
        size = 0, toFloat64(order_revenue) / length(products),
        has_returned, rate * (cost + (toFloat64(order_original) - total) * abs(cost) / size),
        toFloat64(order_revenue) * cost / total) AS revenue,
    multiIf(
        mapContains(margins, concat('product ', product.product_id)), margins[concat('product ', product.product_id)],
        mapContains(margins, concat('category ', product.category)), margins[concat('category ', product.category)],
        assumeNotNull(usual_margin)) AS margin_rate,
    order_namespace
FROM
(
    SELECT
        c.conversion_id AS order_id,
        c.profile_id AS profile_id,
        c.converted_at AS ordered_at,
        c.day AS day,
        c.channel AS channel,
        c.currency AS currency,
        c.revenue AS order_revenue,
        c.original_revenue AS order_original,
        c.rate AS rate,
        c.order_namespace AS order_namespace,
        JSONExtract(c.products, 'Array(Tuple(product_id String, name String, category String, brand String, price String, quantity Nullable(Float64)))') AS named,
        if(empty(named), unknown, named) AS products,
        arrayMap(one -> ifNull(one.quantity, if(c.is_return, -1, 1)), products) AS quantities,
        arrayMap((one, quantity) -> toFloat64OrZero(one.price) * quantity, products, quantities) AS costs,
        arraySum(costs) AS total,
        arraySum(cost -> abs(cost), costs) AS size,
        arrayExists(cost -> cost < 0, costs) AS has_returned
    FROM {{database}}.sale_amounts AS c
    WHERE c.conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
)
ARRAY JOIN products AS product, quantities AS pieces, costs AS cost, arrayEnumerate(products) AS place
COMMENT 'What was ordered and what came back, one row for each line of an order or return. Revenue adds up to that of the orders, less the returns.';

CREATE VIEW IF NOT EXISTS {{database}}.sale_values {{on_cluster}}
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
    is_return UInt8 COMMENT '1: goods came back and nothing was bought'
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
    c.is_return AS is_return
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
    is_first UInt8 COMMENT '1: the person''s first of this goal'
)
AS SELECT
    conversion_id, conversion_type, profile_id, converted_at, day, channel, original_revenue, currency, revenue, net_revenue, margin_rate, is_first
FROM {{database}}.sale_values
WHERE NOT is_return
COMMENT 'Conversions in the currency of reports with their margin, one row for each goal and conversion id.';

CREATE VIEW IF NOT EXISTS {{database}}.customer_sales {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    day Date COMMENT 'Day in the time zone of reports',
    revenue Float64 COMMENT 'What it is worth after refunds, in the currency of reports; 0 when there is no rate; negative: what came back',
    margin_rate Float64 COMMENT 'Share of it that is margin',
    is_return UInt8 COMMENT '1: a return, which is no order'
)
AS SELECT profile_id, day, toFloat64(ifNull(v.net_revenue, 0)) AS revenue, margin_rate, is_return
FROM {{database}}.sale_values AS v
WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings) AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
COMMENT 'Orders and returns of known people, one row for each. Internal: feeds v_ltv and v_rfm.';

-- Lines of orders with their margins are a column of sale_amounts, so that v_conversion_values reads orders once.

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
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Country, ISO 3166; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language, ISO 639; empty: not known',
    lines Array(Tuple(product_id String, name String, category String, brand String, quantity Float64, price Float64, revenue Nullable(Float64), margin_rate Float64))
        COMMENT 'Its lines as v_order_items has them: revenue is the share of the conversion''s by what they cost, margin_rate that of the product, else the category, else the settings'
)
AS
WITH
    (SELECT currency FROM {{database}}.v_report_settings) AS wanted,
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone,
    assumeNotNull((SELECT margin FROM {{database}}.v_attribution_settings)) AS usual_margin,
    (SELECT mapFromArrays(groupArray(concat(kind, ' ', key)), groupArray(margin)) FROM {{database}}.margins FINAL) AS margins
SELECT
    * EXCEPT (goods, quantities, costs, total, size),
    arrayMap(
        (one, quantity, cost) ->
        (
            one.product_id, one.name, one.category, one.brand, quantity, toFloat64OrZero(one.price),
            multiIf(
                size = 0, toFloat64(revenue) / length(goods),
                arrayMin(costs) < 0, rate * (cost + (toFloat64(original_revenue) - total) * abs(cost) / size),
                toFloat64(revenue) * cost / total),
            multiIf(
                mapContains(margins, concat('product ', one.product_id)), margins[concat('product ', one.product_id)],
                mapContains(margins, concat('category ', one.category)), margins[concat('category ', one.category)],
                usual_margin)
        ),
        goods, quantities, costs) AS lines
FROM
(
    SELECT *, arraySum(costs) AS total, arraySum(cost -> abs(cost), costs) AS size
    FROM
    (
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
            c.time_doubtful AS time_doubtful,
            c.country AS country,
            c.market AS market,
            c.store_id AS store_id,
            c.language AS language,
            if(empty(c.named), CAST([('', '', '', '', '', NULL)], 'Array(Tuple(product_id String, name String, category String, brand String, price String, quantity Nullable(Float64)))'), c.named) AS goods,
            arrayMap(one -> ifNull(one.quantity, if(c.is_return, -1, 1)), goods) AS quantities,
            arrayMap((one, quantity) -> toFloat64OrZero(one.price) * quantity, goods, quantities) AS costs
        FROM
        (
            SELECT
                conversion_id, conversion_type, profile_id, converted_at, channel, source, event_id, currency, is_return, order_namespace, time_doubtful, country, market, store_id, language,
                JSONExtract(products, 'Array(Tuple(product_id String, name String, category String, brand String, price String, quantity Nullable(Float64)))') AS named,
                revenue AS original_revenue,
                net_revenue AS original_net,
                toDate(toTimeZone(converted_at, zone)) AS day,
                row_number() OVER (PARTITION BY profile_id, conversion_type, is_return ORDER BY time_doubtful, converted_at, conversion_id) AS ordinal
            FROM {{database}}.conversions_and_returns
        ) AS c
        LEFT JOIN {{database}}.v_rates AS r ON r.currency = c.currency AND r.date = c.day
    )
)
COMMENT 'Conversions and returns in the currency of reports, one row for each. Internal: feeds conversion_amounts, v_order_items and sale_values.';

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
AS SELECT
    conversion_id AS order_id,
    place AS position,
    profile_id,
    converted_at AS ordered_at,
    day,
    channel,
    line.product_id AS product_id,
    line.name AS name,
    line.category AS category,
    line.brand AS brand,
    line.quantity AS quantity,
    line.price AS price,
    currency,
    line.revenue AS revenue,
    line.margin_rate AS margin_rate,
    order_namespace
FROM
(
    SELECT conversion_id, profile_id, converted_at, day, channel, currency, order_namespace, lines
    FROM {{database}}.sale_amounts
    WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
)
ARRAY JOIN lines AS line, arrayEnumerate(lines) AS place
COMMENT 'What was ordered and what came back, one row for each line of an order or return. Revenue adds up to that of the orders, less the returns.';

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
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Country, ISO 3166; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language, ISO 639; empty: not known'
)
AS
WITH
    assumeNotNull((SELECT goal FROM {{database}}.v_attribution_settings)) AS goal,
    assumeNotNull((SELECT margin FROM {{database}}.v_attribution_settings)) AS usual_margin,
    arraySum(c.parts) AS worth
SELECT
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
    -- Weighted by what lines are worth, those that came back too.
    multiIf(
        c.conversion_type != goal, usual_margin,
        worth > 0, arraySum((part, share) -> part * share, c.parts, c.lines.margin_rate) / worth,
        arrayAvg(c.lines.margin_rate)) AS margin_rate,
    c.is_first AS is_first,
    c.is_return AS is_return,
    c.time_doubtful AS time_doubtful,
    c.country AS country,
    c.market AS market,
    c.store_id AS store_id,
    c.language AS language
FROM
(
    -- The limit keeps filters outside: ClickHouse 26.9 loses a column if it moves the runtime filter of a reordered join past here.
    SELECT *, arrayMap(line -> abs(ifNull(line.revenue, 0)), lines) AS parts
    FROM {{database}}.sale_amounts
    LIMIT 18446744073709551615
) AS c
COMMENT 'Conversions and returns with their margin, one row for each. Internal: feeds v_conversion_values and customer_sales.';

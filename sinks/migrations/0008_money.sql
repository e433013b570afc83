-- Amounts in one currency, margins by what was sold, and what marketing brings back. Nothing is added up that could not
-- be converted: an amount without a rate is NULL here and a row of v_missing_rates.

CREATE TABLE IF NOT EXISTS {{database}}.rates {{on_cluster}}
(
    date Date COMMENT 'The day that the rate is of',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    rate Decimal(18, 8) COMMENT 'Worth of one unit of currency in the base currency, the same one for the whole table',
    imported_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was imported; a later import of the same key replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(imported_at)
ORDER BY (currency, date)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Exchange rates, one row for each day and currency. A base currency that reports are in needs no row. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.margins {{on_cluster}}
(
    kind LowCardinality(String) COMMENT 'product, category or campaign',
    key String COMMENT 'Product id, category or campaign name, as the events have it',
    margin Float64 COMMENT 'Share of its revenue that is margin',
    imported_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was imported; a later import of the same key replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(imported_at)
ORDER BY (kind, key)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Margins that differ from the share in the settings, one row for each product, category or campaign. Read with FINAL.';

CREATE TABLE IF NOT EXISTS {{database}}.report_settings {{on_cluster}}
(
    id UInt8 COMMENT 'Always 0: there is one row',
    currency String COMMENT 'The currency of reports, ISO 4217; empty: the one that most conversions have',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was set; a later row replaces it'
)
ENGINE = {{replicated}}ReplacingMergeTree(changed_at)
ORDER BY id
COMMENT 'The currency of reports, one row; without it: the one that most conversions have. Read v_report_settings.';

CREATE VIEW IF NOT EXISTS {{database}}.v_report_settings {{on_cluster}}
(
    currency String COMMENT 'The currency of reports, ISO 4217; empty: there are no amounts yet'
)
AS SELECT if(wanted = '', (SELECT argMax(currency, (n, currency)) FROM (SELECT toString(currency) AS currency, count() AS n FROM {{database}}.conversions WHERE currency != '' GROUP BY currency)), wanted) AS currency
FROM (SELECT argMax(currency, changed_at) AS wanted FROM {{database}}.report_settings)
COMMENT 'What reports about money need to know: always one row.';

-- Banks publish no rate on holidays: one holds for seven days, unless the next comes earlier.
CREATE VIEW IF NOT EXISTS {{database}}.rates_by_day {{on_cluster}}
(
    date Date COMMENT 'A day on which the rate holds',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    rate Float64 COMMENT 'Worth of one unit of currency in the base currency'
)
AS SELECT day AS date, currency, argMax(rate, published) AS rate
FROM (SELECT currency, toFloat64(rate) AS rate, date AS published, date + arrayJoin(range(7)) AS day FROM {{database}}.rates FINAL)
GROUP BY currency, day
COMMENT 'The newest rate of the last seven days, one row for each day and currency. Internal: feeds v_rates.';

CREATE VIEW IF NOT EXISTS {{database}}.v_rates {{on_cluster}}
(
    date Date COMMENT 'A day on which the rate holds',
    currency LowCardinality(String) COMMENT 'ISO 4217; the currency of reports itself is left out',
    rate Float64 COMMENT 'Worth of one unit of currency in the currency of reports'
)
AS
WITH
    (SELECT currency FROM {{database}}.v_report_settings) AS wanted,
    (SELECT count() = 0 FROM {{database}}.rates WHERE currency = wanted) AS wanted_is_base
SELECT worth.date AS date, worth.currency AS currency, if(wanted_is_base, worth.rate, worth.rate / base.rate) AS rate
FROM {{database}}.rates_by_day AS worth
LEFT JOIN (SELECT date, rate FROM {{database}}.rates_by_day WHERE currency = wanted) AS base ON base.date = worth.date
WHERE worth.currency != wanted AND (wanted_is_base OR base.rate > 0)
COMMENT 'Exchange rates to the currency of reports, one row for each day and other currency.';

CREATE VIEW IF NOT EXISTS {{database}}.conversion_amounts {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, else the event''s',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    day Date COMMENT 'That day in the time zone of reports',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    event_id String COMMENT 'The event that reported it',
    original_revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    revenue Nullable(Decimal(38, 4)) COMMENT 'What it is worth in the currency of reports; NULL: there is no rate',
    net_revenue Nullable(Decimal(38, 4)) COMMENT 'The same after refunds',
    is_first UInt8 COMMENT '1: the person''s first of this goal'
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
    c.profile_id != toUUID('00000000-0000-0000-0000-000000000000') AND c.ordinal = 1 AS is_first
FROM
(
    SELECT
        conversion_id, conversion_type, profile_id, converted_at, channel, event_id, currency,
        revenue AS original_revenue,
        net_revenue AS original_net,
        toDate(toTimeZone(converted_at, zone)) AS day,
        row_number() OVER (PARTITION BY profile_id, conversion_type ORDER BY converted_at, conversion_id) AS ordinal
    FROM {{database}}.v_conversions
) AS c
LEFT JOIN {{database}}.v_rates AS r ON r.currency = c.currency AND r.date = c.day
COMMENT 'Conversions in the currency of reports, one row for each. Internal: feeds v_order_items and v_conversion_values.';

CREATE VIEW IF NOT EXISTS {{database}}.v_order_items {{on_cluster}}
(
    order_id String COMMENT 'The order: a conversion of the settings'' goal',
    position UInt32 COMMENT 'Place of the line in the order, from 1',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    ordered_at DateTime64(3, 'UTC') COMMENT 'When it was ordered',
    day Date COMMENT 'That day in the time zone of reports',
    channel LowCardinality(String) COMMENT 'Where it was ordered, such as web',
    product_id String COMMENT 'The product; empty: the order does not name its products',
    name String COMMENT 'Its name',
    category String COMMENT 'Its category',
    brand String COMMENT 'Its brand',
    quantity Float64 COMMENT 'Pieces',
    price Float64 COMMENT 'Price of one piece before discounts, in units of currency',
    currency LowCardinality(String) COMMENT 'Currency of the order, ISO 4217',
    revenue Nullable(Float64) COMMENT 'Share of the order''s revenue, by what its lines cost, in the currency of reports; NULL: there is no rate',
    margin_rate Float64 COMMENT 'Share of it that is margin: by product, else category, else the settings'
)
AS
WITH
    CAST([('', '', '', '', '', 1.)], 'Array(Tuple(product_id String, name String, category String, brand String, price String, quantity Float64))') AS unknown,
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
    if(product.quantity > 0, product.quantity, 1) AS quantity,
    toFloat64OrZero(product.price) AS price,
    currency,
    toFloat64(order_revenue) * if(total > 0, cost / total, 1 / length(products)) AS revenue,
    multiIf(
        mapContains(margins, concat('product ', product.product_id)), margins[concat('product ', product.product_id)],
        mapContains(margins, concat('category ', product.category)), margins[concat('category ', product.category)],
        assumeNotNull(usual_margin)) AS margin_rate
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
        JSONExtract(t.properties, 'products', 'Array(Tuple(product_id String, name String, category String, brand String, price String, quantity Float64))') AS named,
        if(empty(named), unknown, named) AS products,
        arrayMap(one -> toFloat64OrZero(one.price) * if(one.quantity > 0, one.quantity, 1), products) AS costs,
        arraySum(costs) AS total
    FROM {{database}}.conversion_amounts AS c
    LEFT JOIN (SELECT event_id, properties FROM {{database}}.touchpoints FINAL WHERE conversion_id != '') AS t ON t.event_id = c.event_id
    WHERE c.conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
)
ARRAY JOIN products AS product, costs AS cost, arrayEnumerate(products) AS place
COMMENT 'What was ordered, one row for each line of an order. Revenue adds up to that of the orders.';

CREATE VIEW IF NOT EXISTS {{database}}.v_conversion_values {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, else the event''s',
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
    c.is_first AS is_first
FROM {{database}}.conversion_amounts AS c
LEFT JOIN
(
    SELECT order_id, (SELECT goal FROM {{database}}.v_attribution_settings) AS goal, if(sum(revenue) > 0, sum(revenue * margin_rate) / sum(revenue), avg(margin_rate)) AS margin_rate
    FROM {{database}}.v_order_items
    GROUP BY order_id
) AS i ON i.order_id = c.conversion_id AND i.goal = c.conversion_type
COMMENT 'Conversions in the currency of reports with their margin, one row for each goal and conversion id.';

CREATE VIEW IF NOT EXISTS {{database}}.v_spend {{on_cluster}}
(
    date Date COMMENT 'The day that the money was spent for',
    channel LowCardinality(String) COMMENT 'Marketing channel, as attribution names it',
    source LowCardinality(String) COMMENT 'Where it was spent, such as google',
    campaign LowCardinality(String) COMMENT 'Campaign name, as the events have it',
    creative LowCardinality(String) COMMENT 'Advertisement, as the events have it',
    original_spend Decimal(18, 4) COMMENT 'Money spent, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    spend Nullable(Decimal(38, 4)) COMMENT 'Money spent in the currency of reports, at the rate of its day; NULL: there is no rate',
    impressions UInt64 COMMENT 'How often it was shown; 0 when that is not known',
    clicks UInt64 COMMENT 'How often it was clicked; 0 when that is not known'
)
AS
WITH (SELECT currency FROM {{database}}.v_report_settings) AS wanted
SELECT
    s.date AS date,
    s.channel AS channel,
    s.source AS source,
    s.campaign AS campaign,
    s.creative AS creative,
    s.spend AS original_spend,
    s.currency AS currency,
    multiIf(
        s.currency = wanted OR s.spend = 0, toDecimal128(s.spend, 4),
        r.rate > 0, toDecimal128(toString(round(toFloat64(s.spend) * r.rate, 4)), 4),
        NULL) AS spend,
    s.impressions AS impressions,
    s.clicks AS clicks
FROM (SELECT * FROM {{database}}.spend FINAL) AS s
LEFT JOIN {{database}}.v_rates AS r ON r.currency = s.currency AND r.date = s.date
COMMENT 'Money spent in the currency of reports, one row for each day, channel, source, campaign and creative.';

CREATE VIEW IF NOT EXISTS {{database}}.v_missing_rates {{on_cluster}}
(
    what String COMMENT 'conversions or spend',
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
    SELECT 'conversions' AS what, day, currency, original_revenue AS amount FROM {{database}}.conversion_amounts WHERE revenue IS NULL
    UNION ALL
    SELECT 'spend' AS what, date AS day, currency, original_spend AS amount FROM {{database}}.v_spend WHERE spend IS NULL
)
GROUP BY what, day, currency
COMMENT 'Amounts that no view adds up since they could not be converted, one row for each kind, day and currency. Empty: all is well.';

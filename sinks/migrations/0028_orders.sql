-- One truth about orders. Every event about an order is kept, and which of its reports counts is chosen when it is read:
-- the rule is that of `schemas/orders.py`, so any order of arrival, and every replay, gives one answer.
-- A page, a webhook, an update, a reload and a till's receipt are reports of one order; refunds, running totals and
-- cancellations are taken off it. Orders are known by their name space and their id.

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS order_namespace LowCardinality(String) DEFAULT ''
    COMMENT 'Name space of order_id, as sources.yaml declares it; empty: the one that sources share';

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS order_source_kind LowCardinality(String) DEFAULT ''
    COMMENT 'Of an event about an order: server or browser, as sources.yaml has its source; empty: not defined there';

CREATE TABLE IF NOT EXISTS {{database}}.order_events {{on_cluster}}
(
    event_id String COMMENT 'The producer''s id of the event: one row for each',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    kind LowCardinality(String) COMMENT 'order or receipt: a report; refund; cancellation',
    conversion_id String COMMENT 'The order among those of all name spaces: order_id, in a name space of its own name_space::order_id',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else the receipt''s, else the event''s',
    claims String COMMENT 'The conversion_id of the receipt that belongs to this order; mostly empty',
    goals Array(LowCardinality(String)) COMMENT 'Goals that this report reaches',
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it happened',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    store_id LowCardinality(String) COMMENT 'The store; empty: none is named',
    anchor UUID COMMENT 'Keyed hash of the strongest identifier it was resolved by; nil: nobody',
    profile_id UUID COMMENT 'The person as known when it was stored',
    identity_version UInt64 COMMENT 'Changes of identity up to this version are in profile_id; 0: not known, so all later ones apply',
    authority UInt8 COMMENT 'Which report counts, higher before lower: 3 an order with an amount from a server, 2 from a page or an app, 1 a receipt with one, 0 without',
    amount Nullable(Decimal(18, 4)) COMMENT 'What the order is worth, or what a refund gives back, in units of currency; NULL: it does not say',
    refunded_total Nullable(Decimal(18, 4)) COMMENT 'What was given back of the order so far, as a refund says; mostly NULL',
    currency LowCardinality(String) COMMENT 'ISO 4217; empty: none',
    discounted UInt8 COMMENT '1: it has a coupon or a discount',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    products String CODEC(ZSTD(3)) COMMENT 'Its lines, a JSON list; empty: it names none',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the broker got it',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)) COMMENT 'When this row was written',
    delivery UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Milli(received_at))) COMMENT 'Which of two rows of an event stays: the higher, that is the one received first'
)
ENGINE = {{replicated}}ReplacingMergeTree(delivery)
ORDER BY (event_id, source)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Every event about an order: reports, refunds, cancellations; one row for each. Read v_conversions.';

-- What is stored already. An order's goals are those of its reports; an update or a receipt that came alone is an order
-- now, of the goal of reports.
INSERT INTO {{database}}.order_events
(
    event_id, source, kind, conversion_id, order_namespace, order_id, claims, goals, occurred_at, channel, store_id, anchor,
    profile_id, identity_version, authority, amount, refunded_total, currency, discounted, is_return, products, received_at
)
WITH
    (SELECT goal FROM {{database}}.v_attribution_settings) AS goal_of_reports,
    (
        SELECT countIf(event = 'Order Completed') = 0 OR countIf(event_id IN (SELECT event_id FROM {{database}}.conversions WHERE conversion_type = goal_of_reports)) > 0
        FROM {{database}}.touchpoints
        WHERE event = 'Order Completed'
    ) AS orders_count,
    toDecimal64OrNull(JSONExtractString(t.properties, 'revenue'), 4) AS revenue_alone,
    toDecimal64OrNull(JSONExtractString(t.properties, 'total'), 4) AS total,
    abs(toDecimal64OrZero(JSONExtractString(t.properties, 'tax'), 4)) + abs(toDecimal64OrZero(JSONExtractString(t.properties, 'shipping'), 4)) AS beside,
    coalesce(revenue_alone, if(abs(total) >= beside, if(total < 0, total + beside, total - beside), total)) AS worth,
    JSONExtractString(t.properties, 'receipt_id') AS receipt,
    multiIf(t.event = 'Receipt Issued', 'receipt', t.event = 'Order Refunded', 'refund', t.event = 'Order Cancelled', 'cancellation', 'order') AS meaning,
    multiIf(t.order_id != '', t.order_id, receipt != '', receipt, t.event_id) AS id,
    arrayExists(one -> one > 0, JSONExtract(t.properties, 'products', 'Array(Tuple(quantity Float64))').1) AS buys
SELECT
    t.event_id,
    t.source,
    meaning,
    if(position(id, '::') > 0, concat('::', id), id),
    '',
    id,
    if(meaning = 'order' AND worth IS NOT NULL AND receipt NOT IN ('', id), if(position(receipt, '::') > 0, concat('::', receipt), receipt), ''),
    multiIf(
        notEmpty(c.goals), c.goals,
        t.event IN ('Order Updated', 'Receipt Issued') AND orders_count, [assumeNotNull(goal_of_reports)],
        []),
    t.occurred_at,
    t.channel,
    if(JSONExtractString(t.properties, 'store_id') != '', JSONExtractString(t.properties, 'store_id'), JSONExtractString(t.context, 'store_id')),
    t.anchor,
    t.profile_id,
    t.identity_version,
    multiIf(meaning NOT IN ('order', 'receipt') OR worth IS NULL, 0, meaning = 'receipt', 1, t.channel IN ('web', 'app'), 2, 3),
    if(meaning = 'refund', abs(worth), if(meaning = 'cancellation', NULL, worth)),
    NULL,
    t.currency,
    JSONExtractString(t.properties, 'coupon') != '' OR toDecimal64OrZero(JSONExtractString(t.properties, 'discount'), 4) > 0,
    meaning IN ('order', 'receipt') AND ifNull(worth < 0, 0) AND NOT buys,
    if(meaning IN ('order', 'receipt'), JSONExtractRaw(t.properties, 'products'), ''),
    t.received_at
FROM
(
    SELECT * FROM {{database}}.touchpoints FINAL
    WHERE event IN ('Order Completed', 'Order Updated', 'Receipt Issued', 'Order Refunded', 'Order Cancelled')
        AND (event_id, source) NOT IN (SELECT event_id, source FROM {{database}}.order_events)
) AS t
LEFT JOIN
(
    SELECT event_id, source, groupArray(conversion_type) AS goals FROM {{database}}.conversions FINAL GROUP BY event_id, source
) AS c ON c.event_id = t.event_id AND c.source = t.source;

CREATE OR REPLACE VIEW {{database}}.v_report_settings {{on_cluster}}
(
    currency String COMMENT 'The currency of reports, ISO 4217; empty: there are no amounts yet'
)
AS SELECT if(wanted = '', (
    SELECT argMax(currency, (n, currency))
    FROM
    (
        SELECT currency, uniqExact(id) AS n
        FROM
        (
            SELECT toString(currency) AS currency, concat(toString(conversion_type), ' ', conversion_id) AS id FROM {{database}}.conversions WHERE currency != ''
            UNION ALL
            SELECT toString(currency), concat(toString(arrayJoin(goals)), ' ', conversion_id) FROM {{database}}.order_events WHERE currency != ''
        )
        GROUP BY currency
    )), wanted) AS currency
FROM (SELECT argMax(currency, changed_at) AS wanted FROM {{database}}.report_settings)
COMMENT 'What reports about money need to know: always one row.';

-- Profiles choose in the same order (`processors/profiles/orders.py`, `_rank`).
CREATE VIEW IF NOT EXISTS {{database}}.order_reports {{on_cluster}}
(
    conversion_id String COMMENT 'The order among those of all name spaces',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else the receipt''s, else the event''s',
    goals Array(LowCardinality(String)) COMMENT 'Goals that it reaches',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    channel LowCardinality(String) COMMENT 'Where: of the first report',
    source LowCardinality(String) COMMENT 'Which producer: of the first report',
    event_id String COMMENT 'The first report',
    anchor UUID COMMENT 'Of the report that counts, else of the best one that names a person',
    profile_id UUID COMMENT 'The person as known when that was stored',
    identity_version UInt64 COMMENT 'Changes of identity up to this version are in profile_id',
    revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency: of the report that counts',
    currency LowCardinality(String) COMMENT 'ISO 4217: likewise',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought: likewise',
    amount_source LowCardinality(String) COMMENT 'Producer of the report that counts',
    amount_event_id String COMMENT 'The report that counts',
    products String COMMENT 'Its lines, JSON; where it names none, those of the best report that does',
    reports UInt64 COMMENT 'How many reports it has'
)
AS SELECT
    id AS conversion_id,
    space AS order_namespace,
    number AS order_id,
    reached AS goals,
    first.1 AS converted_at,
    first.2 AS channel,
    first.3 AS source,
    first.4 AS event_id,
    person.1 AS anchor,
    person.2 AS profile_id,
    person.3 AS identity_version,
    best.3 AS revenue,
    if(best.4 = 'XXX', '', best.4) AS currency,
    best.6 AS is_return,
    best.7 AS amount_source,
    best.8 AS amount_event_id,
    lines AS products,
    n AS reports
FROM
(
    WITH (e.authority, e.occurred_at, ifNull(e.amount, toDecimal64(0, 4)), if(e.currency = '', 'XXX', toString(e.currency)), e.discounted, e.is_return, toString(e.source), e.event_id) AS rank
    SELECT
        e.conversion_id AS id,
        any(e.order_namespace) AS space,
        any(e.order_id) AS number,
        arraySort(groupUniqArrayArray(e.goals)) AS reached,
        min((e.occurred_at, toString(e.channel), toString(e.source), e.event_id)) AS first,
        max(rank) AS best,
        argMaxIf((e.anchor, e.profile_id, e.identity_version), rank, e.profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS person,
        argMaxIf(e.products, rank, e.products != '') AS lines,
        count() AS n
    FROM {{database}}.order_events AS e FINAL
    WHERE e.kind IN ('order', 'receipt')
    GROUP BY id
)
WHERE best.1 > 1 OR id NOT IN (SELECT claims FROM {{database}}.order_events FINAL WHERE claims != '')
COMMENT 'Orders with the report that counts, one row for each; receipts that belong to an order are left out. Internal: feeds order_sales.';

CREATE OR REPLACE VIEW {{database}}.order_refunds {{on_cluster}}
(
    order_id String COMMENT 'The order among those of all name spaces, as v_conversions.conversion_id',
    currency LowCardinality(String) COMMENT 'ISO 4217; empty: the refund names none',
    amount Decimal(18, 4) COMMENT 'The sum of its refunds in this currency, or their greatest running total if that is more',
    wholly UInt8 COMMENT '1: it was cancelled, or refunded without saying how much',
    last_at DateTime64(3, 'UTC') COMMENT 'When the last of them happened'
)
AS SELECT
    conversion_id AS order_id,
    currency,
    greatest(ifNull(sum(r.amount), 0), ifNull(max(r.refunded_total), 0)) AS amount,
    max(kind = 'cancellation' OR (r.amount IS NULL AND r.refunded_total IS NULL)) AS wholly,
    max(occurred_at) AS last_at
FROM {{database}}.order_events AS r FINAL
WHERE kind IN ('refund', 'cancellation')
GROUP BY conversion_id, currency
COMMENT 'What was given back of orders, one row for each order and currency. Internal: feeds refund_values.';

-- A refund in another currency is converted by the rates of the day of the last one; without rates it is kept apart and
-- said (`v_missing_rates`), never taken off one to one.
CREATE VIEW IF NOT EXISTS {{database}}.refund_values {{on_cluster}}
(
    order_id String COMMENT 'The order, as v_conversions.conversion_id',
    wholly UInt8 COMMENT '1: all of it',
    day Date COMMENT 'Day of the last of its refunds, in the time zone of reports',
    original_amount Decimal(18, 4) COMMENT 'What was given back, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    amount Nullable(Decimal(18, 4)) COMMENT 'The same in the order''s currency; NULL: there is no rate'
)
AS
WITH
    (SELECT currency FROM {{database}}.v_report_settings) AS wanted,
    (SELECT groupUniqArray(currency) FROM {{database}}.rates) AS rated,
    assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    r.order_id AS order_id,
    r.wholly AS wholly,
    r.day AS day,
    r.amount AS original_amount,
    r.currency AS currency,
    -- The base currency of the table of rates has no rates of its own, if it is that of reports.
    if(a.rate > 0, a.rate, toFloat64(r.currency = wanted AND NOT has(rated, wanted))) AS worth,
    if(b.rate > 0, b.rate, toFloat64(r.order_currency = wanted AND NOT has(rated, wanted))) AS base,
    multiIf(
        r.amount = 0 OR r.currency = r.order_currency OR r.currency = '' OR r.order_currency = '', r.amount,
        worth > 0 AND base > 0, toDecimal64(toString(round(toFloat64(r.amount) * worth / base, 4)), 4),
        NULL) AS amount
FROM
(
    SELECT f.order_id AS order_id, max(f.wholly) OVER (PARTITION BY f.order_id) AS wholly, f.amount AS amount, f.currency AS currency, o.currency AS order_currency, toDate(toTimeZone(f.last_at, zone)) AS day
    FROM {{database}}.order_refunds AS f
    INNER JOIN (SELECT conversion_id, currency FROM {{database}}.order_reports) AS o ON o.conversion_id = f.order_id
) AS r
LEFT JOIN {{database}}.rates_by_day AS a ON a.currency = r.currency AND a.date = r.day
LEFT JOIN {{database}}.rates_by_day AS b ON b.currency = r.order_currency AND b.date = r.day
COMMENT 'What was given back of orders, in their currencies, one row for each order and currency. Internal: feeds order_sales.';

CREATE VIEW IF NOT EXISTS {{database}}.order_sales {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else the receipt''s, else the event''s; empty: it is no order',
    goals Array(LowCardinality(String)) COMMENT 'Goals that it reaches',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    revenue Decimal(18, 4) COMMENT 'What it is worth before refunds, in units of currency',
    refunded Decimal(18, 4) COMMENT 'What was given back since',
    net_revenue Decimal(18, 4) COMMENT 'revenue - refunded',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    event_id String COMMENT 'The event that reported it first',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    reports UInt64 COMMENT 'How many reports of it there are',
    amount_source LowCardinality(String) COMMENT 'Which producer its amount is from',
    amount_event_id String COMMENT 'The event that its amount is from',
    refunds_not_converted UInt64 COMMENT 'Currencies of refunds that are not in refunded: there is no rate',
    products String COMMENT 'Its lines, a JSON list; empty: it names none'
)
AS SELECT
    s.conversion_id AS conversion_id,
    s.order_namespace AS order_namespace,
    s.order_id AS order_id,
    s.goals AS goals,
    if(o.version > s.identity_version, o.profile_id, s.profile_id) AS profile_id,
    s.converted_at AS converted_at,
    s.revenue AS revenue,
    CAST(if(r.wholly, s.revenue, least(greatest(s.revenue, 0), r.amount)), 'Decimal(18, 4)') AS refunded,
    CAST(s.revenue - refunded, 'Decimal(18, 4)') AS net_revenue,
    s.currency AS currency,
    s.channel AS channel,
    s.source AS source,
    s.event_id AS event_id,
    s.is_return AS is_return,
    s.reports AS reports,
    s.amount_source AS amount_source,
    s.amount_event_id AS amount_event_id,
    r.not_converted AS refunds_not_converted,
    s.products AS products
FROM {{database}}.order_reports AS s
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = s.anchor
LEFT JOIN
(
    SELECT order_id, max(v.wholly) AS wholly, sum(ifNull(v.amount, 0)) AS amount, countIf(v.amount IS NULL AND NOT v.wholly) AS not_converted
    FROM {{database}}.refund_values AS v
    GROUP BY order_id
) AS r ON r.order_id = s.conversion_id
COMMENT 'Orders and returns with what was refunded and the person as known now, one row for each. Internal: feeds conversions_and_returns.';

-- A goal that no order reaches, such as signing up, has its conversions in the table of that name.
CREATE VIEW IF NOT EXISTS {{database}}.conversions_and_returns {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    revenue Decimal(18, 4) COMMENT 'What it is worth before refunds, in units of currency',
    refunded Decimal(18, 4) COMMENT 'What was given back since',
    net_revenue Decimal(18, 4) COMMENT 'revenue - refunded',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    event_id String COMMENT 'The event that reported it first',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else the receipt''s, else the event''s; empty: it is no order',
    reports UInt64 COMMENT 'How many reports of it there are',
    amount_source LowCardinality(String) COMMENT 'Which producer its amount is from',
    amount_event_id String COMMENT 'The event that its amount is from',
    refunds_not_converted UInt64 COMMENT 'Currencies of refunds that are not in refunded: there is no rate',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    products String COMMENT 'Its lines, a JSON list; empty: it names none'
)
AS SELECT
    conversion_id, CAST(goal, 'LowCardinality(String)') AS conversion_type, profile_id, converted_at, revenue, refunded, net_revenue,
    currency, channel, source, event_id, order_namespace, order_id, reports, amount_source, amount_event_id,
    refunds_not_converted, is_return, products
FROM {{database}}.order_sales
ARRAY JOIN goals AS goal
UNION ALL
SELECT
    c.conversion_id, c.conversion_type, if(o.version > c.identity_version, o.profile_id, c.profile_id), c.converted_at, c.revenue,
    toDecimal64(0, 4), c.revenue, c.currency, c.channel, c.source, c.event_id, '', '', 1, c.source, c.event_id, 0, 0, ''
FROM {{database}}.conversions AS c FINAL
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = c.anchor
WHERE (c.event_id, c.source) NOT IN (SELECT event_id, source FROM {{database}}.order_events WHERE kind IN ('order', 'receipt'))
COMMENT 'Conversions, and returns of goods without a sale, one row for each goal and conversion id. Internal: feeds v_conversions and sale_amounts.';

CREATE OR REPLACE VIEW {{database}}.v_conversions {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, in a name space of its own name_space::order_id; else the event''s',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody. Of an order: of the report that its amount is from, else of the best one that names a person',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened; of an order: the time of its first report',
    revenue Decimal(18, 4) COMMENT 'What it is worth before refunds, in units of currency; of an order: by the report that counts',
    refunded Decimal(18, 4) COMMENT 'What was given back since, by refunds or by a cancellation; never more than revenue',
    net_revenue Decimal(18, 4) COMMENT 'revenue - refunded',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web: by the first report',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    event_id String COMMENT 'The event that reported it first',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id, as sources.yaml declares it; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else that of its receipt; empty: it is no order',
    reports UInt64 COMMENT 'How many reports of it there are: pages, webhooks, updates, receipts',
    amount_source LowCardinality(String) COMMENT 'Which producer its amount is from',
    amount_event_id String COMMENT 'The event that its amount is from',
    refunds_not_converted UInt64 COMMENT 'Currencies of refunds that are not in refunded: there is no rate, see v_missing_rates'
)
AS SELECT
    conversion_id, conversion_type, profile_id, converted_at, revenue, refunded, net_revenue, currency, channel, source,
    event_id, order_namespace, order_id, reports, amount_source, amount_event_id, refunds_not_converted
FROM {{database}}.conversions_and_returns
WHERE NOT is_return
COMMENT 'Every conversion with the person as known now, one row for each goal and conversion id. An order is one, however often it is reported.';

CREATE VIEW IF NOT EXISTS {{database}}.v_returns {{on_cluster}}
(
    conversion_id String COMMENT 'The receipt''s id as v_conversions has those of orders',
    conversion_type LowCardinality(String) COMMENT 'The goal that a sale would have reached',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    returned_at DateTime64(3, 'UTC') COMMENT 'When the goods came back',
    amount Decimal(18, 4) COMMENT 'What was paid back, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as store',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    event_id String COMMENT 'The event that reported it first',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id',
    order_id String COMMENT 'The id that the receipt has as an order'
)
AS SELECT
    conversion_id, conversion_type, profile_id, converted_at AS returned_at, CAST(-net_revenue, 'Decimal(18, 4)') AS amount, currency, channel,
    source, event_id, order_namespace, order_id
FROM {{database}}.conversions_and_returns
WHERE is_return
COMMENT 'Goods that came back on a receipt of their own, with a negative amount and nothing bought: no conversions; one row for each.';

-- An event is known by its source and its id: two producers may number alike. And it is known whatever its time: a resend weeks
-- later, on another day by its corrected clock, is no second event.

-- The rest of the key. Rows received before this migration are known by their id alone, then and at a replay, so that none of
-- them has to be rewritten.
ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS source_key LowCardinality(String),
    MODIFY ORDER BY (toDate(occurred_at), event_id, source_key);

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    MODIFY COLUMN source_key LowCardinality(String) DEFAULT if(received_at < parseDateTime64BestEffort('{{upgraded_at}}', 3, 'UTC'), '', toString(source))
    COMMENT 'The source, as part of the key of an event; empty: received by a release that knew events by their id alone';

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    COMMENT COLUMN event_id 'The producer''s id of the event: one row for each source and id';

-- The first delivery of each event, found by its key. The key of touchpoints begins with the day, since reports read periods: with a
-- key without time a report of one month reads and merges all months. The recorder asks this table about late events alone.
CREATE TABLE IF NOT EXISTS {{database}}.event_deliveries {{on_cluster}}
(
    event_hash UInt64 COMMENT 'cityHash64(source, event_id)',
    delivery UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'touchpoints.delivery: the row of the first delivery stays'
)
ENGINE = {{replicated}}ReplacingMergeTree(delivery)
ORDER BY event_hash
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 1024
COMMENT 'When each event was received first, one row for each source and event id: finds a second delivery that comes late.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_event_deliveries {{on_cluster}} TO {{database}}.event_deliveries
AS SELECT cityHash64(source, event_id) AS event_hash, delivery
FROM {{database}}.touchpoints;

-- What may still be sent again; a clock that is corrected by more than 30 days is not believed.
INSERT INTO {{database}}.event_deliveries (event_hash, delivery)
SELECT cityHash64(source, event_id) AS event_hash, delivery
FROM {{database}}.touchpoints
WHERE received_at > now() - INTERVAL 90 DAY;

-- Another event under an id that its source has used is dropped as a duplicate and counted as a conflict.
ALTER TABLE {{database}}.dropped_touchpoints {{on_cluster}}
    COMMENT COLUMN reason 'duplicate: another delivery of the event was accepted before; conflict: the source had used the id for another event; else why it was suppressed';

ALTER TABLE {{database}}.dropped_touchpoints_to_arrivals {{on_cluster}}
    MODIFY QUERY SELECT topic, partition, offset, if(reason IN ('duplicate', 'conflict'), 'duplicate', 'suppressed') AS outcome, event_id, source, received_at
    FROM {{database}}.dropped_touchpoints;

CREATE VIEW IF NOT EXISTS {{database}}.v_event_id_conflicts {{on_cluster}}
(
    day Date COMMENT 'Day in the time zone of reports on which the broker got the records',
    source LowCardinality(String) COMMENT 'The producer that uses ids twice',
    conflicts UInt64 COMMENT 'Events that were dropped since their source had used their id for another event',
    event_ids UInt64 COMMENT 'Distinct ids of them',
    example_event_id String COMMENT 'The first of them'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    toDate(toTimeZone(d.received_at, zone)) AS day,
    d.source AS source,
    count() AS conflicts,
    uniqExact(d.event_id) AS event_ids,
    argMin(d.event_id, (d.received_at, d.event_id)) AS example_event_id
FROM (SELECT * FROM {{database}}.dropped_touchpoints FINAL WHERE reason = 'conflict') AS d
GROUP BY day, source
COMMENT 'Events lost because their producer gave them an id twice, one row for each day and source. Empty: all is well.';

-- From here on, views that join or group events do so by source and id.
CREATE OR REPLACE VIEW {{database}}.order_refunds {{on_cluster}}
(
    order_id String COMMENT 'The order',
    amount Decimal(18, 4) COMMENT 'The sum of its refunds',
    wholly UInt8 COMMENT '1: it was cancelled, or refunded without saying how much'
)
AS SELECT
    order_id,
    sum(paid_back) AS amount,
    max(is_cancelled OR (paid_back = 0 AND NOT says_how_much)) AS wholly
FROM
(
    WITH replaceAll(JSONExtractRaw(t.properties, 'total'), '"', '') AS total
    SELECT
        argMin(t.order_id, t.received_at) AS order_id,
        argMin(t.event = 'Order Cancelled', t.received_at) AS is_cancelled,
        argMin(abs(if(t.revenue = 0, toDecimal64OrZero(total, 4), t.revenue)), t.received_at) AS paid_back,
        argMin(JSONHas(t.properties, 'revenue') OR JSONHas(t.properties, 'total'), t.received_at) AS says_how_much
    FROM {{database}}.touchpoints AS t
    WHERE t.event IN ('Order Refunded', 'Order Cancelled') AND t.order_id != ''
    GROUP BY t.source, t.event_id
)
GROUP BY order_id
COMMENT 'What was given back of orders, one row for each order that anything was. Internal: feeds v_conversions.';

CREATE OR REPLACE VIEW {{database}}.touches {{on_cluster}}
AS SELECT
    if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
    t.occurred_at AS touched_at,
    t.event_id AS event_id,
    t.marketing_channel AS channel,
    t.campaign AS campaign,
    t.creative AS creative,
    t.product_id AS product_id,
    t.conversion_id AS conversion_id,
    t.received_at AS received_at,
    t.source AS source
FROM
(
    SELECT profile_id, anchor, identity_version, occurred_at, event_id, source, marketing_channel, campaign, creative, product_id, conversion_id, received_at
    FROM {{database}}.touchpoints FINAL
    WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
        AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
        AND (touch = 'rule' OR (touch = 'session' AND cityHash64(place) IN
        (
            SELECT cityHash64(first)
            FROM {{database}}.sessions FINAL
            WHERE day BETWEEN toDate(fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')) AND toDate(fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC'))
                AND intDiv(toUInt64(bitShiftRight(first, 64)), 86400000) = toUInt16(day)
        )))
        AND (empty({only:Array(String)}) OR has({only:Array(String)}, marketing_channel))
        AND NOT has({without:Array(String)}, marketing_channel)
        AND ({contacts:String} = 'all' OR ({contacts:String} = 'views') = (event IN ('Ad Impression', 'Direct Mail Sent', 'Push Notification Received')
            OR match(event, '^(Email|SMS|Push|WhatsApp|WhatsApp Message|Messenger Message|Telegram Message) (Sent|Delivered|Opened)$')))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
COMMENT 'Touches from start_ms to stop_ms, one row for each. Internal: feeds attribution_journeys and attribution_null_journeys.';

CREATE OR REPLACE VIEW {{database}}.conversion_amounts {{on_cluster}}
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
    is_first UInt8 COMMENT '1: the person''s first of this goal',
    source LowCardinality(String) COMMENT 'Which producer reported it'
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
    c.profile_id != toUUID('00000000-0000-0000-0000-000000000000') AND c.ordinal = 1 AS is_first,
    c.source AS source
FROM
(
    SELECT
        conversion_id, conversion_type, profile_id, converted_at, channel, source, event_id, currency,
        revenue AS original_revenue,
        net_revenue AS original_net,
        toDate(toTimeZone(converted_at, zone)) AS day,
        row_number() OVER (PARTITION BY profile_id, conversion_type ORDER BY converted_at, conversion_id) AS ordinal
    FROM {{database}}.v_conversions
) AS c
LEFT JOIN {{database}}.v_rates AS r ON r.currency = c.currency AND r.date = c.day
COMMENT 'Conversions in the currency of reports, one row for each. Internal: feeds v_order_items and v_conversion_values.';

CREATE OR REPLACE VIEW {{database}}.v_order_items {{on_cluster}}
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
    LEFT JOIN (SELECT source, event_id, properties FROM {{database}}.touchpoints FINAL WHERE conversion_id != '') AS t ON t.event_id = c.event_id AND t.source = c.source
    WHERE c.conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
)
ARRAY JOIN products AS product, costs AS cost, arrayEnumerate(products) AS place
COMMENT 'What was ordered, one row for each line of an order. Revenue adds up to that of the orders.';

CREATE OR REPLACE VIEW {{database}}.v_channel_transitions {{on_cluster}}
(
    source String COMMENT 'Marketing channel of a touch',
    target String COMMENT 'Marketing channel of the same person''s next touch',
    transitions UInt64 COMMENT 'How often one followed the other',
    people UInt64 COMMENT 'Of how many people',
    share Float64 COMMENT 'Share of all that follows source',
    median_hours Float64 COMMENT 'Hours between the two, half of the time it takes less'
)
AS SELECT
    source,
    target,
    count() AS transitions,
    uniqExact(profile_id) AS people,
    transitions / sum(transitions) OVER (PARTITION BY source) AS share,
    quantileExact(0.5)(hours) AS median_hours
FROM
(
    SELECT
        profile_id,
        toString(channel) AS target,
        lagInFrame(toString(channel)) OVER person AS source,
        dateDiff('millisecond', lagInFrame(touched_at) OVER person, touched_at) / 3600000 AS hours,
        row_number() OVER person AS ordinal
    FROM
    (
        SELECT profile_id, t.source AS reporter, event_id, argMin(touched_at, received_at) AS touched_at, argMin(channel, received_at) AS channel
        FROM {{database}}.touches(start_ms = 0, stop_ms = 4133980800000, contacts = 'all', only = [], without = []) AS t
        GROUP BY profile_id, reporter, event_id
    )
    WINDOW person AS (PARTITION BY profile_id ORDER BY touched_at, event_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE ordinal > 1
GROUP BY source, target
COMMENT 'Which channel follows which, one row for each pair of marketing channels.';

CREATE OR REPLACE VIEW {{database}}.v_sessions {{on_cluster}}
(
    source LowCardinality(String) COMMENT 'Which producer reported it',
    session_id String COMMENT 'The producer''s id of the visit',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    channel LowCardinality(String) COMMENT 'Where it was, such as web',
    marketing_channel LowCardinality(String) COMMENT 'What brought it: of its first touch',
    campaign LowCardinality(String) COMMENT 'Campaign of that touch',
    started_at DateTime64(3, 'UTC') COMMENT 'Its first event',
    day Date COMMENT 'That day in the time zone of reports',
    seconds Float64 COMMENT 'From its first event to its last',
    events UInt64 COMMENT 'How many events it has',
    pages UInt64 COMMENT 'Pages and screens seen',
    conversions UInt64 COMMENT 'Conversions of the settings'' goal in it',
    revenue Float64 COMMENT 'Their revenue in the currency of reports',
    engaged UInt8 COMMENT '1: longer than 10 s, or two pages, or a conversion, as in Google Analytics 4; the others bounced'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    t.source AS source,
    t.session_id AS session_id,
    argMax(t.profile_id, t.occurred_at) AS profile_id,
    argMin(t.channel, t.occurred_at) AS channel,
    if(countIf(t.touch != '') = 0, 'Unassigned', argMinIf(t.marketing_channel, (t.occurred_at, t.event_id), t.touch != '')) AS marketing_channel,
    argMinIf(t.campaign, (t.occurred_at, t.event_id), t.touch != '') AS campaign,
    min(t.occurred_at) AS started_at,
    toDate(toTimeZone(started_at, zone)) AS day,
    dateDiff('millisecond', started_at, max(t.occurred_at)) / 1000 AS seconds,
    count() AS events,
    countIf(t.event IN ('Page Viewed', 'Screen Viewed')) AS pages,
    countIf(c.event_id != '') AS conversions,
    sum(toFloat64(ifNull(c.revenue, 0))) AS revenue,
    seconds > 10 OR pages > 1 OR conversions > 0 AS engaged
FROM {{database}}.v_touchpoints AS t
LEFT JOIN
(
    SELECT source, event_id, revenue FROM {{database}}.conversion_amounts WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
) AS c ON c.event_id = t.event_id AND c.source = t.source
WHERE t.session_id != ''
GROUP BY source, session_id
COMMENT 'Visits of the site and the app, one row for each source and session id.';

CREATE OR REPLACE VIEW {{database}}.v_engagement {{on_cluster}}
(
    day Date COMMENT 'Day of the events',
    channel LowCardinality(String) COMMENT 'Where they happened, such as web or store',
    events UInt64 COMMENT 'Events of people',
    people UInt64 COMMENT 'People active there; not to be added up over days or channels',
    events_per_person Float64 COMMENT 'events / people',
    conversions UInt64 COMMENT 'Conversions of the settings'' goal there',
    revenue Float64 COMMENT 'Their revenue in the currency of reports'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    toDate(toTimeZone(t.occurred_at, zone)) AS day,
    t.channel AS channel,
    count() AS events,
    uniqExact(t.profile_id) AS people,
    events / people AS events_per_person,
    countIf(c.event_id != '') AS conversions,
    sum(toFloat64(ifNull(c.revenue, 0))) AS revenue
FROM {{database}}.v_touchpoints AS t
LEFT JOIN
(
    SELECT source, event_id, revenue FROM {{database}}.conversion_amounts WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
) AS c ON c.event_id = t.event_id AND c.source = t.source
WHERE t.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
GROUP BY day, channel
COMMENT 'Where people are active, one row for each day and channel.';

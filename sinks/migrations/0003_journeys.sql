-- Who did what, as known now, and the journey of each conversion. The definitions are those of `processors/attribution.py`, which says the same in Python.
-- Everything is decided when it is read: who a person is now, which event starts a session, which delivery of an event
-- counts. So a late event, a merge or a split restates every result without a row being rewritten.
-- In these views `channel` is the marketing channel. Times are absolute, windows closed at both ends.

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_settings {{on_cluster}}
(
    goal String COMMENT 'The conversion type that the views v_attribution_by_… and v_paths are about',
    direct_channels Array(String) COMMENT 'Marketing channels that last_non_direct passes over',
    margin Float64 COMMENT 'Share of revenue that is margin, for romi',
    timezone String COMMENT 'Time zone of the days in reports, IANA name'
)
AS SELECT
    if(count() = 0, 'purchase', argMax(goal, changed_at)) AS goal,
    if(count() = 0, ['Direct'], argMax(direct_channels, changed_at)) AS direct_channels,
    if(count() = 0, 1., argMax(margin, changed_at)) AS margin,
    if(count() = 0, 'UTC', argMax(timezone, changed_at)) AS timezone
FROM {{database}}.attribution_settings
COMMENT 'What the attribution views need to know: always one row.';

CREATE VIEW IF NOT EXISTS {{database}}.v_touchpoints {{on_cluster}}
(
    event_id String COMMENT 'The producer''s id of the event',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    occurred_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    event LowCardinality(String) COMMENT 'What happened, such as Product Added',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    touch LowCardinality(String) COMMENT 'rule: a touch; session: a touch if it is the first event of its session; empty: none',
    marketing_channel LowCardinality(String) COMMENT 'What attribution credits if it is a touch',
    campaign LowCardinality(String) COMMENT 'Campaign name',
    creative LowCardinality(String) COMMENT 'Advertisement or message variant',
    product_id LowCardinality(String) COMMENT 'The product that it is about',
    order_id String COMMENT 'The order that it is about',
    revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    session_id String COMMENT 'The producer''s id of the visit',
    anchor UUID COMMENT 'Keyed hash of the identifier it was resolved by; nil: nobody',
    received_at DateTime64(3, 'UTC') COMMENT 'When the broker got it',
    properties String COMMENT 'The event''s properties, JSON',
    context String COMMENT 'The event''s context, JSON'
)
AS SELECT
    t.event_id AS event_id,
    if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
    t.occurred_at AS occurred_at,
    t.channel AS channel,
    t.event AS event,
    t.source AS source,
    t.touch AS touch,
    t.marketing_channel AS marketing_channel,
    t.campaign AS campaign,
    t.creative AS creative,
    t.product_id AS product_id,
    t.order_id AS order_id,
    t.revenue AS revenue,
    t.currency AS currency,
    t.session_id AS session_id,
    t.anchor AS anchor,
    t.received_at AS received_at,
    t.properties AS properties,
    t.context AS context
FROM {{database}}.touchpoints AS t FINAL
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
COMMENT 'Every event with the person as known now, one row for each event.';

CREATE VIEW IF NOT EXISTS {{database}}.v_conversions {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, else the event''s',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    event_id String COMMENT 'The event that reported it'
)
AS SELECT
    c.conversion_id AS conversion_id,
    c.conversion_type AS conversion_type,
    if(o.version > c.identity_version, o.profile_id, c.profile_id) AS profile_id,
    c.converted_at AS converted_at,
    c.revenue AS revenue,
    c.currency AS currency,
    c.channel AS channel,
    c.source AS source,
    c.event_id AS event_id
FROM {{database}}.conversions AS c FINAL
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = c.anchor
COMMENT 'Every conversion with the person as known now, one row for each goal and conversion id.';

-- Touches of people between two times, milliseconds since 1970, both included. A second delivery that is not merged
-- away yet is still there: who reads takes the row received first for each event_id. Until then a second delivery that
-- says something else can make a touch of an event whose first delivery was none; FINAL would prevent that, at eight
-- times the cost.
CREATE VIEW IF NOT EXISTS {{database}}.touches {{on_cluster}}
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
    t.stored_at AS stored_at
FROM
(
    SELECT profile_id, anchor, identity_version, occurred_at, event_id, marketing_channel, campaign, creative, product_id, conversion_id, received_at, stored_at
    FROM {{database}}.touchpoints
    WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
        AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
        AND (touch = 'rule' OR (touch = 'session' AND place IN
        (
            SELECT min(first) AS earliest
            FROM {{database}}.sessions
            WHERE day BETWEEN toDate(fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')) AND toDate(fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC'))
            GROUP BY day, session
            HAVING intDiv(toUInt64(bitShiftRight(earliest, 64)), 86400000) = toUInt16(day)
        )))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
COMMENT 'Touches from start_ms to stop_ms, one row for each delivery. Internal: feeds attribution_journeys and v_paths.';

-- The conversions with start_ms <= converted_at < stop_ms, each with its touches in order. `scope` is all or
-- since_previous, `repeats` keep or collapse (of a run of one channel the first touch stays).
CREATE VIEW IF NOT EXISTS {{database}}.attribution_journeys {{on_cluster}}
AS
WITH
    -- The first delivery of each event; of that one, what was stored last.
    arraySort(touch -> (touch.event_id, touch.received_at, -touch.stored_ms), groupArrayIf(
        CAST((t.touched_at, t.event_id, t.channel, t.campaign, t.creative, t.product_id, t.received_at, toUnixTimestamp64Milli(t.stored_at)),
            'Tuple(touched_at DateTime64(3, \'UTC\'), event_id String, channel String, campaign String, creative String, product_id String, received_at DateTime64(3, \'UTC\'), stored_ms Int64)'),
        t.event_id != '' AND t.touched_at >= c.opens_at AND t.touched_at <= c.converted_at AND t.conversion_id != c.conversion_id)) AS deliveries,
    arrayFilter((touch, previous) -> touch.event_id != previous,
        deliveries, arrayPopBack(arrayPushFront(deliveries.event_id, ''))) AS once,
    arraySort(touch -> (touch.touched_at, touch.event_id), once) AS ordered,
    arrayFilter((touch, previous, position) -> position = 1 OR touch.channel != previous,
        ordered, arrayPopBack(arrayPushFront(ordered.channel, '')), arrayEnumerate(ordered)) AS collapsed
SELECT
    c.conversion_id AS conversion_id,
    c.conversion_type AS conversion_type,
    any(c.profile_id) AS profile_id,
    any(c.converted_at) AS converted_at,
    any(c.revenue) AS revenue,
    any(c.currency) AS currency,
    any(c.is_first) AS is_first,
    arrayMap(touch -> CAST((touch.touched_at, touch.event_id, touch.channel, touch.campaign, touch.creative, touch.product_id),
        'Tuple(touched_at DateTime64(3, \'UTC\'), event_id String, channel String, campaign String, creative String, product_id String)'),
        if({repeats:String} = 'collapse', collapsed, ordered)) AS path
FROM {{database}}.touches(
    start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0), stop_ms = {stop_ms:Int64}) AS t
RIGHT JOIN
(
    SELECT
        conversion_id,
        conversion_type,
        profile_id,
        converted_at,
        revenue,
        currency,
        ordinal = 1 AND profile_id != toUUID('00000000-0000-0000-0000-000000000000') AS is_first,
        greatest(
            converted_at - toIntervalMillisecond({lookback_ms:Int64}),
            if({scope:String} = 'since_previous' AND ordinal > 1, previous_at + toIntervalMillisecond(1), toDateTime64(0, 3, 'UTC'))
        ) AS opens_at
    FROM
    (
        SELECT
            *,
            row_number() OVER person AS ordinal,
            lagInFrame(converted_at) OVER person AS previous_at
        FROM {{database}}.v_conversions
        WHERE {goal:String} IN ('', conversion_type)
        WINDOW person AS (PARTITION BY profile_id, conversion_type ORDER BY converted_at, conversion_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
    WHERE converted_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND converted_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
) AS c ON c.profile_id = t.profile_id
GROUP BY c.conversion_id, c.conversion_type
COMMENT 'Conversions with the touches that may be credited for them, one row for each. Internal: feeds attribution_credits.';

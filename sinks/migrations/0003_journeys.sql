-- Who did what, as known now, and the journey of each conversion. The definitions are those of `processors/attribution.py`, which says the same in Python.
-- Everything is decided when it is read: who a person is now, which event starts a session, which delivery of an event
-- counts. So a late event, a merge or a split restates every result without a row being rewritten.
-- In these views `channel` is the marketing channel. Times are absolute, windows closed at both ends.

CREATE VIEW IF NOT EXISTS {{database}}.v_attribution_settings {{on_cluster}}
(
    goal String COMMENT 'The conversion type that the views v_attribution_by_… and v_paths are about',
    direct_channels Array(String) COMMENT 'Marketing channels that last_non_direct passes over',
    margin Float64 COMMENT 'Share of revenue that is margin, for romi',
    timezone String COMMENT 'Time zone of the days in reports, IANA name',
    milestone String COMMENT 'The conversion type that w_shaped gives a role of its own'
)
AS SELECT
    if(count() = 0, 'purchase', argMax(goal, changed_at)) AS goal,
    if(count() = 0, ['Direct'], argMax(direct_channels, changed_at)) AS direct_channels,
    if(count() = 0, 1., argMax(margin, changed_at)) AS margin,
    if(count() = 0, 'UTC', argMax(timezone, changed_at)) AS timezone,
    if(count() = 0, 'signup', argMax(milestone, changed_at)) AS milestone
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

-- An analyst's look at one person: who has few identifiers is found by the indexes, where v_touchpoints reads every event.
-- `person` is a profile id as known now.
CREATE VIEW IF NOT EXISTS {{database}}.v_touchpoints_of {{on_cluster}}
AS SELECT *
FROM {{database}}.v_touchpoints
WHERE profile_id = {person:UUID} AND anchor IN
(
    SELECT anchor FROM {{database}}.touchpoints WHERE profile_id = {person:UUID}
    UNION ALL
    SELECT anchor FROM {{database}}.identity_overrides WHERE profile_id = {person:UUID}
)
COMMENT 'Every event of one person as known now, one row for each event, without reading those of others: v_touchpoints_of(person = ''…''). The columns are those of v_touchpoints.';

-- A refund takes its amount off, once for each event however often it is delivered; one without an amount, and a
-- cancellation, take off everything. Profiles reckon the same way (`processors/profile_orders.py`).
CREATE VIEW IF NOT EXISTS {{database}}.order_refunds {{on_cluster}}
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
    GROUP BY t.event_id
)
GROUP BY order_id
COMMENT 'What was given back of orders, one row for each order that anything was. Internal: feeds v_conversions.';

CREATE VIEW IF NOT EXISTS {{database}}.v_conversions {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, else the event''s',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    revenue Decimal(18, 4) COMMENT 'What it was worth when it was made, in units of currency',
    refunded Decimal(18, 4) COMMENT 'What was given back since, by refunds or by a cancellation; never more than revenue',
    net_revenue Decimal(18, 4) COMMENT 'revenue - refunded',
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
    if(r.wholly, c.revenue, least(greatest(c.revenue, 0), r.amount)) AS refunded,
    c.revenue - refunded AS net_revenue,
    c.currency AS currency,
    c.channel AS channel,
    c.source AS source,
    c.event_id AS event_id
FROM {{database}}.conversions AS c FINAL
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = c.anchor
LEFT JOIN {{database}}.order_refunds AS r ON r.order_id = c.conversion_id
COMMENT 'Every conversion with the person as known now, one row for each goal and conversion id.';

-- Who last said, with any event, that they may not be measured. Their touches, earlier ones too, earn nothing; what they
-- bought stays, as (unattributed).
CREATE VIEW IF NOT EXISTS {{database}}.v_analytics_withdrawn {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    withdrawn_at DateTime64(3, 'UTC') COMMENT 'When they last said so'
)
AS SELECT
    if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
    max(t.occurred_at) AS withdrawn_at
FROM {{database}}.touchpoints AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE position(t.consent, '"analytics":') > 0 AND t.profile_id != toUUID('00000000-0000-0000-0000-000000000000')
GROUP BY profile_id
HAVING argMax(JSONExtractBool(t.consent, 'analytics'), (t.occurred_at, t.event_id)) = 0
COMMENT 'People whose latest word on analytics is no, one row for each.';

-- Touches of people between two times, milliseconds since 1970, both included. `contacts` is all, clicks or views; `only`
-- and `without` are lists of marketing channels, `only` empty for all. FINAL costs little: parts of different days do not
-- overlap in the sorting key. Session starts are looked up by a hash: a set of 128-bit numbers takes more memory.
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
    t.received_at AS received_at
FROM
(
    SELECT profile_id, anchor, identity_version, occurred_at, event_id, marketing_channel, campaign, creative, product_id, conversion_id, received_at
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

-- The conversions with start_ms <= converted_at < stop_ms, and from when on a touch counts for them. `goal` is a conversion
-- type; empty: all. `scope` is all or since_previous. `milestone` is a conversion type; empty: the one of the settings.
-- `milestone_at` is when the person last reached it at or before the conversion and not by it; 1970: never.
CREATE VIEW IF NOT EXISTS {{database}}.attribution_conversions {{on_cluster}}
AS
SELECT
    conversion_id,
    conversion_type,
    profile_id,
    converted_at,
    revenue,
    net_revenue,
    currency,
    ordinal = 1 AND profile_id != toUUID('00000000-0000-0000-0000-000000000000') AS is_first,
    milestone_at,
    greatest(
        converted_at - toIntervalMillisecond({lookback_ms:Int64}),
        if({scope:String} = 'since_previous' AND ordinal > 1, previous_at + toIntervalMillisecond(1), toDateTime64(0, 3, 'UTC'))
    ) AS opens_at
FROM
(
    WITH if({milestone:String} = '', (SELECT milestone FROM {{database}}.v_attribution_settings), {milestone:String}) AS wanted_milestone
    SELECT
        *,
        row_number() OVER goal_of_person AS ordinal,
        lagInFrame(converted_at) OVER goal_of_person AS previous_at,
        maxIf(converted_at, conversion_type = wanted_milestone) OVER
            (PARTITION BY profile_id ORDER BY converted_at, conversion_type != wanted_milestone, conversion_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS milestone_at
    FROM {{database}}.v_conversions
    WHERE {goal:String} = '' OR conversion_type IN ({goal:String}, wanted_milestone)
    WINDOW goal_of_person AS (PARTITION BY profile_id, conversion_type ORDER BY converted_at, conversion_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE {goal:String} IN ('', conversion_type)
    AND converted_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND converted_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
COMMENT 'Conversions with the window of their touches, one row for each. Internal: feeds attribution_journeys and attribution_paths.';

-- The same conversions, each with its touches in order. `repeats` is keep or collapse (of a run of one channel the first
-- touch stays).
CREATE VIEW IF NOT EXISTS {{database}}.attribution_journeys {{on_cluster}}
AS
WITH
    arraySort(touch -> (touch.touched_at, touch.event_id), groupArrayIf(
        CAST((t.touched_at, t.event_id, t.channel, t.campaign, t.creative, t.product_id),
            'Tuple(touched_at DateTime64(3, \'UTC\'), event_id String, channel String, campaign String, creative String, product_id String)'),
        t.event_id != '' AND t.touched_at >= c.opens_at AND t.touched_at <= c.converted_at AND t.conversion_id != c.conversion_id)) AS ordered,
    arrayFilter((touch, previous, position) -> position = 1 OR touch.channel != previous,
        ordered, arrayPopBack(arrayPushFront(ordered.channel, '')), arrayEnumerate(ordered)) AS collapsed
SELECT
    c.conversion_id AS conversion_id,
    c.conversion_type AS conversion_type,
    any(c.profile_id) AS profile_id,
    any(c.converted_at) AS converted_at,
    any(c.revenue) AS revenue,
    any(c.net_revenue) AS net_revenue,
    any(c.currency) AS currency,
    any(c.is_first) AS is_first,
    any(c.milestone_at) AS milestone_at,
    if({repeats:String} = 'collapse', collapsed, ordered) AS path
FROM {{database}}.touches(
    start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0), stop_ms = {stop_ms:Int64},
    contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)}) AS t
RIGHT JOIN {{database}}.attribution_conversions(
    start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
    goal = {goal:String}, scope = {scope:String}, milestone = {milestone:String}) AS c ON c.profile_id = t.profile_id
GROUP BY c.conversion_id, c.conversion_type
COMMENT 'Conversions with the touches that may be credited for them, one row for each. Internal: feeds attribution_credits.';

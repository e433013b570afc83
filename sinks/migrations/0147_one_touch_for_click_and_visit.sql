-- One touch for a click on a message and the visit that it opens. Of each person's clicks and touches of visits in the order
-- of time, a click and a touch of a visit that comes next, within five minutes, are one: that of the visit, if both are of
-- one channel or the visit is Direct. Then it is of the message's channel, and has the message's campaign where it has none.

CREATE OR REPLACE VIEW {{database}}.device_visits {{on_cluster}}
AS
WITH
    assumeNotNull((SELECT toInt64(visit_pause_minutes) * 60000 FROM {{database}}.v_visit_settings)) AS pause_ms,
    arrayPopFront(arrayDifference(arrayPushFront(ms, toInt64(-1000000000000)))) AS pause,
    arrayCumSum(p -> p > 86400000, pause) AS activity,
    arrayEnumerateUniq(activity, session) AS use_of_session,
    arrayFill(at -> at > 0, arrayMap((at, r) -> if(bitTest(r, 3), at, 0), ms, roles)) AS checkout_at,
    arrayReverseFill(at -> at > 0, arrayMap((at, r) -> if(bitTest(r, 4), at, 0), ms, roles)) AS order_at,
    arrayMap(r -> bitAnd(r, 7), roles) AS role,
    arrayFilter(at -> arrayExists(s -> at - s.1 BETWEEN 0 AND 1800000 OR (s.2 AND s.1 - at BETWEEN 0 AND 60000), steps),
        arrayFilter((at, r) -> bitAnd(r, 7) = 3, ms, roles)) AS from_bank,
    arrayMap((p, r, at, checkout, order) -> p <= 86400000 AND (r = 4 OR (r = 3 AND (at - checkout <= 1800000 OR (order - at BETWEEN 0 AND 60000) OR (p <= pause_ms + 1800000 AND has(from_bank, at))))),
        pause, role, ms, checkout_at, order_at) AS goes_on,
    arrayFill(m -> m > 0, arrayMap((p, s, g) -> multiIf(s != 0, 1, p >= pause_ms AND NOT g, 2, 0), pause, session, goes_on)) AS named,
    arrayPopBack(arrayPushFront(named, 0)) AS name_known,
    arrayMap((p, s, u, g, k) -> p > 86400000 OR (NOT g AND if(s = 0, p >= pause_ms, u = 1 AND (k = 1 OR p >= pause_ms))),
        pause, session, use_of_session, goes_on, name_known) AS begins
SELECT
    person,
    visitor,
    event_hash,
    ms,
    session,
    campaign_key,
    click_key,
    role,
    activity,
    goes_on,
    channel_hash,
    arrayCumSum(begins) AS visit,
    arrayMap((r, first, s, c, c_visit, c_session, k, k_visit, k_session) -> multiIf(
            r = 5, (c != 0 AND c_visit = 1 AND (s = 0 OR c_session = 1)) OR (k != 0 AND k_visit = 1 AND (s = 0 OR k_session = 1)),
            r IN (2, 3), first = 1, 0),
        role, arrayEnumerateUniq(visit, arrayMap(r -> r > 1, role)), session,
        campaign_key, arrayEnumerateUniq(visit, campaign_key), arrayEnumerateUniq(activity, session, campaign_key),
        click_key, arrayEnumerateUniq(visit, click_key), arrayEnumerateUniq(activity, session, click_key)) AS is_touch
FROM
(
    SELECT
        d.person AS person, d.visitor AS visitor, d.events.1 AS ms, d.events.2 AS event_hash, d.events.3 AS session, d.events.4 AS roles,
        d.events.5 AS campaign_key, d.events.6 AS click_key, d.events.7 AS channel_hash, c.steps AS steps
    FROM
    (
        SELECT
            if(o.version > t.identity_version, o.profile_id, t.profile_id) AS person,
            if(device_hash != 0, device_hash, session) AS visitor,
            arraySort(groupArray((
                toUnixTimestamp64Milli(occurred_at), event_hash, session, visit_role, campaign_key, if(bitAnd(visit_role, 7) = 5 AND click_id != '', cityHash64(click_id), 0), cityHash64(marketing_channel)))) AS events
        FROM
        (
            SELECT profile_id, anchor, identity_version, event_hash, occurred_at, visit_role, device_hash, session, campaign_key, click_id, marketing_channel
            FROM {{database}}.touchpoints FINAL
            WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64} - 86400000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 60000, 'UTC')
                AND bitAnd(visit_role, 7) != 0
                AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events)
        ) AS t
        LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
        GROUP BY person, visitor
    ) AS d
    LEFT JOIN {{database}}.checkouts_of_servers(start_ms = {start_ms:Int64} - 86400000, stop_ms = {stop_ms:Int64} + 60000) AS c ON c.person = d.person
)
COMMENT 'Events of visits from start_ms to stop_ms with the number of their visit, one row for each person and device. Internal: feeds touches and v_sessions.';

CREATE OR REPLACE VIEW {{database}}.touches {{on_cluster}}
AS
WITH assumeNotNull((SELECT arrayMap(name -> cityHash64(name), direct_channels) FROM {{database}}.v_attribution_settings)) AS direct
SELECT
    if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
    t.occurred_at AS touched_at,
    t.event_id AS event_id,
    t.channel AS channel,
    t.campaign AS campaign,
    t.creative AS creative,
    t.product_id AS product_id,
    t.conversion_id AS conversion_id,
    t.received_at AS received_at,
    t.source AS source
FROM
(
    SELECT
        e.profile_id AS profile_id, e.anchor AS anchor, e.identity_version AS identity_version, e.occurred_at AS occurred_at, e.event_id AS event_id,
        e.source AS source, e.product_id AS product_id, e.conversion_id AS conversion_id, e.received_at AS received_at,
        CAST(if(v.channel = '', toString(e.marketing_channel), v.channel), 'LowCardinality(String)') AS channel,
        CAST(if(e.campaign = '', v.campaign, toString(e.campaign)), 'LowCardinality(String)') AS campaign,
        CAST(if(e.creative = '', v.creative, toString(e.creative)), 'LowCardinality(String)') AS creative
    FROM
    (
        SELECT
            profile_id, anchor, identity_version, occurred_at, event_id, source, marketing_channel, campaign, creative, product_id, conversion_id, received_at, event_hash,
            touch = 'rule' OR (touch = 'campaign' AND bitAnd(visit_role, 7) = 0) AS is_touch
        FROM {{database}}.touchpoints FINAL
        WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
            AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
            AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events)
            AND (is_touch OR bitAnd(visit_role, 7) > 1)
            AND ({contacts:String} = 'all' OR ({contacts:String} = 'views') = (event IN ('Ad Impression', 'Direct Mail Sent', 'Push Notification Received')
                OR match(event, '^(Email|SMS|Push|WhatsApp|WhatsApp Message|Messenger Message|Telegram Message) (Sent|Delivered|Opened)$')))
    ) AS e
    ANY LEFT JOIN
    (
        -- Touches of visits with what the click before them adds, and clicks whose touch they are.
        SELECT
            one.1.3 AS event_hash,
            one.1.2 AS of_visit,
            if(one.3, one.2.5, '') AS channel,
            if(one.3, one.2.6, '') AS campaign,
            if(one.3, one.2.7, '') AS creative
        FROM
        (
            WITH
                arraySort(event -> (event.1, event.2, event.3), groupArrayArray(events)) AS line,
                arrayMap((event, next, n) -> event.2 = 0 AND next.2 = 1 AND n < length(line) AND next.1 - event.1 <= 300000 AND (next.4 = event.4 OR has(direct, next.4)),
                    line, arrayRotateLeft(line, 1), arrayEnumerate(line)) AS opens_a_visit,
                arrayRotateRight(opens_a_visit, 1) AS is_opened
            SELECT arrayFilter(one -> one.1.2 = 1 OR one.4, arrayZip(line, arrayRotateRight(line, 1), is_opened, opens_a_visit)) AS found
            FROM
            (
                SELECT
                    person,
                    arrayMap(event -> (event.1, toUInt8(1), event.2, event.3, '', '', ''), arrayFilter((event, yes) -> yes, arrayZip(ms, event_hash, channel_hash), is_touch)) AS events
                FROM {{database}}.device_visits(start_ms = {start_ms:Int64} - 300000, stop_ms = {stop_ms:Int64} + 300000)
                UNION ALL
                SELECT
                    if(p.version > c.identity_version, p.profile_id, c.profile_id) AS person,
                    [(toUnixTimestamp64Milli(c.occurred_at), toUInt8(0), c.event_hash, cityHash64(c.marketing_channel), toString(c.marketing_channel), toString(c.campaign), toString(c.creative))] AS events
                FROM
                (
                    SELECT profile_id, anchor, identity_version, occurred_at, event_hash, marketing_channel, campaign, creative
                    FROM {{database}}.touchpoints FINAL
                    PREWHERE source_key = '' OR event_hash IN (SELECT event_hash FROM {{database}}.touchpoints WHERE event IN (SELECT event FROM {{database}}.message_steps WHERE step = 'clicked'))
                    WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64} - 300000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 300000, 'UTC')
                        AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
                        AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events)
                        AND touch IN ('rule', 'campaign') AND bitAnd(visit_role, 7) = 0
                        AND event IN (SELECT event FROM {{database}}.message_steps WHERE step = 'clicked')
                ) AS c
                LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS p ON p.anchor = c.anchor
            )
            GROUP BY person
        )
        ARRAY JOIN found AS one
    ) AS v ON v.event_hash = e.event_hash
    WHERE if(e.is_touch, v.event_hash = 0, v.of_visit)
        AND (empty({only:Array(String)}) OR has({only:Array(String)}, channel))
        AND NOT has({without:Array(String)}, channel)
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
COMMENT 'Touches from start_ms to stop_ms, one row for each. Internal: feeds v_touches and attribution_paths.';

CREATE OR REPLACE VIEW {{database}}.touch_candidates {{on_cluster}}
AS
WITH people AS (SELECT id FROM {{database}}.attribution_people(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, goal = {goal:String}))
SELECT
    if(o.version > t.identity_version, o.profile_id, t.profile_id) AS profile_id,
    t.occurred_at AS touched_at,
    t.event_id AS event_id,
    t.marketing_channel AS channel,
    t.campaign AS campaign,
    t.creative AS creative,
    t.product_id AS product_id,
    t.conversion_id AS conversion_id,
    t.event_hash AS event_hash,
    t.visitor AS visitor,
    t.session AS session,
    t.visit_role AS visit_role,
    t.campaign_key AS campaign_key,
    t.click_id AS click_id,
    t.is_wanted AS is_wanted,
    t.is_click AS is_click
FROM
(
    SELECT
        profile_id, anchor, identity_version, occurred_at, event_id, marketing_channel, campaign, creative, product_id, conversion_id,
        event_hash, session, visit_role, campaign_key, click_id, if(bitAnd(visit_role, 7) = 0, 0, if(device_hash != 0, device_hash, session)) AS visitor,
        (empty({only:Array(String)}) OR has({only:Array(String)}, marketing_channel))
            AND NOT has({without:Array(String)}, marketing_channel)
            AND ({contacts:String} = 'all' OR ({contacts:String} = 'views') = (event IN ('Ad Impression', 'Direct Mail Sent', 'Push Notification Received')
                OR match(event, '^(Email|SMS|Push|WhatsApp|WhatsApp Message|Messenger Message|Telegram Message) (Sent|Delivered|Opened)$'))) AS is_wanted,
        touch IN ('rule', 'campaign') AND bitAnd(visit_role, 7) = 0 AND event IN (SELECT event FROM {{database}}.message_steps WHERE step = 'clicked') AS is_click
    FROM {{database}}.touchpoints FINAL
    PREWHERE {stop_ms:Int64} - {start_ms:Int64} > 7948800000 OR source_key = '' OR event_hash IN
        (
            SELECT event_hash
            FROM {{database}}.touchpoints
            WHERE occurred_at BETWEEN fromUnixTimestamp64Milli(greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 300000, 'UTC')
                AND touch != ''
                AND (profile_id IN (SELECT id FROM people) OR anchor IN (SELECT id FROM people))
        )
    WHERE occurred_at BETWEEN fromUnixTimestamp64Milli(greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 300000, 'UTC')
        AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
        AND NOT is_bot
        AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events)
        AND (bitAnd(visit_role, 7) != 0 OR (touch IN ('rule', 'campaign') AND (is_wanted OR is_click)))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
COMMENT 'Touches, and events of visits some of which are touches, of people who converted, one row for each. Internal: feeds attribution_journeys.';

CREATE OR REPLACE VIEW {{database}}.attribution_journeys {{on_cluster}}
AS
WITH
    -- Clicks on messages and touches of visits: time, whether of a visit, event_hash, touch, whether its channel is wanted, whether it is in the window.
    arraySort(event -> (event.1, event.2, event.3), arrayConcat(clicks, arrayMap(e -> (e.2, toUInt8(1), e.3, e.8, e.9, e.10), arrayFilter((e, yes) -> yes, of_visits, is_touch)))) AS line,
    arrayMap((event, next, n) -> event.2 = 0 AND next.2 = 1 AND n < length(line) AND next.1 - event.1 <= 300000
            AND (tupleElement(next.4, 'channel') = tupleElement(event.4, 'channel') OR has((SELECT direct_channels FROM {{database}}.v_attribution_settings), tupleElement(next.4, 'channel'))),
        line, arrayRotateLeft(line, 1), arrayEnumerate(line)) AS opens_a_visit,
    arrayMap((event, before, opened) -> if(opened,
            (event.1, event.2, event.3,
                CAST((tupleElement(event.4, 'touched_at'), tupleElement(event.4, 'event_id'), tupleElement(before.4, 'channel'),
                    if(tupleElement(event.4, 'campaign') = '', tupleElement(before.4, 'campaign'), tupleElement(event.4, 'campaign')),
                    if(tupleElement(event.4, 'creative') = '', tupleElement(before.4, 'creative'), tupleElement(event.4, 'creative')), tupleElement(event.4, 'product_id')),
                    'Tuple(touched_at DateTime64(3, \'UTC\'), event_id String, channel String, campaign String, creative String, product_id String)'),
                before.5, event.6),
            event),
        line, arrayRotateRight(line, 1), arrayRotateRight(opens_a_visit, 1)) AS named_by_clicks,
    arraySort(touch -> (touch.touched_at, touch.event_id), arrayConcat(others,
        arrayMap(event -> event.4, arrayFilter((event, opens) -> NOT opens AND event.5 AND event.6, named_by_clicks, opens_a_visit)))) AS ordered,
    arrayFilter((touch, previous, position) -> position = 1 OR touch.channel != previous,
        ordered, arrayPopBack(arrayPushFront(ordered.channel, '')), arrayEnumerate(ordered)) AS collapsed
SELECT
    conversion_id,
    conversion_type,
    profile_id,
    converted_at,
    revenue,
    net_revenue,
    currency,
    market,
    is_first,
    milestone_at,
    if({repeats:String} = 'collapse', collapsed, ordered) AS path
FROM
(
    WITH
        assumeNotNull((SELECT toInt64(visit_pause_minutes) * 60000 FROM {{database}}.v_visit_settings)) AS pause_ms,
        of_visits.1 AS visitors,
        of_visits.2 AS ms,
        of_visits.4 AS session,
        of_visits.5 AS roles,
        of_visits.6 AS campaign_key,
        of_visits.7 AS click_key,
        arrayMap((p, v, before) -> if(v = before, p, 31536000000000), arrayDifference(ms), visitors, arrayPopBack(arrayPushFront(visitors, 0))) AS pause,
        arrayCumSum(p -> p > 86400000, pause) AS activity,
        arrayEnumerateUniq(activity, session) AS use_of_session,
        arrayFill(at -> at != 0, arrayMap((at, r, p) -> multiIf(bitTest(r, 3), at, p > 86400000, -31536000000000, 0), ms, roles, pause)) AS checkout_at,
        arrayReverseFill(at -> at != 0, arrayMap((at, r, p) -> multiIf(bitTest(r, 4), at, p > 86400000, 31536000000000, 0),
            ms, roles, arrayPopFront(arrayPushBack(pause, 31536000000000)))) AS order_at,
        arrayMap(r -> bitAnd(r, 7), roles) AS role,
        arrayFilter(at -> arrayExists(s -> at - s.1 BETWEEN 0 AND 1800000 OR (s.2 AND s.1 - at BETWEEN 0 AND 60000), steps),
            arrayFilter((at, r) -> bitAnd(r, 7) = 3, ms, roles)) AS from_bank,
        arrayMap((p, r, at, checkout, order) -> p <= 86400000 AND (r = 4 OR (r = 3 AND (at - checkout <= 1800000 OR (order - at BETWEEN 0 AND 60000) OR (p <= pause_ms + 1800000 AND has(from_bank, at))))),
            pause, role, ms, checkout_at, order_at) AS goes_on,
        arrayFill(m -> m > 0, arrayMap((p, s, g) -> multiIf(s != 0, 1, p >= pause_ms AND NOT g, 2, 0), pause, session, goes_on)) AS named,
        arrayPopBack(arrayPushFront(named, 0)) AS name_known,
        arrayMap((p, s, u, g, k) -> p > 86400000 OR (NOT g AND if(s = 0, p >= pause_ms, u = 1 AND (k = 1 OR p >= pause_ms))),
            pause, session, use_of_session, goes_on, name_known) AS begins,
        arrayCumSum(begins) AS visit
    SELECT
        *,
        arrayMap((r, first, s, c, c_visit, c_session, k, k_visit, k_session) -> multiIf(
                r = 5, (c != 0 AND c_visit = 1 AND (s = 0 OR c_session = 1)) OR (k != 0 AND k_visit = 1 AND (s = 0 OR k_session = 1)),
                r IN (2, 3), first = 1, 0),
            role, arrayEnumerateUniq(visit, arrayMap(r -> r > 1, role)), session,
            campaign_key, arrayEnumerateUniq(visit, campaign_key), arrayEnumerateUniq(activity, session, campaign_key),
            click_key, arrayEnumerateUniq(visit, click_key), arrayEnumerateUniq(activity, session, click_key)) AS is_touch
    FROM
    (
        SELECT g.*, s.steps AS steps
        FROM
        (
            WITH
                CAST((t.touched_at, t.event_id, t.channel, t.campaign, t.creative, t.product_id),
                    'Tuple(touched_at DateTime64(3, \'UTC\'), event_id String, channel String, campaign String, creative String, product_id String)') AS touch,
                t.touched_at >= c.opens_at AND t.touched_at <= c.converted_at AND t.conversion_id != c.conversion_id AS counts
            SELECT
                c.conversion_id AS conversion_id,
                c.conversion_type AS conversion_type,
                any(c.profile_id) AS profile_id,
                any(c.converted_at) AS converted_at,
                any(c.revenue) AS revenue,
                any(c.net_revenue) AS net_revenue,
                any(c.currency) AS currency,
                any(c.market) AS market,
                any(c.is_first) AS is_first,
                any(c.milestone_at) AS milestone_at,
                groupArrayIf(touch, t.event_id != '' AND t.visitor = 0 AND NOT t.is_click AND counts) AS others,
                groupArrayIf((toUnixTimestamp64Milli(t.touched_at), toUInt8(0), t.event_hash, touch, toUInt8(t.is_wanted), toUInt8(counts)),
                    t.is_click AND t.touched_at >= c.opens_at - toIntervalMinute(5) AND t.touched_at <= c.converted_at) AS clicks,
                arraySort(e -> (e.1, e.2, e.3), groupArrayIf(
                    (t.visitor, toUnixTimestamp64Milli(t.touched_at), t.event_hash, t.session, t.visit_role, t.campaign_key,
                        if(bitAnd(t.visit_role, 7) = 5 AND t.click_id != '', cityHash64(t.click_id), 0), touch, toUInt8(t.is_wanted), toUInt8(counts)),
                    t.visitor != 0 AND t.touched_at >= c.opens_at - toIntervalDay(1) AND t.touched_at <= c.converted_at + toIntervalMinute(5))) AS of_visits
            FROM {{database}}.touch_candidates(
                start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64}, goal = {goal:String},
                contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)}) AS t
            RIGHT JOIN {{database}}.attribution_conversions(
                start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
                goal = {goal:String}, scope = {scope:String}, milestone = {milestone:String}) AS c ON c.profile_id = t.profile_id
            GROUP BY c.conversion_id, c.conversion_type
        ) AS g
        LEFT JOIN {{database}}.checkouts_of_servers(
            start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, stop_ms = {stop_ms:Int64} + 300000) AS s ON s.person = g.profile_id
    )
)
COMMENT 'Conversions with the touches that may be credited for them, one row for each. Internal: feeds attribution_credits.';

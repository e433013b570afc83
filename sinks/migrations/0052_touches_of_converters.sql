-- A report on a month looks for touches among the people who converted in it: their events are found first, by anchor and person, and only
-- these are read whole and joined. Credits are added up by day and key before they are listed by model.

-- More rather than fewer: a person as any report of the order has it, as it was stored and as it is now, and the identifiers that were moved
-- to these people since. `goal` is a conversion type, empty for all.
CREATE VIEW IF NOT EXISTS {{database}}.attribution_people {{on_cluster}}
AS
WITH people AS
(
    SELECT arrayJoin([c.profile_id, o.profile_id]) AS id
    FROM
    (
        SELECT anchor, profile_id
        FROM {{database}}.order_events
        WHERE conversion_id IN
        (
            SELECT conversion_id FROM {{database}}.order_events
            WHERE occurred_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND occurred_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
        )
        UNION ALL
        SELECT anchor, profile_id
        FROM {{database}}.conversions
        WHERE converted_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND converted_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
            AND {goal:String} IN ('', conversion_type)
    ) AS c
    LEFT JOIN {{database}}.identity_overrides AS o ON o.anchor = c.anchor
    WHERE id != toUUID('00000000-0000-0000-0000-000000000000')
)
SELECT id FROM people
UNION ALL
SELECT anchor FROM {{database}}.identity_overrides WHERE profile_id IN (SELECT id FROM people)
COMMENT 'People who may have converted from start_ms to stop_ms, and anchors of identifiers that became theirs. Internal: feeds touch_candidates.';

CREATE OR REPLACE VIEW {{database}}.attribution_conversions {{on_cluster}}
AS
SELECT
    conversion_id,
    conversion_type,
    profile_id,
    converted_at,
    revenue,
    net_revenue,
    currency,
    ordinal = 1 AND NOT is_undated AND profile_id != toUUID('00000000-0000-0000-0000-000000000000') AS is_first,
    milestone_at,
    if(is_undated, converted_at + toIntervalMillisecond(1), greatest(
        converted_at - toIntervalMillisecond({lookback_ms:Int64}),
        if({scope:String} = 'since_previous' AND ordinal > 1, previous_at + toIntervalMillisecond(1), toDateTime64(0, 3, 'UTC'))
    )) AS opens_at
FROM
(
    WITH if({milestone:String} = '', (SELECT milestone FROM {{database}}.v_attribution_settings), {milestone:String}) AS wanted_milestone
    SELECT
        *,
        time_doubtful AS is_undated,
        row_number() OVER goal_of_person AS ordinal,
        lagInFrame(converted_at) OVER goal_of_person AS previous_at,
        maxIf(converted_at, conversion_type = wanted_milestone AND NOT is_undated) OVER
            (PARTITION BY profile_id ORDER BY converted_at, conversion_type != wanted_milestone, conversion_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS milestone_at
    FROM {{database}}.v_conversions
    WHERE {goal:String} = '' OR conversion_type IN ({goal:String}, wanted_milestone)
    WINDOW goal_of_person AS (PARTITION BY profile_id, conversion_type ORDER BY is_undated, converted_at, conversion_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE {goal:String} IN ('', conversion_type)
    AND converted_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND converted_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
COMMENT 'Conversions with the window of their touches, one row for each. Internal: feeds attribution_journeys and attribution_paths.';

-- The events of these people that may be touches, in the windows of conversions from start_ms to stop_ms, and all events of their visits, a
-- day earlier and a minute later too: which of them are touches is decided by who reads this. `is_wanted` is whether contacts, only and
-- without let a touch count. Which of the rows of an event stays is decided among all of them, so rows are chosen by event_hash, or, where
-- an older release has received them, after that. In periods of more than 92 days so many people convert that everybody's are read.
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
    t.is_wanted AS is_wanted
FROM
(
    SELECT
        profile_id, anchor, identity_version, occurred_at, event_id, marketing_channel, campaign, creative, product_id, conversion_id,
        event_hash, session, visit_role, campaign_key, click_id, if(bitAnd(visit_role, 7) = 0, 0, if(device_hash != 0, device_hash, session)) AS visitor,
        (empty({only:Array(String)}) OR has({only:Array(String)}, marketing_channel))
            AND NOT has({without:Array(String)}, marketing_channel)
            AND ({contacts:String} = 'all' OR ({contacts:String} = 'views') = (event IN ('Ad Impression', 'Direct Mail Sent', 'Push Notification Received')
                OR match(event, '^(Email|SMS|Push|WhatsApp|WhatsApp Message|Messenger Message|Telegram Message) (Sent|Delivered|Opened)$'))) AS is_wanted
    FROM {{database}}.touchpoints FINAL
    PREWHERE {stop_ms:Int64} - {start_ms:Int64} > 7948800000 OR source_key = '' OR event_hash IN
        (
            SELECT event_hash
            FROM {{database}}.touchpoints
            WHERE occurred_at BETWEEN fromUnixTimestamp64Milli(greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 60000, 'UTC')
                AND touch != ''
                AND (profile_id IN (SELECT id FROM people) OR anchor IN (SELECT id FROM people))
        )
    WHERE occurred_at BETWEEN fromUnixTimestamp64Milli(greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 60000, 'UTC')
        AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
        AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events_between(start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, stop_ms = {stop_ms:Int64} + 60000))
        AND (bitAnd(visit_role, 7) != 0 OR (touch IN ('rule', 'campaign') AND is_wanted))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
COMMENT 'Touches, and events of visits some of which are touches, of people who converted, one row for each. Internal: feeds attribution_journeys.';

-- The conversions of attribution_conversions, each with its touches in order. `repeats` is keep or collapse (of a run of one channel the
-- first touch stays). The steps from events to touches are those of device_visits, for the devices of one person one after the other: a
-- change of visitor is a pause of a thousand years.
CREATE OR REPLACE VIEW {{database}}.attribution_journeys {{on_cluster}}
AS
WITH
    arraySort(touch -> (touch.touched_at, touch.event_id), arrayConcat(others,
        arrayMap(e -> e.8, arrayFilter((e, yes) -> yes AND e.9, of_visits, is_touch)))) AS ordered,
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
        arrayMap((p, r, at, checkout, order) -> p <= 86400000 AND (r = 4 OR (r = 3 AND (at - checkout <= 1800000 OR (order - at BETWEEN 0 AND 60000)))),
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
            any(c.is_first) AS is_first,
            any(c.milestone_at) AS milestone_at,
            groupArrayIf(touch, t.event_id != '' AND t.visitor = 0 AND counts) AS others,
            arraySort(e -> (e.1, e.2, e.3), groupArrayIf(
                (t.visitor, toUnixTimestamp64Milli(t.touched_at), t.event_hash, t.session, t.visit_role, t.campaign_key,
                    if(bitAnd(t.visit_role, 7) = 5 AND t.click_id != '', cityHash64(t.click_id), 0), touch, t.is_wanted AND counts),
                t.visitor != 0 AND t.touched_at >= c.opens_at - toIntervalDay(1) AND t.touched_at <= c.converted_at + toIntervalMinute(1))) AS of_visits
        FROM {{database}}.touch_candidates(
            start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64}, goal = {goal:String},
            contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)}) AS t
        RIGHT JOIN {{database}}.attribution_conversions(
            start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
            goal = {goal:String}, scope = {scope:String}, milestone = {milestone:String}) AS c ON c.profile_id = t.profile_id
        GROUP BY c.conversion_id, c.conversion_type
    )
)
COMMENT 'Conversions with the touches that may be credited for them, one row for each. Internal: feeds attribution_credits.';

CREATE OR REPLACE VIEW {{database}}.attribution_by_day {{on_cluster}}
AS
WITH
    if({goal:String} = '', (SELECT goal FROM {{database}}.v_attribution_settings), {goal:String}) AS wanted_goal,
    if({timezone:String} = '', (SELECT timezone FROM {{database}}.v_attribution_settings), {timezone:String}) AS zone,
    assumeNotNull((SELECT currency FROM {{database}}.v_report_settings)) AS wanted
SELECT
    day,
    model,
    key,
    sum(c) AS conversions,
    sum(r) AS revenue,
    sum(k) AS net_revenue,
    sum(n) AS new_customers,
    if({dimension:String} = 'product', NULL, sum(s)) AS spend
FROM
(
    SELECT day, one.1 AS model, key, one.2 AS c, one.3 AS r, one.4 AS k, one.5 AS n, toDecimal128(0, 4) AS s
    FROM
    (
        WITH
            a.weights.2 AS credits,
            a.currency = wanted OR a.revenue = 0 AS as_it_is,
            ifNull(x.rate, 0) AS rate,
            multiIf(as_it_is, toFloat64(a.revenue), rate > 0, round(toFloat64(a.revenue) * rate, 4), 0.) AS worth,
            multiIf(as_it_is, toFloat64(a.net_revenue), rate > 0, round(toFloat64(a.net_revenue) * rate, 4), 0.) AS net_worth
        SELECT
            toDate(toTimeZone(a.converted_at, zone)) AS day,
            multiIf({dimension:String} = 'channel', channel, {dimension:String} = 'campaign', campaign, {dimension:String} = 'creative', creative, product_id) AS key,
            any(a.weights.1) AS models,
            sumForEach(credits) AS of_conversions,
            sumForEach(arrayMap(credit -> credit * worth, credits)) AS of_revenue,
            sumForEach(arrayMap(credit -> credit * net_worth, credits)) AS of_net_revenue,
            sumForEach(arrayMap(credit -> credit * is_first, credits)) AS of_new_customers
        FROM {{database}}.attribution_weights(
            start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
            half_life_ms = {half_life_ms:Float64}, goal = if({goal:String} = 'all', '', {goal:String}), scope = {scope:String}, repeats = {repeats:String}, milestone = {milestone:String},
            contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)}) AS a
        LEFT JOIN {{database}}.v_rates AS x ON x.currency = a.currency AND x.date = toDate(toTimeZone(a.converted_at, zone))
        WHERE wanted_goal IN ('all', conversion_type)
        GROUP BY day, key
    )
    ARRAY JOIN arrayZip(models, of_conversions, of_revenue, of_net_revenue, of_new_customers) AS one
    UNION ALL
    SELECT
        date AS day,
        models.model AS model,
        multiIf({dimension:String} = 'channel', channel, {dimension:String} = 'campaign', campaign, creative) AS key,
        0. AS c,
        0. AS r,
        0. AS k,
        0. AS n,
        toDecimal128(ifNull(spend, toDecimal128(0, 4)), 4) AS s
    FROM {{database}}.v_spend
    CROSS JOIN {{database}}.v_attribution_models AS models
    WHERE {dimension:String} != 'product'
        AND date >= toDate(toTimeZone(fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC'), zone))
        AND date <= toDate(toTimeZone(fromUnixTimestamp64Milli({stop_ms:Int64} - 1, 'UTC'), zone))
)
GROUP BY day, model, key
COMMENT 'Credit and spend in the currency of reports, one row for each day, model and key; amounts without a rate are 0, see v_missing_rates. Internal: feeds v_attribution_by_… and `throughline attribution report`.';

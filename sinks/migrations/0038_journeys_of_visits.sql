-- Journeys of conversions look for the touches of visits among the few people who converted, not among everybody: a report on a month
-- reads the events once.

-- Touches between two times, milliseconds since 1970, both included, and all events of visits, a day earlier and a minute later too:
-- which of them are touches is decided by who reads this. `is_wanted` is whether contacts, only and without let a touch count.
CREATE OR REPLACE VIEW {{database}}.touch_candidates {{on_cluster}}
AS SELECT
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
    WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64} - 86400000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 60000, 'UTC')
        AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')
        AND NOT is_bot AND event_hash NOT IN (SELECT cityHash64(source, event_id) FROM {{database}}.bot_events)
        AND (bitAnd(visit_role, 7) != 0 OR (touch IN ('rule', 'campaign') AND is_wanted))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
COMMENT 'Touches, and events of visits some of which are touches, one row for each. Internal: feeds attribution_journeys.';

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
            start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0), stop_ms = {stop_ms:Int64},
            contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)}) AS t
        RIGHT JOIN {{database}}.attribution_conversions(
            start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, lookback_ms = {lookback_ms:Int64},
            goal = {goal:String}, scope = {scope:String}, milestone = {milestone:String}) AS c ON c.profile_id = t.profile_id
        GROUP BY c.conversion_id, c.conversion_type
    )
)
COMMENT 'Conversions with the touches that may be credited for them, one row for each. Internal: feeds attribution_credits.';

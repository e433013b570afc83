-- A report on a month asks of the clicks of those who converted in it alone whether a mail filter made them, and looks for the presence of
-- those alone who clicked. Devices that are faster than people are recognised where events are read, without a read of their own. The rules
-- are those of 0042_bots_at_size.sql and 0053_scans_in_one_pass.sql.

-- Clicks that a mail filter may have made, of everybody, or, where from_ms and to_ms are at most 92 days apart, of the people of
-- attribution_people alone.
CREATE OR REPLACE VIEW {{database}}.suspected_acts {{on_cluster}}
AS
WITH
    people AS (SELECT id FROM {{database}}.attribution_people(start_ms = {from_ms:Int64}, stop_ms = {to_ms:Int64}, goal = {goal:String})),
    clickers AS (SELECT anchor FROM {{database}}.message_clicks WHERE profile_id IN (SELECT id FROM people) OR anchor IN (SELECT id FROM people)),
    toInt64(-4611686018427387904) AS never,
    acts.2 AS ms,
    arrayMap((click, link) -> if(click, link, 0), acts.3, acts.4) AS links,
    arrayFill(link -> link != 0, links) AS link_until,
    arrayFill(at -> at != never, arrayMap((at, link) -> if(link = 0, never, at), ms, links)) AS click_until,
    arrayMap((link, last) -> link != 0 AND link != last, links, arrayPopBack(arrayPushFront(link_until, 0))) AS is_other_than_before,
    arrayFill((at, turn) -> turn, arrayPopBack(arrayPushFront(click_until, never)), is_other_than_before) AS other_until,
    arrayReverseFill(link -> link != 0, links) AS link_since,
    arrayReverseFill(at -> at != never, arrayMap((at, link) -> if(link = 0, never, at), ms, links)) AS click_since,
    arrayMap((link, next) -> link != 0 AND link != next, links, arrayPopFront(arrayPushBack(link_since, 0))) AS is_other_than_after,
    arrayReverseFill((at, turn) -> turn, arrayPopFront(arrayPushBack(click_since, never)), is_other_than_after) AS other_since
SELECT
    s.act.1 AS event_hash,
    if(o.version > s.act.7, o.profile_id, s.act.6) AS profile_id,
    s.act.2 AS at,
    s.is_scan AS is_scan,
    s.act.3 AS is_click
FROM
(
    SELECT c.anchor AS anchor, act, is_scan
    FROM
    (
        SELECT
            message, anchor,
            arraySort(act -> act.2, groupArray((event_hash, toUnixTimestamp64Milli(occurred_at), is_click, link, is_get, profile_id, identity_version))) AS acts,
            if(length(acts) = 1, [0], arrayMap((act, l_until, t_until, o_until, l_since, t_since, o_since) -> (NOT act.3 OR act.4 != 0) AND
                ((o_until != never AND act.2 - o_until <= 2000) OR (o_since != never AND o_since - act.2 <= 2000)
                    OR (l_until != l_since AND t_until != never AND act.2 - t_until <= 2000 AND t_since != never AND t_since - act.2 <= 2000)),
                acts, link_until, click_until, other_until, link_since, click_since, other_since)) AS scans
        FROM {{database}}.message_clicks FINAL
        WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64} - 2000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 2000, 'UTC')
            AND ({to_ms:Int64} - {from_ms:Int64} > 7948800000 OR anchor IN (SELECT anchor FROM clickers))
        GROUP BY message, anchor
    ) AS c
    LEFT JOIN
    (
        SELECT message, anchor, if(min(delivered_ms) < 9223372036854775807, min(delivered_ms), min(sent_ms)) AS reached_ms
        FROM {{database}}.message_arrivals
        WHERE message IN
        (
            SELECT message FROM {{database}}.message_clicks
            WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
                AND ({to_ms:Int64} - {from_ms:Int64} > 7948800000 OR anchor IN (SELECT anchor FROM clickers))
        )
        GROUP BY message, anchor
    ) AS a ON a.message = c.message AND a.anchor = c.anchor
    ARRAY JOIN c.acts AS act, c.scans AS is_scan
    WHERE act.2 BETWEEN {start_ms:Int64} AND {stop_ms:Int64}
        AND (is_scan OR (a.reached_ms > 0 AND act.2 < a.reached_ms + 10000 AND (act.3 OR act.5)))
) AS s
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = s.anchor
COMMENT 'Clicks and unsubscriptions that a mail filter may have made, one row for each. Internal: feeds bot_clicks.';

-- The people whose presence decides about clicks, and the anchors of identifiers that became theirs.
CREATE OR REPLACE VIEW {{database}}.click_people {{on_cluster}}
AS
WITH
    people AS (SELECT id FROM {{database}}.attribution_people(start_ms = {from_ms:Int64}, stop_ms = {to_ms:Int64}, goal = {goal:String})),
    clickers AS
    (
        SELECT arrayJoin([c.profile_id, o.profile_id]) AS id
        FROM
        (
            SELECT anchor, profile_id
            FROM {{database}}.message_clicks
            WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC') AND is_click
                AND ({to_ms:Int64} - {from_ms:Int64} > 7948800000 OR profile_id IN (SELECT id FROM people) OR anchor IN (SELECT id FROM people))
        ) AS c
        LEFT JOIN {{database}}.identity_overrides AS o ON o.anchor = c.anchor
    )
SELECT id FROM clickers
UNION ALL
SELECT anchor FROM {{database}}.identity_overrides WHERE profile_id IN (SELECT id FROM clickers)
COMMENT 'People who may have clicked in e-mails, and anchors of identifiers that became theirs. Internal: feeds bot_clicks.';

-- A click right after the delivery counts if the person was on the site or in the app from 5 s before it to 10 minutes after it.
CREATE OR REPLACE VIEW {{database}}.bot_clicks {{on_cluster}}
AS
WITH present AS
(
    SELECT id FROM {{database}}.click_people(
        start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64}, goal = {goal:String})
)
SELECT s.event_hash AS event_hash, if(any(s.is_scan), 'link_scan', 'instant_click') AS reason
FROM
(
    SELECT if(o.version > t.identity_version, o.profile_id, t.profile_id) AS person, toUnixTimestamp64Milli(t.occurred_at) AS at
    FROM
    (
        SELECT anchor, profile_id, identity_version, occurred_at
        FROM {{database}}.touchpoints
        WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64} - 5000, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64} + 600000, 'UTC')
            AND channel IN ('web', 'app') AND NOT is_bot
            AND event NOT IN (SELECT event FROM {{database}}.message_steps)
            AND (profile_id IN (SELECT id FROM present) OR anchor IN (SELECT id FROM present))
    ) AS t
    LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
) AS v
RIGHT JOIN
(
    SELECT *, if(is_click AND NOT is_scan, profile_id, toUUID('ffffffff-ffff-ffff-ffff-ffffffffffff')) AS clicker
    FROM {{database}}.suspected_acts(
        start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64}, goal = {goal:String})
) AS s ON s.clicker = v.person
GROUP BY event_hash
HAVING countIf(v.at BETWEEN s.at - 5000 AND s.at + 600000) = 0
COMMENT 'Clicks and unsubscriptions of mail filters between two times, milliseconds since 1970, both included, one row for each; of everybody, or of the people of attribution_people. Internal: feeds bot_events_between and touch_candidates.';

CREATE OR REPLACE VIEW {{database}}.fast_hours {{on_cluster}}
AS SELECT source, anchor, toStartOfHour(ten_seconds) AS hour
FROM {{database}}.page_rates
WHERE day BETWEEN toDate(fromUnixTimestamp64Milli(greatest({start_ms:Int64}, 0), 'UTC')) AND toDate(fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC'))
GROUP BY day, source, anchor, ten_seconds
HAVING uniqExactMerge(pages) > 30
COMMENT 'Hours of devices with more than 30 pages in 10 s, one row for each ten seconds. Internal: feeds bot_events_between and touch_candidates.';

CREATE OR REPLACE VIEW {{database}}.bot_events_between {{on_cluster}}
AS
SELECT event_hash, reason
FROM {{database}}.bot_clicks(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, from_ms = 0, to_ms = 4133980800000, goal = '')
UNION ALL
-- More than 30 pages in 10 s: no event of that device in that hour is a person's, but orders and consent.
SELECT t.event_hash AS event_hash, 'speed' AS reason
FROM {{database}}.touchpoints AS t
WHERE t.occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
    AND t.channel IN ('web', 'app')
    AND t.event NOT IN ('Order Completed', 'Order Updated', 'Order Refunded', 'Order Cancelled', 'Receipt Issued', 'Consent Updated', 'Loyalty Points Earned', 'Loyalty Points Redeemed')
    AND t.anchor IN (SELECT anchor FROM {{database}}.fast_hours(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}))
    AND (t.source, t.anchor, toStartOfHour(toDateTime(t.occurred_at, 'UTC'))) IN
        (SELECT source, anchor, hour FROM {{database}}.fast_hours(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}))
COMMENT 'Events of bots between two times, milliseconds since 1970, both included, that only several events together show, one row for each. Internal: feeds the views that leave bots out.';

-- The events of these people that may be touches, as 0052_touches_of_converters.sql has them.
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
        AND NOT is_bot
        AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_clicks(
            start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, stop_ms = {stop_ms:Int64} + 60000, from_ms = {start_ms:Int64}, to_ms = {stop_ms:Int64}, goal = {goal:String}))
        AND NOT (channel IN ('web', 'app') AND event NOT IN ('Order Completed', 'Order Updated', 'Order Refunded', 'Order Cancelled', 'Receipt Issued', 'Consent Updated', 'Loyalty Points Earned', 'Loyalty Points Redeemed')
            AND (source, anchor, toStartOfHour(toDateTime(occurred_at, 'UTC'))) IN (SELECT source, anchor, hour FROM {{database}}.fast_hours(start_ms = greatest({start_ms:Int64} - {lookback_ms:Int64}, 0) - 86400000, stop_ms = {stop_ms:Int64} + 60000)))
        AND (bitAnd(visit_role, 7) != 0 OR (touch IN ('rule', 'campaign') AND is_wanted))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
COMMENT 'Touches, and events of visits some of which are touches, of people who converted, one row for each. Internal: feeds attribution_journeys.';

-- Of a month, the conversions of those who converted in it, earlier and later ones too, are numbered: not everybody's.
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
    WHERE ({goal:String} = '' OR conversion_type IN ({goal:String}, wanted_milestone))
        AND ({stop_ms:Int64} - {start_ms:Int64} > 7948800000 OR profile_id = toUUID('00000000-0000-0000-0000-000000000000')
            OR profile_id IN (SELECT id FROM {{database}}.attribution_people(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}, goal = {goal:String})))
    WINDOW goal_of_person AS (PARTITION BY profile_id, conversion_type ORDER BY is_undated, converted_at, conversion_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE {goal:String} IN ('', conversion_type)
    AND converted_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND converted_at < fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
COMMENT 'Conversions with the window of their touches, one row for each. Internal: feeds attribution_journeys and attribution_paths.';

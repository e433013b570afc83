-- Bots that only several events together show are found once and kept: whoever reads reads a table, instead of judging anew in each query. The record
-- worker judges within a minute of what it has stored, and everything once a day (`sinks/clickhouse/bots.py`). The rules are those of
-- 0042_bots_at_size.sql and 0053_scans_in_one_pass.sql.

CREATE TABLE IF NOT EXISTS {{database}}.bot_verdicts {{on_cluster}}
(
    event_hash UInt64 COMMENT 'touchpoints.event_hash',
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the event happened',
    reason LowCardinality(String) COMMENT 'link_scan, instant_click or speed; empty: what came later showed that it is none',
    judged_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When that was found; the latest row counts'
)
ENGINE = {{replicated}}ReplacingMergeTree(judged_at)
ORDER BY event_hash
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Events of bots that only several events together show, one row for each. Read bot_events.';

CREATE OR REPLACE VIEW {{database}}.bot_events {{on_cluster}}
(
    event_hash UInt64 COMMENT 'cityHash64(source, event_id)',
    reason String COMMENT 'link_scan, instant_click or speed'
)
AS SELECT event_hash, toString(reason) AS reason
FROM {{database}}.bot_verdicts FINAL
WHERE bot_verdicts.reason != ''
COMMENT 'Events of bots that only several events together show, one row for each, as found within the last minute. Internal: feeds the views that leave bots out.';

-- Clicks that a mail filter may have made.
CREATE OR REPLACE VIEW {{database}}.suspected_acts {{on_cluster}}
AS
WITH
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
        )
        GROUP BY message, anchor
    ) AS a ON a.message = c.message AND a.anchor = c.anchor
    ARRAY JOIN c.acts AS act, c.scans AS is_scan
    WHERE act.2 BETWEEN {start_ms:Int64} AND {stop_ms:Int64}
        AND (is_scan OR (a.reached_ms > 0 AND act.2 < a.reached_ms + 10000 AND (act.3 OR act.5)))
) AS s
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = s.anchor
COMMENT 'Clicks and unsubscriptions that a mail filter may have made, one row for each. Internal: feeds bots_between.';

-- The people whose presence decides about clicks, and the anchors of identifiers that became theirs.
CREATE OR REPLACE VIEW {{database}}.click_people {{on_cluster}}
AS
WITH clickers AS
(
    SELECT arrayJoin([c.profile_id, o.profile_id]) AS id
    FROM
    (
        SELECT anchor, profile_id
        FROM {{database}}.message_clicks
        WHERE occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC') AND is_click
    ) AS c
    LEFT JOIN {{database}}.identity_overrides AS o ON o.anchor = c.anchor
)
SELECT id FROM clickers
UNION ALL
SELECT anchor FROM {{database}}.identity_overrides WHERE profile_id IN (SELECT id FROM clickers)
COMMENT 'People who may have clicked in e-mails, and anchors of identifiers that became theirs. Internal: feeds bots_between.';

CREATE OR REPLACE VIEW {{database}}.bots_between {{on_cluster}}
AS
-- A click right after the delivery counts if the person was on the site or in the app from 5 s before it to 10 minutes after it.
WITH present AS (SELECT id FROM {{database}}.click_people(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}))
SELECT s.event_hash AS event_hash, fromUnixTimestamp64Milli(any(s.at), 'UTC') AS occurred_at, if(any(s.is_scan), 'link_scan', 'instant_click') AS reason
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
    FROM {{database}}.suspected_acts(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64})
) AS s ON s.clicker = v.person
GROUP BY event_hash
HAVING countIf(v.at BETWEEN s.at - 5000 AND s.at + 600000) = 0
UNION ALL
-- More than 30 pages in 10 s: no event of that device in that hour is a person's, but orders and consent.
SELECT t.event_hash AS event_hash, any(t.occurred_at) AS occurred_at, 'speed' AS reason
FROM {{database}}.touchpoints AS t
WHERE t.occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
    AND t.channel IN ('web', 'app')
    AND t.event NOT IN ('Order Completed', 'Order Updated', 'Order Refunded', 'Order Cancelled', 'Receipt Issued', 'Consent Updated', 'Loyalty Points Earned', 'Loyalty Points Redeemed')
    AND t.anchor IN (SELECT anchor FROM {{database}}.fast_hours(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}))
    AND (t.source, t.anchor, toStartOfHour(toDateTime(t.occurred_at, 'UTC'))) IN
        (SELECT source, anchor, hour FROM {{database}}.fast_hours(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64}))
GROUP BY event_hash
COMMENT 'Events of bots between two times, milliseconds since 1970, both included, that only several events together show, as they would be judged now, one row for each event and reason. Internal: feeds bot_verdicts.';

CREATE OR REPLACE VIEW {{database}}.fast_hours {{on_cluster}}
AS SELECT source, anchor, toStartOfHour(ten_seconds) AS hour
FROM {{database}}.page_rates
WHERE day BETWEEN toDate(fromUnixTimestamp64Milli(greatest({start_ms:Int64}, 0), 'UTC')) AND toDate(fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC'))
GROUP BY day, source, anchor, ten_seconds
HAVING uniqExactMerge(pages) > 30
COMMENT 'Hours of devices with more than 30 pages in 10 s, one row for each ten seconds. Internal: feeds bots_between.';

INSERT INTO {{database}}.bot_verdicts (event_hash, occurred_at, reason, judged_at)
SELECT event_hash, any(occurred_at) AS occurred_at, min(reason) AS reason, now64(3)
FROM {{database}}.bots_between(start_ms = -2208988800000, stop_ms = 4133980800000)
GROUP BY event_hash;

-- Whoever leaves bots out reads them there; everything else is as in 0098_checkouts_parts_bounces.sql, 0042 and 0086.
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
        d.events.5 AS campaign_key, d.events.6 AS click_key, c.steps AS steps
    FROM
    (
        SELECT
            if(o.version > t.identity_version, o.profile_id, t.profile_id) AS person,
            if(device_hash != 0, device_hash, session) AS visitor,
            arraySort(groupArray((
                toUnixTimestamp64Milli(occurred_at), event_hash, session, visit_role, campaign_key, if(bitAnd(visit_role, 7) = 5 AND click_id != '', cityHash64(click_id), 0)))) AS events
        FROM
        (
            SELECT profile_id, anchor, identity_version, event_hash, occurred_at, visit_role, device_hash, session, campaign_key, click_id
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
        AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events)
        AND (touch = 'rule' OR (touch = 'campaign' AND bitAnd(visit_role, 7) = 0)
            OR (bitAnd(visit_role, 7) > 1 AND event_hash IN
            (
                SELECT arrayJoin(arrayFilter((h, yes) -> yes, event_hash, is_touch))
                FROM {{database}}.device_visits(start_ms = {start_ms:Int64}, stop_ms = {stop_ms:Int64})
            )))
        AND (empty({only:Array(String)}) OR has({only:Array(String)}, marketing_channel))
        AND NOT has({without:Array(String)}, marketing_channel)
        AND ({contacts:String} = 'all' OR ({contacts:String} = 'views') = (event IN ('Ad Impression', 'Direct Mail Sent', 'Push Notification Received')
            OR match(event, '^(Email|SMS|Push|WhatsApp|WhatsApp Message|Messenger Message|Telegram Message) (Sent|Delivered|Opened)$')))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
COMMENT 'Touches from start_ms to stop_ms, one row for each. Internal: feeds attribution_journeys and attribution_paths.';

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
        AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events)
        AND (bitAnd(visit_role, 7) != 0 OR (touch IN ('rule', 'campaign') AND is_wanted))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
COMMENT 'Touches, and events of visits some of which are touches, of people who converted, one row for each. Internal: feeds attribution_journeys.';

-- What is read no more.
DROP VIEW IF EXISTS {{database}}.bot_events_between {{on_cluster}};

DROP VIEW IF EXISTS {{database}}.bot_clicks {{on_cluster}};

-- The record worker asks each minute which events were stored lately.
ALTER TABLE {{database}}.touchpoints {{on_cluster}} ADD INDEX IF NOT EXISTS by_storing stored_at TYPE minmax GRANULARITY 1;

-- Mail filters are found among the clicks, of which there are few, not among all messages that were sent; and a report looks for bots
-- in its own period alone. The rules are those of 0031_bot_sequences.sql.

CREATE TABLE IF NOT EXISTS {{database}}.message_clicks {{on_cluster}}
(
    message UInt64 COMMENT 'Hash of the sender''s id of the message',
    event_hash UInt64 COMMENT 'touchpoints.event_hash',
    is_click UInt8 COMMENT '1: a click; 0: an unsubscription',
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it happened',
    link UInt64 COMMENT 'Hash of the link that was clicked; 0: not named',
    is_get UInt8 COMMENT '1: the event says that a GET did it',
    anchor UUID COMMENT 'Keyed hash of an identifier of the receiver; nil: nobody',
    profile_id UUID COMMENT 'The receiver as known when it was stored',
    identity_version UInt64 COMMENT 'Changes of identity up to this version are in profile_id',
    delivery UInt64 COMMENT 'Which of two rows of an event stays: touchpoints.delivery'
)
ENGINE = {{replicated}}ReplacingMergeTree(delivery)
ORDER BY (message, event_hash)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Clicks and unsubscriptions of e-mails that have an id, one row for each event. Internal: feeds bot_events.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_message_clicks {{on_cluster}} TO {{database}}.message_clicks
AS WITH
    JSONExtractString(properties, 'message_id') AS message_id,
    if(JSONExtractString(properties, 'link_id') != '', JSONExtractString(properties, 'link_id'), JSONExtractString(properties, 'link_url')) AS named_link
SELECT
    cityHash64(message_id) AS message,
    cityHash64(source, event_id) AS event_hash,
    event = 'Email Link Clicked' AS is_click,
    occurred_at,
    if(named_link = '', 0, cityHash64(named_link)) AS link,
    upper(trimBoth(JSONExtractString(properties, 'method'))) = 'GET' AS is_get,
    anchor,
    profile_id,
    identity_version,
    delivery
FROM {{database}}.touchpoints
WHERE event IN ('Email Link Clicked', 'Email Unsubscribed', 'Unsubscribed') AND message_id != '';

INSERT INTO {{database}}.message_clicks (message, event_hash, is_click, occurred_at, link, is_get, anchor, profile_id, identity_version, delivery)
WITH
    JSONExtractString(properties, 'message_id') AS message_id,
    if(JSONExtractString(properties, 'link_id') != '', JSONExtractString(properties, 'link_id'), JSONExtractString(properties, 'link_url')) AS named_link
SELECT
    cityHash64(message_id) AS message,
    cityHash64(source, event_id) AS event_hash,
    event = 'Email Link Clicked' AS is_click,
    occurred_at,
    if(named_link = '', 0, cityHash64(named_link)) AS link,
    upper(trimBoth(JSONExtractString(properties, 'method'))) = 'GET' AS is_get,
    anchor,
    profile_id,
    identity_version,
    delivery
FROM {{database}}.touchpoints
WHERE event IN ('Email Link Clicked', 'Email Unsubscribed', 'Unsubscribed') AND message_id != '';

CREATE TABLE IF NOT EXISTS {{database}}.message_arrivals {{on_cluster}}
(
    message UInt64 COMMENT 'Hash of the sender''s id of the message',
    anchor UUID COMMENT 'Keyed hash of an identifier of the receiver; nil: nobody',
    profile_id SimpleAggregateFunction(max, UUID) COMMENT 'The receiver as known when a row was stored',
    sent_ms SimpleAggregateFunction(min, Int64) COMMENT 'When it was sent first, milliseconds since 1970; 2^63 - 1: not reported',
    delivered_ms SimpleAggregateFunction(min, Int64) COMMENT 'When it was delivered first, likewise'
)
ENGINE = {{replicated}}AggregatingMergeTree
ORDER BY (message, anchor)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'When e-mails that have an id reached their receivers, one row for each receiver of a message. Internal: feeds bot_events.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_message_arrivals {{on_cluster}} TO {{database}}.message_arrivals
AS WITH JSONExtractString(properties, 'message_id') AS message_id
SELECT
    cityHash64(message_id) AS message,
    anchor,
    profile_id,
    if(event = 'Email Sent', toUnixTimestamp64Milli(occurred_at), 9223372036854775807) AS sent_ms,
    if(event = 'Email Sent', 9223372036854775807, toUnixTimestamp64Milli(occurred_at)) AS delivered_ms
FROM {{database}}.touchpoints
WHERE event IN ('Email Sent', 'Email Delivered') AND message_id != '';

INSERT INTO {{database}}.message_arrivals (message, anchor, profile_id, sent_ms, delivered_ms)
WITH JSONExtractString(properties, 'message_id') AS message_id
SELECT
    cityHash64(message_id) AS message,
    anchor,
    profile_id,
    if(event = 'Email Sent', toUnixTimestamp64Milli(occurred_at), 9223372036854775807) AS sent_ms,
    if(event = 'Email Sent', 9223372036854775807, toUnixTimestamp64Milli(occurred_at)) AS delivered_ms
FROM {{database}}.touchpoints
WHERE event IN ('Email Sent', 'Email Delivered') AND message_id != '';

-- The clicks and unsubscriptions between two times, milliseconds since 1970, both included, that a mail filter may have made: several
-- links of one message within 2 s, or a click within 10 s of its delivery (of its sending, where no delivery was reported).
CREATE OR REPLACE VIEW {{database}}.suspected_acts {{on_cluster}}
AS SELECT
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
        SELECT message, anchor, groupArray((event_hash, toUnixTimestamp64Milli(occurred_at), is_click, link, is_get, profile_id, identity_version)) AS acts
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
    ARRAY JOIN
        c.acts AS act,
        if(length(c.acts) = 1, [0], arrayMap(one -> length(arrayDistinct(arrayMap(other -> other.4, arrayFilter(
            other -> other.3 AND other.4 != 0 AND abs(other.2 - one.2) <= 2000 AND (NOT one.3 OR one.4 != 0), c.acts)))) > 1, c.acts)) AS is_scan
    WHERE act.2 BETWEEN {start_ms:Int64} AND {stop_ms:Int64}
        AND (is_scan OR (a.reached_ms > 0 AND act.2 < a.reached_ms + 10000 AND (act.3 OR act.5)))
) AS s
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = s.anchor
COMMENT 'Clicks and unsubscriptions that a mail filter may have made, one row for each. Internal: feeds bot_events_between.';

CREATE OR REPLACE VIEW {{database}}.bot_events_between {{on_cluster}}
AS
-- A click right after the delivery counts if the person was on the site or in the app from 5 s before it to 10 minutes after it.
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
SELECT t.event_hash AS event_hash, 'speed' AS reason
FROM {{database}}.touchpoints AS t
WHERE t.occurred_at BETWEEN fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC')
    AND t.channel IN ('web', 'app')
    AND t.event NOT IN ('Order Completed', 'Order Updated', 'Order Refunded', 'Order Cancelled', 'Receipt Issued', 'Consent Updated', 'Loyalty Points Earned', 'Loyalty Points Redeemed')
    AND t.anchor IN
    (
        SELECT anchor
        FROM {{database}}.page_rates
        WHERE day BETWEEN toDate(fromUnixTimestamp64Milli(greatest({start_ms:Int64}, 0), 'UTC')) AND toDate(fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC'))
        GROUP BY day, source, anchor, ten_seconds
        HAVING uniqExactMerge(pages) > 30
    )
    AND (t.source, t.anchor, toStartOfHour(toDateTime(t.occurred_at, 'UTC'))) IN
    (
        SELECT source, anchor, toStartOfHour(ten_seconds)
        FROM {{database}}.page_rates
        WHERE day BETWEEN toDate(fromUnixTimestamp64Milli(greatest({start_ms:Int64}, 0), 'UTC')) AND toDate(fromUnixTimestamp64Milli({stop_ms:Int64}, 'UTC'))
        GROUP BY day, source, anchor, ten_seconds
        HAVING uniqExactMerge(pages) > 30
    )
COMMENT 'Events of bots between two times, milliseconds since 1970, both included, that only several events together show, one row for each. Internal: feeds the views that leave bots out.';

CREATE OR REPLACE VIEW {{database}}.bot_events {{on_cluster}}
(
    source String COMMENT 'Which producer reported it',
    event_id String COMMENT 'The event',
    reason String COMMENT 'link_scan, instant_click or speed',
    event_hash UInt64 COMMENT 'touchpoints.event_hash'
)
AS SELECT toString(t.source) AS source, t.event_id AS event_id, b.reason AS reason, b.event_hash AS event_hash
FROM {{database}}.touchpoints AS t
INNER JOIN {{database}}.bot_events_between(start_ms = -2208988800000, stop_ms = 4133980800000) AS b ON b.event_hash = t.event_hash
COMMENT 'Events of bots that only several events together show, one row for each. Events that show it by themselves have touchpoints.is_bot.';

CREATE OR REPLACE VIEW {{database}}.v_touchpoints {{on_cluster}}
(
    event_id String COMMENT 'The producer''s id of the event',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    occurred_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    event LowCardinality(String) COMMENT 'What happened, such as Product Added',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    touch LowCardinality(String) COMMENT 'rule: a touch by itself; campaign, session, referral, return, visit: what an event is for its visit, v_touches has those that are touches; empty: none',
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
    context String COMMENT 'The event''s context, JSON; the network address is truncated',
    device LowCardinality(String) COMMENT 'Type of the device: mobile, tablet, desktop, tv, console, or the producer''s word',
    os LowCardinality(String) COMMENT 'Operating system, such as iOS',
    browser LowCardinality(String) COMMENT 'Browser or app, such as Mobile Safari or Instagram; of a bot its name',
    country LowCardinality(String) COMMENT 'Country, ISO 3166, as the producer says, else by the network address',
    city LowCardinality(String) COMMENT 'City, likewise',
    enriched_by LowCardinality(String) COMMENT 'Versions of the rules and of the location database',
    is_bot UInt8 COMMENT '1: a bot''s; views about people and visits leave it out',
    bot_reason LowCardinality(String) COMMENT 'Why, such as crawler, mail_scanner, provider, link_scan or speed; empty: it is not',
    device_hash UInt64 COMMENT 'Hash of the browser or device; 0: not known',
    click_id String COMMENT 'The advertising network''s id of the click that brought it',
    click_id_name LowCardinality(String) COMMENT 'Parameter of the address that click_id was in, such as gclid; empty: the producer gave click_id itself',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id, as sources.yaml declares it; empty: the one that sources share'
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
    if(position(t.context, '"ip":"') = 0, t.context,
        replaceRegexpAll(t.context, '"ip":"[^"]*"', concat('"ip":"',
            multiIf(
                toIPv4OrNull(JSONExtractString(t.context, 'ip')) IS NOT NULL,
                toString(tupleElement(IPv4CIDRToRange(toIPv4OrDefault(JSONExtractString(t.context, 'ip')), 24), 1)),
                toIPv6OrNull(JSONExtractString(t.context, 'ip')) IS NOT NULL,
                toString(tupleElement(IPv6CIDRToRange(toIPv6OrDefault(JSONExtractString(t.context, 'ip')), 48), 1)),
                ''), '"'))) AS context,
    t.device AS device,
    t.os AS os,
    t.browser AS browser,
    t.country AS country,
    t.city AS city,
    t.enriched_by AS enriched_by,
    t.is_bot OR t.event_hash IN (SELECT event_hash FROM {{database}}.bot_events_between(start_ms = -2208988800000, stop_ms = 4133980800000)) AS is_bot,
    multiIf(
        t.is_bot, toString(t.bot_reason),
        t.event_hash IN (SELECT event_hash FROM {{database}}.bot_events_between(start_ms = -2208988800000, stop_ms = 4133980800000) WHERE reason = 'link_scan'), 'link_scan',
        t.event_hash IN (SELECT event_hash FROM {{database}}.bot_events_between(start_ms = -2208988800000, stop_ms = 4133980800000) WHERE reason = 'instant_click'), 'instant_click',
        t.event_hash IN (SELECT event_hash FROM {{database}}.bot_events_between(start_ms = -2208988800000, stop_ms = 4133980800000) WHERE reason = 'speed'), 'speed',
        '') AS bot_reason,
    t.device_hash AS device_hash,
    t.click_id AS click_id,
    t.click_id_name AS click_id_name,
    t.order_namespace AS order_namespace
FROM {{database}}.touchpoints AS t FINAL
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
COMMENT 'Every event with the person as known now, one row for each event.';

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
    arrayMap((p, r, at, checkout, order) -> p <= 86400000 AND (r = 4 OR (r = 3 AND (at - checkout <= 1800000 OR (order - at BETWEEN 0 AND 60000)))),
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
    SELECT person, visitor, events.1 AS ms, events.2 AS event_hash, events.3 AS session, events.4 AS roles, events.5 AS campaign_key, events.6 AS click_key
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
                AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events_between(start_ms = {start_ms:Int64} - 86400000, stop_ms = {stop_ms:Int64} + 60000))
        ) AS t
        LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
        GROUP BY person, visitor
    )
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
        AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events_between(start_ms = {start_ms:Int64} - 86400000, stop_ms = {stop_ms:Int64} + 60000))
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
        AND NOT is_bot AND event_hash NOT IN (SELECT event_hash FROM {{database}}.bot_events_between(start_ms = {start_ms:Int64} - 86400000, stop_ms = {stop_ms:Int64} + 60000))
        AND (bitAnd(visit_role, 7) != 0 OR (touch IN ('rule', 'campaign') AND is_wanted))
) AS t
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
WHERE profile_id NOT IN (SELECT profile_id FROM {{database}}.v_analytics_withdrawn)
COMMENT 'Touches, and events of visits some of which are touches, one row for each. Internal: feeds attribution_journeys.';

-- What is read no more.
DROP VIEW IF EXISTS {{database}}.touchpoints_to_message_acts {{on_cluster}};

DROP TABLE IF EXISTS {{database}}.message_acts {{on_cluster}};

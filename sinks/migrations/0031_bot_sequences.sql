-- Bots that one event does not show, but several do: mail filters that open links, and devices that are faster than a person. Their
-- events are found when they are read, so a late event restates the verdict. The rules are those of processors/profiles/link_scans.py.

CREATE TABLE IF NOT EXISTS {{database}}.message_acts {{on_cluster}}
(
    message_id String COMMENT 'The sender''s id of the message',
    source LowCardinality(String) COMMENT 'Which producer reported it',
    event_id String COMMENT 'The event',
    step LowCardinality(String) COMMENT 'sent, delivered, clicked or unsubscribed',
    occurred_at DateTime64(3, 'UTC') COMMENT 'When it happened',
    link UInt64 COMMENT 'Hash of the link that was clicked; 0: not named',
    is_get UInt8 COMMENT '1: the event says that a GET did it',
    anchor UUID COMMENT 'Keyed hash of an identifier of the receiver; nil: nobody',
    profile_id UUID COMMENT 'The receiver as known when it was stored',
    identity_version UInt64 COMMENT 'Changes of identity up to this version are in profile_id',
    delivery UInt64 COMMENT 'Which of two rows of an event stays: touchpoints.delivery'
)
ENGINE = {{replicated}}ReplacingMergeTree(delivery)
ORDER BY (message_id, source, event_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Sending, delivery, clicks and unsubscriptions of e-mails that have an id, one row for each event. Internal: feeds bot_events.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_message_acts {{on_cluster}} TO {{database}}.message_acts
AS WITH
    if(JSONExtractString(properties, 'link_id') != '', JSONExtractString(properties, 'link_id'), JSONExtractString(properties, 'link_url')) AS named_link
SELECT
    JSONExtractString(properties, 'message_id') AS message_id,
    source,
    event_id,
    multiIf(event = 'Email Sent', 'sent', event = 'Email Delivered', 'delivered', event = 'Email Link Clicked', 'clicked', 'unsubscribed') AS step,
    occurred_at,
    if(named_link = '', 0, cityHash64(named_link)) AS link,
    upper(trimBoth(JSONExtractString(properties, 'method'))) = 'GET' AS is_get,
    anchor,
    profile_id,
    identity_version,
    delivery
FROM {{database}}.touchpoints
WHERE event IN ('Email Sent', 'Email Delivered', 'Email Link Clicked', 'Email Unsubscribed', 'Unsubscribed')
    AND JSONExtractString(properties, 'message_id') != '';

INSERT INTO {{database}}.message_acts (message_id, source, event_id, step, occurred_at, link, is_get, anchor, profile_id, identity_version, delivery)
WITH
    if(JSONExtractString(properties, 'link_id') != '', JSONExtractString(properties, 'link_id'), JSONExtractString(properties, 'link_url')) AS named_link
SELECT
    JSONExtractString(properties, 'message_id') AS message_id,
    source,
    event_id,
    multiIf(event = 'Email Sent', 'sent', event = 'Email Delivered', 'delivered', event = 'Email Link Clicked', 'clicked', 'unsubscribed') AS step,
    occurred_at,
    if(named_link = '', 0, cityHash64(named_link)) AS link,
    upper(trimBoth(JSONExtractString(properties, 'method'))) = 'GET' AS is_get,
    anchor,
    profile_id,
    identity_version,
    delivery
FROM {{database}}.touchpoints
WHERE event IN ('Email Sent', 'Email Delivered', 'Email Link Clicked', 'Email Unsubscribed', 'Unsubscribed')
    AND JSONExtractString(properties, 'message_id') != '';

-- Only what is at least 3 pages of one insert in ten seconds is kept: of people, next to nothing.
CREATE TABLE IF NOT EXISTS {{database}}.page_rates {{on_cluster}}
(
    day Date COMMENT 'Day, UTC',
    source LowCardinality(String) COMMENT 'Which producer reported the pages',
    anchor UUID COMMENT 'Keyed hash of the identifier of the device or person',
    ten_seconds DateTime('UTC') COMMENT 'Begin of ten seconds',
    profile_id SimpleAggregateFunction(max, UUID) COMMENT 'The person as known when a row was stored',
    pages AggregateFunction(uniqExact, String) COMMENT 'Distinct pages and screens seen in them'
)
ENGINE = {{replicated}}AggregatingMergeTree
ORDER BY (day, source, anchor, ten_seconds)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Pages that one device saw in ten seconds, where they were many, one row for each device and ten seconds. Internal: feeds bot_events.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_page_rates {{on_cluster}} TO {{database}}.page_rates
AS SELECT
    toDate(occurred_at) AS day,
    source,
    anchor,
    toStartOfInterval(toDateTime(occurred_at, 'UTC'), INTERVAL 10 SECOND) AS ten_seconds,
    max(profile_id) AS profile_id,
    uniqExactState(event_id) AS pages
FROM {{database}}.touchpoints
WHERE event IN ('Page Viewed', 'Screen Viewed') AND anchor != toUUID('00000000-0000-0000-0000-000000000000')
GROUP BY day, source, anchor, ten_seconds
HAVING count() >= 3;

INSERT INTO {{database}}.page_rates (day, source, anchor, ten_seconds, profile_id, pages)
SELECT
    toDate(occurred_at) AS day,
    source,
    anchor,
    toStartOfInterval(toDateTime(occurred_at, 'UTC'), INTERVAL 10 SECOND) AS ten_seconds,
    max(profile_id) AS profile_id,
    uniqExactState(event_id) AS pages
FROM {{database}}.touchpoints
WHERE event IN ('Page Viewed', 'Screen Viewed') AND anchor != toUUID('00000000-0000-0000-0000-000000000000')
GROUP BY day, source, anchor, ten_seconds
HAVING count() >= 3;

-- The clicks and unsubscriptions that a mail filter may have made: several links of one message within 2 s, or a click within 10 s of
-- its delivery (of its sending, where no delivery was reported).
CREATE VIEW IF NOT EXISTS {{database}}.suspected_acts {{on_cluster}}
(
    source String COMMENT 'Which producer reported it',
    event_id String COMMENT 'The event',
    profile_id UUID COMMENT 'The receiver as known now',
    at Int64 COMMENT 'When, milliseconds since 1970',
    reason String COMMENT 'link_scan: with other links at once; instant_click: right after the delivery',
    step String COMMENT 'clicked or unsubscribed'
)
AS SELECT
    act.1 AS source,
    act.2 AS event_id,
    act.3 AS profile_id,
    act.4 AS at,
    if(is_scan, 'link_scan', 'instant_click') AS reason,
    act.5 AS step
FROM
(
    SELECT
        if(countIf(step = 'delivered') > 0, minIf(at, step = 'delivered'), minIf(at, step = 'sent')) AS reached,
        groupArrayIf((toString(source), event_id, person, at, toString(step), link, is_get), step IN ('clicked', 'unsubscribed')) AS acts
    FROM
    (
        SELECT
            a.message_id AS message_id, a.source AS source, a.event_id AS event_id, a.step AS step, a.link AS link, a.is_get AS is_get, a.anchor AS anchor,
            toUnixTimestamp64Milli(a.occurred_at) AS at,
            if(o.version > a.identity_version, o.profile_id, a.profile_id) AS person
        FROM (SELECT * FROM {{database}}.message_acts FINAL) AS a
        LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = a.anchor
    )
    GROUP BY message_id, anchor
    HAVING notEmpty(acts)
)
ARRAY JOIN
    acts AS act,
    arrayMap(one -> length(arrayDistinct(arrayMap(other -> other.6, arrayFilter(
        other -> other.5 = 'clicked' AND other.6 != 0 AND abs(other.4 - one.4) <= 2000 AND (one.5 = 'unsubscribed' OR one.6 != 0), acts)))) > 1, acts) AS is_scan
WHERE is_scan OR (reached > 0 AND act.4 < reached + 10000 AND (act.5 = 'clicked' OR act.7))
COMMENT 'Clicks and unsubscriptions that a mail filter may have made, one row for each. Internal: feeds bot_events.';

CREATE VIEW IF NOT EXISTS {{database}}.bot_events {{on_cluster}}
(
    source String COMMENT 'Which producer reported it',
    event_id String COMMENT 'The event',
    reason String COMMENT 'link_scan, instant_click or speed'
)
AS SELECT source, event_id, reason
FROM {{database}}.suspected_acts
WHERE reason = 'link_scan' OR step = 'unsubscribed'
UNION ALL
-- A click right after the delivery counts if the person was on the site or in the app from 5 s before it to 10 minutes after it.
SELECT s.source AS source, s.event_id AS event_id, s.reason AS reason
FROM (SELECT * FROM {{database}}.suspected_acts WHERE reason = 'instant_click' AND step = 'clicked') AS s
LEFT JOIN
(
    SELECT if(o.version > t.identity_version, o.profile_id, t.profile_id) AS person, groupArray(toUnixTimestamp64Milli(t.occurred_at)) AS visits
    FROM {{database}}.touchpoints AS t
    LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
    WHERE t.channel IN ('web', 'app') AND NOT t.is_bot
        AND t.event NOT IN (SELECT event FROM {{database}}.message_steps)
        AND toDate(t.occurred_at) IN
        (
            SELECT arrayJoin([toDate(fromUnixTimestamp64Milli(at - 5000, 'UTC')), toDate(fromUnixTimestamp64Milli(at + 600000, 'UTC'))])
            FROM {{database}}.suspected_acts WHERE reason = 'instant_click' AND step = 'clicked'
        )
        AND person IN (SELECT profile_id FROM {{database}}.suspected_acts WHERE reason = 'instant_click' AND step = 'clicked')
    GROUP BY person
) AS v ON v.person = s.profile_id
WHERE NOT arrayExists(visited -> visited BETWEEN s.at - 5000 AND s.at + 600000, v.visits)
UNION ALL
-- More than 30 pages in 10 s: no event of that device in that hour is a person's, but orders and consent.
SELECT toString(t.source) AS source, t.event_id AS event_id, 'speed' AS reason
FROM {{database}}.touchpoints AS t
WHERE t.channel IN ('web', 'app')
    AND t.event NOT IN ('Order Completed', 'Order Updated', 'Order Refunded', 'Order Cancelled', 'Receipt Issued', 'Consent Updated', 'Loyalty Points Earned', 'Loyalty Points Redeemed')
    AND toDate(t.occurred_at) IN (SELECT day FROM {{database}}.page_rates GROUP BY day, source, anchor, ten_seconds HAVING uniqExactMerge(pages) > 30)
    AND (t.source, t.anchor, toStartOfHour(toDateTime(t.occurred_at, 'UTC'))) IN
    (
        SELECT source, anchor, toStartOfHour(ten_seconds)
        FROM {{database}}.page_rates
        GROUP BY day, source, anchor, ten_seconds
        HAVING uniqExactMerge(pages) > 30
    )
COMMENT 'Events of bots that only several events together show, one row for each. Events that show it by themselves have touchpoints.is_bot. Internal: feeds v_touchpoints.is_bot.';

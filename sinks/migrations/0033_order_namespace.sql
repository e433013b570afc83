-- Events say the name space of the order that they name, so that questions of one's own tell apart two shops that number alike.

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
    t.is_bot OR (t.source, t.event_id) IN (SELECT source, event_id FROM {{database}}.bot_events) AS is_bot,
    multiIf(
        t.is_bot, toString(t.bot_reason),
        (t.source, t.event_id) IN (SELECT source, event_id FROM {{database}}.bot_events WHERE reason = 'link_scan'), 'link_scan',
        (t.source, t.event_id) IN (SELECT source, event_id FROM {{database}}.bot_events WHERE reason = 'instant_click'), 'instant_click',
        (t.source, t.event_id) IN (SELECT source, event_id FROM {{database}}.bot_events WHERE reason = 'speed'), 'speed',
        '') AS bot_reason,
    t.device_hash AS device_hash,
    t.click_id AS click_id,
    t.click_id_name AS click_id_name,
    t.order_namespace AS order_namespace
FROM {{database}}.touchpoints AS t FINAL
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
COMMENT 'Every event with the person as known now, one row for each event.';

CREATE OR REPLACE VIEW {{database}}.v_touchpoints_of {{on_cluster}}
AS SELECT *
FROM {{database}}.v_touchpoints
WHERE profile_id = {person:UUID} AND anchor IN
(
    SELECT anchor FROM {{database}}.touchpoints WHERE profile_id = {person:UUID}
    UNION ALL
    SELECT anchor FROM {{database}}.identity_overrides WHERE profile_id = {person:UUID}
)
COMMENT 'Every event of one person as known now, one row for each event, without reading those of others: v_touchpoints_of(person = ''…''). The columns are those of v_touchpoints.';

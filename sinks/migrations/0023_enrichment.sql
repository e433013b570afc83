-- Device, system, browser and place of each event, and whether a bot did it. What the producer says itself counts first. Events that
-- are stored already have what their producers said.

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS enrichment String DEFAULT '' CODEC(ZSTD(3))
        COMMENT 'What the user agent and the network address showed, and by which versions, JSON',
    ADD COLUMN IF NOT EXISTS device LowCardinality(String) MATERIALIZED
        if(JSONExtractString(context, 'device', 'type') != '', JSONExtractString(context, 'device', 'type'), JSONExtractString(enrichment, 'device'))
        COMMENT 'Type of the device: mobile, tablet, desktop, tv, console, or the producer''s word',
    ADD COLUMN IF NOT EXISTS os LowCardinality(String) MATERIALIZED
        if(JSONExtractString(context, 'os', 'name') != '', JSONExtractString(context, 'os', 'name'), JSONExtractString(enrichment, 'os'))
        COMMENT 'Operating system, such as iOS',
    ADD COLUMN IF NOT EXISTS browser LowCardinality(String) MATERIALIZED JSONExtractString(enrichment, 'browser')
        COMMENT 'Browser or app by its user agent, such as Mobile Safari or Instagram; of a bot its name',
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) MATERIALIZED
        if(JSONExtractString(enrichment, 'country') != '', JSONExtractString(enrichment, 'country'), JSONExtractString(context, 'geo', 'country'))
        COMMENT 'Country, ISO 3166: the one that the producer names, else that of the network address; a name that cannot be read is kept as it came',
    ADD COLUMN IF NOT EXISTS city LowCardinality(String) MATERIALIZED
        if(JSONExtractString(context, 'geo', 'city') != '', JSONExtractString(context, 'geo', 'city'), JSONExtractString(enrichment, 'city'))
        COMMENT 'City, likewise',
    ADD COLUMN IF NOT EXISTS enriched_by LowCardinality(String) MATERIALIZED JSONExtractString(enrichment, 'by')
        COMMENT 'Versions of the rules and of the location database; empty: they found nothing',
    ADD COLUMN IF NOT EXISTS bot_reason LowCardinality(String) MATERIALIZED JSONExtractString(enrichment, 'bot')
        COMMENT 'Why it is a bot''s, such as crawler or mail_scanner, as far as the event alone shows; empty: it is not',
    ADD COLUMN IF NOT EXISTS is_bot UInt8 MATERIALIZED bot_reason != ''
        COMMENT '1: a bot''s, as far as the event alone shows';

-- A network address is shown without its last part: 203.0.113.0, 2001:db8:85a3::. What is no address is shown as empty.
CREATE OR REPLACE VIEW {{database}}.v_touchpoints {{on_cluster}}
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
    context String COMMENT 'The event''s context, JSON; the network address is truncated',
    device LowCardinality(String) COMMENT 'Type of the device: mobile, tablet, desktop, tv, console, or the producer''s word',
    os LowCardinality(String) COMMENT 'Operating system, such as iOS',
    browser LowCardinality(String) COMMENT 'Browser or app, such as Mobile Safari or Instagram; of a bot its name',
    country LowCardinality(String) COMMENT 'Country, ISO 3166, as the producer says, else by the network address',
    city LowCardinality(String) COMMENT 'City, likewise',
    enriched_by LowCardinality(String) COMMENT 'Versions of the rules and of the location database',
    is_bot UInt8 COMMENT '1: a bot''s; views about people and visits leave it out',
    bot_reason LowCardinality(String) COMMENT 'Why, such as crawler, link_preview, automation, mail_scanner or provider; empty: it is not'
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
    t.is_bot AS is_bot,
    t.bot_reason AS bot_reason
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

CREATE VIEW IF NOT EXISTS {{database}}.v_bots {{on_cluster}}
(
    day Date COMMENT 'Day in the time zone of reports',
    source LowCardinality(String) COMMENT 'Which producer reported the events',
    channel LowCardinality(String) COMMENT 'Where they happened, such as web',
    reason LowCardinality(String) COMMENT 'Why they are bots'', such as crawler or mail_scanner',
    name LowCardinality(String) COMMENT 'The bot, or its browser, by its user agent; empty: not known',
    events UInt64 COMMENT 'Events that views leave out',
    share Float64 COMMENT 'Of all events of this day and source, from 0 to 1',
    people UInt64 COMMENT 'Profiles that they are in; most crawlers make a new one at each visit',
    example_event_id String COMMENT 'The first of them'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    day, source, channel, reason, name, events, events / all_events AS share, people, example_event_id
FROM
(
    SELECT
        toDate(toTimeZone(t.occurred_at, zone)) AS day,
        t.source AS source,
        t.channel AS channel,
        t.bot_reason AS reason,
        if(t.bot_reason = '', '', t.browser) AS name,
        count() AS events,
        sum(count()) OVER (PARTITION BY day, source) AS all_events,
        uniqExact(t.profile_id) AS people,
        argMin(t.event_id, (t.occurred_at, t.event_id)) AS example_event_id
    FROM {{database}}.v_touchpoints AS t
    GROUP BY day, source, channel, reason, name
)
WHERE reason != ''
COMMENT 'Events of bots, which views leave out, one row for each day, producer, channel, reason and name. To include bots in a question of your own, read v_touchpoints without the condition NOT is_bot.';

-- Views show no whole address: v_touchpoints takes e-mail addresses, phone numbers, tokens, names and streets out of properties and context.

-- A view without parameters: its columns are known without reading what it is made of, so that a query of v_touchpoints which does not ask
-- for bots is not planned with them. That took most of the CPU time of small questions.
CREATE OR REPLACE VIEW {{database}}.bot_events {{on_cluster}}
(
    event_hash UInt64 COMMENT 'cityHash64(source, event_id)',
    reason String COMMENT 'link_scan, instant_click or speed'
)
AS SELECT event_hash, reason
FROM {{database}}.bot_events_between(start_ms = -2208988800000, stop_ms = 4133980800000)
COMMENT 'Events of bots that only several events together show, one row for each. Internal: feeds v_touchpoints.';

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
    properties String COMMENT 'The event''s properties, JSON; of e-mail addresses the domain is left, of phone numbers, tokens, names and streets nothing',
    context String COMMENT 'The event''s context, JSON; likewise, and the network address is truncated',
    device LowCardinality(String) COMMENT 'Type of the device: mobile, tablet, desktop, tv, console, or the producer''s word',
    os LowCardinality(String) COMMENT 'Operating system, such as iOS',
    browser LowCardinality(String) COMMENT 'Browser or app, such as Mobile Safari or Instagram; of a bot its name',
    country LowCardinality(String) COMMENT 'Country, ISO 3166: of the store, else of the shipping address, the billing address, the producer''s geo or the network address; empty: not known',
    city LowCardinality(String) COMMENT 'City, likewise',
    enriched_by LowCardinality(String) COMMENT 'Versions of the rules and of the location database',
    is_bot UInt8 COMMENT '1: a bot''s; views about people and visits leave it out',
    bot_reason LowCardinality(String) COMMENT 'Why, such as crawler, mail_scanner, provider, link_scan or speed; empty: it is not',
    device_hash UInt64 COMMENT 'Hash of the browser or device; 0: not known',
    click_id String COMMENT 'The advertising network''s id of the click that brought it',
    click_id_name LowCardinality(String) COMMENT 'Parameter of the address that click_id was in, such as gclid; empty: the producer gave click_id itself',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id, as sources.yaml declares it; empty: the one that sources share',
    market LowCardinality(String) COMMENT 'The market of country, see v_markets',
    store_id LowCardinality(String) COMMENT 'The store that it names; empty: none',
    language LowCardinality(String) COMMENT 'Language of its locale, ISO 639; empty: not known'
)
AS
WITH
    -- Message ids look like e-mail addresses and are none: the first group keeps them.
    '("(?:[a-z]+_)*message_id":"[^"]*")|[A-Za-z0-9._%+\'*=-]{1,64}(?:@|%40)|(?:\\+|%2[Bb])[1-9][0-9 ().-]{6,18}[0-9]' AS address,
    '(?i)("(?:[a-z_]*(?:phone|mobile|msisdn)(?:_?number)?|[a-z_]*token|(?:[a-z_]*_)?(?:first|last|full|given|family|middle)_?name|street[a-z0-9_]*|address_?(?:line_?)?[12])":)"[^"]*"' AS named,
    ['@', '%40', '+', '%2b', 'phone', 'mobile', 'msisdn', 'token', 'first', 'last', 'full', 'given', 'family', 'middle', 'street', 'address'] AS signs,
    if(position(t.context, '"ip":"') = 0, t.context, replaceRegexpAll(t.context, '"ip":"[^"]*"', concat('"ip":"', multiIf(toIPv4OrNull(JSONExtractString(t.context, 'ip')) IS NOT NULL, toString(tupleElement(IPv4CIDRToRange(toIPv4OrDefault(JSONExtractString(t.context, 'ip')), 24), 1)), toIPv6OrNull(JSONExtractString(t.context, 'ip')) IS NOT NULL, toString(tupleElement(IPv6CIDRToRange(toIPv6OrDefault(JSONExtractString(t.context, 'ip')), 48), 1)), ''), '"'))) AS context_without_ip,
    (SELECT names FROM {{database}}.v_market_lookup) AS lookup_names,
    (SELECT codes FROM {{database}}.v_market_lookup) AS lookup_codes,
    (SELECT countries FROM {{database}}.v_market_lookup) AS lookup_countries,
    (SELECT markets FROM {{database}}.v_market_lookup) AS lookup_markets,
    (SELECT stores FROM {{database}}.v_market_lookup) AS lookup_stores,
    (SELECT store_countries FROM {{database}}.v_market_lookup) AS lookup_store_countries,
    assumeNotNull((SELECT default_market FROM {{database}}.v_market_lookup)) AS lookup_default_market
SELECT
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
    if(multiSearchAnyCaseInsensitive(t.properties, signs), replaceRegexpAll(replaceRegexpAll(t.properties, address, '\\1'), named, '\\1""'), t.properties) AS properties,
    if(multiSearchAnyCaseInsensitive(context_without_ip, signs), replaceRegexpAll(replaceRegexpAll(context_without_ip, address, '\\1'), named, '\\1""'), context_without_ip) AS context,
    t.device AS device,
    t.os AS os,
    t.browser AS browser,
    multiIf(transform(toString(t.store_id), lookup_stores, lookup_store_countries, '') != '', transform(toString(t.store_id), lookup_stores, lookup_store_countries, ''), t.order_country != '', transform(lowerUTF8(trimBoth(toString(t.order_country))), lookup_names, lookup_codes, toString(t.order_country)), transform(lowerUTF8(trimBoth(toString(t.country))), lookup_names, lookup_codes, toString(t.country))) AS country,
    t.city AS city,
    t.enriched_by AS enriched_by,
    t.is_bot OR t.event_hash IN (SELECT event_hash FROM {{database}}.bot_events) AS is_bot,
    multiIf(
        t.is_bot, toString(t.bot_reason),
        t.event_hash IN (SELECT event_hash FROM {{database}}.bot_events WHERE reason = 'link_scan'), 'link_scan',
        t.event_hash IN (SELECT event_hash FROM {{database}}.bot_events WHERE reason = 'instant_click'), 'instant_click',
        t.event_hash IN (SELECT event_hash FROM {{database}}.bot_events WHERE reason = 'speed'), 'speed',
        '') AS bot_reason,
    t.device_hash AS device_hash,
    t.click_id AS click_id,
    t.click_id_name AS click_id_name,
    t.order_namespace AS order_namespace,
    transform(country, lookup_countries, lookup_markets, lookup_default_market) AS market,
    t.store_id AS store_id,
    t.language AS language
FROM {{database}}.touchpoints AS t FINAL
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = t.anchor
COMMENT 'Every event with the person as known now, one row for each event.';

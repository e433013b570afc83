-- Country, market, store and language of events, conversions and people. Of an order: of its best report that names one.

CREATE VIEW IF NOT EXISTS {{database}}.v_person_markets {{on_cluster}}
(
    profile_id UUID COMMENT 'The person as known now',
    country LowCardinality(String) COMMENT 'The country that the person declared, else the one last seen, ISO 3166; empty: not known',
    language LowCardinality(String) COMMENT 'Language of the locale last seen, ISO 639; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets'
)
AS
WITH
    (SELECT names FROM {{database}}.v_market_lookup) AS lookup_names,
    (SELECT codes FROM {{database}}.v_market_lookup) AS lookup_codes,
    (SELECT countries FROM {{database}}.v_market_lookup) AS lookup_countries,
    (SELECT markets FROM {{database}}.v_market_lookup) AS lookup_markets,
    assumeNotNull((SELECT default_market FROM {{database}}.v_market_lookup)) AS lookup_default_market
SELECT profile_id, multiIf(p.declared_country != '', transform(lowerUTF8(trimBoth(toString(p.declared_country))), lookup_names, lookup_codes, toString(p.declared_country)), transform(lowerUTF8(trimBoth(toString(p.known_country))), lookup_names, lookup_codes, toString(p.known_country))) AS country, language, transform(country, lookup_countries, lookup_markets, lookup_default_market) AS market
FROM (SELECT profile_id, declared_country, known_country, language FROM {{database}}.profiles FINAL) AS p
COMMENT 'Country, language and market of people, one row for each.';

CREATE OR REPLACE VIEW {{database}}.order_reports {{on_cluster}}
(
    conversion_id String COMMENT 'The order among those of all name spaces',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else the receipt''s, else the event''s',
    goals Array(LowCardinality(String)) COMMENT 'Goals that it reaches',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened, by reports with a time of their own; else its arrival',
    channel LowCardinality(String) COMMENT 'Where: of the first report',
    source LowCardinality(String) COMMENT 'Which producer: of the first report',
    event_id String COMMENT 'The first report',
    anchor UUID COMMENT 'Of the report that counts, else of the best one that names a person',
    profile_id UUID COMMENT 'The person as known when that was stored',
    identity_version UInt64 COMMENT 'Changes of identity up to this version are in profile_id',
    revenue Decimal(18, 4) COMMENT 'What it is worth, in units of currency: of the report that counts',
    currency LowCardinality(String) COMMENT 'ISO 4217: likewise',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought: likewise',
    amount_source LowCardinality(String) COMMENT 'Producer of the report that counts',
    amount_event_id String COMMENT 'The report that counts',
    products String COMMENT 'Its lines, JSON; where it names none, those of the best report that does',
    reports UInt64 COMMENT 'How many reports it has',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Of the best report that names one, ISO 3166',
    store_id LowCardinality(String) COMMENT 'Likewise',
    language LowCardinality(String) COMMENT 'Likewise'
)
AS SELECT
    id AS conversion_id,
    space AS order_namespace,
    number AS order_id,
    reached AS goals,
    first.2 AS converted_at,
    first.3 AS channel,
    first.4 AS source,
    first.5 AS event_id,
    person.1 AS anchor,
    person.2 AS profile_id,
    person.3 AS identity_version,
    best.3 AS revenue,
    if(best.4 = 'XXX', '', best.4) AS currency,
    best.6 AS is_return,
    best.7 AS amount_source,
    best.8 AS amount_event_id,
    lines AS products,
    n AS reports,
    first.1 AS time_doubtful,
    places.1 AS country,
    places.2 AS store_id,
    places.3 AS language
FROM
(
    WITH
        (SELECT names FROM {{database}}.v_market_lookup) AS lookup_names,
        (SELECT codes FROM {{database}}.v_market_lookup) AS lookup_codes,
        (SELECT stores FROM {{database}}.v_market_lookup) AS lookup_stores,
        (SELECT store_countries FROM {{database}}.v_market_lookup) AS lookup_store_countries,
        multiIf(transform(toString(e.store_id), lookup_stores, lookup_store_countries, '') != '', transform(toString(e.store_id), lookup_stores, lookup_store_countries, ''), transform(lowerUTF8(trimBoth(toString(e.country))), lookup_names, lookup_codes, toString(e.country))) AS place,
        (e.authority, e.occurred_at, ifNull(e.amount, toDecimal64(0, 4)), if(e.currency = '', 'XXX', toString(e.currency)), e.discounted, e.is_return, toString(e.source), e.event_id) AS rank
    SELECT
        e.conversion_id AS id,
        any(e.order_namespace) AS space,
        any(e.order_id) AS number,
        arraySort(groupUniqArrayArray(e.goals)) AS reached,
        min((e.time_doubtful, e.occurred_at, toString(e.channel), toString(e.source), e.event_id)) AS first,
        max(rank) AS best,
        argMaxIf((e.anchor, e.profile_id, e.identity_version), rank, e.profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS person,
        argMaxIf(e.products, rank, e.products != '') AS lines,
        (argMaxIf(place, rank, place != ''), argMaxIf(toString(e.store_id), rank, e.store_id != ''), argMaxIf(toString(e.language), rank, e.language != '')) AS places,
        count() AS n
    FROM {{database}}.order_events AS e FINAL
    WHERE e.kind IN ('order', 'receipt')
    GROUP BY id
)
WHERE best.1 > 1 OR id NOT IN (SELECT claims FROM {{database}}.order_events FINAL WHERE claims != '')
COMMENT 'Orders with the report that counts, one row for each; receipts that belong to an order are left out. Internal: feeds order_sales.';

CREATE OR REPLACE VIEW {{database}}.order_sales {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else the receipt''s, else the event''s; empty: it is no order',
    goals Array(LowCardinality(String)) COMMENT 'Goals that it reaches',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    revenue Decimal(18, 4) COMMENT 'What it is worth before refunds, in units of currency',
    refunded Decimal(18, 4) COMMENT 'What was given back since',
    net_revenue Decimal(18, 4) COMMENT 'revenue - refunded',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    event_id String COMMENT 'The event that reported it first',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    reports UInt64 COMMENT 'How many reports of it there are',
    amount_source LowCardinality(String) COMMENT 'Which producer its amount is from',
    amount_event_id String COMMENT 'The event that its amount is from',
    refunds_not_converted UInt64 COMMENT 'Currencies of refunds that are not in refunded: there is no rate',
    products String COMMENT 'Its lines, a JSON list; empty: it names none',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Country, ISO 3166, as its reports say; empty: none does',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language, ISO 639; empty: not known'
)
AS SELECT
    s.conversion_id AS conversion_id,
    s.order_namespace AS order_namespace,
    s.order_id AS order_id,
    s.goals AS goals,
    if(o.version > s.identity_version, o.profile_id, s.profile_id) AS profile_id,
    s.converted_at AS converted_at,
    s.revenue AS revenue,
    CAST(if(r.wholly, s.revenue, least(greatest(s.revenue, 0), r.amount)), 'Decimal(18, 4)') AS refunded,
    CAST(s.revenue - refunded, 'Decimal(18, 4)') AS net_revenue,
    s.currency AS currency,
    s.channel AS channel,
    s.source AS source,
    s.event_id AS event_id,
    s.is_return AS is_return,
    s.reports AS reports,
    s.amount_source AS amount_source,
    s.amount_event_id AS amount_event_id,
    r.not_converted AS refunds_not_converted,
    s.products AS products,
    s.time_doubtful AS time_doubtful,
    s.country AS country,
    s.store_id AS store_id,
    s.language AS language
FROM {{database}}.order_reports AS s
LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = s.anchor
LEFT JOIN
(
    SELECT order_id, max(v.wholly) AS wholly, sum(ifNull(v.amount, 0)) AS amount, countIf(v.amount IS NULL AND NOT v.wholly) AS not_converted
    FROM {{database}}.refund_values AS v
    GROUP BY order_id
) AS r ON r.order_id = s.conversion_id
COMMENT 'Orders and returns with what was refunded and the person as known now, one row for each. Internal: feeds conversions_and_returns.';

CREATE OR REPLACE VIEW {{database}}.conversions_and_returns {{on_cluster}}
(
    conversion_id String COMMENT 'As v_conversions has it',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it was first reported to have happened',
    revenue Decimal(18, 4) COMMENT 'What it is worth before refunds, in units of currency',
    refunded Decimal(18, 4) COMMENT 'What was given back since',
    net_revenue Decimal(18, 4) COMMENT 'revenue - refunded',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    event_id String COMMENT 'The event that reported it first',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else the receipt''s, else the event''s; empty: it is no order',
    reports UInt64 COMMENT 'How many reports of it there are',
    amount_source LowCardinality(String) COMMENT 'Which producer its amount is from',
    amount_event_id String COMMENT 'The event that its amount is from',
    refunds_not_converted UInt64 COMMENT 'Currencies of refunds that are not in refunded: there is no rate',
    is_return UInt8 COMMENT '1: goods came back and nothing was bought',
    products String COMMENT 'Its lines, a JSON list; empty: it names none',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Country, ISO 3166, by the rule of schemas/markets.py; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language, ISO 639; empty: not known'
)
AS
WITH
    (SELECT names FROM {{database}}.v_market_lookup) AS lookup_names,
    (SELECT codes FROM {{database}}.v_market_lookup) AS lookup_codes,
    (SELECT countries FROM {{database}}.v_market_lookup) AS lookup_countries,
    (SELECT markets FROM {{database}}.v_market_lookup) AS lookup_markets,
    (SELECT stores FROM {{database}}.v_market_lookup) AS lookup_stores,
    (SELECT store_countries FROM {{database}}.v_market_lookup) AS lookup_store_countries,
    assumeNotNull((SELECT default_market FROM {{database}}.v_market_lookup)) AS lookup_default_market
SELECT
    u.* EXCEPT (country, store_id, language),
    if(u.country != '', toString(u.country), transform(lowerUTF8(trimBoth(toString(p.declared_country))), lookup_names, lookup_codes, toString(p.declared_country))) AS country,
    transform(country, lookup_countries, lookup_markets, lookup_default_market) AS market,
    u.store_id AS store_id,
    u.language AS language
FROM
(
    SELECT
        conversion_id, CAST(goal, 'LowCardinality(String)') AS conversion_type, profile_id, converted_at, revenue, refunded, net_revenue,
        currency, channel, source, event_id, order_namespace, order_id, reports, amount_source, amount_event_id,
        refunds_not_converted, is_return, products, time_doubtful, country, store_id, language
    FROM {{database}}.order_sales
    ARRAY JOIN goals AS goal
    UNION ALL
    SELECT
        c.conversion_id, c.conversion_type, if(o.version > c.identity_version, o.profile_id, c.profile_id), c.converted_at, c.revenue,
        toDecimal64(0, 4), c.revenue, c.currency, c.channel, c.source, c.event_id, '', '', 1, c.source, c.event_id, 0, 0, '', c.time_doubtful,
        multiIf(transform(toString(c.store_id), lookup_stores, lookup_store_countries, '') != '', transform(toString(c.store_id), lookup_stores, lookup_store_countries, ''), transform(lowerUTF8(trimBoth(toString(c.country))), lookup_names, lookup_codes, toString(c.country))), c.store_id, c.language
    FROM {{database}}.conversions AS c FINAL
    LEFT JOIN (SELECT * FROM {{database}}.identity_overrides FINAL) AS o ON o.anchor = c.anchor
    WHERE NOT (c.conversion_id = c.event_id AND (c.conversion_type, c.source, c.event_id) IN (
            SELECT conversion_type, source, event_id FROM {{database}}.conversions WHERE startsWith(conversion_id, ':') AND NOT startsWith(conversion_id, '::')))
        AND (c.event_id, c.source) NOT IN (SELECT event_id, source FROM {{database}}.order_events WHERE kind IN ('order', 'receipt'))
) AS u
LEFT JOIN
(
    SELECT profile_id, toString(declared_country) AS declared_country FROM {{database}}.profiles FINAL WHERE declared_country != ''
) AS p ON p.profile_id = u.profile_id
COMMENT 'Conversions, and returns of goods without a sale, one row for each goal and conversion id. Internal: feeds v_conversions and sale_amounts.';

CREATE OR REPLACE VIEW {{database}}.v_conversions {{on_cluster}}
(
    conversion_id String COMMENT 'The order''s id, in a name space of its own name_space::order_id; else its event, :source::event_id; of older rows event_id',
    conversion_type LowCardinality(String) COMMENT 'The goal, such as purchase',
    profile_id UUID COMMENT 'The person as known now; nil: nobody. Of an order: of the report that its amount is from, else of the best one that names a person',
    converted_at DateTime64(3, 'UTC') COMMENT 'When it happened; of an order: the time of its first report that has one that can be believed',
    revenue Decimal(18, 4) COMMENT 'What it is worth before refunds, in units of currency; of an order: by the report that counts',
    refunded Decimal(18, 4) COMMENT 'What was given back since, by refunds or by a cancellation; never more than revenue',
    net_revenue Decimal(18, 4) COMMENT 'revenue - refunded',
    currency LowCardinality(String) COMMENT 'ISO 4217',
    channel LowCardinality(String) COMMENT 'Where it happened, such as web: by the first report',
    source LowCardinality(String) COMMENT 'Which producer reported it first',
    event_id String COMMENT 'The event that reported it first',
    order_namespace LowCardinality(String) COMMENT 'Name space of order_id, as sources.yaml declares it; empty: the one that sources share',
    order_id String COMMENT 'The order''s id, else that of its receipt; empty: it is no order',
    reports UInt64 COMMENT 'How many reports of it there are: pages, webhooks, updates, receipts',
    amount_source LowCardinality(String) COMMENT 'Which producer its amount is from',
    amount_event_id String COMMENT 'The event that its amount is from',
    refunds_not_converted UInt64 COMMENT 'Currencies of refunds that are not in refunded: there is no rate, see v_missing_rates',
    time_doubtful UInt8 COMMENT '1: when it happened is not known, it is dated by its arrival',
    country LowCardinality(String) COMMENT 'Country, ISO 3166: of the store, else of the shipping address, the billing address, the producer''s geo or the network address, else the one that the person declared; empty: not known',
    market LowCardinality(String) COMMENT 'The market of that country, see v_markets',
    store_id LowCardinality(String) COMMENT 'The store; empty: none',
    language LowCardinality(String) COMMENT 'Language of the locale, ISO 639; empty: not known'
)
AS SELECT
    conversion_id, conversion_type, profile_id, converted_at, revenue, refunded, net_revenue, currency, channel, source,
    event_id, order_namespace, order_id, reports, amount_source, amount_event_id, refunds_not_converted, time_doubtful,
    country, market, store_id, language
FROM {{database}}.conversions_and_returns
WHERE NOT is_return
COMMENT 'Every conversion with the person as known now, one row for each goal and conversion id. An order is one, however often it is reported.';

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
    multiIf(transform(toString(t.store_id), lookup_stores, lookup_store_countries, '') != '', transform(toString(t.store_id), lookup_stores, lookup_store_countries, ''), t.order_country != '', transform(lowerUTF8(trimBoth(toString(t.order_country))), lookup_names, lookup_codes, toString(t.order_country)), transform(lowerUTF8(trimBoth(toString(t.country))), lookup_names, lookup_codes, toString(t.country))) AS country,
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
    t.order_namespace AS order_namespace,
    transform(country, lookup_countries, lookup_markets, lookup_default_market) AS market,
    t.store_id AS store_id,
    t.language AS language
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

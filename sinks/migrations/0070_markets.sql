-- Markets: the table of `deploy/definitions/markets.yaml`, as `throughline migrate` and `up` publish it. It is looked up when a view
-- is read, so a change of the table restates history. The rule is that of `schemas/markets.py`.

CREATE TABLE IF NOT EXISTS {{database}}.markets {{on_cluster}}
(
    market LowCardinality(String) COMMENT 'Its name',
    is_default UInt8 COMMENT '1: the market of what has no country, or one that is in no market',
    countries Array(String) COMMENT 'Its countries, ISO 3166',
    currency LowCardinality(String) COMMENT 'What its prices are in, ISO 4217; empty: not stated',
    timezone String COMMENT 'Time zone of its days, IANA name',
    languages Array(String) COMMENT 'Its languages, the first one first',
    default_region LowCardinality(String) COMMENT 'Region of telephone numbers without a country code; empty: not stated',
    stores Map(String, String) COMMENT 'Store id and its country',
    published_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this version of the table was published; the newest counts'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY (published_at, market)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Every published version of the table of markets, one row for each market. Read v_markets.';

CREATE TABLE IF NOT EXISTS {{database}}.country_names {{on_cluster}}
(
    name String COMMENT 'A code or a name in small letters, such as fra or deutschland',
    country LowCardinality(String) COMMENT 'ISO 3166'
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY name
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'How producers write countries, one row for each name.';

CREATE VIEW IF NOT EXISTS {{database}}.v_markets {{on_cluster}}
(
    market LowCardinality(String) COMMENT 'Its name',
    is_default UInt8 COMMENT '1: the market of what has no country, or one that is in no market',
    countries Array(String) COMMENT 'Its countries, ISO 3166',
    currency LowCardinality(String) COMMENT 'What its prices are in, ISO 4217; empty: not stated',
    timezone String COMMENT 'Time zone of its days, IANA name',
    languages Array(String) COMMENT 'Its languages, the first one first',
    default_region LowCardinality(String) COMMENT 'Region of telephone numbers without a country code; empty: not stated',
    stores Map(String, String) COMMENT 'Store id and its country'
)
AS SELECT market, is_default, countries, currency, timezone, languages, default_region, stores
FROM {{database}}.markets FINAL
WHERE published_at = (SELECT max(published_at) FROM {{database}}.markets)
COMMENT 'The markets, one row for each: deploy/definitions/markets.yaml.';

CREATE VIEW IF NOT EXISTS {{database}}.v_market_lookup {{on_cluster}}
(
    names Array(String) COMMENT 'Names of countries in small letters',
    codes Array(String) COMMENT 'The country of each',
    countries Array(String) COMMENT 'Countries that are in a market',
    markets Array(String) COMMENT 'The market of each',
    stores Array(String) COMMENT 'Stores of the table',
    store_countries Array(String) COMMENT 'The country of each',
    default_market String COMMENT 'The market of everything else; empty: no table was published yet'
)
AS
WITH
    (SELECT groupArray((name, toString(country))) FROM {{database}}.country_names FINAL) AS named,
    (SELECT groupArrayArray(arrayMap(c -> (c, toString(market)), countries)) FROM {{database}}.v_markets) AS owned,
    (SELECT groupArrayArray(arrayZip(mapKeys(stores), mapValues(stores))) FROM {{database}}.v_markets) AS shops
SELECT
    -- Never empty, as transform wants it.
    arrayPushFront(arrayMap(p -> p.1, named), '') AS names,
    arrayPushFront(arrayMap(p -> p.2, named), '') AS codes,
    arrayPushFront(arrayMap(p -> p.1, owned), '') AS countries,
    arrayPushFront(arrayMap(p -> p.2, owned), (SELECT toString(anyIf(market, is_default)) FROM {{database}}.v_markets)) AS markets,
    arrayPushFront(arrayMap(p -> p.1, shops), '') AS stores,
    arrayPushFront(arrayMap(p -> p.2, shops), '') AS store_countries,
    markets[1] AS default_market
COMMENT 'The table of markets as arrays to look up in: always one row.';

ALTER TABLE {{database}}.touchpoints {{on_cluster}}
    ADD COLUMN IF NOT EXISTS order_country LowCardinality(String) MATERIALIZED
        if(position(properties, 'ing_address"') = 0, '', arrayFirst(c -> c != '', arrayMap(
            name -> if(JSONType(properties, name.1, name.2) = 'String', JSONExtractString(properties, name.1, name.2), ''),
            [('shipping_address', 'country_code'), ('shipping_address', 'countryCode'), ('shipping_address', 'country'),
                ('billing_address', 'country_code'), ('billing_address', 'countryCode'), ('billing_address', 'country')])))
        COMMENT 'Country of the shipping address, else of the billing address, as it came; empty: the event has none',
    ADD COLUMN IF NOT EXISTS store_id LowCardinality(String) MATERIALIZED
        if(position(properties, '"store_id"') = 0 AND position(context, '"store_id"') = 0, '', arrayFirst(c -> c != '', [
            if(JSONType(properties, 'store_id') IN ('String', 'Int64', 'UInt64'), JSONExtract(properties, 'store_id', 'String'), ''),
            if(JSONType(context, 'store_id') IN ('String', 'Int64', 'UInt64'), JSONExtract(context, 'store_id', 'String'), '')]))
        COMMENT 'The store that it names; empty: none',
    ADD COLUMN IF NOT EXISTS language LowCardinality(String) MATERIALIZED
        if(position(context, '"locale"') = 0, '', lower(extract(JSONExtractString(context, 'locale'), '^([A-Za-z]{2,3})(?:[-_]|$)')))
        COMMENT 'Language of its locale, ISO 639; empty: not known';

ALTER TABLE {{database}}.order_events {{on_cluster}}
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) DEFAULT ''
        COMMENT 'Country of the shipping address, else of the billing address, else of the event, ISO 3166; that of the store is looked up when it is read',
    ADD COLUMN IF NOT EXISTS language LowCardinality(String) DEFAULT '' COMMENT 'Language of the event''s locale, ISO 639';

ALTER TABLE {{database}}.conversions {{on_cluster}}
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) DEFAULT ''
        COMMENT 'Country of the event, ISO 3166; that of the store is looked up when it is read',
    ADD COLUMN IF NOT EXISTS store_id LowCardinality(String) DEFAULT '' COMMENT 'The store that the event names; empty: none',
    ADD COLUMN IF NOT EXISTS language LowCardinality(String) DEFAULT '' COMMENT 'Language of the event''s locale, ISO 639';

ALTER TABLE {{database}}.profiles {{on_cluster}}
    ADD COLUMN IF NOT EXISTS declared_country LowCardinality(String) MATERIALIZED
        if(position(document, '"country') = 0, '', arrayFirst(c -> c != '', [
            if(JSONType(document, 'traits', 'address', 1, 'country_code') = 'String', JSONExtractString(document, 'traits', 'address', 1, 'country_code'), ''),
            if(JSONType(document, 'traits', 'address', 1, 'countryCode') = 'String', JSONExtractString(document, 'traits', 'address', 1, 'countryCode'), ''),
            if(JSONType(document, 'traits', 'address', 1, 'country') = 'String', JSONExtractString(document, 'traits', 'address', 1, 'country'), ''),
            if(JSONType(document, 'traits', 'country', 1) = 'String', JSONExtractString(document, 'traits', 'country', 1), '')]))
        COMMENT 'Country that the person declared: traits.address.country, traits.country, as it came; empty: none',
    ADD COLUMN IF NOT EXISTS known_country LowCardinality(String) MATERIALIZED JSONExtractString(document, 'known', 'country', 1)
        COMMENT 'Country last seen, as it came; empty: not known',
    ADD COLUMN IF NOT EXISTS language LowCardinality(String) MATERIALIZED
        lower(extract(JSONExtractString(document, 'known', 'locale', 1), '^([A-Za-z]{2,3})(?:[-_]|$)'))
        COMMENT 'Language of the locale last seen, ISO 639; empty: not known';

-- What is stored already. Of two rows of one event that were received at the same time, the one inserted last stays.
INSERT INTO {{database}}.order_events
(
    event_id, source, kind, conversion_id, order_namespace, order_id, claims, goals, occurred_at, channel, store_id, anchor,
    profile_id, identity_version, authority, amount, refunded_total, currency, discounted, is_return, products, received_at,
    time_doubtful, country, language
)
SELECT
    e.event_id, e.source, e.kind, e.conversion_id, e.order_namespace, e.order_id, e.claims, e.goals, e.occurred_at, e.channel,
    e.store_id, e.anchor, e.profile_id, e.identity_version, e.authority, e.amount, e.refunded_total, e.currency, e.discounted,
    e.is_return, e.products, e.received_at, e.time_doubtful, if(t.order_country != '', t.order_country, t.country), t.language
FROM {{database}}.order_events AS e FINAL
INNER JOIN
(
    SELECT source, event_id, order_country, country, language FROM {{database}}.touchpoints FINAL
    WHERE (order_country != '' OR country != '' OR language != '') AND (source, event_id) IN (SELECT source, event_id FROM {{database}}.order_events)
) AS t ON t.source = e.source AND t.event_id = e.event_id
WHERE e.country = '' AND e.language = '';

INSERT INTO {{database}}.conversions
(
    conversion_id, conversion_type, converted_at, event_id, channel, source, anchor, profile_id, identity_version, revenue,
    currency, received_at, time_doubtful, country, store_id, language
)
SELECT
    c.conversion_id, c.conversion_type, c.converted_at, c.event_id, c.channel, c.source, c.anchor, c.profile_id,
    c.identity_version, c.revenue, c.currency, c.received_at, c.time_doubtful,
    if(t.order_country != '', t.order_country, t.country), t.store_id, t.language
FROM {{database}}.conversions AS c FINAL
INNER JOIN
(
    SELECT source, event_id, order_country, country, store_id, language FROM {{database}}.touchpoints FINAL
    WHERE (order_country != '' OR country != '' OR store_id != '' OR language != '') AND (source, event_id) IN (SELECT source, event_id FROM {{database}}.conversions)
) AS t ON t.source = c.source AND t.event_id = c.event_id
WHERE c.country = '' AND c.store_id = '' AND c.language = '';

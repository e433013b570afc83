-- The catalogue: what events about products say of them, by time of the event. The rule is that of `schemas/products.py`:
-- of several statements of a fact the last counts, at one time the one whose source and id are later in the alphabet.

CREATE TABLE IF NOT EXISTS {{database}}.product_facts {{on_cluster}}
(
    product_id String COMMENT 'The product',
    fact LowCardinality(String) COMMENT 'name, sku, brand, category, url, image_url, price or stock',
    market LowCardinality(String) COMMENT 'Of a price; empty: all markets',
    currency LowCardinality(String) COMMENT 'Of a price, ISO 4217; empty: it does not say',
    store_id LowCardinality(String) COMMENT 'Of a stock; empty: online',
    value String CODEC(ZSTD(3)) COMMENT 'A text, a decimal or a whole number',
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it became so',
    source LowCardinality(String) COMMENT 'Which producer stated it',
    event_id String COMMENT 'The producer''s id of the event',
    delivery UInt64 COMMENT 'Which of two rows of an event stays: touchpoints.delivery'
)
ENGINE = {{replicated}}ReplacingMergeTree(delivery)
ORDER BY (product_id, fact, market, currency, store_id, source, event_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Statements about products, one row for each fact of an event. Read v_products, v_prices and v_stock.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_product_facts {{on_cluster}} TO {{database}}.product_facts
AS SELECT
    product_id,
    stated.1 AS fact,
    if(fact = 'price', JSONExtractString(properties, 'market'), '') AS market,
    if(fact = 'price', touchpoints.currency, '') AS currency,
    if(fact = 'stock', JSONExtractString(properties, 'store_id'), '') AS store_id,
    stated.2 AS value,
    occurred_at,
    source,
    event_id,
    delivery
FROM {{database}}.touchpoints
ARRAY JOIN arrayFilter(one -> one.2 != '' AND (one.1 NOT IN ('url', 'image_url') OR match(one.2, '^https?://')), arrayConcat(
    if(event = 'Product Updated', arrayMap(one -> (one, JSONExtractString(properties, one)), ['name', 'sku', 'brand', 'category', 'url', 'image_url']), []),
    if(event != 'Stock Changed', [('price', JSONExtractString(properties, 'price'))], []),
    if(event != 'Price Changed', [('stock', JSONExtractRaw(properties, 'quantity'))], []))) AS stated
WHERE event IN ('Product Updated', 'Price Changed', 'Stock Changed') AND product_id != '';

INSERT INTO {{database}}.product_facts (product_id, fact, market, currency, store_id, value, occurred_at, source, event_id, delivery)
SELECT
    product_id,
    stated.1 AS fact,
    if(fact = 'price', JSONExtractString(properties, 'market'), '') AS market,
    if(fact = 'price', touchpoints.currency, '') AS currency,
    if(fact = 'stock', JSONExtractString(properties, 'store_id'), '') AS store_id,
    stated.2 AS value,
    occurred_at,
    source,
    event_id,
    delivery
FROM {{database}}.touchpoints
ARRAY JOIN arrayFilter(one -> one.2 != '' AND (one.1 NOT IN ('url', 'image_url') OR match(one.2, '^https?://')), arrayConcat(
    if(event = 'Product Updated', arrayMap(one -> (one, JSONExtractString(properties, one)), ['name', 'sku', 'brand', 'category', 'url', 'image_url']), []),
    if(event != 'Stock Changed', [('price', JSONExtractString(properties, 'price'))], []),
    if(event != 'Price Changed', [('stock', JSONExtractRaw(properties, 'quantity'))], []))) AS stated
WHERE event IN ('Product Updated', 'Price Changed', 'Stock Changed') AND product_id != '';

-- Many shops send no catalogue. Their products are known by what people look at.

CREATE TABLE IF NOT EXISTS {{database}}.product_sightings {{on_cluster}}
(
    product_id String COMMENT 'The product',
    name String COMMENT 'Its name',
    category String COMMENT 'Its category; empty: not said',
    brand String COMMENT 'Its brand; empty: not said',
    sku String COMMENT 'Its number in stock; empty: not said',
    url String COMMENT 'Its page; empty: not said',
    image_url String COMMENT 'Its picture; empty: not said',
    seen_at DateTime64(3, 'UTC') COMMENT 'When it was seen with that name; the last stays'
)
ENGINE = {{replicated}}ReplacingMergeTree(seen_at)
ORDER BY product_id
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Products as people saw them last, in views, carts and orders that name them. Internal: feeds v_products.';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_product_sightings {{on_cluster}} TO {{database}}.product_sightings
AS SELECT
    JSONExtractString(one, 'product_id') AS product_id,
    argMax(JSONExtractString(one, 'name'), occurred_at) AS name,
    argMax(JSONExtractString(one, 'category'), occurred_at) AS category,
    argMax(JSONExtractString(one, 'brand'), occurred_at) AS brand,
    argMax(JSONExtractString(one, 'sku'), occurred_at) AS sku,
    argMax(JSONExtractString(one, 'url'), occurred_at) AS url,
    argMax(JSONExtractString(one, 'image_url'), occurred_at) AS image_url,
    max(occurred_at) AS seen_at
FROM {{database}}.touchpoints
ARRAY JOIN if(event = 'Order Completed', JSONExtractArrayRaw(properties, 'products'), [properties]) AS one
WHERE event IN ('Product Viewed', 'Product Added', 'Order Completed')
    AND JSONExtractString(one, 'product_id') != '' AND JSONExtractString(one, 'name') != ''
GROUP BY product_id;

INSERT INTO {{database}}.product_sightings (product_id, name, category, brand, sku, url, image_url, seen_at)
SELECT
    JSONExtractString(one, 'product_id') AS product_id,
    argMax(JSONExtractString(one, 'name'), occurred_at) AS name,
    argMax(JSONExtractString(one, 'category'), occurred_at) AS category,
    argMax(JSONExtractString(one, 'brand'), occurred_at) AS brand,
    argMax(JSONExtractString(one, 'sku'), occurred_at) AS sku,
    argMax(JSONExtractString(one, 'url'), occurred_at) AS url,
    argMax(JSONExtractString(one, 'image_url'), occurred_at) AS image_url,
    max(occurred_at) AS seen_at
FROM {{database}}.touchpoints
ARRAY JOIN if(event = 'Order Completed', JSONExtractArrayRaw(properties, 'products'), [properties]) AS one
WHERE event IN ('Product Viewed', 'Product Added', 'Order Completed')
    AND JSONExtractString(one, 'product_id') != '' AND JSONExtractString(one, 'name') != ''
GROUP BY product_id;

CREATE VIEW IF NOT EXISTS {{database}}.v_products {{on_cluster}}
(
    product_id String COMMENT 'The product',
    name String COMMENT 'Its name: of the catalogue, else as people saw it last; empty: not known',
    sku String COMMENT 'Its number in stock; empty: not known',
    brand String COMMENT 'Its brand; empty: not known',
    category String COMMENT 'Its category; empty: not known',
    url String COMMENT 'Its page; empty: not known',
    image_url String COMMENT 'Its picture; empty: not known',
    named_by String COMMENT 'catalogue: by Product Updated; events: by what people saw; empty: it has no name',
    online_stock Nullable(Int64) COMMENT 'Pieces online; NULL: not known',
    store_stock Nullable(Int64) COMMENT 'Pieces in all stores; NULL: not known',
    stores_in_stock UInt64 COMMENT 'Stores that have it',
    prices UInt64 COMMENT 'Prices that it has, by market and currency: v_prices',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the last of this was stated or seen'
)
AS SELECT
    product AS product_id,
    if(stated_name != '', stated_name, seen_name) AS name,
    if(stated_sku != '', stated_sku, seen_sku) AS sku,
    if(stated_brand != '', stated_brand, seen_brand) AS brand,
    if(stated_category != '', stated_category, seen_category) AS category,
    if(stated_url != '', stated_url, seen_url) AS url,
    if(stated_image != '', stated_image, seen_image) AS image_url,
    multiIf(stated_name != '', 'catalogue', seen_name != '', 'events', '') AS named_by,
    online AS online_stock,
    in_stores AS store_stock,
    stocked AS stores_in_stock,
    priced AS prices,
    last_at AS updated_at
FROM
(
    SELECT
        product,
        anyIf(value, fact = 'name' AND stated) AS stated_name,
        anyIf(value, fact = 'sku' AND stated) AS stated_sku,
        anyIf(value, fact = 'brand' AND stated) AS stated_brand,
        anyIf(value, fact = 'category' AND stated) AS stated_category,
        anyIf(value, fact = 'url' AND stated) AS stated_url,
        anyIf(value, fact = 'image_url' AND stated) AS stated_image,
        anyIf(value, fact = 'name' AND NOT stated) AS seen_name,
        anyIf(value, fact = 'sku' AND NOT stated) AS seen_sku,
        anyIf(value, fact = 'brand' AND NOT stated) AS seen_brand,
        anyIf(value, fact = 'category' AND NOT stated) AS seen_category,
        anyIf(value, fact = 'url' AND NOT stated) AS seen_url,
        anyIf(value, fact = 'image_url' AND NOT stated) AS seen_image,
        sumOrNullIf(toInt64OrZero(value), fact = 'stock' AND store = '') AS online,
        sumOrNullIf(toInt64OrZero(value), fact = 'stock' AND store != '') AS in_stores,
        countIf(fact = 'stock' AND store != '' AND toInt64OrZero(value) > 0) AS stocked,
        countIf(fact = 'price') AS priced,
        max(at) AS last_at
    FROM
    (
        SELECT
            product_id AS product, toString(f.fact) AS fact, toString(f.store_id) AS store, true AS stated,
            argMax(f.value, (occurred_at, concat(source, ' ', event_id))) AS value, max(occurred_at) AS at
        FROM {{database}}.product_facts AS f FINAL
        GROUP BY product_id, f.fact, f.market, f.currency, f.store_id
        UNION ALL
        SELECT s.product_id, detail.1, '', false, detail.2, s.seen_at
        FROM {{database}}.product_sightings AS s FINAL
        ARRAY JOIN [('name', s.name), ('sku', s.sku), ('brand', s.brand), ('category', s.category),
            ('url', if(match(s.url, '^https?://'), s.url, '')), ('image_url', if(match(s.image_url, '^https?://'), s.image_url, ''))] AS detail
    )
    GROUP BY product
)
COMMENT 'Products: details and stock as known now, one row for each.';

CREATE VIEW IF NOT EXISTS {{database}}.v_prices {{on_cluster}}
(
    product_id String COMMENT 'The product',
    name String COMMENT 'Its name; empty: not known',
    category String COMMENT 'Its category; empty: not known',
    market String COMMENT 'The market; empty: all that have no price of their own',
    currency String COMMENT 'ISO 4217; empty: it does not say',
    price Decimal(18, 4) COMMENT 'What it costs now',
    since DateTime64(3, 'UTC') COMMENT 'Since when',
    previous_price Nullable(Decimal(18, 4)) COMMENT 'What it cost before; NULL: not known',
    lowest_30_days Nullable(Decimal(18, 4)) COMMENT 'The lowest price in the 30 days before it changed, as European shops state it beside a reduction; NULL: not known',
    changes UInt64 COMMENT 'How often it has changed'
)
AS SELECT
    h.product_id AS product_id,
    p.name AS name,
    p.category AS category,
    h.market AS market,
    h.currency AS currency,
    h.history[-1].3 AS price,
    h.history[-1].1 AS since,
    if(length(h.history) > 1, toNullable(h.history[-2].3), NULL) AS previous_price,
    if(empty(h.recent), NULL, toNullable(arrayMin(h.recent))) AS lowest_30_days,
    length(h.history) - 1 AS changes
FROM
(
    SELECT
        product_id,
        toString(f.market) AS market,
        toString(f.currency) AS currency,
        arraySort(groupArray((occurred_at, concat(source, ' ', event_id), toDecimal64OrZero(value, 4)))) AS stated,
        arrayFilter((one, place) -> place = 1 OR one.3 != stated[place - 1].3, stated, arrayEnumerate(stated)) AS history,
        arrayMap(place -> history[place].3, arrayFilter(
            place -> history[place + 1].1 > history[-1].1 - INTERVAL 30 DAY, range(1, length(history)))) AS recent
    FROM {{database}}.product_facts AS f FINAL
    WHERE fact = 'price'
    GROUP BY product_id, f.market, f.currency
) AS h
LEFT JOIN (SELECT product_id, name, category FROM {{database}}.v_products) AS p ON p.product_id = h.product_id
COMMENT 'What products cost now, one row for each product, market and currency.';

CREATE VIEW IF NOT EXISTS {{database}}.v_stock {{on_cluster}}
(
    product_id String COMMENT 'The product',
    name String COMMENT 'Its name; empty: not known',
    category String COMMENT 'Its category; empty: not known',
    store_id String COMMENT 'The store; empty: online',
    quantity Int64 COMMENT 'Pieces now',
    in_stock UInt8 COMMENT '1: there are some',
    stated_at DateTime64(3, 'UTC') COMMENT 'When that was stated last',
    sold_out_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was sold out last; NULL: never',
    back_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was last back in stock after that; NULL: never, or sold out since'
)
AS SELECT
    h.product_id AS product_id,
    p.name AS name,
    p.category AS category,
    h.store_id AS store_id,
    h.stated[-1].3 AS quantity,
    quantity > 0 AS in_stock,
    h.stated[-1].1 AS stated_at,
    if(h.out_at = 0, NULL, toNullable(h.stated[h.out_at].1)) AS sold_out_at,
    if(h.back_place = 0, NULL, toNullable(h.stated[h.back_place].1)) AS back_at
FROM
(
    SELECT
        product_id,
        toString(f.store_id) AS store_id,
        arraySort(groupArray((occurred_at, concat(source, ' ', event_id), toInt64OrZero(value)))) AS stated,
        toUInt64(arrayLastIndex((one, place) -> one.3 <= 0 AND (place = 1 OR stated[place - 1].3 > 0), stated, arrayEnumerate(stated))) AS out_at,
        toUInt64(if(out_at = 0, 0, arrayFirstIndex((one, place) -> place > out_at AND one.3 > 0, stated, arrayEnumerate(stated)))) AS back_place
    FROM {{database}}.product_facts AS f FINAL
    WHERE fact = 'stock'
    GROUP BY product_id, f.store_id
) AS h
LEFT JOIN (SELECT product_id, name, category FROM {{database}}.v_products) AS p ON p.product_id = h.product_id
COMMENT 'Stock now, one row for each product and store, and one for online.';

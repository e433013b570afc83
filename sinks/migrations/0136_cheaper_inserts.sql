-- A materialized view costs some three milliseconds of CPU time an insert, however few of its rows it takes. The recorder
-- writes what is rare by itself: statements about products, and the first event of a source.

DROP VIEW IF EXISTS {{database}}.touchpoints_to_source_starts {{on_cluster}};

DROP VIEW IF EXISTS {{database}}.touchpoints_to_product_facts {{on_cluster}};

-- The same rows as before: each product is parsed once, and of other events nothing is copied.
DROP VIEW IF EXISTS {{database}}.touchpoints_to_product_sightings {{on_cluster}};

CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.touchpoints_to_product_sightings {{on_cluster}} TO {{database}}.product_sightings
AS SELECT
    seen.product_id AS product_id,
    argMax(seen.name, occurred_at) AS name,
    argMax(seen.category, occurred_at) AS category,
    argMax(seen.brand, occurred_at) AS brand,
    argMax(seen.sku, occurred_at) AS sku,
    argMax(seen.url, occurred_at) AS url,
    argMax(seen.image_url, occurred_at) AS image_url,
    max(occurred_at) AS seen_at
FROM
(
    SELECT occurred_at, if(event = 'Order Completed', JSONExtractArrayRaw(properties, 'products'), [properties]) AS products
    FROM {{database}}.touchpoints
    WHERE event IN ('Product Viewed', 'Product Added', 'Order Completed')
)
ARRAY JOIN arrayMap(one -> JSONExtract(one,
    'Tuple(product_id String, name String, category String, brand String, sku String, url String, image_url String)'), arrayFilter(one -> startsWith(one, '{'), products)) AS seen
WHERE seen.product_id != '' AND seen.name != ''
GROUP BY product_id;

-- Which products disappoint: rated badly, or brought back?
SELECT p.product_id AS product_id, any(p.name) AS name, avgOrNull(r.rating) AS rating, count(r.rating) AS ratings,
    any(p.returned) AS returned, any(p.quantity) AS sold FROM v_product_performance AS p
LEFT JOIN (SELECT product_id, toNullable(JSONExtractFloat(properties, 'rating')) AS rating FROM v_touchpoints
    WHERE event = 'Product Reviewed' AND JSONHas(properties, 'rating')) AS r USING (product_id)
WHERE product_id != '' GROUP BY product_id HAVING ratings > 0 OR returned > 0 ORDER BY rating, returned DESC LIMIT 50

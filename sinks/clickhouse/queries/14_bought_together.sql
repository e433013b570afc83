-- Which products are bought together?
SELECT a.product_id AS product, any(a.name) AS its_name, b.product_id AS other, any(b.name) AS other_name,
    uniq(a.order_id) AS orders
FROM v_order_items AS a INNER JOIN v_order_items AS b ON b.order_id = a.order_id
WHERE product < other AND product != '' AND a.quantity > 0 AND b.quantity > 0
GROUP BY product, other
ORDER BY orders DESC, product, other LIMIT 50

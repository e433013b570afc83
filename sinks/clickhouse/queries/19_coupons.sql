-- Which coupons are ordered with, and how much do these orders bring?
SELECT upper(JSONExtractString(t.properties, 'coupon')) AS coupon, uniq(v.conversion_id) AS orders,
    uniq(v.profile_id) AS customers, sum(v.net_revenue) AS revenue, countIf(v.is_first) AS first_orders
FROM v_conversions AS c INNER JOIN v_conversion_values AS v USING (conversion_type, conversion_id)
INNER JOIN v_touchpoints AS t ON t.event_id = c.event_id AND t.source = c.source
WHERE coupon != '' GROUP BY coupon ORDER BY orders DESC, coupon

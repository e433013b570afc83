-- What does each place that sells bring month by month, how much an order, and how much of it by new customers?
SELECT toStartOfMonth(day) AS month, channel, count() AS orders, sum(v.net_revenue) AS revenue, revenue / orders AS aov,
    countIf(is_first) AS first_orders, sumIf(v.net_revenue, is_first) AS revenue_of_first_orders
FROM v_conversion_values AS v
WHERE conversion_type = 'purchase'
GROUP BY month, channel
ORDER BY month, revenue DESC

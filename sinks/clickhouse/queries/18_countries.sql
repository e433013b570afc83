-- What does each country buy, by the country of the order, else of the person?
SELECT if(c.country = '', p.country, c.country) AS buys_from, count() AS orders, uniq(c.profile_id) AS customers,
    sum(v.net_revenue) AS revenue, revenue / orders AS aov, countIf(v.is_first) AS first_orders
FROM v_conversions AS c INNER JOIN v_conversion_values AS v USING (conversion_type, conversion_id)
LEFT JOIN v_person_markets AS p ON p.profile_id = c.profile_id
WHERE conversion_type = 'purchase'
GROUP BY buys_from ORDER BY revenue DESC

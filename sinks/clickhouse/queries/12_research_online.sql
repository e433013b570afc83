-- How many orders in stores follow a visit on the web or in the app within thirty days, and how much are they worth?
SELECT v.day - s.day <= 30 AS after_a_visit, count() AS orders, sum(v.net_revenue) AS revenue, avg(v.net_revenue) AS aov
FROM v_conversion_values AS v
ASOF LEFT JOIN v_sessions AS s ON s.profile_id = v.profile_id AND s.started_at <= v.converted_at
WHERE v.channel = 'store' AND v.conversion_type = 'purchase' AND notEmpty(v.profile_id)
GROUP BY after_a_visit ORDER BY after_a_visit

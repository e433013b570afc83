-- Which ways lead to an order, and how many people took them in vain?
SELECT arrayStringConcat(arrayCompact(path), ' > ') AS way, sum(p.conversions) AS orders,
    sum(p.null_journeys) AS in_vain, orders / (orders + in_vain) AS conversion_rate
FROM v_paths AS p
GROUP BY way
ORDER BY orders DESC, way LIMIT 20

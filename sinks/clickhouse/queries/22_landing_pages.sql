-- Which pages do visits begin on, and how many of them stay and buy?
SELECT landing_page, count() AS visits, avg(s.engaged) AS engaged, avg(s.conversions > 0) AS conversion_rate,
    sum(s.revenue) AS revenue
FROM v_sessions AS s
WHERE landing_page != ''
GROUP BY landing_page
ORDER BY visits DESC, landing_page LIMIT 50

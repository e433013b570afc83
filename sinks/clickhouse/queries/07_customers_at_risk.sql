-- Which good customers are about to be lost, and what are they worth?
SELECT profile_id, recency_days, frequency, monetary, l.lifetime_value AS lifetime_value
FROM v_rfm AS r
INNER JOIN v_ltv AS l ON l.profile_id = r.profile_id
WHERE class IN ('at risk', 'loyal', 'champions')
ORDER BY class = 'at risk' DESC, monetary DESC
LIMIT 100

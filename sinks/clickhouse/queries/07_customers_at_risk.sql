-- Which good customers are about to be lost, and what are they worth?
SELECT profile_id, recency_days, frequency, monetary, l.lifetime_value AS lifetime_value
FROM v_rfm AS r
INNER JOIN v_ltv AS l ON l.profile_id = r.profile_id
WHERE class IN ('cannot_lose', 'at_risk', 'needs_attention')
ORDER BY lifetime_value DESC
LIMIT 100

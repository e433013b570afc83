-- Which channels earn what, and how far do first and last touch disagree about it?
SELECT channel, sumIf(r.revenue, model = 'linear') AS linear, sumIf(r.revenue, model = 'first_touch') AS first_touch,
    sumIf(r.revenue, model = 'last_touch') AS last_touch, last_touch - first_touch AS disagreement
FROM v_attribution_by_channel AS r
WHERE model IN ('linear', 'first_touch', 'last_touch')
GROUP BY channel
ORDER BY linear DESC

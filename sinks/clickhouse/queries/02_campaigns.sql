-- Which campaigns bring back more than they cost, with the margin of what they sold?
SELECT channel, campaign, toFloat64(sum(r.spend)) AS spend, sum(r.revenue) AS revenue,
    (sum(r.margin) - spend) / spend AS romi
FROM v_marketing_returns AS r
WHERE model = 'time_decay'
GROUP BY channel, campaign HAVING spend > 0
ORDER BY romi DESC

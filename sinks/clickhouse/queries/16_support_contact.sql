-- Do customers who had to ask the support order again less often than the others?
SELECT profile_id IN (SELECT profile_id FROM v_touchpoints
    WHERE event IN ('Call Started', 'Live Chat Conversation Started')) AS asked_support,
    count() AS customers, countIf(orders > 1) / customers AS ordered_again, avg(lifetime_value) AS per_customer
FROM v_ltv
GROUP BY asked_support ORDER BY asked_support

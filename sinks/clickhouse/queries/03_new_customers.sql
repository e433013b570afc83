-- What does a new customer cost, month by month, and in which month has one paid that back?
SELECT cohort AS month, any(p.customers) AS new_customers, any(p.cac) AS cac,
    minOrNullIf(months, paid_back) AS paid_back_after_months
FROM v_payback AS p
WHERE model = 'linear' AND channel = '(all)'
GROUP BY cohort
ORDER BY month

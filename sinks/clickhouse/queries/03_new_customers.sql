-- What does a new customer cost, month by month, and in which month has one paid that back?
SELECT
    c.month AS month,
    c.new_customers AS new_customers,
    c.cac AS cac,
    p.paid_back_after AS paid_back_after_months
FROM v_cac AS c
LEFT JOIN
(
    SELECT cohort, toNullable(min(months)) AS paid_back_after
    FROM v_payback
    WHERE model = 'linear' AND channel = '(all)' AND paid_back
    GROUP BY cohort
) AS p ON p.cohort = c.month
WHERE c.model = 'linear' AND c.channel = '(all)'
ORDER BY month

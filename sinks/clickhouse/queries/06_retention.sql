-- Do newer customers come back as the older ones did?
SELECT market, cohort, any(people) AS customers, anyOrNullIf(retention, number = 1) AS after_one_month,
    anyOrNullIf(retention, number = 2) AS after_two_months, max(revenue_per_person) AS revenue_per_customer
FROM v_cohorts
GROUP BY market, cohort
ORDER BY market, cohort

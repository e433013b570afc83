-- Customers with what they brought and the class that segments see.
SELECT
    l.profile_id AS profile_id,
    l.first_order AS first_order,
    l.last_order AS last_order,
    l.orders AS orders,
    l.revenue AS revenue,
    l.lifetime_value AS lifetime_value,
    r.class AS rfm_class
FROM {{ source('throughline', 'v_ltv') }} AS l
LEFT JOIN {{ source('throughline', 'v_rfm') }} AS r ON r.profile_id = l.profile_id

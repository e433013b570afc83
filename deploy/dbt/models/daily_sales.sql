-- Orders and their revenue after refunds, by day of reports and place that sold.
SELECT
    v.day AS day,
    v.channel AS channel,
    count() AS orders,
    countIf(v.is_first) AS first_orders,
    sum(v.net_revenue) AS revenue
FROM {{ source('throughline', 'v_conversion_values') }} AS v
WHERE v.conversion_type = 'purchase'
GROUP BY day, channel

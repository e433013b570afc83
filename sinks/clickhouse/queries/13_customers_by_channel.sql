-- Are customers of several channels worth more, and how soon do they order again?
SELECT if(length(channels) = 1, channels[1], 'several') AS buys_in, count() AS customers, avg(c.revenue) AS revenue,
    avg(orders > 1) AS repeat_rate, medianOrNullIf(days[2] - days[1], orders > 1) AS days_to_second_order
FROM (SELECT profile_id, groupUniqArray(channel) AS channels, arraySort(groupArray(day)) AS days, count() AS orders,
    sum(v.net_revenue) AS revenue FROM v_conversion_values AS v
    WHERE conversion_type = 'purchase' AND notEmpty(profile_id) GROUP BY profile_id) AS c GROUP BY ALL ORDER BY ALL

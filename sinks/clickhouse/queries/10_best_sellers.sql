-- What sells, what is looked at but not bought, and at what hour do people buy most?
SELECT product_id, name, category, viewers, buyers, view_to_order, revenue,
    (SELECT argMax((weekday, hour), orders) FROM v_purchase_times) AS busiest_weekday_and_hour
FROM v_product_performance
ORDER BY revenue DESC, viewers DESC
LIMIT 50

-- Where do people drop off between a product's page and an order, by what brought them?
SELECT key AS channel, step, name, people, from_previous, median_hours
FROM v_funnel(steps = ['Product Viewed', 'Product Added', 'Order Completed'], window_days = 7, by = 'marketing_channel')
ORDER BY max(people) OVER (PARTITION BY key) DESC, channel, step

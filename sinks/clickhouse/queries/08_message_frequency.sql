-- How many messages a week are too many?
SELECT channel, messages, person_weeks, conversion_rate, revenue_per_person_week, unsubscribe_rate
FROM v_message_frequency
WHERE segment = '(all)'
ORDER BY channel, messages

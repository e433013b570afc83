-- Which variant of a message is answered more often?
SELECT journey, template AS message, variant, count() AS reported, sum(m.delivered) AS arrived,
    sum(m.responded) AS answered, answered / nullIf(arrived, 0) AS response_rate
FROM v_messages AS m
WHERE variant != ''
GROUP BY journey, message, variant
ORDER BY journey, message, response_rate DESC

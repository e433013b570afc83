-- Which variant of a message is answered more often?
SELECT d.journey AS journey, d.message AS message, d.variant AS variant, count() AS sent, sum(m.delivered) AS arrived,
    sum(m.responded) AS answered, answered / arrived AS response_rate
FROM v_decisions AS d LEFT JOIN v_messages AS m ON m.message_id = d.idempotency_key AND m.profile_id = d.profile_id
WHERE d.outcome = 'sent' AND d.variant != ''
GROUP BY journey, message, variant
ORDER BY journey, message, response_rate DESC

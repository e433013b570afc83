-- Which messages were not sent, by which rule, and for which reason mostly?
SELECT journey, message, outcome, gate, count() AS decisions, uniq(profile_id) AS people,
    topK(1)(reason)[1] AS usual_reason
FROM v_decisions
WHERE outcome != 'sent'
GROUP BY journey, message, outcome, gate
ORDER BY decisions DESC, journey, message

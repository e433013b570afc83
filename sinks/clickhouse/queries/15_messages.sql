-- How do messages do on each channel, and what do they cost in unsubscriptions?
SELECT channel, sum(m.sent) AS sent, sum(m.delivered) AS delivered, sum(m.opened) / delivered AS open_rate,
    sum(m.responded) / delivered AS response_rate, sum(m.bounced) / sent AS bounce_rate,
    sum(m.unsubscribed) / delivered AS unsubscribe_rate
FROM v_message_engagement AS m
GROUP BY channel
ORDER BY sent DESC

-- How do messages do on each channel, and what do they cost in unsubscriptions?
SELECT channel, sum(m.sent) AS sent, sum(m.delivered) AS delivered, sum(m.opened) / nullIf(delivered, 0) AS open_rate,
    sum(m.responded) / nullIf(delivered, 0) AS response_rate, sum(m.bounced) / nullIf(sent, 0) AS bounce_rate,
    sum(m.unsubscribed) / nullIf(delivered, 0) AS unsubscribe_rate
FROM v_message_engagement AS m
GROUP BY channel
ORDER BY sent DESC

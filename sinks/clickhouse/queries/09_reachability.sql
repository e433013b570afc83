-- Whom could each channel reach at the end of the newest day, how many more than a week before, and why not the others?
WITH (SELECT max(day) FROM v_channel_reachability) AS newest
SELECT
    segment,
    channel,
    sumIf(r.reachable, day = newest) AS reachable_now,
    reachable_now - toInt64(sumIf(r.reachable, day = newest - 7)) AS more_than_a_week_ago,
    sumIf(r.opted_out, day = newest) AS opted_out_now,
    sumIf(r.no_address, day = newest) AS no_address_now,
    sumIf(r.bounced, day = newest) AS bounced_now
FROM v_channel_reachability AS r
WHERE day IN (newest, newest - 7)
GROUP BY segment, channel
ORDER BY segment, reachable_now DESC, channel

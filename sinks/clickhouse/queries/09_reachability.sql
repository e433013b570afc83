-- Whom does each channel reach on the newest day, how many more than a week before, and why not the others?
SELECT segment, channel, argMax(r.reachable, day) AS reachable_now,
    toInt64(reachable_now) - toInt64(arraySort(groupArray((day, r.reachable)))[-8].2) AS more_than_a_week_ago,
    argMax((opted_out, no_address, bounced, not_asked, stale), day) AS opted_out_no_address_bounced_not_asked_stale
FROM v_channel_reachability AS r
GROUP BY segment, channel
ORDER BY segment, reachable_now DESC, channel

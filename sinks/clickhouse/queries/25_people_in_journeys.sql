-- How many people wait in each journey now, at which step, and since when?
SELECT journey, last.2 AS step, count() AS people, min(since) AS longest_since, max(since) AS latest_since
FROM (SELECT journey, run_id, max(at) AS since,
    argMax((kind, step), (at, indexOf(['step', 'goal', 'waiting', 'collapsed', 'exited'], kind))) AS last
    FROM v_journey_events WHERE run_id != '' GROUP BY journey, run_id)
WHERE last.1 = 'waiting' GROUP BY journey, step ORDER BY journey, step

-- What do people search for, what finds nothing, and how often do they order within a day?
SELECT lower(trim(JSONExtractString(t.properties, 'query'))) AS words, count() AS searches,
    uniq(t.profile_id) AS people, countIf(JSONExtractRaw(t.properties, 'results') = '0') AS found_nothing,
    countIf(c.converted_at BETWEEN t.occurred_at AND t.occurred_at + INTERVAL 1 DAY) AS followed_by_an_order
FROM v_touchpoints AS t
ASOF LEFT JOIN v_conversions AS c ON c.profile_id = t.profile_id AND c.converted_at >= t.occurred_at
WHERE t.event = 'Products Searched' AND words != '' GROUP BY words ORDER BY searches DESC, words LIMIT 50

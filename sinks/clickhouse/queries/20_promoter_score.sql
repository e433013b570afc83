-- How likely are people to recommend us, survey by survey and month by month (net promoter score, -100 to 100)?
SELECT JSONExtractString(properties, 'survey_id') AS survey, toStartOfMonth(occurred_at) AS month, count() AS answers,
    avg(JSONExtractFloat(properties, 'score') AS score) AS average_score,
    100 * (countIf(score >= 9) - countIf(score <= 6)) / answers AS net_promoter_score
FROM v_touchpoints WHERE event = 'Survey Submitted' AND JSONHas(properties, 'score')
GROUP BY survey, month ORDER BY survey, month

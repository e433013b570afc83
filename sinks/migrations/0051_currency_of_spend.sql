-- Without a setting and before the first conversion, reports are in the currency of most spend, so that it is converted.

CREATE OR REPLACE VIEW {{database}}.v_report_settings {{on_cluster}}
(
    currency String COMMENT 'The currency of reports, ISO 4217; empty: there are no amounts yet'
)
AS SELECT if(wanted = '', (
    SELECT argMax(currency, (of_conversions, n, currency))
    FROM
    (
        SELECT currency, of_conversions, uniqExact(id) AS n
        FROM
        (
            SELECT toString(currency) AS currency, 1 AS of_conversions, concat(toString(conversion_type), ' ', conversion_id) AS id FROM {{database}}.conversions WHERE currency != ''
            UNION ALL
            SELECT toString(currency), 1, concat(toString(arrayJoin(goals)), ' ', conversion_id) FROM {{database}}.order_events WHERE currency != ''
            UNION ALL
            SELECT toString(currency), 0, concat(toString(date), ' ', channel, ' ', source, ' ', campaign, ' ', creative) FROM {{database}}.spend WHERE currency != ''
        )
        GROUP BY currency, of_conversions
    )), wanted) AS currency
FROM (SELECT argMax(currency, changed_at) AS wanted FROM {{database}}.report_settings)
COMMENT 'What reports about money need to know: always one row.';

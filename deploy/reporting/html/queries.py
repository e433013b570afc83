"""Queries of the HTML report. Each result keeps its SQL, so that every figure of the page can be reproduced."""

from __future__ import annotations

from typing import Any, NamedTuple

from processors.attribution.frequency import BestFrequency, WeekCounts, best_frequency
from sinks.clickhouse.behaviour import message_frequency

Row = dict[str, Any]

MODELS = ("first_touch", "last_touch", "linear", "time_decay", "position_based")
"""Rule models in the comparison; learned models are added if they were fitted."""

GROUPS = 100
"""Groups of people for the bootstrap intervals of message frequency."""

TOTALS = """
SELECT
    (SELECT currency FROM v_report_settings) AS currency,
    sum(orders) AS orders,
    sum(revenue) AS revenue,
    sum(refunded) AS refunded,
    sum(new_customers) AS new_customers,
    revenue / orders AS average_order,
    (SELECT sum(spend) FROM v_spend) AS spend,
    min(month) AS first_month,
    max(month) AS last_month
FROM v_sales
"""

ATTRIBUTION = """
SELECT *
FROM
(
    SELECT
        model, channel AS key, sum(r.conversions) AS conversions, sum(r.revenue) AS revenue, NULL AS low, NULL AS high
    FROM v_marketing_returns AS r
    WHERE model IN ('first_touch', 'last_touch', 'linear', 'time_decay', 'position_based')
    GROUP BY model, key
    UNION ALL
    SELECT model, key, conversions, revenue, revenue_low AS low, revenue_high AS high
    FROM (SELECT * FROM v_attribution_markov UNION ALL SELECT * FROM v_attribution_shapley) AS learned
    WHERE is_latest AND model IN ('markov_1', 'shapley') AND dimension = 'channel'
        AND goal = (SELECT goal FROM v_attribution_settings)
        AND (SELECT uniqExact(currency) FROM v_conversions WHERE revenue != 0) = 1
)
ORDER BY sum(revenue) OVER (PARTITION BY key) DESC, key, model
"""

RETURNS = """
SELECT
    channel,
    sum(r.conversions) AS conversions,
    sum(r.revenue) AS revenue,
    sum(r.margin) AS margin,
    toFloat64(sum(r.spend)) AS spend,
    revenue / spend AS roas,
    (margin - spend) / spend AS romi,
    spend / nullIf(conversions, 0) AS cpa,
    spend / nullIf(sum(r.new_customers), 0) AS cac
FROM v_marketing_returns AS r
WHERE model = {model:String}
GROUP BY channel
HAVING spend > 0
ORDER BY romi DESC, channel
"""

LINKS = """
SELECT step, source, target, conversions
FROM v_path_links
WHERE conversions > 0 AND step BETWEEN 1 AND 3
ORDER BY step, conversions DESC, source, target
"""

FUNNEL = "SELECT * FROM v_funnel_default ORDER BY step"

COHORTS = """
SELECT cohort, number, people, active, retention
FROM v_cohorts_weekly
WHERE cohort > (SELECT max(cohort) FROM v_cohorts_weekly) - 7 * 12
ORDER BY cohort, number
"""

REACHABILITY = """
SELECT channel, day, people, reachable, opted_out, no_address, bounced, not_asked, stale
FROM v_channel_reachability
WHERE segment = '(all)' AND day = (SELECT max(day) FROM v_channel_reachability)
ORDER BY reachable DESC, channel
"""

FREQUENCY = """
SELECT channel, messages, people, person_weeks, revenue_per_person_week, unsubscribe_rate
FROM v_message_frequency
WHERE segment = '(all)'
ORDER BY channel != '(all)', channel, messages
"""

WARNINGS = "SELECT warning FROM v_missing_rates ORDER BY day, currency, what"


class QueryResult(NamedTuple):
    """A query and its rows."""

    sql: str
    rows: list[Row]


class ReportData(NamedTuple):
    """All data of the page.

    Attributes:
        model: The attribution model of `returns`.
        totals: One row of totals.
        attribution: By model and channel; learned models have intervals.
        returns: By channel with spend.
        links: By step, source and target of the paths to a conversion.
        funnel: By step.
        cohorts: By week of first order and week since.
        frequency: By channel and messages a week.
        best_frequency: By channel, with intervals.
        reachability: By channel, at the end of the newest day.
        warnings: Amounts that are in no total.
    """

    model: str
    totals: QueryResult
    attribution: QueryResult
    returns: QueryResult
    links: QueryResult
    funnel: QueryResult
    cohorts: QueryResult
    frequency: QueryResult
    best_frequency: dict[str, BestFrequency]
    reachability: QueryResult
    warnings: list[str]


def query_report(client: Any, model: str = "linear") -> ReportData:
    """Run all queries of the report.

    Args:
        client: ClickHouse client.
        model: The attribution model of ROMI.
    """

    def run(sql: str) -> QueryResult:
        return QueryResult(sql.strip(), list(client.query(sql, parameters={"model": model}).named_results()))

    cells: dict[str, list[WeekCounts]] = {}
    for row in message_frequency(client, segment="(all)", groups=GROUPS):
        cells.setdefault(row.channel, []).append(WeekCounts(*row[2:]))
    return ReportData(
        model=model,
        totals=run(TOTALS),
        attribution=run(ATTRIBUTION),
        returns=run(RETURNS),
        links=run(LINKS),
        funnel=run(FUNNEL),
        cohorts=run(COHORTS),
        frequency=run(FREQUENCY),
        best_frequency={channel: best_frequency(counted, min_person_weeks=50) for channel, counted in cells.items()},
        reachability=run(REACHABILITY),
        warnings=[row["warning"] for row in run(WARNINGS).rows],
    )

"""What the report asks: each answer keeps its SQL, so that every figure of the page can be asked for again."""

from __future__ import annotations

from typing import Any, NamedTuple

from processors.attribution.frequency import Best, Counted, best
from sinks.clickhouse.behaviour import message_frequency

Row = dict[str, Any]

MODELS = ("first_touch", "last_touch", "linear", "time_decay", "position_based")
"""The rule models that are compared; of the others, those that have been fitted join them."""

GROUPS = 100
"""Groups of people that are drawn anew for the intervals of message frequency."""

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


class Answer(NamedTuple):
    """One answer: the question as SQL, and its rows."""

    sql: str
    rows: list[Row]


class Answers(NamedTuple):
    """All that the page shows.

    Attributes:
        model: The attribution model of `returns`.
        totals: One row.
        attribution: By model and channel; the models that were fitted have intervals.
        returns: By channel that spent.
        links: By step, source and target of the paths to a conversion.
        funnel: By step.
        cohorts: By week of first order and week since.
        frequency: By channel and messages a week.
        best_frequency: By channel, with intervals.
        reachability: By channel, at the end of the newest day.
        warnings: Amounts that are in no sum.
    """

    model: str
    totals: Answer
    attribution: Answer
    returns: Answer
    links: Answer
    funnel: Answer
    cohorts: Answer
    frequency: Answer
    best_frequency: dict[str, Best]
    reachability: Answer
    warnings: list[str]


def ask(client: Any, model: str = "linear") -> Answers:
    """Ask everything.

    Args:
        client: A clickhouse-connect client, connected to the product's database.
        model: The attribution model of ROMI.
    """

    def answer(sql: str) -> Answer:
        return Answer(sql.strip(), list(client.query(sql, parameters={"model": model}).named_results()))

    cells: dict[str, list[Counted]] = {}
    for row in message_frequency(client, segment="(all)", groups=GROUPS):
        cells.setdefault(row.channel, []).append(Counted(*row[2:]))
    return Answers(
        model=model,
        totals=answer(TOTALS),
        attribution=answer(ATTRIBUTION),
        returns=answer(RETURNS),
        links=answer(LINKS),
        funnel=answer(FUNNEL),
        cohorts=answer(COHORTS),
        frequency=answer(FREQUENCY),
        best_frequency={channel: best(counted, least_person_weeks=50) for channel, counted in cells.items()},
        reachability=answer(REACHABILITY),
        warnings=[row["warning"] for row in answer(WARNINGS).rows],
    )

"""Queries of the HTML report. Each result keeps its SQL, so that every figure of the page can be reproduced."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from deploy.reporting.written_sql import written_sql
from processors.attribution.frequency import BestFrequency, WeekCounts, best_frequency
from schemas.time import ms_of_time
from sinks.clickhouse.behaviour import message_frequency
from sinks.clickhouse.reports import FIRST, LAST

Row = dict[str, Any]

MODELS = ("first_touch", "last_touch", "linear", "time_decay", "position_based")
"""Rule models in the comparison; learned models are added if they were fitted."""

GROUPS = 100
"""Groups of people for the bootstrap intervals of message frequency."""

TOTALS = """
SELECT
    (SELECT currency FROM v_report_settings) AS currency,
    countIf(NOT is_return) AS orders,
    sumIf(toFloat64(ifNull(v.revenue, 0)), NOT is_return) AS revenue,
    revenue - sum(toFloat64(ifNull(v.net_revenue, 0))) AS refunded,
    countIf(is_first) AS new_customers,
    revenue / orders AS average_order,
    (
        SELECT sum(spend) FROM v_spend
        WHERE date BETWEEN {first:Date} AND {last:Date}
            AND (empty({markets:Array(String)}) OR has({markets:Array(String)}, market))
    ) AS spend,
    (
        SELECT sum(spend) FROM v_spend WHERE date BETWEEN {first:Date} AND {last:Date} AND market = ''
    ) AS spend_of_no_market,
    min(day) AS first_day,
    max(day) AS last_day
FROM sale_values AS v
WHERE conversion_type = (SELECT goal FROM v_attribution_settings) AND day BETWEEN {first:Date} AND {last:Date}
    AND (empty({markets:Array(String)}) OR has({markets:Array(String)}, market))
"""

ATTRIBUTION = """
SELECT *
FROM
(
    SELECT
        model, channel AS key, sum(r.conversions) AS conversions, sum(r.revenue) AS revenue, NULL AS low, NULL AS high
    FROM marketing_returns(markets = {markets:Array(String)}) AS r
    WHERE model IN ('first_touch', 'last_touch', 'linear', 'time_decay', 'position_based')
        AND day BETWEEN {first:Date} AND {last:Date}
    GROUP BY model, key
    UNION ALL
    SELECT model, key, conversions, revenue, revenue_low AS low, revenue_high AS high
    FROM (SELECT * FROM v_attribution_markov UNION ALL SELECT * FROM v_attribution_shapley) AS learned
    WHERE is_latest AND model IN ('markov_1', 'shapley') AND dimension = 'channel'
        AND goal = (SELECT goal FROM v_attribution_settings)
        AND run >= (SELECT toUnixTimestamp64Milli(max(changed_at)) FROM report_settings) -- in this currency
        AND {whole:UInt8} -- they are fitted to all conversions
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
FROM marketing_returns(markets = {markets:Array(String)}) AS r
WHERE model = {model:String} AND day BETWEEN {first:Date} AND {last:Date}
GROUP BY channel
HAVING spend > 0
ORDER BY romi DESC, channel
"""

LINKS = """
SELECT step, source, target, conversions
FROM path_links(start_ms = {start:Int64}, stop_ms = {stop:Int64}, markets = {markets:Array(String)})
WHERE conversions > 0 AND step BETWEEN 1 AND 3
ORDER BY step, conversions DESC, source, target
"""

FUNNEL = """
SELECT *
FROM funnel(
    steps = ['Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed'], window_ms = 604800000, by = '',
    start_ms = {start:Int64}, stop_ms = {stop:Int64}, markets = {markets:Array(String)})
ORDER BY step
"""

COHORTS = """
SELECT cohort, number, sum(c.people) AS people, sum(c.active) AS active, active / people AS retention
FROM v_cohorts_weekly AS c
WHERE cohort > (SELECT max(cohort) FROM v_cohorts_weekly WHERE cohort <= {last:Date}) - 7 * 12
    AND cohort BETWEEN toMonday({first:Date}) AND {last:Date}
    AND (empty({markets:Array(String)}) OR has({markets:Array(String)}, market))
GROUP BY cohort, number
ORDER BY cohort, number
"""

REACHABILITY = """
SELECT channel, day, people, reachable, opted_out, no_address, bounced, not_asked, stale
FROM channel_reachability(markets = {markets:Array(String)})
WHERE segment = '(all)' AND day = (SELECT max(day) FROM v_channel_reachability WHERE day <= {last:Date})
ORDER BY reachable DESC, channel
"""

FREQUENCY = """
SELECT
    channel, messages, f.people AS people, f.person_weeks AS person_weeks,
    f.revenue / f.person_weeks AS revenue_per_person_week, f.unsubscribes / f.person_weeks AS unsubscribe_rate
FROM message_frequency(
    start_ms = {start:Int64}, stop_ms = {stop:Int64}, groups = 1, markets = {markets:Array(String)}) AS f
WHERE segment = '(all)'
ORDER BY channel != '(all)', channel, messages
"""

WARNINGS = """
SELECT warning
FROM v_missing_rates
WHERE day BETWEEN {first:Date} AND {last:Date}
    AND (empty({markets:Array(String)}) OR has({markets:Array(String)}, market))
ORDER BY day, currency, what, market
"""


class QueryResult(NamedTuple):
    """A query and its rows."""

    sql: str
    rows: list[Row]


class AudienceData(NamedTuple):
    """The parts of the report about people: see `ReportData`."""

    funnel: QueryResult
    cohorts: QueryResult
    frequency: QueryResult
    reachability: QueryResult


class ReportData(NamedTuple):
    """All data of the page.

    Attributes:
        model: The attribution model of `returns`.
        markets: The markets that were asked for; empty: all.
        period: The period that was asked for, in words; empty: all time.
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
    markets: tuple[str, ...]
    period: str
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


def query_report(
    client: Any,
    model: str = "linear",
    *,
    start: datetime = FIRST,
    stop: datetime = LAST,
    markets: Sequence[str] = (),
) -> ReportData:
    """Run all queries of the report.

    Args:
        client: ClickHouse client.
        model: The attribution model of ROMI.
        start: Start of the first day of the period, in the time zone of reports.
        stop: End of its last day.
        markets: Only conversions, spend and people of these markets; empty: all, and spend of no market.
    """
    whole = start == FIRST and stop == LAST and not markets
    parameters = {**_period_parameters(start, stop, markets), "model": model, "whole": int(whole)}

    def run(sql: str) -> QueryResult:
        return _run(client, sql, parameters)

    cells: dict[str, list[WeekCounts]] = {}
    for row in message_frequency(client, segment="(all)", groups=GROUPS, start=start, stop=stop, markets=markets):
        cells.setdefault(row.channel, []).append(WeekCounts(*row[2:]))
    return ReportData(
        model=model,
        markets=tuple(markets),
        period=_period_text(start, stop),
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


def query_links(client: Any, start: datetime, stop: datetime, markets: Sequence[str]) -> list[Row]:
    """Return the links of the first touches of paths to a conversion: step, source, target, conversions."""
    return _run(client, LINKS, _period_parameters(start, stop, markets)).rows


def query_audience(client: Any) -> AudienceData:
    """Run the queries about people alone, over all time and markets: those of attribution take much longer."""
    parameters = _period_parameters(FIRST, LAST, ())
    return AudienceData(*(_run(client, sql, parameters) for sql in (FUNNEL, COHORTS, FREQUENCY, REACHABILITY)))


def _period_parameters(start: datetime, stop: datetime, markets: Sequence[str]) -> dict[str, Any]:
    return {
        "markets": list(markets),
        "start": ms_of_time(start),
        "stop": ms_of_time(stop),
        "first": start.date(),
        "last": (stop - timedelta(microseconds=1)).date(),
    }


def _run(client: Any, sql: str, parameters: dict[str, Any]) -> QueryResult:
    rows = list(client.query(sql, parameters=parameters).named_results())
    return QueryResult(written_sql(sql, parameters), rows)


def _period_text(start: datetime, stop: datetime) -> str:
    """Return the period that was asked for as words; empty: all time."""
    last = stop - timedelta(microseconds=1)
    if start == FIRST and stop == LAST:
        return ""
    if stop == LAST:
        return f"from {start:%Y-%m-%d}"
    return f"to {last:%Y-%m-%d}" if start == FIRST else f"{start:%Y-%m-%d} to {last:%Y-%m-%d}"

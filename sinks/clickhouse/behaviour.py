"""Queries with parameters about behaviour: funnels, message frequency, response to spend, outcomes by area.

A question without parameters is a view, see `sinks/TABLES.md`. Every function takes a clickhouse-connect client
that is connected to the product's database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from schemas.durations import DAY_MS
from schemas.time import ms_of_time
from sinks.clickhouse.reports import FIRST, LAST

FunnelKey = Literal["", "segment", "channel", "marketing_channel"]
Area = Literal["country", "market", "store"]
Outcome = Literal["conversions", "first", "revenue", "margin"]

_AREA_COLUMNS: dict[Area, str] = {"country": "country", "market": "market", "store": "store_id"}
_OUTCOMES: dict[Outcome, str] = {
    "conversions": "count()", "first": "countIf(is_first)", "revenue": "sum(net_revenue)",
    "margin": "sum(net_revenue * margin_rate)",
}  # fmt: skip


class FunnelRow(NamedTuple):
    """One step of a funnel, for one key.

    Attributes:
        key: Segment or channel; `(all)` for all people.
        step: Number of the step, from 1.
        name: Event of the step.
        people: People who reached the step.
        dropped: People who reached no later step.
        from_previous: Share of the people who reached the step before; None when there are none.
        from_first: Share of the people who reached the first step.
        median_hours: Median of the hours since the step before; None at the first step.
        p90_hours: 90th percentile of the same hours.
    """

    key: str
    step: int
    name: str
    people: int
    dropped: int
    from_previous: float | None
    from_first: float
    median_hours: float | None
    p90_hours: float | None


class FrequencyRow(NamedTuple):
    """Results of the weeks with a number of messages, for one group of people; see `v_message_frequency`."""

    segment: str
    channel: str
    messages: int
    group: int
    people: int
    person_weeks: int
    responses: int
    conversions: int
    revenue: float
    margin: float
    unsubscribes: int


class ChannelDays(NamedTuple):
    """Spend and credited revenue of one channel, a number for each day of a period, days without either included."""

    channel: str
    first_day: date
    spend: list[float]
    revenue: list[float]


def funnel(
    client: Any,
    steps: Sequence[str],
    *,
    window_days: float = 7.0,
    by: FunnelKey = "",
    start: datetime = FIRST,
    stop: datetime = LAST,
    markets: Sequence[str] = (),
) -> list[FunnelRow]:
    """Count how many people reach each step, in order, within the window of the first.

    Args:
        client: A client.
        steps: Names of events, or `name@channel`.
        window_days: From the first step to the last, in days of 24 hours.
        by: The key: the segment at the first step, the channel of that step, or the marketing channel of the last
            touch within 30 days before it.
        start: The first instant of the period.
        stop: The first instant after it.
        markets: Only people of these markets; empty: all.

    Returns:
        By key, `(all)` first and then the one with most people, and by step.
    """
    rows = client.query(
        """
        SELECT key, step, name, people, dropped, from_previous, from_first, median_hours, p90_hours
        FROM funnel(steps = {steps:Array(String)}, window_ms = {window:Int64}, by = {by:String},
            start_ms = {start:Int64}, stop_ms = {stop:Int64}, markets = {markets:Array(String)})
        ORDER BY key != '(all)', max(people) OVER (PARTITION BY key) DESC, key, step
        """,
        parameters={
            "steps": list(steps),
            "window": round(window_days * DAY_MS),
            "by": by,
            "start": ms_of_time(start),
            "stop": ms_of_time(stop),
            "markets": list(markets),
        },
    ).result_rows
    return [FunnelRow(*row) for row in rows]


def message_frequency(
    client: Any,
    *,
    segment: str = "",
    channel: str = "",
    start: datetime = FIRST,
    stop: datetime = LAST,
    groups: int = 1,
    markets: Sequence[str] = (),
) -> list[FrequencyRow]:
    """Sum up weeks by their number of messages, for `groups` groups of people that a hash assigns.

    Args:
        client: A client.
        segment: Only this segment; all when empty.
        channel: Only this channel; all when empty.
        start: The first instant of the period in which messages were sent.
        stop: The first instant after it.
        groups: How many groups of people, for resampling.
        markets: Only people of these markets; empty: all.
    """
    rows = client.query(
        """
        SELECT segment, channel, messages, people_group, people, person_weeks, responses, conversions, revenue, margin,
            unsubscribes
        FROM message_frequency(start_ms = {start:Int64}, stop_ms = {stop:Int64}, groups = {groups:UInt32},
            markets = {markets:Array(String)})
        WHERE {segment:String} IN ('', segment) AND {channel:String} IN ('', channel)
        ORDER BY segment != '(all)', segment, channel != '(all)', channel, messages, people_group
        """,
        parameters={
            "start": ms_of_time(start),
            "stop": ms_of_time(stop),
            "groups": groups,
            "markets": list(markets),
            "segment": segment,
            "channel": channel,
        },
    ).result_rows
    return [FrequencyRow(*row) for row in rows]


def spend_and_revenue(
    client: Any, model: str, first: date | None = None, last: date | None = None, markets: Sequence[str] = ()
) -> list[ChannelDays]:
    """Read spend and credited revenue by day of each channel that has any spend, in the currency of reports.

    Args:
        client: A client.
        model: The attribution model.
        first: First day of the period; None: the first day on which any channel spent.
        last: Its last day; None: the last one.
        markets: Only conversions and spend of these markets; empty: all, and spend of no market.
    """
    rows = client.query(
        """
        SELECT channel, day, toFloat64(sum(spend)), sum(revenue)
        FROM marketing_returns(markets = {markets:Array(String)})
        WHERE model = {model:String}
        GROUP BY channel, day
        ORDER BY channel, day
        """,
        parameters={"model": model, "markets": list(markets)},
    ).result_rows
    spent = [day for _, day, spend, _ in rows if spend and (first or day) <= day <= (last or day)]
    if not spent:
        return []
    first, last = first or min(spent), last or max(spent)
    found: dict[str, ChannelDays] = {}
    days = (last - first).days + 1
    for channel, day, spend, revenue in rows:
        if not first <= day <= last:
            continue
        series = found.setdefault(channel, ChannelDays(channel, first, [0.0] * days, [0.0] * days))
        series.spend[(day - first).days] += spend
        series.revenue[(day - first).days] += revenue
    return [series for series in found.values() if any(series.spend)]


def outcomes_by_area(
    client: Any, by: Area, outcome: Outcome, first: date, last: date, goal: str = ""
) -> dict[str, list[float]]:
    """Read what came of each day by area: conversions, first ones, net revenue or margin in the currency of reports.

    Args:
        client: A client.
        by: What an area is: the conversion's country, its market, or its store.
        outcome: What to add up.
        first: First day, in the time zone of reports.
        last: Last day.
        goal: A conversion type, or `all`; empty: the first goal of the touches file.

    Returns:
        A number for each day by area, days without any included; conversions of no known area are left out.
    """
    rows = client.query(
        f"""
        SELECT {_AREA_COLUMNS[by]} AS area, day, toFloat64(ifNull({_OUTCOMES[outcome]}, 0))
        FROM v_conversion_values
        WHERE day BETWEEN {{first:Date}} AND {{last:Date}} AND notEmpty(area) AND NOT time_doubtful
            AND if(empty({{goal:String}}), (SELECT goal FROM v_attribution_settings), {{goal:String}})
                IN ('all', conversion_type)
        GROUP BY area, day
        ORDER BY area, day
        """,  # noqa: S608 - the parts are constants
        parameters={"first": first, "last": last, "goal": goal},
    ).result_rows
    days = (last - first).days + 1
    found: dict[str, list[float]] = {}
    for area, day, number in rows:
        found.setdefault(area, [0.0] * days)[(day - first).days] = number
    return found

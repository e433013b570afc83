"""Best number of messages a week, with confidence intervals.

The weeks of one person resemble each other, so people and not weeks are the independent units. People are divided into
groups by a hash, and whole groups are drawn with replacement: a cluster bootstrap (Davison and Hinkley, Bootstrap
Methods and their Application, 1997, section 3.8). The intervals hold 95 % of the draws.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random  # noqa: TID251 - bootstrap samples with a seed that the caller gives
from typing import Literal, NamedTuple

Objective = Literal["revenue", "margin", "conversions", "responses"]


class WeekCounts(NamedTuple):
    """Sums over the weeks with a number of messages, of one group of people."""

    messages: int
    group: int
    people: int
    person_weeks: int
    responses: float
    conversions: float
    revenue: float
    margin: float
    unsubscribes: float


class Rate(NamedTuple):
    """One point of the curve of value by messages a week.

    Attributes:
        messages: Messages that a person gets in a week.
        people: People with such a week.
        person_weeks: Number of such weeks.
        value: The objective for each person-week, less the cost of unsubscribing.
        low: Lower end of its 95 % interval.
        high: Upper end.
        unsubscribe_rate: Unsubscriptions for each person-week.
        counts: There are enough weeks for the number to be chosen as the best.
    """

    messages: int
    people: int
    person_weeks: int
    value: float
    low: float
    high: float
    unsubscribe_rate: float
    counts: bool


class BestFrequency(NamedTuple):
    """The best number of messages for one segment and channel.

    Attributes:
        curve: Points by number of messages, ascending.
        messages: The number with the highest value; None with too few weeks.
        low: Lower end of the 95 % interval of the best number.
        high: Upper end.
        certainty: Share of draws in which it is the best.
    """

    curve: tuple[Rate, ...]
    messages: int | None
    low: int | None
    high: int | None
    certainty: float


def best_frequency(
    counted: Iterable[WeekCounts],
    objective: Objective = "revenue",
    *,
    unsubscribe_cost: float = 0.0,
    min_person_weeks: int = 100,
    draws: int = 1000,
    seed: int = 1,
) -> BestFrequency:
    """Find the number of messages a week with the highest value for each person-week.

    Args:
        counted: The weeks of one segment and channel, by group of people.
        objective: What to maximize.
        unsubscribe_cost: Cost of an unsubscription, in the unit of the objective.
        min_person_weeks: Numbers with fewer weeks are on the curve but cannot be the best.
        draws: Number of bootstrap draws.
        seed: The same seed gives the same intervals.

    Returns:
        The curve and the best number. People who get many messages differ from those who get few, so this is a
        hypothesis for an experiment, not its result.
    """
    cells = list(counted)
    groups = sorted({cell.group for cell in cells})
    numbers = sorted({cell.messages for cell in cells})
    weeks = {number: dict.fromkeys(groups, 0) for number in numbers}
    totals = {number: dict.fromkeys(groups, 0.0) for number in numbers}
    for cell in cells:
        weeks[cell.messages][cell.group] += cell.person_weeks
        totals[cell.messages][cell.group] += getattr(cell, objective) - unsubscribe_cost * cell.unsubscribes
    enough = [number for number in numbers if sum(weeks[number].values()) >= min_person_weeks]
    drawn: dict[int, list[float]] = {number: [] for number in numbers}
    winners: list[int] = []
    rng = Random(seed)
    for _ in range(draws if len(groups) > 1 else 0):
        sample = rng.choices(groups, k=len(groups))
        values = {number: _rate(totals[number], weeks[number], sample) for number in numbers}
        for number, value in values.items():
            if value is not None:
                drawn[number].append(value)
        candidates = [number for number in enough if values[number] is not None]
        if candidates:
            winners.append(max(candidates, key=lambda number: (values[number], -number)))
    curve = tuple(_point(number, cells, totals, weeks, drawn[number], number in enough) for number in numbers)
    if not enough:
        return BestFrequency(curve, None, None, None, 0.0)
    chosen = max((rate for rate in curve if rate.counts), key=lambda rate: (rate.value, -rate.messages)).messages
    low, high = percentile_interval([float(winner) for winner in winners] or [float(chosen)])
    certainty = winners.count(chosen) / len(winners) if winners else 0.0
    return BestFrequency(curve, chosen, round(low), round(high), certainty)


def percentile_interval(values: list[float]) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles: the order statistics that leave at most that share outside."""
    ordered = sorted(values)
    outside = int(0.025 * len(ordered))
    return ordered[outside], ordered[-1 - outside]


def _point(
    number: int,
    cells: list[WeekCounts],
    totals: dict[int, dict[int, float]],
    weeks: dict[int, dict[int, int]],
    drawn: list[float],
    counts: bool,
) -> Rate:
    matching = [cell for cell in cells if cell.messages == number]
    person_weeks = sum(weeks[number].values())
    value = sum(totals[number].values()) / person_weeks
    low, high = percentile_interval(drawn or [value])
    unsubscribes = sum(cell.unsubscribes for cell in matching)
    people = sum(cell.people for cell in matching)
    return Rate(number, people, person_weeks, value, low, high, unsubscribes / person_weeks, counts)


def _rate(totals: dict[int, float], weeks: dict[int, int], sample: list[int]) -> float | None:
    person_weeks = sum(weeks[group] for group in sample)
    return sum(totals[group] for group in sample) / person_weeks if person_weeks else None

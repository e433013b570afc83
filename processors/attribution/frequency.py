"""How many messages a week are best, and how sure that is.

People, not weeks, are what varies independently: a person's weeks resemble each other. So people are parted into groups
by a hash, and whole groups are drawn with replacement (a cluster bootstrap; Davison and Hinkley, Bootstrap Methods,
1997, section 3.8). The intervals hold 95 % of the draws.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random  # noqa: TID251 - bootstrap samples with a seed that the caller gives
from typing import Literal, NamedTuple

Objective = Literal["revenue", "margin", "conversions", "responses"]


class Counted(NamedTuple):
    """What the weeks with a number of messages brought, of one group of people."""

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
    """One point of the curve.

    Attributes:
        messages: Messages a person gets in a week.
        people: People with such a week.
        person_weeks: How many such weeks there are.
        value: The objective for each person-week, less the cost of unsubscribing.
        low: Lower end of its 95 % interval.
        high: Upper end.
        unsubscribe_rate: Unsubscriptions for each person-week.
        counts: There are enough weeks to take part in the choice of the best.
    """

    messages: int
    people: int
    person_weeks: int
    value: float
    low: float
    high: float
    unsubscribe_rate: float
    counts: bool


class Best(NamedTuple):
    """The answer for one segment and channel.

    Attributes:
        curve: By number of messages.
        messages: The number with the highest value; None when there are too few weeks to tell.
        low: Lower end of the 95 % interval of the best number.
        high: Upper end.
        certainty: Share of draws in which it is the best.
    """

    curve: tuple[Rate, ...]
    messages: int | None
    low: int | None
    high: int | None
    certainty: float


def best(
    counted: Iterable[Counted],
    objective: Objective = "revenue",
    *,
    unsubscribe_cost: float = 0.0,
    least_person_weeks: int = 100,
    draws: int = 1000,
    seed: int = 1,
) -> Best:
    """Find the number of messages a week that brings most for each person-week.

    Args:
        counted: The weeks of one segment and channel, parted by groups of people.
        objective: What is to be as high as possible.
        unsubscribe_cost: What losing a reader costs, in the unit of the objective.
        least_person_weeks: Numbers with fewer weeks are shown but cannot be the best.
        draws: How often people are drawn anew.
        seed: The same seed gives the same intervals.

    Returns:
        The curve and the best number. Who gets many messages differs from who gets few, so this is where to begin an
        experiment, not its result.
    """
    cells = list(counted)
    groups = sorted({cell.group for cell in cells})
    numbers = sorted({cell.messages for cell in cells})
    weeks = {number: dict.fromkeys(groups, 0) for number in numbers}
    worth = {number: dict.fromkeys(groups, 0.0) for number in numbers}
    for cell in cells:
        weeks[cell.messages][cell.group] += cell.person_weeks
        worth[cell.messages][cell.group] += getattr(cell, objective) - unsubscribe_cost * cell.unsubscribes
    enough = [number for number in numbers if sum(weeks[number].values()) >= least_person_weeks]
    drawn: dict[int, list[float]] = {number: [] for number in numbers}
    winners: list[int] = []
    rng = Random(seed)
    for _ in range(draws if len(groups) > 1 else 0):
        sample = rng.choices(groups, k=len(groups))
        values = {number: _rate(worth[number], weeks[number], sample) for number in numbers}
        for number, value in values.items():
            if value is not None:
                drawn[number].append(value)
        found = [number for number in enough if values[number] is not None]
        if found:
            winners.append(max(found, key=lambda number: (values[number], -number)))
    curve = tuple(_point(number, cells, worth, weeks, drawn[number], number in enough) for number in numbers)
    if not enough:
        return Best(curve, None, None, None, 0.0)
    chosen = max((rate for rate in curve if rate.counts), key=lambda rate: (rate.value, -rate.messages)).messages
    low, high = interval([float(winner) for winner in winners] or [float(chosen)])
    certainty = winners.count(chosen) / len(winners) if winners else 0.0
    return Best(curve, chosen, round(low), round(high), certainty)


def interval(values: list[float]) -> tuple[float, float]:
    """Give the 2.5 % and 97.5 % quantiles: those order statistics that leave at most that share outside."""
    ordered = sorted(values)
    outside = int(0.025 * len(ordered))
    return ordered[outside], ordered[-1 - outside]


def _point(
    number: int,
    cells: list[Counted],
    worth: dict[int, dict[int, float]],
    weeks: dict[int, dict[int, int]],
    drawn: list[float],
    counts: bool,
) -> Rate:
    mine = [cell for cell in cells if cell.messages == number]
    person_weeks = sum(weeks[number].values())
    value = sum(worth[number].values()) / person_weeks
    low, high = interval(drawn or [value])
    unsubscribes = sum(cell.unsubscribes for cell in mine)
    people = sum(cell.people for cell in mine)
    return Rate(number, people, person_weeks, value, low, high, unsubscribes / person_weeks, counts)


def _rate(worth: dict[int, float], weeks: dict[int, int], sample: list[int]) -> float | None:
    total = sum(weeks[group] for group in sample)
    return sum(worth[group] for group in sample) / total if total else None

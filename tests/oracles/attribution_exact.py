"""Reference models of attribution over all journeys, in exact fractions, for a handful of channels.

`processors/attribution/learned.py` computes the same in floating point, fast enough for reports; tests compare the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import combinations, pairwise
from math import factorial
from typing import NamedTuple

State = tuple[str, ...]
_CONVERSION, _NULL = ("conversion",), ("null",)


class Path(NamedTuple):
    """A sequence of channels, and how often it led to a conversion or to none.

    Attributes:
        channels: In order of time; empty: conversions without a touch, which these models ignore.
        conversions: Number of conversions.
        revenue: Their revenue.
        nulls: Number of people with this path who never converted.
    """

    channels: tuple[str, ...]
    conversions: Fraction
    revenue: Fraction = Fraction(0)
    nulls: Fraction = Fraction(0)


def markov_effects(paths: Iterable[Path], order: int) -> dict[str, Fraction]:
    """How much smaller the probability of a conversion is without a channel: 1 - P(conversion without it) / P.

    States are windows of `order` consecutive channels (a shorter path is one state). Without a channel, every state
    that contains it leads nowhere. Anderl et al. 2016, "Mapping the customer journey", International Journal of
    Research in Marketing 33(3).
    """
    start: dict[State, Fraction] = defaultdict(Fraction)
    steps: dict[State, dict[tuple[str, State], Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for path in paths:
        if not path.channels or not path.conversions + path.nulls:
            continue
        windows = _windows(path.channels, order)
        start[windows[0]] += path.conversions + path.nulls
        for here, there in pairwise(windows):
            steps[here]["", there] += path.conversions + path.nulls
        steps[windows[-1]]["end", _CONVERSION] += path.conversions
        steps[windows[-1]]["end", _NULL] += path.nulls
    channels = sorted({channel for state in steps for channel in state})
    whole = _conversion_probability(start, steps, None)
    if not whole:
        return dict.fromkeys(channels, Fraction(0))
    return {channel: 1 - _conversion_probability(start, steps, channel) / whole for channel in channels}


def pathwise(paths: Sequence[Path]) -> dict[str, tuple[Fraction, Fraction]]:
    """`markov_1_pathwise`: each conversion shared among its touches by their channels' removal effects of order 1."""
    known = [path for path in paths if path.conversions]
    effects = markov_effects(paths, 1)
    found: dict[str, tuple[Fraction, Fraction]] = {}
    for path in known:
        whole = sum((effects[channel] for channel in path.channels), Fraction(0))
        for channel in path.channels if whole else ():
            conversions, revenue = found.get(channel, (Fraction(0), Fraction(0)))
            weight = effects[channel] / whole
            found[channel] = conversions + weight * path.conversions, revenue + weight * path.revenue
    return found


def shapley(paths: Iterable[Path]) -> dict[str, tuple[Fraction, Fraction]]:
    """Shapley value of v(S) = conversions, and of v(S) = revenue, of the journeys whose channels are all in S."""
    known = list(paths)

    def value(coalition: frozenset[str]) -> tuple[Fraction, Fraction]:
        inside = [path for path in known if path.channels and coalition >= set(path.channels)]
        return (
            sum((path.conversions for path in inside), Fraction(0)),
            sum((path.revenue for path in inside), Fraction(0)),
        )

    channels = _channels(known)
    counts = _shapley_values(channels, {coalition: value(coalition)[0] for coalition in _coalitions(channels)})
    revenue = _shapley_values(channels, {coalition: value(coalition)[1] for coalition in _coalitions(channels)})
    return {channel: (counts[channel], revenue[channel]) for channel in channels}


def shapley_rate_subset(paths: Iterable[Path]) -> dict[str, Fraction]:
    """Shapley value of v(S) = the conversion rate of the journeys whose channels are all in S; 0 if there are none."""
    known = list(paths)

    def rate(coalition: frozenset[str]) -> Fraction:
        inside = [path for path in known if path.channels and coalition >= set(path.channels)]
        journeys = sum((path.conversions + path.nulls for path in inside), Fraction(0))
        return sum((path.conversions for path in inside), Fraction(0)) / journeys if journeys else Fraction(0)

    channels = _channels(known)
    return _shapley_values(channels, {coalition: rate(coalition) for coalition in _coalitions(channels)})


def shao_li(paths: Iterable[Path]) -> dict[str, Fraction]:
    """Sum over converting journeys of p(i) + 1 / (2 (m - 1)) sum_j (p(i, j) - p(i) - p(j)); m distinct channels.

    p(i) and p(i, j) are the shares of converting journeys among those with channel i, with i and j. Shao and Li 2011,
    "Data-driven multi-touch attribution models", KDD. The result is the raw sum, not a share.
    """
    known = list(paths)

    def rate(*wanted: str) -> Fraction:
        those = [path for path in known if set(wanted) <= set(path.channels)]
        journeys = sum((path.conversions + path.nulls for path in those), Fraction(0))
        return sum((path.conversions for path in those), Fraction(0)) / journeys if journeys else Fraction(0)

    found: dict[str, Fraction] = dict.fromkeys(_channels(known), Fraction(0))
    for path in known:
        distinct = sorted(set(path.channels))
        for one in distinct:
            value = rate(one)
            if len(distinct) > 1:
                pairs = [rate(one, other) - rate(one) - rate(other) for other in distinct if other != one]
                value += sum(pairs, Fraction(0)) / (2 * (len(distinct) - 1))
            found[one] += path.conversions * value
    return found


def _windows(channels: Sequence[str], order: int) -> list[State]:
    return [tuple(channels[at : at + order]) for at in range(max(1, len(channels) - order + 1))]


def _conversion_probability(
    start: Mapping[State, Fraction], steps: Mapping[State, Mapping[tuple[str, State], Fraction]], without: str | None
) -> Fraction:
    """P(conversion) from the start when states with a channel lead nowhere: (I - Q) x = r, solved by elimination."""
    states = [state for state in steps if without not in state]
    place = {state: index for index, state in enumerate(states)}
    rows: list[list[Fraction]] = []
    for state in states:
        total = sum(steps[state].values(), Fraction(0))
        row = [Fraction(state == other) for other in states] + [Fraction(0)]
        for (kind, there), count in steps[state].items():
            if kind and there == _CONVERSION:
                row[-1] += count / total
            elif not kind and there in place:
                row[place[there]] -= count / total
        rows.append(row)
    reach = _solve(rows)
    journeys = sum(start.values(), Fraction(0))
    return sum((start[state] * reach[place[state]] for state in start if state in place), Fraction(0)) / (journeys or 1)


def _solve(rows: list[list[Fraction]]) -> list[Fraction]:
    """Gauss-Jordan elimination; the matrix is regular, since every path ends."""
    for column in range(len(rows)):
        pivot = next(index for index in range(column, len(rows)) if rows[index][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for index, row in enumerate(rows):
            if index != column and (factor := row[column]):
                rows[index] = [value - factor * lead for value, lead in zip(row, rows[column], strict=True)]
    return [row[-1] for row in rows]


def _channels(paths: Iterable[Path]) -> list[str]:
    return sorted({channel for path in paths for channel in path.channels})


def _coalitions(channels: Sequence[str]) -> list[frozenset[str]]:
    return [frozenset(chosen) for size in range(len(channels) + 1) for chosen in combinations(channels, size)]


def _shapley_values(channels: Sequence[str], values: Mapping[frozenset[str], Fraction]) -> dict[str, Fraction]:
    count = len(channels)
    found = {}
    for channel in channels:
        value = Fraction(0)
        for coalition in (one for one in values if channel not in one):
            chance = Fraction(factorial(len(coalition)) * factorial(count - len(coalition) - 1), factorial(count))
            value += chance * (values[coalition | {channel}] - values[coalition])
        found[channel] = value
    return found

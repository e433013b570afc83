"""Many paths in little space, and the Markov chain that they make.

A journey is only looked at through its path: the keys (channels, campaigns, …) of its touches in order. Paths are kept
as numbers, so that the million journeys of a year fit into a few arrays and a bootstrap may weigh them anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

DENSE = 400
"""States up to which a chain is solved by inverting its matrix; beyond, by following its probability mass."""
DENSE_IF_LONG = 3_000
"""The same for long paths, whose mass takes as long to arrive: the matrix is 72 MB."""

_REST = 1e-14
"""Mass that may still be under way when a large chain is taken as solved; no probability is further off than this."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Distinct paths, each with what came of it.

    Attributes:
        keys: Names; `codes` point to them.
        codes: The keys of all paths, one path after the other.
        lengths: How many of them belong to each path; 0: conversions without a touch.
        conversions: Conversions of each path.
        revenue: Their revenue.
        squares: The sum of the squares of their revenues.
        nulls: People who came this way and never converted.
    """

    keys: tuple[str, ...]
    codes: Indices
    lengths: Indices
    conversions: Floats
    revenue: Floats
    squares: Floats
    nulls: Floats

    @property
    def rows(self) -> Indices:
        """The path that each of `codes` belongs to."""
        return np.repeat(np.arange(len(self.lengths), dtype=np.int64), self.lengths)


def paths_of(rows: Iterable[tuple[Sequence[str], float, float, float, float]]) -> Paths:
    """Make `Paths` of (keys in order, conversions, revenue, sum of squared revenues, null journeys)."""
    numbers: dict[str, int] = {}
    codes: list[int] = []
    lengths: list[int] = []
    values: list[tuple[float, float, float, float]] = []
    for path, conversions, revenue, squares, nulls in rows:
        codes.extend([numbers.setdefault(key, len(numbers)) for key in path])
        lengths.append(len(path))
        values.append((conversions, revenue, squares, nulls))
    columns = np.array(values, dtype=np.float64).reshape(-1, 4)
    return Paths(
        keys=tuple(numbers),
        codes=np.array(codes, dtype=np.int64),
        lengths=np.array(lengths, dtype=np.int64),
        conversions=columns[:, 0],
        revenue=columns[:, 1],
        squares=columns[:, 2],
        nulls=columns[:, 3],
    )


def added(places: Indices, values: Floats, size: int) -> Floats:
    """Add values up by place: `size` sums."""
    return np.bincount(places, weights=values, minlength=size).astype(np.float64)


class Chain:
    """The Markov chain of paths. States are windows of `order` consecutive keys; a shorter path is one state.

    Args:
        paths: The journeys.
        order: 1, 2 or 3: how many touches the next one depends on.
    """

    def __init__(self, paths: Paths, order: int) -> None:
        self._keys = len(paths.keys)
        rows = paths.rows
        starts = np.cumsum(paths.lengths) - paths.lengths
        place = np.arange(len(rows)) - starts[rows]
        windows, members = _windows(paths.codes, rows, order, self._keys)
        whole = place < np.maximum(1, paths.lengths[rows] - order + 1)
        named, state = np.unique(windows[whole], return_inverse=True)
        row = rows[whole]
        self.states = len(named)
        self._contains = np.zeros((self._keys, self.states), dtype=bool)
        for member in members:
            there = member[whole] >= 0
            self._contains[member[whole][there], state[there]] = True
        continues = row[1:] == row[:-1] if len(row) else np.zeros(0, dtype=bool)
        first = np.concatenate(([True], ~continues)) if len(row) else continues
        last = np.concatenate((~continues, [True])) if len(row) else continues
        self._first, self._first_row = state[first], row[first]
        self._last, self._last_row = state[last], row[last]
        steps = np.stack((state[1:][continues], state[:-1][continues])) if len(row) else np.zeros((2, 0), np.int64)
        distinct, self._step = np.unique(steps[0] * max(1, self.states) + steps[1], return_inverse=True)
        self._to, self._from = np.divmod(distinct, max(1, self.states))  # in the order of the state they lead to
        self._step_row = row[:-1][continues]
        # All but _REST arrives within some 32 times a path's length; one step costs as much as 16 of an inversion.
        journeys = paths.conversions + paths.nulls
        steps_each = 32 * float(journeys @ paths.lengths) / max(1.0, float(journeys.sum()))
        following = 16 * steps_each * len(self._to) * (self._keys + 1)
        limit = DENSE_IF_LONG if self.states**3 < following else DENSE
        self._effects = self._inverted if self.states <= limit else self._followed

    def removal_effects(self, conversions: Floats, nulls: Floats) -> Floats:
        """Say for each key how much smaller the probability of a conversion is without it; zeros without conversions.

        Args:
            conversions: Conversions of each path; a bootstrap gives others than those of the paths themselves.
            nulls: Null journeys of each path.
        """
        if not conversions[self._first_row].any():
            return np.zeros(self._keys)
        return np.clip(self._effects(*self._probabilities(conversions, nulls)), 0.0, 1.0)

    def conversion_rate(self, conversions: Floats, nulls: Floats) -> float:
        """P(conversion) of the chain; the same as the share of journeys that converted."""
        start, step, sold = self._probabilities(conversions, nulls)
        matrix = np.eye(self.states)
        np.subtract.at(matrix, (self._from, self._to), step)
        return float(start @ np.linalg.solve(matrix, sold))

    def _probabilities(self, conversions: Floats, nulls: Floats) -> tuple[Floats, Floats, Floats]:
        """Of each state to be the first; of each step; of each state to be left for a conversion."""
        journeys = conversions + nulls
        start = added(self._first, journeys[self._first_row], self.states)
        counts = added(self._step, journeys[self._step_row], len(self._to))
        sold = added(self._last, conversions[self._last_row], self.states)
        lost = added(self._last, nulls[self._last_row], self.states)
        # A state that leads to itself does so until it leads elsewhere: leaving that out changes no probability.
        counts = np.where(self._to != self._from, counts, 0.0)
        leaving = added(self._from, counts, self.states) + sold + lost
        leaving[leaving == 0] = 1.0  # none of these journeys came there
        return start / start.sum(), counts / leaving[self._from], sold / leaving

    def _inverted(self, start: Floats, step: Floats, sold: Floats) -> Floats:
        """By N = (I - Q)^-1: what is lost without c is the chance to meet a state of c, and to convert from there."""
        matrix = np.eye(self.states)
        np.subtract.at(matrix, (self._from, self._to), step)
        visits = np.linalg.inv(matrix)
        reach, seen = visits @ sold, start @ visits
        effects = np.zeros(self._keys)
        for key in range(self._keys):
            removed = np.flatnonzero(self._contains[key])
            if removed.size:
                first_met = np.linalg.solve(visits[np.ix_(removed, removed)].T, seen[removed])
                effects[key] = first_met @ reach[removed]
        return effects / (start @ reach)

    def _followed(self, start: Floats, step: Floats, sold: Floats) -> Floats:
        """Let the mass of the start flow until next to nothing is under way, once for each key left out."""
        edges = np.flatnonzero(np.diff(self._to, prepend=-1)) if len(self._to) else np.zeros(0, np.int64)
        reached = self._to[edges]
        probability = np.empty(self._keys + 1)
        for begin in range(0, self._keys + 1, 16):
            keys = range(begin, min(begin + 16, self._keys + 1))
            open_ = np.array([~self._contains[key] if key < self._keys else np.ones(self.states, bool) for key in keys])
            mass = start * open_
            total = mass @ sold
            while len(edges) and mass.sum() > _REST:
                flow = np.add.reduceat(mass[:, self._from] * step, edges, axis=1)
                mass = np.zeros_like(mass)
                mass[:, reached] = flow
                mass *= open_
                total += mass @ sold
            probability[keys.start : keys.stop] = total
        return np.asarray(1 - probability[:-1] / probability[-1])


def _windows(codes: Indices, rows: Indices, order: int, keys: int) -> tuple[Indices, list[Indices]]:
    """Number the windows that begin at each touch, and list their first, second, … key; -1 beyond the path's end."""
    members = []
    windows = np.zeros(len(codes), dtype=np.int64)
    for ahead in range(order):
        member = np.full(len(codes), -1, dtype=np.int64)
        if ahead < len(codes):
            same = rows[ahead:] == rows[: len(rows) - ahead]
            member[: len(codes) - ahead] = np.where(same, codes[ahead:], -1)
        members.append(member)
        windows = np.unique(windows * (keys + 1) + member + 1, return_inverse=True)[1].astype(np.int64)
    return windows, members

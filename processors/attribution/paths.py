"""Paths as arrays, and their Markov chain.

The path of a journey is the list of keys (channels, campaigns and so on) of its touches in order. Distinct paths are
stored as numbers, so that the million journeys of a year fit into a few arrays and a bootstrap only changes weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

MAX_DENSE_STATES = 400
"""Up to so many states, a chain is solved by inverting its matrix; beyond, by propagating its probability mass."""
MAX_DENSE_STATES_LONG_PATHS = 3_000
"""The same if paths are so long that propagation takes more steps than inversion; the matrix then has 72 MB."""

_REMAINING_MASS = 1e-14
"""Propagation stops when less probability mass is left in the chain; this bounds the error of every probability."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Distinct paths with their outcomes. All arrays but `codes` have one value for each path.

    Attributes:
        keys: Names of keys; `codes` are positions in it.
        codes: The keys of all paths, one path after the other.
        lengths: Number of `codes` of each path; 0: conversions without a touch.
        conversions: Number of conversions.
        revenue: Revenue of the conversions.
        squares: Sum of the squares of their revenues.
        nulls: Number of null journeys: people with this path who never converted.
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
        """The position of the path that each of `codes` belongs to."""
        return np.repeat(np.arange(len(self.lengths), dtype=np.int64), self.lengths)


def paths_of(rows: Iterable[tuple[Sequence[str], float, float, float, float]]) -> Paths:
    """Return `Paths` of rows (keys in order, conversions, revenue, sum of squared revenues, null journeys)."""
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


def sums_by_index(indices: Indices, values: Floats, size: int) -> Floats:
    """Return `size` sums of values by their index."""
    return np.bincount(indices, weights=values, minlength=size).astype(np.float64)


class Chain:
    """The absorbing Markov chain of paths. States are windows of `order` consecutive keys; a shorter path is one state.

    Args:
        paths: All journeys.
        order: 1, 2 or 3: the number of touches that the next one depends on.
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
        # All but _REMAINING_MASS is absorbed within some 32 path lengths; a step costs as much as 16 of an inversion.
        journeys = paths.conversions + paths.nulls
        steps_each = 32 * float(journeys @ paths.lengths) / max(1.0, float(journeys.sum()))
        propagation_cost = 16 * steps_each * len(self._to) * (self._keys + 1)
        limit = MAX_DENSE_STATES_LONG_PATHS if self.states**3 < propagation_cost else MAX_DENSE_STATES
        self._effects = self._effects_by_inversion if self.states <= limit else self._effects_by_propagation

    def removal_effects(self, conversions: Floats, nulls: Floats) -> Floats:
        """Return 1 - P(conversion without a key) / P(conversion) for each key; 0 without conversions.

        Args:
            conversions: Conversions of each path, observed or of a bootstrap sample.
            nulls: Null journeys of each path.
        """
        if not conversions[self._first_row].any():
            return np.zeros(self._keys)
        return np.clip(self._effects(*self._probabilities(conversions, nulls)), 0.0, 1.0)

    def conversion_rate(self, conversions: Floats, nulls: Floats) -> float:
        """Return P(conversion) of the chain, which equals the share of journeys that converted."""
        start, step, sold = self._probabilities(conversions, nulls)
        matrix = np.eye(self.states)
        np.subtract.at(matrix, (self._from, self._to), step)
        return float(start @ np.linalg.solve(matrix, sold))

    def _probabilities(self, conversions: Floats, nulls: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the probability of each state to be the first, of each step, and of a conversion after each state."""
        journeys = conversions + nulls
        start = sums_by_index(self._first, journeys[self._first_row], self.states)
        counts = sums_by_index(self._step, journeys[self._step_row], len(self._to))
        sold = sums_by_index(self._last, conversions[self._last_row], self.states)
        lost = sums_by_index(self._last, nulls[self._last_row], self.states)
        # Steps from a state to itself are left out, which changes no absorption probability.
        counts = np.where(self._to != self._from, counts, 0.0)
        leaving = sums_by_index(self._from, counts, self.states) + sold + lost
        leaving[leaving == 0] = 1.0  # no journey of the sample reaches this state
        return start / start.sum(), counts / leaving[self._from], sold / leaving

    def _effects_by_inversion(self, start: Floats, step: Floats, sold: Floats) -> Floats:
        """By N = (I - Q)^-1: what a key adds is P(a state with it is reached) x P(conversion from that state)."""
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

    def _effects_by_propagation(self, start: Floats, step: Floats, sold: Floats) -> Floats:
        """Propagate the probability mass of the start, once for each removed key, until `_REMAINING_MASS` is left."""
        edges = np.flatnonzero(np.diff(self._to, prepend=-1)) if len(self._to) else np.zeros(0, np.int64)
        reached = self._to[edges]
        probability = np.empty(self._keys + 1)
        for begin in range(0, self._keys + 1, 16):
            keys = range(begin, min(begin + 16, self._keys + 1))
            open_ = np.array([~self._contains[key] if key < self._keys else np.ones(self.states, bool) for key in keys])
            mass = start * open_
            total = mass @ sold
            while len(edges) and mass.sum() > _REMAINING_MASS:
                flow = np.add.reduceat(mass[:, self._from] * step, edges, axis=1)
                mass = np.zeros_like(mass)
                mass[:, reached] = flow
                mass *= open_
                total += mass @ sold
            probability[keys.start : keys.stop] = total
        return np.asarray(1 - probability[:-1] / probability[-1])


def _windows(codes: Indices, rows: Indices, order: int, keys: int) -> tuple[Indices, list[Indices]]:
    """Number the windows that begin at each touch, and return their first, second, … keys; -1 beyond the path's end."""
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

"""Response to advertising spend: a concave curve for each channel, and the optimal split of a budget.

The curve of a day is revenue = base + scale x ln(1 + stock / bend), with no parameter negative: the semi-logarithmic
response function with diminishing returns (Hanssens, Parsons and Schultz, Market Response Models, 2nd edition 2001,
chapter 3). `stock` is the spend of this day and, with weights that halve every `half_life_days`, of days before: the
advertising stock of Broadbent, "One way TV advertisements work", Journal of the Market Research Society 21, 1979, with
weights that add up to 1, so that a constant spend is its own stock. `bend` and `half_life_days` are searched on a grid,
`base` and `scale` are least squares. Intervals are a block bootstrap by weeks (Davison and Hinkley, Bootstrap Methods
and their Application, 1997, section 8.2), as the days of a week are correlated; the half-life is kept in it.

Spend that follows demand, as for search, looks more effective than it is: confirm with an experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

MIN_DAYS = 28
"""Fewer days than this give a curve with a warning."""
_BLOCK_DAYS = 7
_BEND_GRID = np.geomspace(0.05, 20.0, 25)
_HALF_LIVES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0)
"""Days; 0: all that spend brings comes on its day."""
_ALLOCATION_STEPS = 1000


class Curve(NamedTuple):
    """Response curve of a channel.

    Attributes:
        channel: The marketing channel.
        days: Number of days in the fit.
        spend: Mean spend of a day.
        base: Revenue of a day without spend.
        scale: Revenue for each e-fold of spend, once it is far above `bend`.
        bend: Spend at which returns begin to diminish.
        half_life_days: Days in which half of what spend brings later has come.
        r_squared: Share of the days' variance that the curve explains.
        marginal: Revenue of the next unit spent each day at the mean, that of the days after it included.
        marginal_low: Lower end of its 95 % interval.
        marginal_high: Upper end.
        warning: Why the fit is not reliable; empty: no known reason.
    """

    channel: str
    days: int
    spend: float
    base: float
    scale: float
    bend: float
    half_life_days: float
    r_squared: float
    marginal: float
    marginal_low: float
    marginal_high: float
    warning: str

    def revenue(self, spend: float) -> float:
        """Return the revenue of a day, with this spend on each day."""
        return float(self.base + self.scale * np.log1p(spend / self.bend))

    def slope(self, spend: float) -> float:
        """Return the marginal revenue at this spend."""
        return self.scale / (self.bend + spend)


def fit(
    channel: str, spend: Sequence[float], revenue: Sequence[float], *, draws: int = 300, seed: int = 1
) -> Curve | None:
    """Fit the curve of one channel.

    Args:
        channel: Name of the channel.
        spend: Spend of each day, in order.
        revenue: Revenue credited to the channel on each of these days.
        draws: Number of bootstrap draws for the interval.
        seed: The same seed gives the same interval.

    Returns:
        The curve; None if there was no spend.
    """
    x, y = np.asarray(spend, float), np.asarray(revenue, float)
    mean = float(x.mean()) if len(x) else 0.0
    if mean <= 0:
        return None
    spent = x
    half_life, x, (base, scale, bend, error) = _best_half_life(spent, y, mean)
    variance = float(((y - y.mean()) ** 2).sum())
    marginal = scale / (bend + mean)
    rng = np.random.default_rng(seed)
    blocks = [np.arange(start, min(start + _BLOCK_DAYS, len(x))) for start in range(0, len(x), _BLOCK_DAYS)]
    slopes = []
    for _ in range(draws):
        days = np.concatenate([blocks[index] for index in rng.integers(0, len(blocks), len(blocks))])
        if x[days].any():
            _, drawn_scale, drawn_bend, _ = _least_squares(x[days], y[days], mean)
            slopes.append(drawn_scale / (drawn_bend + mean))
    low, high = np.quantile(slopes or [marginal], [0.025, 0.975])
    return Curve(
        channel, len(x), mean, base, scale, bend, half_life, 1 - error / variance if variance else 0.0, marginal,
        float(low), float(high), _warning(spent, float(low)),
    )  # fmt: skip


def allocate(curves: Sequence[Curve], budget: float, *, max_multiple: float = 2.0) -> dict[str, float]:
    """Split a day's budget over channels so that revenue is highest: marginal revenue is then equal.

    The curves are concave, so it is optimal to give each small step to the channel that gains most from it (Fox,
    "Discrete optimization via marginal analysis", Management Science 13, 1966).

    Args:
        curves: One for each channel.
        budget: Spend of a day; all of it is given as far as `max_multiple` allows.
        max_multiple: Maximum spend of a channel as a multiple of its mean: the curve is not known far beyond it.

    Returns:
        Spend by channel.
    """
    given = {curve.channel: 0.0 for curve in curves}
    step = budget / _ALLOCATION_STEPS
    for _ in range(_ALLOCATION_STEPS if step > 0 else 0):
        open_to = [curve for curve in curves if given[curve.channel] + step <= max_multiple * curve.spend * (1 + 1e-9)]
        if not open_to:
            break
        chosen = max(
            open_to, key=lambda curve: curve.revenue(given[curve.channel] + step) - curve.revenue(given[curve.channel])
        )
        given[chosen.channel] += step
    return given


def expected_revenue(curves: Sequence[Curve], spend: Mapping[str, float]) -> float:
    """Return the revenue of a day with this spend; channels that are not given spend their mean."""
    return sum(curve.revenue(spend.get(curve.channel, curve.spend)) for curve in curves)


def _best_half_life(x: Numbers, y: Numbers, mean: float) -> tuple[float, Numbers, tuple[float, float, float, float]]:
    """Return the half-life that fits best, the stock of each day with it, and base, scale, bend and squared error."""
    at_once = _least_squares(x, y, mean)
    best = (0.0, x, at_once)
    # Some of many half-lives fits noise better by chance: twice the penalty of Schwarz, "Estimating the dimension of a
    # model", Annals of Statistics 6, 1978.
    limit = at_once[3] * len(x) ** (-2 / len(x))
    for half_life in _HALF_LIVES[1:]:
        stock = _stock(x, half_life)
        found = _least_squares(stock, y, mean)
        if found[3] < min(limit, best[2][3]):
            best = (half_life, stock, found)
    return best


def _stock(x: Numbers, half_life: float) -> Numbers:
    """Return the advertising stock of each day; before the first day it is taken to be the mean spend."""
    kept = 0.5 ** (1 / half_life)
    level, stock = float(x.mean()), np.empty_like(x)
    for day, spend in enumerate(x):
        level = kept * level + (1 - kept) * spend
        stock[day] = level
    return stock


def _least_squares(x: Numbers, y: Numbers, mean: float) -> tuple[float, float, float, float]:
    """Return base, scale, bend and squared error of the best curve whose base and scale are not negative."""
    best: tuple[float, float, float, float] = (float(y.mean()), 0.0, mean, float(((y - y.mean()) ** 2).sum()))
    for bend in _BEND_GRID * mean:
        features = np.log1p(x / bend)
        for base, scale in _solutions(features, y):
            error = float(((y - base - scale * features) ** 2).sum())
            if error < best[3] - 1e-12:
                best = (base, scale, float(bend), error)
    return best


def _solutions(features: Numbers, y: Numbers) -> list[tuple[float, float]]:
    """Return the unconstrained solution if it is not negative, else the one with base 0."""
    centred = features - features.mean()
    spread = float(centred @ centred)
    if spread > 0:
        scale = float(centred @ y) / spread
        base = float(y.mean()) - scale * float(features.mean())
        if base >= 0 and scale >= 0:
            return [(base, scale)]
    squares: Any = features @ features
    return [(0.0, max(0.0, float(features @ y) / float(squares)))] if squares else []


def _warning(x: Numbers, low: float) -> str:
    if len(x) < MIN_DAYS:
        return f"{len(x)} days, at least {MIN_DAYS} are needed"
    if float(x.std()) < 0.1 * float(x.mean()):
        return "spend hardly varies, so nothing shows what more of it would do"
    return "the effect of spend cannot be distinguished from chance" if low <= 0 else ""

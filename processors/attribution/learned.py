"""Attribution models that are fitted to all journeys at once: Markov chains and Shapley values, with intervals.

* `markov_1`, `markov_2`, `markov_3`: removal effects in a Markov chain of that order, normalized (Anderl, Becker, von
  Wangenheim and Schumann, "Mapping the customer journey", International Journal of Research in Marketing 33, 2016).
  `markov_1_pathwise` shares each conversion among its own touches by these effects.
* `shapley`: the Shapley value (Shapley, "A value for n-person games", 1953) of the conversions of journeys within a set
  of keys, in its closed form (Zhao, Mahboobi and Bagheri, "Shapley value methods for attribution modeling in online
  advertising", 2018). `shapley_rate_subset`: of their conversion rate (Dalessandro, Perlich, Stitelman and Provost,
  "Causally motivated attribution for online advertising", ADKDD 2012).
* `shao_li`: the second-order probability model (Shao and Li, "Data-driven multi-touch attribution models", KDD 2011).

Intervals are percentiles of a bootstrap of journeys (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
These models credit the conversions with a touch; those without go to `(unattributed)`, as in every model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import factorial
from typing import NamedTuple

import numpy as np

from processors.attribution.paths import Chain, Floats, Indices, Paths, sums_by_index
from processors.attribution.rules import UNATTRIBUTED

LEARNED_MODELS = ("markov_1", "markov_2", "markov_3", "markov_1_pathwise", "shapley")
"""Models in a report of all models."""
OPTIONAL_MODELS = ("shapley_rate_subset", "shao_li")
"""Models in a report that names them."""
MAX_PLAYERS = 20
"""Maximum number of keys for `shapley_rate_subset`, whose cost doubles with each."""
MIN_RELIABLE_JOURNEYS = 30
"""With fewer converting journeys than this, the credit of a key is not reliable."""


class TooManyKeysError(ValueError):
    """A model cannot be computed for so many keys; the message names the model and its maximum."""


class Share(NamedTuple):
    """The credit that a model gives a key.

    Attributes:
        model: The model.
        key: Channel, campaign and so on; `(unattributed)` for conversions without a touch.
        removal_effect: Share of the conversions that would be lost without it; None: the model has no such value.
        share: Share of the conversions with a touch; 0 for `(unattributed)`.
        conversions: Credited conversions.
        revenue: Credited revenue.
        journeys: Converting journeys with this key; fewer than `MIN_RELIABLE_JOURNEYS`: do not rely on it.
        share_low: Lower end of the share's 95 % interval; None without a bootstrap.
        share_high: Upper end.
        revenue_low: Lower end of the credited revenue's 95 % interval.
        revenue_high: Upper end.
    """

    model: str
    key: str
    removal_effect: float | None
    share: float
    conversions: float
    revenue: float
    journeys: float
    share_low: float | None = None
    share_high: float | None = None
    revenue_low: float | None = None
    revenue_high: float | None = None


class _Credit(NamedTuple):
    """The credit of a model, one value for each key."""

    conversions: Floats
    revenue: Floats
    effects: Floats | None = None


class _Sample(NamedTuple):
    """Observed journeys, or a bootstrap sample of as many; one value for each path."""

    conversions: Floats
    revenue: Floats
    nulls: Floats


_Model = Callable[[_Sample], _Credit]


def shares(paths: Paths, models: Iterable[str], *, replicates: int = 0, seed: int = 0) -> list[Share]:
    """Credit conversions by models that are fitted to all journeys.

    Args:
        paths: All journeys, null journeys included.
        models: Some of `LEARNED_MODELS` and `OPTIONAL_MODELS`.
        replicates: Number of bootstrap replicates for the intervals; 0: no intervals.
        seed: Seed of the bootstrap.

    Returns:
        One row for each model and key, most conversions first; keys of null journeys alone are included.

    Raises:
        TooManyKeysError: `shapley_rate_subset` is requested for more than `MAX_PLAYERS` keys.
    """
    observed = _Sample(paths.conversions, paths.revenue, paths.nulls)
    fitted = {model: _model(paths, model) for model in models}
    credited = {model: credit(observed) for model, credit in fitted.items()}
    drawn: dict[str, list[tuple[Floats, Floats]]] = {model: [] for model in fitted}
    for sample in _samples(paths, replicates, seed):
        for model, credit in fitted.items():
            replicate = credit(sample)
            drawn[model].append((_share(replicate.conversions), replicate.revenue))
    journeys = _converting_journeys(paths, paths.conversions)
    rows: list[Share] = []
    for model, found in credited.items():
        rows.extend(_rows(paths, model, found, journeys, drawn[model]))
    return rows


def _rows(
    paths: Paths, model: str, credit: _Credit, journeys: Floats, drawn: Sequence[tuple[Floats, Floats]]
) -> list[Share]:
    share = _share(credit.conversions)
    ends: list[list[float | None]] = [[None] * 4 for _ in paths.keys]
    if drawn:
        share_ends = np.percentile([one for one, _ in drawn], (2.5, 97.5), axis=0)
        revenue_ends = np.percentile([one for _, one in drawn], (2.5, 97.5), axis=0)
        ends = [list(map(float, values)) for values in np.concatenate((share_ends, revenue_ends)).T]
    rows = [
        Share(
            model,
            key,
            None if credit.effects is None else float(credit.effects[place]),
            float(share[place]),
            float(credit.conversions[place]),
            float(credit.revenue[place]),
            float(journeys[place]),
            *ends[place],
        )
        for place, key in enumerate(paths.keys)
    ]
    rows.sort(key=lambda row: (-row.conversions, row.key))
    untouched = paths.lengths == 0
    if conversions := float(paths.conversions[untouched].sum()):
        revenue = float(paths.revenue[untouched].sum())
        rows.append(Share(model, UNATTRIBUTED, None, 0.0, conversions, revenue, conversions))
    return rows


def _samples(paths: Paths, replicates: int, seed: int) -> Iterable[_Sample]:
    """Draw as many journeys as there are. The revenue of a drawn conversion varies as those of its path do."""
    outcomes = np.concatenate((paths.conversions, paths.nulls))
    journeys = outcomes.sum()
    if not journeys:
        return
    random = np.random.default_rng(seed)
    count = np.maximum(paths.conversions, 1)
    mean = paths.revenue / count
    spread = np.sqrt(np.maximum(paths.squares / count - mean**2, 0))
    for _ in range(replicates):
        drawn = random.multinomial(round(journeys), outcomes / journeys).astype(np.float64)
        conversions, nulls = np.split(drawn, 2)
        noise = random.standard_normal(len(count))
        yield _Sample(conversions, conversions * mean + np.sqrt(conversions) * spread * noise, nulls)


def _model(paths: Paths, model: str) -> _Model:
    if model.startswith("markov_"):
        order, _, pathwise = model.removeprefix("markov_").partition("_")
        return (_pathwise if pathwise else _markov)(paths, Chain(paths, int(order)))
    return {"shapley": _shapley, "shapley_rate_subset": _rate_subset, "shao_li": _shao_li}[model](paths)


def _markov(paths: Paths, chain: Chain) -> _Model:
    touched = paths.lengths > 0

    def credit(sample: _Sample) -> _Credit:
        effects = chain.removal_effects(sample.conversions, sample.nulls)
        share = _share(effects)
        return _Credit(share * sample.conversions[touched].sum(), share * sample.revenue[touched].sum(), effects)

    return credit


def _pathwise(paths: Paths, chain: Chain) -> _Model:
    rows, keys = paths.rows, len(paths.keys)

    def credit(sample: _Sample) -> _Credit:
        effects = chain.removal_effects(sample.conversions, sample.nulls)
        touch_effects = effects[paths.codes]
        whole = sums_by_index(rows, touch_effects, len(paths.lengths))
        weight = touch_effects / np.where(whole, whole, 1.0)[rows]
        return _Credit(
            sums_by_index(paths.codes, weight * sample.conversions[rows], keys),
            sums_by_index(paths.codes, weight * sample.revenue[rows], keys),
            effects,
        )

    return credit


def _shapley(paths: Paths) -> _Model:
    """Closed form of the Shapley value: each distinct key of a journey gets the same credit."""
    row, key = _distinct(paths)
    weight = 1 / np.maximum(1, np.bincount(row, minlength=len(paths.lengths)))[row]

    def credit(sample: _Sample) -> _Credit:
        return _Credit(
            sums_by_index(key, weight * sample.conversions[row], len(paths.keys)),
            sums_by_index(key, weight * sample.revenue[row], len(paths.keys)),
        )

    return credit


def _rate_subset(paths: Paths) -> _Model:
    count = len(paths.keys)
    if count > MAX_PLAYERS:
        raise TooManyKeysError(f"shapley_rate_subset takes at most {MAX_PLAYERS} keys, here are {count}")
    row, key = _distinct(paths)
    masks = sums_by_index(row, np.exp2(key.astype(np.float64)), len(paths.lengths)).astype(np.int64)
    touched = paths.lengths > 0
    sets = np.arange(1 << count)
    sizes = np.array([bin(one).count("1") for one in range(1 << count)], dtype=np.int64)
    chances = np.array([factorial(size) * factorial(count - size - 1) / factorial(count) for size in range(count)])

    def within(values: Floats) -> Floats:
        sums = sums_by_index(masks[touched], values[touched], 1 << count)
        for bit in range(count):
            has = np.flatnonzero(sets >> bit & 1)
            sums[has] += sums[has ^ (1 << bit)]
        return sums

    def credit(sample: _Sample) -> _Credit:
        journeys = within(sample.conversions + sample.nulls)
        rate = np.divide(within(sample.conversions), journeys, out=np.zeros(len(sets)), where=journeys > 0)
        values = np.zeros(count)
        for bit in range(count):
            lacks = np.flatnonzero(~sets >> bit & 1)
            values[bit] = chances[sizes[lacks]] @ (rate[lacks | (1 << bit)] - rate[lacks])
        return _as_shares(paths, sample, values)

    return credit


def _shao_li(paths: Paths) -> _Model:
    row, key = _distinct(paths)
    count, journeys = len(paths.keys), len(paths.lengths)
    has = np.zeros((journeys, count))
    has[row, key] = 1.0
    others = np.maximum(1.0, 2 * (has.sum(axis=1) - 1))

    def credit(sample: _Sample) -> _Credit:
        reached = has.T @ (has * (sample.conversions + sample.nulls)[:, None])
        sold = has.T @ (has * sample.conversions[:, None])
        rate = np.divide(sold, reached, out=np.zeros((count, count)), where=reached > 0)
        alone = np.diag(rate)
        gain = rate - alone[:, None] - alone[None, :]
        np.fill_diagonal(gain, 0.0)
        value = has * (alone[None, :] + (has @ gain) / others[:, None])
        return _as_shares(paths, sample, value.T @ sample.conversions)

    return credit


def _as_shares(paths: Paths, sample: _Sample, values: Floats) -> _Credit:
    share, touched = _share(values), paths.lengths > 0
    return _Credit(share * sample.conversions[touched].sum(), share * sample.revenue[touched].sum(), values)


def _distinct(paths: Paths) -> tuple[Indices, Indices]:
    """Return the distinct pairs (path, key) as two arrays."""
    pairs = np.unique(paths.rows * max(1, len(paths.keys)) + paths.codes)
    row, key = np.divmod(pairs, max(1, len(paths.keys)))
    return row, key


def _converting_journeys(paths: Paths, conversions: Floats) -> Floats:
    row, key = _distinct(paths)
    return sums_by_index(key, conversions[row], len(paths.keys))


def _share(values: Floats) -> Floats:
    whole = values.sum()
    return values / whole if whole else np.zeros(len(values))

"""Models that learn from all journeys at once, for reports: Markov chains, Shapley values, and how sure they are.

The definitions are those of `tests/oracles/attribution_exact.py`. What these models share out is the conversions with a
touch; those without go to `(unattributed)`, as in every model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import factorial
from typing import NamedTuple

import numpy as np

from processors.attribution.paths import Chain, Floats, Indices, Paths, added
from processors.attribution.rules import UNATTRIBUTED

LEARNED = ("markov_1", "markov_2", "markov_3", "markov_1_pathwise", "shapley")
"""Models that a report with all models has."""
OPTIONAL = ("shapley_rate_subset", "shao_li")
"""Models that need to be asked for by name."""
MOST_PLAYERS = 20
"""Keys up to which `shapley_rate_subset`, whose cost doubles with each, is worked out."""
THIN = 30
"""Converting journeys below which what is said of a key is hardly more than chance."""


class TooManyKeysError(ValueError):
    """A model does not work with so many keys; the message says which and how many it takes."""


class Share(NamedTuple):
    """What a model gives a key.

    Attributes:
        model: The model.
        key: Channel, campaign, …; `(unattributed)` for conversions without a touch.
        removal_effect: Share of the conversions that would be lost without it; None: the model does not say.
        share: Of the conversions with a touch; 0 for `(unattributed)`.
        conversions: Credited conversions.
        revenue: Credited revenue.
        journeys: Converting journeys with this key; fewer than `THIN`: do not rely on it.
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
    """A model's answer by key."""

    conversions: Floats
    revenue: Floats
    effects: Floats | None = None


class _Sample(NamedTuple):
    """Journeys: those that were, or as many drawn from them again. One value for each path."""

    conversions: Floats
    revenue: Floats
    nulls: Floats


_Model = Callable[[_Sample], _Credit]


def shares(paths: Paths, models: Iterable[str], *, replicates: int = 0, seed: int = 0) -> list[Share]:
    """Credit the conversions of all journeys by models that look at all of them.

    Args:
        paths: The journeys, null journeys too.
        models: Some of `LEARNED` and `OPTIONAL`.
        replicates: How often all journeys are drawn anew, with replacement, for the intervals; 0: no intervals.
        seed: Of the drawing.

    Returns:
        One row for each model and key, most conversions first; keys that only null journeys have, too.

    Raises:
        TooManyKeysError: `shapley_rate_subset` is asked for more than `MOST_PLAYERS` keys.
    """
    observed = _Sample(paths.conversions, paths.revenue, paths.nulls)
    makers = {model: _maker(paths, model) for model in models}
    found = {model: credit(observed) for model, credit in makers.items()}
    drawn: dict[str, list[tuple[Floats, Floats]]] = {model: [] for model in makers}
    for sample in _samples(paths, replicates, seed):
        for model, credit in makers.items():
            again = credit(sample)
            drawn[model].append((_share(again.conversions), again.revenue))
    journeys = _touched(paths, paths.conversions)
    rows: list[Share] = []
    for model, credit_found in found.items():
        rows.extend(_rows(paths, model, credit_found, journeys, drawn[model]))
    return rows


def _rows(
    paths: Paths, model: str, credit: _Credit, journeys: Floats, drawn: Sequence[tuple[Floats, Floats]]
) -> list[Share]:
    share = _share(credit.conversions)
    ends: list[list[float | None]] = [[None] * 4 for _ in paths.keys]
    if drawn:
        of_share = np.percentile([one for one, _ in drawn], (2.5, 97.5), axis=0)
        of_revenue = np.percentile([one for _, one in drawn], (2.5, 97.5), axis=0)
        ends = [list(map(float, values)) for values in np.concatenate((of_share, of_revenue)).T]
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
    """Draw as many journeys as there are. A drawn conversion's revenue scatters as those of its path do."""
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


def _maker(paths: Paths, model: str) -> _Model:
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
        of_touch = effects[paths.codes]
        whole = added(rows, of_touch, len(paths.lengths))
        weight = of_touch / np.where(whole, whole, 1.0)[rows]
        return _Credit(
            added(paths.codes, weight * sample.conversions[rows], keys),
            added(paths.codes, weight * sample.revenue[rows], keys),
            effects,
        )

    return credit


def _shapley(paths: Paths) -> _Model:
    """Closed form: of the standard game, each distinct key of a journey gets the same."""
    row, key = _distinct(paths)
    weight = 1 / np.maximum(1, np.bincount(row, minlength=len(paths.lengths)))[row]

    def credit(sample: _Sample) -> _Credit:
        return _Credit(
            added(key, weight * sample.conversions[row], len(paths.keys)),
            added(key, weight * sample.revenue[row], len(paths.keys)),
        )

    return credit


def _rate_subset(paths: Paths) -> _Model:
    count = len(paths.keys)
    if count > MOST_PLAYERS:
        raise TooManyKeysError(f"shapley_rate_subset takes at most {MOST_PLAYERS} keys, here are {count}")
    row, key = _distinct(paths)
    masks = added(row, np.exp2(key.astype(np.float64)), len(paths.lengths)).astype(np.int64)
    touched = paths.lengths > 0
    sets = np.arange(1 << count)
    sizes = np.array([bin(one).count("1") for one in range(1 << count)], dtype=np.int64)
    chances = np.array([factorial(size) * factorial(count - size - 1) / factorial(count) for size in range(count)])

    def within(values: Floats) -> Floats:
        sums = added(masks[touched], values[touched], 1 << count)
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
    """The pairs of (path, key in it), each once."""
    pairs = np.unique(paths.rows * max(1, len(paths.keys)) + paths.codes)
    row, key = np.divmod(pairs, max(1, len(paths.keys)))
    return row, key


def _touched(paths: Paths, conversions: Floats) -> Floats:
    row, key = _distinct(paths)
    return added(key, conversions[row], len(paths.keys))


def _share(values: Floats) -> Floats:
    whole = values.sum()
    return values / whole if whole else np.zeros(len(values))

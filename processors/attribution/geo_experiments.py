"""What a campaign brought in the areas where it ran, by areas where it did not: a synthetic control.

Where people cannot be drawn into groups, as on television, on posters or on search, areas can. The areas with the
campaign are compared with a mean of the others whose weights, not negative and adding up to 1, make it follow them in
the days before (Abadie, Diamond and Hainmueller, "Synthetic control methods for comparative case studies", Journal of
the American Statistical Association 105, 2010). Each area counts relative to its own level, so that areas of any size
may be compared and a season multiplies all of them alike (a form of the demeaned control of Ferman and Pinto,
"Synthetic controls with imperfect pretreatment fit", Quantitative Economics 12, 2021).

Effect and interval are those of the debiased synthetic control with cross-fitting (Chernozhukov, Wüthrich and Zhu, "A
t-test for synthetic controls", arXiv:1812.10820): the days before are cut into blocks, the weights are fitted without
one of them, and what that one deviates by is taken from the effect. The estimates differ as much as the method errs,
and their t-statistic needs neither independent days nor an error that is known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

MIN_DAYS_BEFORE = 21
"""Fewer days before the campaign, or fewer than it has, say too little of how areas move together."""
POOR_FIT = 0.25
"""A daily error before the campaign above this share of the level deserves a warning."""
MIN_BLOCKS, MAX_BLOCKS = 3, 10
"""Blocks of the days before, as long as the campaign where there are enough of them."""
_ADDS_UP = 1e3
"""Weight of the condition that weights add up to 1, beside series whose level is 1."""
_NO_SHARE = 0.001
"""A weight up to here is the solver's rounding."""
_EXACT = 1e-9
_WEEK = 7


class GeoEffect(NamedTuple):
    """The effect of a campaign on the areas where it ran, over all of its days.

    Attributes:
        actual: What there was.
        expected: What there would have been without it.
        incremental: `actual - expected`.
        low: Lower end of the confidence interval of `incremental`.
        high: Upper end.
        relative: `incremental / expected`; None if nothing was expected.
        p_value: Probability of an effect at least so far from 0 if there is none.
        error: Root mean square of the daily error before it, relative to the mean of a day.
        weights: Share of each area in the comparison, the greatest first, without those of no weight.
        days: What there was on each day, days before included.
        expected_days: What was expected on each of them.
        warning: Why the result is not reliable; empty: no known reason.
    """

    actual: float
    expected: float
    incremental: float
    low: float
    high: float
    relative: float | None
    p_value: float
    error: float
    weights: dict[str, float]
    days: list[float]
    expected_days: list[float]
    warning: str

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


class GeoPlan(NamedTuple):
    """How small an effect an experiment in some areas would find.

    Attributes:
        areas: Where the campaign would run.
        share: Their share of all that there is: what it costs to run it there, or to leave it out.
        detectable: The smallest relative effect that is found in 80 of 100 experiments, with a 95 % interval.
        error: Root mean square of the daily error, as `GeoEffect` has it.
        placebos: Number of stretches of the past without a campaign from which that was learned.
    """

    areas: tuple[str, ...]
    share: float
    detectable: float
    error: float
    placebos: int


def measure(
    series: Mapping[str, Sequence[float]], treated: Collection[str], campaign_days: int, confidence: float = 0.95
) -> GeoEffect | str:
    """Estimate what a campaign brought.

    Args:
        series: The outcome of each day by area, all over the same days; those of the campaign are the last.
        treated: The areas where it ran.
        campaign_days: On how many days.
        confidence: Of the interval.

    Returns:
        The effect; a sentence that says why there is none to be found.
    """
    if reason := _refusal(series, treated, campaign_days):
        return reason
    ran = np.sum([np.asarray(series[area], float) for area in treated], axis=0)
    before = len(ran) - campaign_days
    known = {area: np.asarray(days, float) for area, days in series.items() if area not in treated}
    others = {area: days for area, days in known.items() if days[:before].mean() > 0}
    level = float(ran[:before].mean())
    if level <= 0:
        return f"nothing happened in {_named(treated)} before the campaign, so there is nothing to compare with"
    if not others:
        return "nothing happened in the other areas before the campaign, so there is nothing to compare with"
    observed = ran / level
    controls = np.column_stack([days / days[:before].mean() for days in others.values()])
    effect, deviation, p_value, margin = _cross_fitted(observed, controls, before, confidence)
    weights = _weights(observed[:before], controls[:before])
    followed = controls @ weights
    error = float(np.sqrt(np.mean((observed - followed)[:before] ** 2)))
    whole = level * campaign_days
    actual = float(ran[before:].sum())
    would = actual - effect * whole
    shares = {area: float(share) for area, share in zip(others, weights, strict=True) if share > _NO_SHARE}
    return GeoEffect(
        actual, would, effect * whole, (effect - margin) * whole, (effect + margin) * whole,
        effect * whole / would if would > 0 else None, p_value, error,
        dict(sorted(shares.items(), key=lambda one: -one[1])), ran.tolist(), ((followed + deviation) * level).tolist(),
        _warning(error, len(others)),
    )  # fmt: skip


def plan(
    series: Mapping[str, Sequence[float]], campaign_days: int, areas: int = 1, *, confidence: float = 0.95,
    power: float = 0.8,
) -> list[GeoPlan] | str:  # fmt: skip
    """Find the areas in which an experiment would find the smallest effect.

    Each set of areas is measured over stretches of the past in which there was no campaign. What is found there is the
    error of the method, and the detectable effect is that error times the quantiles of significance and power (Bloom,
    "Minimum detectable effects", Evaluation Review 19, 1995) of the t-statistic that all days of the past will give.
    Sets grow by the area that helps most.

    Args:
        series: The outcome of each day by area, all over the same days, none of them with a campaign to be measured.
        campaign_days: How long the campaign will run.
        areas: Greatest number of areas in which it may run; at least one is left for comparison.
        confidence: Of the interval that the experiment will have.
        power: Probability that an effect of that size is found.

    Returns:
        Sets of areas, the one with the smallest detectable effect first; a sentence that says why there are none.
    """
    from scipy.stats import t as student

    active = {area: np.asarray(days, float) for area, days in series.items() if np.sum(days) > 0}
    if len(active) < 2:
        return f"there are no two areas to compare: something happened in {_named(sorted(active)) or 'none'}"
    if reason := _refusal(active, tuple(active)[:1], campaign_days):
        return reason
    everything = float(np.sum([days.sum() for days in active.values()]))
    freedom = _blocks(min(len(days) for days in active.values()), campaign_days) - 1
    factor = float(student.ppf(1 - (1 - confidence) / 2, freedom) + student.ppf(power, freedom))
    found: dict[tuple[str, ...], GeoPlan] = {}
    chosen: tuple[str, ...] = ()
    for _ in range(min(areas, len(active) - 1)):
        grown = [
            one
            for area in active
            if area not in chosen
            and (one := _planned(active, tuple(sorted((*chosen, area))), campaign_days, factor, everything))
        ]
        if not grown:
            break
        found |= {one.areas: one for one in grown}
        chosen = min(grown, key=lambda one: one.detectable).areas
    if not found:
        return "the areas have too few days on which anything happened to learn from"
    return sorted(found.values(), key=lambda one: (one.detectable, one.areas))


def _refusal(series: Mapping[str, Sequence[float] | Numbers], treated: Collection[str], campaign_days: int) -> str:
    """Return why there can be no comparison; empty: there can."""
    unknown = sorted(set(treated) - series.keys())
    if not treated:
        return "name at least one area where the campaign ran"
    if unknown:
        return f"{_named(unknown)}: no such area; there are {_named(sorted(series)[:20]) or 'none'}"
    if len(series) <= len(set(treated)):
        return "the campaign ran everywhere: leave at least one area for comparison"
    lengths = {len(days) for days in series.values()}
    if len(lengths) > 1:
        return f"the areas have different numbers of days: {', '.join(map(str, sorted(lengths)))}"
    before, least = lengths.pop() - campaign_days, max(MIN_DAYS_BEFORE, campaign_days)
    if campaign_days < 1:
        return "the campaign needs at least one day"
    if before < least:
        return f"{max(before, 0)} days before the campaign are known, {least} are needed"
    return ""


def _weights(observed: Numbers, controls: Numbers) -> Numbers:
    """Return the weights of the mean of controls that is nearest to what was observed."""
    from scipy.optimize import nnls

    adds_up = np.full((1, controls.shape[1]), _ADDS_UP)
    weights, _ = nnls(np.vstack([controls, adds_up]), np.append(observed, _ADDS_UP))
    return np.asarray(weights / weights.sum(), float)


def _blocks(before: int, campaign: int) -> int:
    return min(max(before // campaign, MIN_BLOCKS), MAX_BLOCKS)


def _cross_fitted(
    observed: Numbers, controls: Numbers, before: int, confidence: float
) -> tuple[float, float, float, float]:
    """Return the mean effect of a day, the mean deviation before that it is free of, p-value and margin of error."""
    from scipy.stats import t as student

    campaign = len(observed) - before
    count = _blocks(before, campaign)
    length = min(before // count, campaign)
    effects, deviations = [], []
    for number in range(count):
        start = before - (number + 1) * length
        left_out = np.zeros(len(observed), bool)
        left_out[start : start + length] = True
        fitted = ~left_out
        fitted[before:] = False
        errors = observed - controls @ _weights(observed[fitted], controls[fitted])
        deviations.append(float(errors[left_out].mean()))
        effects.append(float(errors[before:].mean()) - deviations[-1])
    effect = float(np.mean(effects))
    standard_error = sqrt((1 + count * length / campaign) * float(np.var(effects, ddof=1)) / count)
    if standard_error < _EXACT:
        return effect, float(np.mean(deviations)), float(abs(effect) < _EXACT), 0.0
    p_value = 2 * float(student.sf(abs(effect) / standard_error, count - 1))
    margin = float(student.ppf(1 - (1 - confidence) / 2, count - 1)) * standard_error
    return effect, float(np.mean(deviations)), p_value, margin


def _planned(
    series: Mapping[str, Numbers], areas: tuple[str, ...], campaign_days: int, factor: float, everything: float
) -> GeoPlan | None:
    """Measure an experiment in these areas over stretches of the past."""
    ran = np.sum([series[area] for area in areas], axis=0)
    others = [days for area, days in series.items() if area not in areas]
    effects, errors = [], []
    least = max(MIN_DAYS_BEFORE, campaign_days)
    for start in range(len(ran) - campaign_days, least - 1, -_WEEK):
        known = [days for days in others if days[:start].mean() > 0]
        level = float(ran[:start].mean())
        if level <= 0 or not known:
            continue
        controls = np.column_stack([days / days[:start].mean() for days in known])
        observed = ran / level
        effect, _, _, _ = _cross_fitted(
            observed[: start + campaign_days], controls[: start + campaign_days], start, 0.95
        )
        would = float(observed[start : start + campaign_days].mean()) - effect
        if would > 0:
            errors_before = observed[:start] - controls[:start] @ _weights(observed[:start], controls[:start])
            effects.append(effect / would)
            errors.append(float(np.mean(errors_before**2)))
    if not effects:
        return None
    deviation = sqrt(float(np.mean(np.square(effects))))
    return GeoPlan(areas, float(ran.sum()) / everything, factor * deviation, sqrt(float(np.mean(errors))), len(effects))


def _warning(error: float, areas: int) -> str:
    if error > POOR_FIT:
        return f"the other areas followed poorly before: a daily error of {error:.0%}"
    return "one area alone is the comparison: whatever happened there counts as an effect" if areas == 1 else ""


def _named(areas: Collection[str]) -> str:
    return ", ".join(areas)

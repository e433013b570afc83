"""Which variant of an experiment has won: once, at a declared horizon, or at any look by a sequential test.

Looking at an ordinary interval every day finds a "winner" between equal variants at last. The sequential test is
the mixture sequential probability ratio test: Johari, Koomen, Pekelis and Walsh, "Always Valid Inference: Continuous
Monitoring of A/B Tests", Operations Research 70 (2022), after Robbins, "Statistical methods related to the law of the
iterated logarithm", Annals of Mathematical Statistics 41 (1970). With a difference of means d, its standard error s and
a normal mixture of effects of standard deviation t, the likelihood ratio of the mixture is

    L = sqrt(s² / (s² + t²)) exp(d² t² / (2 s² (s² + t²)))

and p = min(1, 1 / L) is an always-valid p-value: however often one looks, the probability that it ever falls below
alpha is at most alpha if there is no difference. The interval is all differences that are not rejected so, a confidence
sequence. Both rest on the normal approximation, so nothing is decided with few people or few outcomes.

The samples of both are people whose window is over, each with one outcome: 1 or 0, or their revenue. With more than one
variant beside the control each is tested at alpha / (number of these variants): Bonferroni's correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from statistics import NormalDist
from typing import NamedTuple

from processors.attribution.experiments import Group, lift

ALPHA = 0.05
"""Probability of naming a winner where all variants are equal."""
MIN_PEOPLE = 100
"""People of each variant from which on the sequential test may decide."""
MIN_OUTCOMES = 25
"""People with an outcome, and (of a share) without one, in both variants together, from which on it may decide."""
_MIXTURE_SD = 0.05
"""Standard deviation of effects in the mixture, in standard deviations of the outcome: small effects, as in marketing.
The test is valid for any value; with this one it is most powerful at some thousands of people."""


class Outcomes(NamedTuple):
    """Outcomes of the people of one variant.

    Attributes:
        variant: Its name.
        people: Number of people.
        total: Sum of their outcomes: the number of people with one, or their revenue.
        squares: Sum of the squares of their outcomes.
        positive: Number of people whose outcome is not 0.
    """

    variant: str
    people: int
    total: float
    squares: float
    positive: int

    @property
    def mean(self) -> float:
        """The rate, or the mean revenue; 0 without people."""
        return self.total / self.people if self.people else 0.0

    @property
    def variance(self) -> float:
        """Variance of a person's outcome; 0 with fewer than two people."""
        if self.people < 2:
            return 0.0
        return max(0.0, (self.squares - self.total * self.mean) / (self.people - 1))


class Comparison(NamedTuple):
    """A variant compared with the control.

    Attributes:
        variant: The variant.
        mean: Its mean outcome.
        control_mean: That of the control.
        difference: `mean - control_mean`.
        low: Lower end of the interval of the difference; None: too few people for any.
        high: Upper end.
        p_value: Always-valid p-value, or at a horizon that of a z-test; None like `low`.
        relative: `difference / control_mean`; None if that is 0.
    """

    variant: str
    mean: float
    control_mean: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    relative: float | None

    @property
    def better(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low is not None and self.low > 0

    @property
    def worse(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.high is not None and self.high < 0


class Verdict(NamedTuple):
    """The result of an experiment.

    Attributes:
        comparisons: Each variant with the control.
        winner: The variant to keep; the control if all others are worse; None: not decided.
        reason: Why, in a sentence.
    """

    comparisons: list[Comparison]
    winner: str | None
    reason: str


def at_any_time(variant: Outcomes, control: Outcomes, alpha: float = ALPHA) -> Comparison:
    """Compare by the mixture sequential probability ratio test, which may be looked at as often as one likes."""
    error = (
        sqrt(variant.variance / variant.people + control.variance / control.people)
        if _enough(variant, control)
        else 0.0
    )
    if not error:
        return _compared(variant, control, None)
    harmonic = variant.people * control.people / (variant.people + control.people)
    ratio = _MIXTURE_SD**2 * harmonic  # t² / s², as s² is the variance of an outcome / harmonic
    score = ((variant.mean - control.mean) / error) ** 2
    likelihood_log = score * ratio / (2 * (1 + ratio)) - log(1 + ratio) / 2
    reach = error * sqrt((1 + ratio) / ratio * (log(1 + ratio) - 2 * log(alpha)))
    return _compared(variant, control, (reach, reach, min(1.0, exp(-likelihood_log))))


def at_horizon(variant: Outcomes, control: Outcomes, alpha: float = ALPHA, *, share: bool = True) -> Comparison:
    """Compare once, by the people up to a horizon that was fixed before.

    Args:
        variant: Outcomes of the variant.
        control: Outcomes of the control.
        alpha: Probability of an interval that lies beside the true difference.
        share: The outcomes are 0 or 1. Their interval is that of `experiments.lift`, that of revenue a normal one.
    """
    if variant.people < 2 or control.people < 2:
        return _compared(variant, control, None)
    difference = variant.mean - control.mean
    error = sqrt(variant.variance / variant.people + control.variance / control.people)
    p_value = 2 * NormalDist().cdf(-abs(difference) / error) if error else 1.0
    if share:
        found = lift(Group(variant.people, variant.positive), Group(control.people, control.positive), 1 - alpha)
        assert found is not None
        return _compared(variant, control, (difference - found.low, found.high - difference, p_value))
    reach = -NormalDist().inv_cdf(alpha / 2) * error
    return _compared(variant, control, (reach, reach, p_value))


def judge(
    variants: Sequence[Outcomes],
    control: str,
    *,
    share: bool = True,
    fixed: bool = False,
    mismatch: bool = False,
    alpha: float = ALPHA,
) -> Verdict:
    """Compare all variants with the control and name the winner.

    Args:
        variants: All variants, the control among them.
        control: Its name.
        share: The outcomes are 0 or 1.
        fixed: The people are those up to a horizon that was declared before and is over; else the test is sequential.
        mismatch: The split is not the declared one: then no result can be trusted, and none is named.
        alpha: Probability of naming a winner where there is no difference.

    Raises:
        ValueError: No variant has the name of the control.
    """
    held = next((one for one in variants if one.variant == control), None)
    if held is None:
        raise ValueError(f"there is no variant {control!r} to compare with")
    others = [one for one in variants if one.variant != control]
    each = alpha / max(1, len(others))
    compared = [at_horizon(one, held, each, share=share) if fixed else at_any_time(one, held, each) for one in others]
    if mismatch:
        return Verdict(compared, None, "the split is not the declared one: look for a fault before reading any result")
    better = [one for one in compared if one.better]
    if better:
        best = max(better, key=lambda one: one.difference)
        return Verdict(compared, best.variant, f"its interval of the difference to {control} is above 0")
    if compared and all(one.worse for one in compared):
        return Verdict(compared, control, "the intervals of all others are below 0")
    if any(one.low is None for one in compared) or not compared:
        return Verdict(compared, None, "there are too few people or outcomes yet")
    if fixed:
        return Verdict(compared, None, "no difference was found by the horizon: the variants may as well be equal")
    return Verdict(compared, None, "no difference has been found yet")


def _enough(variant: Outcomes, control: Outcomes) -> bool:
    positive = variant.positive + control.positive
    others = variant.people + control.people - positive
    is_share = all(one.squares == one.total == one.positive for one in (variant, control))
    return (
        min(variant.people, control.people) >= MIN_PEOPLE
        and positive >= MIN_OUTCOMES
        and (others >= MIN_OUTCOMES or not is_share)
    )


def _compared(variant: Outcomes, control: Outcomes, found: tuple[float, float, float] | None) -> Comparison:
    difference = variant.mean - control.mean
    low, high, p_value = (difference - found[0], difference + found[1], found[2]) if found else (None, None, None)
    relative = difference / control.mean if control.mean else None
    return Comparison(variant.variant, variant.mean, control.mean, difference, low, high, p_value, relative)

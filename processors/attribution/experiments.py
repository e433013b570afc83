"""Statistics of experiments: the lift of a treated group over a control group, and a test of how they were split.

Compare people to whom a message was `sent` with people who have a `ghost` in its place, each from the first one on.
Do not compare with the whole control group: most of it would never have got a message. Count people, not messages:
ghosts use up no frequency caps, so a person of the control group may have more ghosts than others have messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, sqrt
from statistics import NormalDist
from typing import NamedTuple

MISMATCH_P_VALUE = 0.001
"""A split less likely than this is a mismatch. Strict, because a running experiment is tested again and again (Fabijan
et al., "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", KDD 2019)."""


class Group(NamedTuple):
    """A group of an experiment: its number of people, and how many of them converted."""

    people: int
    converted: int

    @property
    def rate(self) -> float:
        """Share of the people who converted."""
        return self.converted / self.people


class Lift(NamedTuple):
    """The effect of a treatment.

    Attributes:
        treated: Conversion rate of the treated group.
        control: Conversion rate of the control group.
        difference: `treated - control`, in conversions per person.
        low: Lower end of the confidence interval of the difference.
        high: Upper end.
        relative: `difference / control`; None if no one in the control group converted.
        incremental: Conversions of the treated group that the treatment caused: `difference` times its people.
    """

    treated: float
    control: float
    difference: float
    low: float
    high: float
    relative: float | None
    incremental: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


class SampleRatio(NamedTuple):
    """Result of the test of a split.

    Attributes:
        chi_square: Pearson's statistic.
        degrees: Its degrees of freedom.
        p_value: Probability of a split at least as uneven if the shares are kept.
        mismatch: The p-value is below `MISMATCH_P_VALUE`: look for a fault before reading any result.
    """

    chi_square: float
    degrees: int
    p_value: float
    mismatch: bool


def lift(treated: Group, control: Group, confidence: float = 0.95) -> Lift | None:
    """Compare the conversion rates of two groups.

    The interval is the hybrid score interval (method 10) of Newcombe, "Interval estimation for the difference between
    independent proportions", Statistics in Medicine 17 (1998), from two Wilson intervals. It keeps its coverage for the
    small rates and small groups of marketing, where the normal approximation does not.

    Args:
        treated: The group that was treated.
        control: The group that was held out.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        The lift; None if either group is empty.

    Raises:
        ValueError: A group has more conversions than people, or fewer than none.
    """
    for group in (treated, control):
        if not 0 <= group.converted <= group.people:
            raise ValueError(f"{group.converted} of {group.people} people cannot have converted")
    if not treated.people or not control.people:
        return None
    one, other = treated.rate, control.rate
    one_low, one_high = wilson(treated, confidence)
    other_low, other_high = wilson(control, confidence)
    difference = one - other
    return Lift(
        one,
        other,
        difference,
        difference - sqrt((one - one_low) ** 2 + (other_high - other) ** 2),
        difference + sqrt((one_high - one) ** 2 + (other - other_low) ** 2),
        difference / other if other else None,
        difference * treated.people,
    )


def wilson(group: Group, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a conversion rate: Wilson, "Probable inference", JASA 22 (1927).

    Args:
        group: A group of at least one person.
        confidence: Confidence level of the interval, between 0 and 1.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    people, rate = group.people, group.rate
    centre = rate + z * z / (2 * people)
    half = z * sqrt(rate * (1 - rate) / people + z * z / (4 * people * people))
    whole = 1 + z * z / people
    # With no conversions the lower end is exactly 0, with nothing but conversions the upper one 1: no rounding.
    low = 0.0 if group.converted == 0 else (centre - half) / whole
    high = 1.0 if group.converted == people else (centre + half) / whole
    return low, high


def sample_ratio(observed: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio | None:
    """Test a split against its shares: Pearson's chi-square test (Philosophical Magazine 50, 1900).

    Args:
        observed: People by arm; an arm without people may be absent.
        shares: The share, or weight, of each arm; only the proportions count.

    Returns:
        The test; None with fewer than two arms, or without people.

    Raises:
        ValueError: An arm with people has no share, or a share is not above zero.
    """
    unknown = sorted(set(observed) - set(shares))
    if unknown:
        raise ValueError(f"no share is known of {', '.join(unknown)}")
    if any(not isfinite(share) or share <= 0 for share in shares.values()):
        raise ValueError("the share of each arm must be above zero")
    people, whole = sum(observed.values()), sum(shares.values())
    if len(shares) < 2 or not people:
        return None
    expected = {arm: people * share / whole for arm, share in shares.items()}
    chi_square = sum((observed.get(arm, 0) - number) ** 2 / number for arm, number in expected.items())
    degrees = len(shares) - 1
    p_value = chi_square_tail(chi_square, degrees)
    return SampleRatio(chi_square, degrees, p_value, p_value < MISMATCH_P_VALUE)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """Return the probability that a chi-square variable is at least as great: its survival function.

    Args:
        statistic: Zero or more.
        degrees: Degrees of freedom, at least 1.
    """
    from scipy.special import chdtrc  # imported here: it takes 43 MB and a third of a second

    return float(chdtrc(degrees, statistic))

"""What control groups say: the lift of those who were treated over those held out, and whether the split is sound.

Compare like with like: people to whom a message was `sent`, with people who have a `ghost` in its place, each from
their first one on; not with the whole of the control group, most of whom would never have got one. Count people and not
messages: ghosts use up no frequency caps, so a person held out may have more of them than others have messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, sqrt
from statistics import NormalDist
from typing import NamedTuple

SUSPICIOUS = 0.001
"""A split that is this unlikely by chance is a fault; the usual bound, since it is looked at again and again."""


class Group(NamedTuple):
    """People who were treated alike: how many, and how many of them converted."""

    people: int
    converted: int

    @property
    def rate(self) -> float:
        """Share of people who converted."""
        return self.converted / self.people


class Lift(NamedTuple):
    """What treatment adds.

    Attributes:
        treated: Share of the treated who converted.
        control: Share of those held out who converted.
        difference: `treated - control`: conversions per person that treatment adds.
        low: The interval of the difference.
        high: The interval of the difference.
        relative: `difference / control`; None if nobody held out converted.
        incremental: Conversions among the treated that there would not have been otherwise.
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
        """The interval does not hold zero."""
        return self.low > 0 or self.high < 0


class SampleRatio(NamedTuple):
    """How well a split keeps to its shares.

    Attributes:
        chi_square: Pearson's statistic.
        degrees: Its degrees of freedom.
        p_value: How likely a split at least so uneven is by chance.
        mismatch: It is suspicious: look for a fault before reading any result.
    """

    chi_square: float
    degrees: int
    p_value: float
    mismatch: bool


def lift(treated: Group, control: Group, confidence: float = 0.95) -> Lift | None:
    """Compare two groups.

    The interval is the hybrid score interval (method 10) of Newcombe, "Interval estimation for the difference between
    independent proportions", Statistics in Medicine 17 (1998), from two Wilson intervals: it stays right for the small
    rates and small groups of marketing, where the usual one does not.

    Args:
        treated: Those who got it.
        control: Those who were held out.
        confidence: Of the interval, between 0 and 1.

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
    """The score interval of a share: Wilson, "Probable inference", JASA 22 (1927).

    Args:
        group: At least one person.
        confidence: Of the interval, between 0 and 1.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    people, rate = group.people, group.rate
    centre = rate + z * z / (2 * people)
    half = z * sqrt(rate * (1 - rate) / people + z * z / (4 * people * people))
    whole = 1 + z * z / people
    # At 0 and 1 the ends are exact, which rounding must not hide.
    low = 0.0 if group.converted == 0 else (centre - half) / whole
    high = 1.0 if group.converted == people else (centre + half) / whole
    return low, high


def sample_ratio(observed: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio | None:
    """Check that a split came out as it was meant to: Pearson's chi-square test.

    Args:
        observed: People by arm; an arm that nobody is in may be absent.
        shares: The share, or weight, of each arm; only the proportions count.

    Returns:
        The check; None if there are fewer than two arms, or nobody.

    Raises:
        ValueError: There are people in an arm that has no share, or a share is not above zero.
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
    return SampleRatio(chi_square, degrees, p_value, p_value < SUSPICIOUS)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """Return the probability that a chi-square variable is at least as great: its survival function.

    Args:
        statistic: Zero or more.
        degrees: Degrees of freedom, at least 1.
    """
    from scipy.special import chdtrc  # imported here: it takes 43 MB and a third of a second

    return float(chdtrc(degrees, statistic))

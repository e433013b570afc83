"""Attribution, defined: which touches a conversion has, and what each model gives them.

Reports are computed in the database (`sinks/migrations/0003_journeys.sql`, `0004_attribution.sql`). This module says
the same a second way, exactly and one conversion at a time, so that the two can be held against each other.

A journey is the touches of one person, in order of time and then event id, with
`converted_at - lookback <= touched_at <= converted_at`, both ends included, in absolute time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import groupby
from typing import Literal

UNATTRIBUTED = "(unattributed)"
"""The key of a conversion without a touch."""

LOOKBACK = timedelta(days=30)
HALF_LIFE = timedelta(days=7)

Scope = Literal["all", "since_previous"]
"""`all`: every touch of the window. `since_previous`: only those after the person's previous conversion of the goal."""
Repeats = Literal["keep", "collapse"]
"""`keep`: every touch counts. `collapse`: of a run of touches of one channel, the first."""


@dataclass(frozen=True, slots=True)
class Touch:
    """One contact that may be credited.

    Attributes:
        event_id: The event that it was.
        person: Whose, as known now.
        touched_at: When.
        channel: Marketing channel: an opaque name, case matters.
        conversion_id: The conversion that the same event is, if it is one; it is no touch of that.
    """

    event_id: str
    person: str
    touched_at: datetime
    channel: str
    conversion_id: str = ""


@dataclass(frozen=True, slots=True)
class Conversion:
    """One conversion.

    Attributes:
        conversion_id: Its id; unique within its goal.
        conversion_type: The goal.
        person: Whose, as known now; None: nobody's.
        converted_at: When.
        revenue: What it is worth.
    """

    conversion_id: str
    conversion_type: str
    person: str | None
    converted_at: datetime
    revenue: Decimal


@dataclass(frozen=True, slots=True)
class Credit:
    """What one model gives one touch of one conversion; `touch` is None for a conversion without any."""

    conversion: Conversion
    touch: Touch | None
    model: str
    weight: Fraction


def journeys(
    touches: Iterable[Touch],
    conversions: Iterable[Conversion],
    *,
    lookback: timedelta = LOOKBACK,
    scope: Scope = "all",
    repeats: Repeats = "keep",
) -> dict[tuple[str, str], list[Touch]]:
    """Find each conversion's touches.

    Args:
        touches: In order of delivery: of several with one event id, the first counts.
        conversions: Likewise, by goal and conversion id.
        lookback: Length of the window.
        scope: Which touches of the window count.
        repeats: What becomes of runs of one channel.

    Returns:
        The journey for each (goal, conversion id).
    """
    unique_touches: dict[str, Touch] = {}
    for touch in touches:
        unique_touches.setdefault(touch.event_id, touch)
    unique: dict[tuple[str, str], Conversion] = {}
    for conversion in conversions:
        unique.setdefault((conversion.conversion_type, conversion.conversion_id), conversion)
    ordered = sorted(unique_touches.values(), key=lambda touch: (touch.touched_at, touch.event_id))
    found = {}
    for key, conversion in unique.items():
        opens_after = _previous(conversion, unique.values()) if scope == "since_previous" else None
        journey = [
            touch
            for touch in ordered
            if touch.person == conversion.person
            and conversion.converted_at - lookback <= touch.touched_at <= conversion.converted_at
            and (opens_after is None or touch.touched_at > opens_after)
            and touch.conversion_id != conversion.conversion_id
        ]
        if repeats == "collapse":
            journey = [next(run) for _, run in groupby(journey, key=lambda touch: touch.channel)]
        found[key] = journey
    return found


def credits_of(
    conversion: Conversion,
    journey: Sequence[Touch],
    *,
    half_life: timedelta = HALF_LIFE,
    direct: Collection[str] = ("Direct",),
) -> list[Credit]:
    """Give a conversion to its touches, once for each model.

    A model of whole channels shares what a channel gets among the channel's touches, for the finer keys.

    Returns:
        Credits, the zeros too. Those of an additive model add up to 1; `participation` gives 1 to each channel.
    """
    if not journey:
        return [Credit(conversion, None, model, Fraction(1)) for model in MODELS]
    return [
        Credit(conversion, touch, model, weight)
        for model, weights in MODELS.items()
        for touch, weight in zip(journey, weights(journey, half_life, direct), strict=True)
    ]


def null_journeys(
    touches: Iterable[Touch], converted: Collection[str], *, lookback: timedelta = LOOKBACK
) -> dict[str, list[Touch]]:
    """Find the journeys of people who never converted: the touches within the lookback before their own last one."""
    people: dict[str, dict[str, Touch]] = {}
    for touch in touches:
        if touch.person not in converted:
            people.setdefault(touch.person, {}).setdefault(touch.event_id, touch)
    found = {}
    for person, theirs in people.items():
        ordered = sorted(theirs.values(), key=lambda touch: (touch.touched_at, touch.event_id))
        found[person] = [touch for touch in ordered if touch.touched_at >= ordered[-1].touched_at - lookback]
    return found


def totals(given: Iterable[Credit]) -> Mapping[tuple[str, str], tuple[Fraction, Fraction]]:
    """Add credits up: (conversions, revenue) for each (model, channel)."""
    found: dict[tuple[str, str], tuple[Fraction, Fraction]] = {}
    for credit in given:
        key = credit.model, credit.touch.channel if credit.touch else UNATTRIBUTED
        conversions, revenue = found.get(key, (Fraction(0), Fraction(0)))
        found[key] = conversions + credit.weight, revenue + credit.weight * Fraction(credit.conversion.revenue)
    return found


def _previous(conversion: Conversion, others: Iterable[Conversion]) -> datetime | None:
    """When the same person reached the same goal before; conversions of one instant are ordered by id."""
    mine = conversion.converted_at, conversion.conversion_id
    earlier = [
        (other.converted_at, other.conversion_id)
        for other in others
        if other.person == conversion.person is not None and other.conversion_type == conversion.conversion_type
    ]
    return max((when for when in earlier if when < mine), default=(None, ""))[0]


Weights = Callable[[Sequence[Touch], timedelta, Collection[str]], list[Fraction]]


def _one(chosen: int, count: int) -> list[Fraction]:
    return [Fraction(index == chosen) for index in range(count)]


def _ends(first: str, last: str, only_two: tuple[str, str]) -> Weights:
    """A share for the first touch, a share for the last, the rest evenly for those between."""

    def weights(journey: Sequence[Touch], _half_life: timedelta, _direct: Collection[str]) -> list[Fraction]:
        count = len(journey)
        if count == 1:
            return [Fraction(1)]
        if count == 2:
            return [Fraction(share) for share in only_two]
        between = (1 - Fraction(first) - Fraction(last)) / (count - 2)
        return [Fraction(first), *[between] * (count - 2), Fraction(last)]

    return weights


def _last_non_direct(journey: Sequence[Touch], _half_life: timedelta, direct: Collection[str]) -> list[Fraction]:
    others = [index for index, touch in enumerate(journey) if touch.channel not in direct]
    return _one(others[-1] if others else len(journey) - 1, len(journey))


def _time_decay(journey: Sequence[Touch], half_life: timedelta, _direct: Collection[str]) -> list[Fraction]:
    """2^(-age / half-life) over its sum: the conversion's time cancels out, so the newest touch stands for it."""
    with localcontext() as context:
        context.prec = 40
        ages = [(journey[-1].touched_at - touch.touched_at) / timedelta(milliseconds=1) for touch in journey]
        period = Decimal(half_life / timedelta(milliseconds=1))
        powers = [Fraction(Decimal(2) ** (-Decimal(age) / period)) for age in ages]
    return [power / sum(powers) for power in powers]


def _by_channel(journey: Sequence[Touch], whole: Fraction) -> list[Fraction]:
    channels = [touch.channel for touch in journey]
    return [whole / channels.count(channel) for channel in channels]


MODELS: Mapping[str, Weights] = {
    "first_touch": lambda journey, _half_life, _direct: _one(0, len(journey)),
    "last_touch": lambda journey, _half_life, _direct: _one(len(journey) - 1, len(journey)),
    "last_non_direct": _last_non_direct,
    "linear": lambda journey, _half_life, _direct: [Fraction(1, len(journey))] * len(journey),
    "linear_distinct_channels": lambda journey, _half_life, _direct: _by_channel(
        journey, Fraction(1, len({touch.channel for touch in journey}))
    ),
    "time_decay": _time_decay,
    "position_based": _ends("0.4", "0.4", ("0.5", "0.5")),
    "j_shaped": _ends("0.2", "0.6", ("0.25", "0.75")),
    "inverse_j": _ends("0.6", "0.2", ("0.75", "0.25")),
    "participation": lambda journey, _half_life, _direct: _by_channel(journey, Fraction(1)),
}
"""The weights of each model over the touches of one journey, which is never empty here."""

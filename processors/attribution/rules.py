"""Definition of rule-based attribution: the touches of a conversion, and the weights that each model gives them.

Reports are computed in the database (`sinks/migrations/0003_journeys.sql`, `0004_attribution.sql`). This module
computes the same in fractions, one conversion at a time; tests compare the two. It also serves reports on files of
events or paths, without a database. Models that are fitted to all journeys at once are in `learned.py`.

A journey is the touches of one person, in order of time and then event id, with
`converted_at - lookback <= touched_at <= converted_at`, both ends included, in absolute time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import groupby
from math import fsum
from typing import Literal, NamedTuple

UNATTRIBUTED = "(unattributed)"
"""The key of a conversion without a touch."""

LOOKBACK = timedelta(days=30)
"""Default length of the window before a conversion."""
HALF_LIFE = timedelta(days=7)
"""Default half-life of `time_decay`."""

Scope = Literal["all", "since_previous"]
"""`all`: every touch of the window. `since_previous`: only those after the person's previous conversion of the goal."""
Repeats = Literal["keep", "collapse"]
"""`keep`: every touch counts. `collapse`: of a run of touches of one channel, the first."""
Contacts = Literal["all", "clicks", "views"]
"""`views`: impressions and messages sent; `clicks`: all other touches."""


@dataclass(frozen=True, slots=True)
class Touch:
    """One contact with marketing that can be credited.

    Attributes:
        event_id: Id of its event.
        person: The person, as resolved now.
        touched_at: Time of the event.
        channel: Marketing channel: an opaque name, case-sensitive.
        conversion_id: If the same event is a conversion, its id; the event is no touch of that conversion.
        view: An impression or a message sent, without an action of the person.
    """

    event_id: str
    person: str
    touched_at: datetime
    channel: str
    conversion_id: str = ""
    view: bool = False


@dataclass(frozen=True, slots=True)
class Conversion:
    """One conversion.

    Attributes:
        conversion_id: Its id; unique within its goal.
        conversion_type: The goal.
        person: The person, as resolved now; None: not known.
        converted_at: Time of the event.
        revenue: Its revenue.
        milestone_at: Time of the person's last milestone of `w_shaped` at or before this conversion, which is not the
            conversion itself; None: there is none.
    """

    conversion_id: str
    conversion_type: str
    person: str | None
    converted_at: datetime
    revenue: Decimal
    milestone_at: datetime | None = None


class Journey(NamedTuple):
    """The touches of a conversion, as models read them.

    Attributes:
        channels: Channels of the touches in order of time.
        ages: Time from each touch to the newest one; empty: not known, and `time_decay` cannot be computed.
        milestone: Position, from 1, of the last touch at or before the milestone; 0: there is none.
    """

    channels: tuple[str, ...]
    ages: tuple[timedelta, ...] = ()
    milestone: int = 0


class ModelParameters(NamedTuple):
    """Parameters of models: the half-life of `time_decay`, and the channels that `last_non_direct` skips."""

    half_life: timedelta = HALF_LIFE
    direct: Collection[str] = ("Direct",)


DEFAULT_PARAMETERS = ModelParameters()


def with_milestones(conversions: Iterable[Conversion], goal: str) -> list[Conversion]:
    """Return the conversions with `milestone_at`: the person's last conversion of `goal` at or before, not itself."""
    ordered = sorted(conversions, key=lambda one: (one.converted_at, one.conversion_type != goal, one.conversion_id))
    reached: dict[str, datetime] = {}
    found = []
    for one in ordered:
        found.append(replace(one, milestone_at=reached.get(one.person) if one.person else None))
        if one.person and one.conversion_type == goal:
            reached[one.person] = one.converted_at
    return found


@dataclass(frozen=True, slots=True)
class Credit:
    """The weight that a model gives a touch of a conversion; `touch` is None for a conversion without touches."""

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
    contacts: Contacts = "all",
    only: Collection[str] = (),
    without: Collection[str] = (),
) -> dict[tuple[str, str], list[Touch]]:
    """Find each conversion's touches.

    Args:
        touches: In order of delivery; of several with one event id, the first is used.
        conversions: The same, by goal and conversion id.
        lookback: Length of the window before a conversion.
        scope: Which touches of the window are used.
        repeats: How runs of touches of one channel are treated.
        contacts: Whether views, clicks or both are used.
        only: Channels to use; empty: all.
        without: Channels to leave out.

    Returns:
        The touches in order of time, by (goal, conversion id).
    """
    people = _by_person(touches)
    unique: dict[tuple[str, str], Conversion] = {}
    for conversion in conversions:
        unique.setdefault((conversion.conversion_type, conversion.conversion_id), conversion)
    previous = _previous(unique.values())
    found = {}
    for key, conversion in unique.items():
        ordered, times = people.get(conversion.person or "", ([], []))
        opens = bisect_left(times, conversion.converted_at - lookback)
        if scope == "since_previous" and (before := previous[key]) is not None:
            opens = max(opens, bisect_right(times, before))
        journey = [
            touch
            for touch in ordered[opens : bisect_right(times, conversion.converted_at)]
            if touch.conversion_id != conversion.conversion_id
            and (contacts == "all" or touch.view == (contacts == "views"))
            and (not only or touch.channel in only)
            and touch.channel not in without
        ]
        if repeats == "collapse":
            journey = [next(run) for _, run in groupby(journey, key=lambda touch: touch.channel)]
        found[key] = journey
    return found


def journey_of(conversion: Conversion, touches: Sequence[Touch]) -> Journey:
    """Return the journey of a conversion; its touches are given in order of time."""
    milestone = 0
    if conversion.milestone_at is not None:
        milestone = sum(touch.touched_at <= conversion.milestone_at for touch in touches)
    return Journey(
        channels=tuple(touch.channel for touch in touches),
        ages=tuple(touches[-1].touched_at - touch.touched_at for touch in touches),
        milestone=milestone,
    )


def credits_of(
    conversion: Conversion,
    touches: Sequence[Touch],
    *,
    half_life: timedelta = HALF_LIFE,
    direct: Collection[str] = ("Direct",),
) -> list[Credit]:
    """Credit the touches of a conversion by each model.

    A model that credits channels divides the credit of a channel evenly among its touches, for keys such as campaigns.

    Returns:
        Credits, zeros included. Those of an additive model add up to 1; `participation` gives 1 to each channel.
    """
    if not touches:
        return [Credit(conversion, None, model, Fraction(1)) for model in MODELS]
    journey, parameters = journey_of(conversion, touches), ModelParameters(half_life, direct)
    return [
        Credit(conversion, touch, model, weight)
        for model, weights in MODELS.items()
        for touch, weight in zip(touches, weights(journey, parameters), strict=True)
    ]


def channel_totals(
    journeys: Iterable[tuple[Journey, float, float]],
    models: Iterable[str],
    parameters: ModelParameters = DEFAULT_PARAMETERS,
) -> dict[tuple[str, str], tuple[float, float]]:
    """Credit many journeys to channels.

    Args:
        journeys: Journeys, each with its number of conversions and their revenue.
        models: Names of rule models.
        parameters: Parameters of the models.

    Returns:
        (conversions, revenue) for each (model, channel); exactly rounded sums.
    """
    wanted = list(models)
    equal_journeys: dict[Journey, list[tuple[float, float]]] = defaultdict(list)
    for journey, conversions, revenue in journeys:
        equal_journeys[journey].append((conversions, revenue))
    summands: dict[tuple[str, str], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for journey, outcomes in equal_journeys.items():
        conversions, revenue = fsum(one for one, _ in outcomes), fsum(one for _, one in outcomes)
        for model in wanted:
            for channel, weight in _channel_weights(model, journey, parameters).items():
                given = summands[model, channel]
                given[0].append(weight * conversions)
                given[1].append(weight * revenue)
    return {key: (fsum(conversions), fsum(revenue)) for key, (conversions, revenue) in summands.items()}


def _channel_weights(model: str, journey: Journey, parameters: ModelParameters) -> dict[str, float]:
    if not journey.channels:
        return {UNATTRIBUTED: 1.0}
    weights: dict[str, Fraction] = defaultdict(Fraction)
    for channel, weight in zip(journey.channels, MODELS[model](journey, parameters), strict=True):
        weights[channel] += weight
    return {channel: float(weight) for channel, weight in weights.items()}


def null_journeys(
    touches: Iterable[Touch], converted: Collection[str], *, lookback: timedelta = LOOKBACK
) -> dict[str, list[Touch]]:
    """Return the journeys of people who never converted: the touches in the lookback before their last one."""
    people: dict[str, dict[str, Touch]] = {}
    for touch in touches:
        if touch.person not in converted:
            people.setdefault(touch.person, {}).setdefault(touch.event_id, touch)
    found = {}
    for person, own in people.items():
        ordered = sorted(own.values(), key=lambda touch: (touch.touched_at, touch.event_id))
        found[person] = [touch for touch in ordered if touch.touched_at >= ordered[-1].touched_at - lookback]
    return found


def totals(given: Iterable[Credit]) -> Mapping[tuple[str, str], tuple[Fraction, Fraction]]:
    """Return the sums of credits: (conversions, revenue) for each (model, channel)."""
    found: dict[tuple[str, str], tuple[Fraction, Fraction]] = {}
    for credit in given:
        key = credit.model, credit.touch.channel if credit.touch else UNATTRIBUTED
        conversions, revenue = found.get(key, (Fraction(0), Fraction(0)))
        found[key] = conversions + credit.weight, revenue + credit.weight * Fraction(credit.conversion.revenue)
    return found


def _by_person(touches: Iterable[Touch]) -> dict[str, tuple[list[Touch], list[datetime]]]:
    """Return each person's touches in order, one for each event, and their times."""
    unique: dict[str, Touch] = {}
    for touch in touches:
        unique.setdefault(touch.event_id, touch)
    people: dict[str, list[Touch]] = defaultdict(list)
    for touch in sorted(unique.values(), key=lambda touch: (touch.touched_at, touch.event_id)):
        people[touch.person].append(touch)
    return {person: (ordered, [touch.touched_at for touch in ordered]) for person, ordered in people.items()}


def _previous(conversions: Iterable[Conversion]) -> dict[tuple[str, str], datetime | None]:
    """Return the time of the same person's previous conversion of the goal; those of one instant are ordered by id."""
    found: dict[tuple[str, str], datetime | None] = {}
    latest: dict[tuple[str, str], datetime] = {}
    for one in sorted(conversions, key=lambda one: (one.converted_at, one.conversion_id)):
        reached = None if one.person is None else latest.get((one.person, one.conversion_type))
        found[one.conversion_type, one.conversion_id] = reached
        if one.person is not None:
            latest[one.person, one.conversion_type] = one.converted_at
    return found


Weights = Callable[[Journey, ModelParameters], list[Fraction]]


def _one_touch(chosen: int, count: int) -> list[Fraction]:
    return [Fraction(index == chosen) for index in range(count)]


def _ends(first: str, last: str, only_two: tuple[str, str]) -> Weights:
    """Return weights of a share for the first touch, a share for the last, and the rest evenly for those between."""

    def weights(journey: Journey, _parameters: ModelParameters) -> list[Fraction]:
        count = len(journey.channels)
        if count == 1:
            return [Fraction(1)]
        if count == 2:
            return [Fraction(share) for share in only_two]
        between = (1 - Fraction(first) - Fraction(last)) / (count - 2)
        return [Fraction(first), *[between] * (count - 2), Fraction(last)]

    return weights


_position_based = _ends("0.4", "0.4", ("0.5", "0.5"))


def _w_shaped(journey: Journey, parameters: ModelParameters) -> list[Fraction]:
    """Three roles of 30 %: first, at the milestone, last; 10 % to the others, or to the roles if there are none."""
    if not journey.milestone:
        return _position_based(journey, parameters)
    count = len(journey.channels)
    roles = [0, journey.milestone - 1, count - 1]
    others = count - len(set(roles))
    role = Fraction(3, 10) if others else Fraction(1, 3)
    return [roles.count(index) * role if index in roles else Fraction(1, 10) / others for index in range(count)]


def _last_non_direct(journey: Journey, parameters: ModelParameters) -> list[Fraction]:
    others = [index for index, channel in enumerate(journey.channels) if channel not in parameters.direct]
    return _one_touch(others[-1] if others else len(journey.channels) - 1, len(journey.channels))


def _time_decay(journey: Journey, parameters: ModelParameters) -> list[Fraction]:
    """2^(-age / half-life), normalized. Ages are from the newest touch: the time of the conversion cancels out."""
    if len(journey.ages) != len(journey.channels):
        raise ValueError("time_decay needs the times of the touches")
    with localcontext() as context:
        context.prec = 40
        period = Decimal(parameters.half_life // timedelta(microseconds=1))
        powers = [Fraction(Decimal(2) ** (-Decimal(age // timedelta(microseconds=1)) / period)) for age in journey.ages]
    return [power / sum(powers) for power in powers]


def _by_channel(journey: Journey, whole: Fraction) -> list[Fraction]:
    return [whole / journey.channels.count(channel) for channel in journey.channels]


MODELS: Mapping[str, Weights] = {
    "first_touch": lambda journey, _: _one_touch(0, len(journey.channels)),
    "last_touch": lambda journey, _: _one_touch(len(journey.channels) - 1, len(journey.channels)),
    "last_non_direct": _last_non_direct,
    "linear": lambda journey, _: [Fraction(1, len(journey.channels))] * len(journey.channels),
    "linear_distinct_channels": lambda journey, _: _by_channel(journey, Fraction(1, len(set(journey.channels)))),
    "time_decay": _time_decay,
    "position_based": _position_based,
    "w_shaped": _w_shaped,
    "j_shaped": _ends("0.2", "0.6", ("0.25", "0.75")),
    "inverse_j": _ends("0.6", "0.2", ("0.75", "0.25")),
    "participation": lambda journey, _: _by_channel(journey, Fraction(1)),
}
"""The weights of each model over the touches of a journey, which has at least one."""

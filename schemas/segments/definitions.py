"""The files of `deploy/definitions/segments`: segments, computed traits, and the parameters of the traits built in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.channels import ADDRESS_TYPES_OF, ADDRESSED_CHANNELS
from schemas.durations import DAY_MS
from schemas.segments.conditions import Condition, Duration, Function, Name, Path, Texts, Where, check_function
from schemas.spelling import suggestion

Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"\S")]
Score = Annotated[int, Field(ge=1, le=5)]

_OF_ADDRESSES = ("reach.", "is_known", "lifecycle.stage")
"""Attributes, or the beginnings of their names, that depend on the addresses to which messages of each channel go."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Segment(_Model):
    """A set of people, updated with every event and at every due time.

    Attributes:
        name: Used by other definitions, reports and events.
        description: Who they are, in one sentence.
        when: The condition of membership.
    """

    name: Name
    description: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    when: Condition


class ComputedTrait(_Model):
    """A value computed from events, addressed as `computed.<name>`.

    Attributes:
        name: Its name.
        description: What it means, in one sentence.
        function: The aggregate function.
        event: Names of the events.
        of: Path of the values; `revenue` is an order's revenue, else its total. `count` needs none.
        where: Filter on the events.
        within: Length of the window; all time if left out.
    """

    name: Name
    description: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    function: Function
    event: Texts
    of: Path | None = None
    where: Where = Field(default_factory=dict)
    within: Duration | None = None

    @model_validator(mode="after")
    def _sensible(self) -> ComputedTrait:
        if problem := check_function(self.function, self.of, self.within):
            raise ValueError(problem)
        return self


FourThresholds = Annotated[tuple[float, ...], Field(min_length=4, max_length=4)]


class RfmClass(_Model):
    """A class of customers by ranges of the three scores, both ends included.

    Attributes:
        name: Its name.
        recency, frequency, monetary: Lowest and highest score.
    """

    name: Name
    recency: tuple[Score, Score] = (1, 5)
    frequency: tuple[Score, Score] = (1, 5)
    monetary: tuple[Score, Score] = (1, 5)


class Rfm(_Model):
    """How recency, frequency and money become scores from 1 to 5 and a class. Set the thresholds at your quintiles.

    Attributes:
        recency_days: Less than the first of these days since the last order: 5; less than the second: 4; and so on.
        frequency: As many orders as the first: 2; as the second: 3; and so on.
        monetary: Net revenue of the first: 2; of the second: 3; and so on, in the person's main currency.
        monetary_by_currency: The same for people whose main currency is one of these (ISO 4217).
        classes: The first class that fits is used; the last one has to fit all customers.
    """

    recency_days: FourThresholds = (30, 60, 120, 240)
    frequency: FourThresholds = (2, 3, 5, 9)
    monetary: FourThresholds = (50, 100, 250, 500)
    monetary_by_currency: dict[Annotated[str, Field(pattern="^[A-Z]{3}$")], FourThresholds] = {}
    classes: Annotated[tuple[RfmClass, ...], Field(min_length=1)] = (RfmClass(name="customers"),)

    @model_validator(mode="after")
    def _sensible(self) -> Rfm:
        thresholds = {name: getattr(self, name) for name in ("recency_days", "frequency", "monetary")}
        thresholds |= {f"monetary_by_currency.{code}": limits for code, limits in self.monetary_by_currency.items()}
        for name, values in thresholds.items():
            if list(values) != sorted(set(values)):
                raise ValueError(f"{name}: each should be above the one before")
        if self.classes[-1] != RfmClass(name=self.classes[-1].name):
            raise ValueError("the last of classes needs to fit all people: give it no scores")
        return self


class Lifecycle(_Model):
    """When a person goes from one stage of the life cycle to the next.

    The stages: `visitor` (no address, no order), `prospect` (an address, no order), `new` (one order, younger than
    `new`), `loyal` (`loyal_orders` or more, the last younger than `active`), `active` (the last order younger than
    `active`), `at_risk` (younger than `at_risk`), `lapsed` (older).

    Attributes:
        new: How long a first order makes a person new.
        active: How long an order makes a person active.
        at_risk: How long after an order a person is not lapsed yet.
        loyal_orders: How many orders make a person loyal.
    """

    new: Duration = 30 * DAY_MS
    active: Duration = 90 * DAY_MS
    at_risk: Duration = 180 * DAY_MS
    loyal_orders: Annotated[int, Field(ge=2)] = 3

    @model_validator(mode="after")
    def _sensible(self) -> Lifecycle:
        if not self.new <= self.active < self.at_risk:
            raise ValueError("new should be at most active, and active below at_risk")
        return self


class Engagement(_Model):
    """Prior of the engagement on a channel: a number of clicks of a number of messages.

    The likelihood is the mean of a beta distribution: (clicks + prior_clicks) / (sent + prior_messages).

    Attributes:
        prior_clicks: Clicks added to those of the person.
        prior_messages: Messages added to those of the person.
    """

    prior_clicks: Annotated[float, Field(gt=0)] = 1.0
    prior_messages: Annotated[float, Field(gt=0)] = 20.0

    @model_validator(mode="after")
    def _sensible(self) -> Engagement:
        if self.prior_clicks >= self.prior_messages:
            raise ValueError("prior_clicks should be below prior_messages")
        return self


class Affinity(_Model):
    """Weights of interest in categories and brands, and the prior of discount affinity.

    Attributes:
        viewed, carted, bought: Weights of a product viewed, put into a cart, bought.
        prior_discounted: Discounted orders added to those of the person.
        prior_orders: Orders added to those of the person: discount affinity is (discounted + prior) / (orders + prior).
    """

    viewed: Annotated[int, Field(ge=0, le=100)] = 1
    carted: Annotated[int, Field(ge=0, le=100)] = 3
    bought: Annotated[int, Field(ge=0, le=100)] = 5
    prior_discounted: Annotated[float, Field(ge=0)] = 0.5
    prior_orders: Annotated[float, Field(gt=0)] = 2.0


class SegmentDefinitions(_Model):
    """One file, or all files together.

    Attributes:
        segments: Segments.
        traits: Computed traits.
        rfm, lifecycle, engagement, affinity: Parameters of traits that are built in; each in one file at most.
    """

    segments: tuple[Segment, ...] = ()
    traits: tuple[ComputedTrait, ...] = ()
    rfm: Rfm = Rfm()
    lifecycle: Lifecycle = Lifecycle()
    engagement: Engagement = Engagement()
    affinity: Affinity = Affinity()

    def problems(self, channels: Collection[str] = ADDRESSED_CHANNELS) -> list[tuple[str, str]]:
        """Return the errors between definitions, as pairs of the name of a segment (or trait) and an error text.

        Args:
            channels: The channels on which messages go to an address of the person.
        """
        found = [*_repeated(self.segments), *_repeated(self.traits)]
        names = {segment.name: segment for segment in self.segments}
        traits = {trait.name for trait in self.traits}
        for segment in self.segments:
            problems = [
                *unknown_names(segment.when, names, traits),
                *self.unknown_classes(segment.when),
                *unknown_channels(segment.when, channels),
            ]
            found += [(segment.name, problem) for problem in problems]
            if path := _cycle(segment.name, names):
                found.append((segment.name, f"is defined by itself: {' → '.join(path)}"))
        return found

    def selection(self, names: Iterable[str]) -> SegmentDefinitions:
        """Return these segments and those that they refer to, with all traits and parameters."""
        by_name = {segment.name: segment for segment in self.segments}
        needed = dict.fromkeys(names)
        waiting = list(needed)
        while waiting:
            for one in by_name[waiting.pop()].when.walk():
                if one.segment in by_name and one.segment not in needed:
                    needed[one.segment] = None
                    waiting.append(one.segment)
        return self.model_copy(update={"segments": tuple(by_name[name] for name in needed)})

    def fingerprint(
        self,
        name: str,
        timezone: str,
        markets: str = "",
        address_types: Mapping[str, Sequence[str]] = ADDRESS_TYPES_OF,
    ) -> str:
        """Return a hash of all that decides who is in a segment; its description and its neighbours do not matter.

        Args:
            name: The segment.
            timezone: Zone of people whose own is unknown, in markets without one; IANA name.
            markets: `MarketDefinitions.fingerprint`.
            address_types: The identifier types that messages of each channel are sent to, by the message policy.
        """
        chosen = self.selection((name,))
        parts = [
            timezone,
            *filter(None, [markets]),
            *sorted(f"{one.name} {one.when.model_dump_json()}" for one in chosen.segments),
        ]
        parts += [one.model_dump_json() for one in (self.rfm, self.lifecycle, self.engagement, self.affinity)]
        asked = {one.attribute for segment in chosen.segments for one in segment.when.walk()}
        parts += [one.model_dump_json() for one in self.traits if f"computed.{one.name}" in asked]
        if any(_asks_for_addresses(one) for segment in chosen.segments for one in segment.when.walk()):
            # Channels that every policy has are left out, so that their segments need not take in history once more.
            own = address_types.items() - ADDRESS_TYPES_OF.items()
            parts += sorted(f"{channel}: {', '.join(kinds)}" for channel, kinds in own)
        return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()

    def unknown_classes(self, condition: Condition) -> list[str]:
        """Return error texts for RFM classes in a condition that are not defined."""
        classes = [one.name for one in self.rfm.classes]
        named = (name for one in condition.walk() for name in one.rfm or () if name not in classes)
        return [f"there is no RFM class {name!r}: use {', '.join(classes)}" for name in named]


def _asks_for_addresses(condition: Condition) -> bool:
    """Return whether a condition, without its parts, depends on which addresses messages of each channel go to."""
    attribute = condition.attribute or ""
    return bool(condition.can_reach or condition.stage) or attribute.startswith(_OF_ADDRESSES)


def unknown_names(condition: Condition, segments: Iterable[str], traits: Iterable[str]) -> list[str]:
    """Return error texts for segments and computed traits in a condition that are not defined."""
    found, known = [], sorted(segments)
    for one in condition.walk():
        if one.segment is not None and one.segment not in known:
            found.append(f"there is no segment {one.segment!r}{suggestion(one.segment, known, 0.75)}")
        if one.attribute is not None and one.attribute.startswith("computed."):
            name = one.attribute.removeprefix("computed.")
            if name not in traits:
                found.append(f"there is no computed trait {name!r}{suggestion(name, sorted(traits), 0.75)}")
    return found


def unknown_channels(condition: Condition, channels: Collection[str]) -> list[str]:
    """Return error texts for channels in a condition on which no messages go to an address of the person."""
    named = (name for one in condition.walk() for name in one.can_reach or () if name not in channels)
    return [f"no messages are sent on {name!r}: use {', '.join(channels)}" for name in named]


def _repeated(named: Iterable[Segment | ComputedTrait]) -> list[tuple[str, str]]:
    seen: set[str] = set()
    found = []
    for one in named:
        if one.name in seen:
            found.append((one.name, "the name is taken"))
        seen.add(one.name)
    return found


def _cycle(start: str, segments: dict[str, Segment]) -> list[str]:
    """Return a path from a segment back to itself through the segments that it refers to; empty if there is none."""
    waiting = [[start]]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        segment = segments.get(path[-1])
        for one in segment.when.walk() if segment else ():
            if one.segment == start:
                return [*path, start]
            if one.segment is not None and one.segment not in seen:
                seen.add(one.segment)
                waiting.append([*path, one.segment])
    return []

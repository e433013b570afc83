"""The file format of a journey: entry, steps, goals and exits, as YAML that a marketer can read.

A journey is data: a closed set of steps, no code and no expressions. Steps are a list, with further lists where the
path splits, so there are no loops and every run ends. A step may have an `id`, which reports then show; else its place
names it: `2` is the second step, `2.else.1` the first one on its other path.

The first key of a step names its kind:

| step | meaning |
| --- | --- |
| `delay: 2h` | wait for a duration |
| `until: {time: "10:00", weekdays: [saturday]}` | wait for a local time of the person |
| `until: {date: event.starts_at, offset: -1d}` | wait for a date of the entry event or a trait |
| `wait_for: {event: …}`, `timeout`, `then`, `else` | wait for something to happen; `else` if it does not in time |
| `if: <condition>`, `then`, `else` | split by a condition on the person |
| `random: [{weight: 90, steps: […]}, …]` | split at random, the same in every replay |
| `message: template`, `channel`, … | request a message; the resolver decides and the ledger has the reason |
| `set_trait: {name: value}` | set traits of the profile |
| `webhook: name` | post to another system |
| `exit: reason` | end the run |

A broadcast (`broadcasts.py`) becomes a journey with `members` in its entry and a step `send`, which no file may have.

Times are logical: `received_at` of events, due times of timers. A delay counts from when its step was reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import time as TimeOfDay  # noqa: N812 - a field is called time
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from schemas.decisions.decision import Choice
from schemas.durations import DAY_MS, Duration
from schemas.journeys.broadcast_parts import SendTime, WinnerChoice
from schemas.journeys.coupon_choice import CouponChoice
from schemas.journeys.experiment import Experiment
from schemas.journeys.values import (
    Campaign,
    Channels,
    Clock,
    Label,
    PropertyPath,
    Scalar,
    Share,
    SignedDuration,
    Slug,
    Weekday,
)
from schemas.segments.conditions import Condition, Where
from schemas.segments.conditions import Name as SegmentName


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class EventMatch(_Model):
    """An event that a journey listens to.

    Attributes:
        event: The event's name, or several names, any of which matches.
        where: A filter on the event, as in a condition: `{properties.points: {gte: 100}}`.
        key: The property that must equal the run's key: `cart_id`, so that the order of another cart does not count.
            An event without that property counts for every run, and so does every event for a run without a key: an
            order that does not name its cart must not be answered by a reminder.
    """

    event: Label | Annotated[tuple[Label, ...], Field(min_length=1)]
    where: Where = Field(default_factory=dict)
    key: PropertyPath | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the events."""
        return (self.event,) if isinstance(self.event, str) else self.event


class SegmentMatch(_Model):
    """A person enters (`entered`) or leaves (`left`) a segment, or is in, or out of, it already."""

    segment: SegmentName
    when: Literal["entered", "left"] = "entered"


def _entry_kind(value: Any) -> str:
    if isinstance(value, BroadcastEntry) or (isinstance(value, dict) and "members" in value):
        return "broadcast"
    has = "segment" in value if isinstance(value, dict) else isinstance(value, SegmentMatch)
    return "segment" if has else "event"


Match = Annotated[
    Annotated[EventMatch, Tag("event")] | Annotated[SegmentMatch, Tag("segment")], Discriminator(_entry_kind)
]


class EventEntry(EventMatch):
    """An event by which its person enters.

    Attributes:
        key: Makes one run for each value: two carts are two runs. An event without that property makes the run of the
            person as a whole, of which there is one, as if the journey had no key.
        condition: `if`; must hold at the time of the event, else the person does not enter.
        max_lateness: An event that arrives later than this after it happened starts no run: a reminder of last week's
            cart has no use.
    """

    condition: Condition | None = Field(default=None, alias="if")
    max_lateness: Duration = DAY_MS


class SegmentEntry(SegmentMatch):
    """A person enters on entering or leaving a segment, if `if` holds; with `existing`, by its backfill as a member."""

    condition: Condition | None = Field(default=None, alias="if")
    existing: bool = False


class BroadcastEntry(SegmentMatch):
    """A person enters when a broadcast begins, as a member of the segment; with `live` also by entering it later."""

    members: Literal["frozen", "live"]
    condition: None = None


Entry = Annotated[
    Annotated[EventEntry, Tag("event")]
    | Annotated[SegmentEntry, Tag("segment")]
    | Annotated[BroadcastEntry, Tag("broadcast")],
    Discriminator(_entry_kind),
]


class Goal(EventMatch):
    """An event that counts as a success of the journey if it happens within `within` of the entry. It ends no run."""

    name: Slug = "goal"
    within: Duration = 7 * DAY_MS


class _Step(_Model):
    id: Slug | None = None


class Delay(_Step):
    """Wait for a time."""

    delay: Annotated[Duration, Field(ge=1)]


class LocalTime(_Model):
    """A local time of the person; in the deployment's time zone if theirs is not known.

    Attributes:
        time: `10:00`. Without a date it is the next such hour, on one of `weekdays`.
        weekdays: Any day when left out.
        date: `event.starts_at`, a property of the event that let the person in; `last.…`, of the last one that was
            waited for; `trait.birthday`. A date without an hour is at `time`, else at the start of that day; in a
            trait, midnight in UTC is the date as written.
        offset: Added to the date; `-1d` is the day before.
        every_year: The next such day of any year; a 29 February is kept on the 28th in other years.
        if_missed: What to do if the date is not known, or has passed with its offset: `exit`, `continue`, or
            `continue_if_ahead`: only if the date itself is still to come.
    """

    time: Clock | None = None
    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1)] | None = None
    date: Annotated[str, StringConstraints(pattern=r"^(event|last|trait)\.[A-Za-z_][\w.]*$")] | None = None
    offset: SignedDuration = 0
    every_year: bool = False
    if_missed: Literal["exit", "continue", "continue_if_ahead"] = "exit"

    @model_validator(mode="after")
    def _one_way(self) -> LocalTime:
        if self.time is None and self.date is None:
            raise ValueError("it needs a time or a date")
        if self.date is not None and self.weekdays is not None:
            raise ValueError("weekdays and a date exclude each other")
        if self.date is None and (self.offset or self.every_year):
            raise ValueError("offset and every_year belong to a date")
        return self

    @property
    def hour(self) -> TimeOfDay | None:
        """The time of day."""
        return TimeOfDay.fromisoformat(self.time) if self.time else None


class Until(_Step):
    """Wait for a local time of the person."""

    until: LocalTime


class Sending(_Step):
    """Wait for the time at which a broadcast is sent to the person; later than `expires_after` is too late."""

    send: SendTime
    expires_after: Duration = DAY_MS


class WaitFor(_Step):
    """Wait for something to happen.

    Attributes:
        wait_for: The event or segment; an event counts also if it arrives late or out of order, if it happened after
            the wait began.
        timeout: Longest wait.
        then: Steps if it has happened in time.
        otherwise: `else`; steps if it has not.
    """

    wait_for: Match
    timeout: Annotated[Duration, Field(ge=1)] | None = None
    then: tuple[Step, ...] = ()
    otherwise: tuple[Step, ...] = Field(default=(), alias="else")


class If(_Step):
    """Split by a condition on the person."""

    condition: Condition = Field(alias="if")
    then: tuple[Step, ...] = ()
    otherwise: tuple[Step, ...] = Field(default=(), alias="else")


Weight = Annotated[int, Field(ge=0, le=1_000_000)]
_Weighted = TypeVar("_Weighted", "Arm", "Variant")


def _some_weight(choices: tuple[_Weighted, ...]) -> tuple[_Weighted, ...]:
    if choices and not any(one.weight for one in choices):
        raise ValueError("all weights are 0, so nobody could take any: give one of them a weight of 1 or more")
    return choices


class Arm(_Model):
    """One branch of a random split; its share is its weight among all weights. Weight 0: nobody takes it any more."""

    name: Slug
    weight: Weight = 1
    steps: tuple[Step, ...] = ()


class RandomSplit(_Step):
    """Split by a hash of person, journey and step; with `winner`, of a broadcast, all wait for the arm that wins."""

    random: Annotated[tuple[Arm, ...], Field(min_length=2), AfterValidator(_some_weight)]
    winner: WinnerChoice | None = None
    expires_after: Duration = DAY_MS


class Variant(_Model):
    """One version of a message; its share is its weight among all weights. `template`: one of its own."""

    name: Slug
    weight: Weight = 1
    template: Slug | None = None


class MessageNode(_Step):
    """Request a message. The resolver decides whether, on which channel and when it is sent.

    Attributes:
        template: `message`; the template's name.
        channels: The possible channels, best first; `channel` for one alone; all channels of the policy if left out.
        choose: `declared`: the first channel that reaches the person; `preferred`: the one that the person prefers;
            `next_best`: the one with the highest expected value.
        purpose: The purpose that the person must have agreed to. `transactional` is part of a service, such as a
            payment notice, and bypasses the gates that the policy names.
        tags: For caps by kind, and for reports.
        campaign: The campaign of its clicks: a name, or `{name, source, medium, id, …}`.
        priority: Among messages that wait, the higher goes first.
        best_within_ms: `best_within`; longest wait for the person's best hour.
        expires_after_ms: `expires_after`; life time of the message from the time at which the step was reached.
        margin: The margin of a click on it, in the policy's currency.
        variants: A/B versions of the message, chosen as a random split is.
        coupon: A coupon for each person (`coupon_choice.py`).
        data: Fixed values for the template.
    """

    template: Slug = Field(alias="message")
    channels: Channels = Field(default=(), validation_alias=AliasChoices("channels", "channel"))
    choose: Choice = "declared"
    purpose: Slug = "marketing"
    tags: tuple[Slug, ...] = ()
    campaign: Campaign = Field(default_factory=dict)
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    best_within_ms: Annotated[Duration, Field(ge=1)] | None = Field(default=None, alias="best_within")
    expires_after_ms: Annotated[Duration, Field(ge=1)] | None = Field(default=None, alias="expires_after")
    margin: Annotated[float, Field(gt=0)] | None = None
    variants: Annotated[tuple[Variant, ...], AfterValidator(_some_weight)] = ()
    coupon: CouponChoice | None = None
    data: dict[Label, Scalar] = Field(default_factory=dict)

    @property
    def transactional(self) -> bool:
        """It is part of a service, not an advertisement."""
        return self.purpose == "transactional"


class SetTrait(_Step):
    """Set traits of the profile, as an event at this time would."""

    set_trait: Annotated[dict[Label, Scalar], Field(min_length=1)]


class Webhook(_Step):
    """Post to another system; `delivery.yaml` has the address of `webhook`, a setting the key of the signature."""

    webhook: Slug
    data: dict[Label, Scalar] = Field(default_factory=dict)


class Exit(_Step):
    """End the run; the reason appears in reports."""

    exit: Label


AnyStep = Delay | Until | Sending | WaitFor | If | RandomSplit | MessageNode | SetTrait | Webhook | Exit
_KINDS: dict[str, str] = {
    "delay": "delay",
    "until": "until",
    "send": "send",
    "wait_for": "wait_for",
    "if": "if",
    "condition": "if",
    "random": "random",
    "message": "message",
    "template": "message",
    "set_trait": "set_trait",
    "webhook": "webhook",
    "exit": "exit",
}


def _kind(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, _Step) else ()
    kind = next((kind for word, kind in _KINDS.items() if word in keys), None)
    return None if kind == "send" and isinstance(value, dict) and isinstance(value["send"], str) else kind


Step = Annotated[
    Annotated[Delay, Tag("delay")]
    | Annotated[Until, Tag("until")]
    | Annotated[Sending, Tag("send")]
    | Annotated[WaitFor, Tag("wait_for")]
    | Annotated[If, Tag("if")]
    | Annotated[RandomSplit, Tag("random")]
    | Annotated[MessageNode, Tag("message")]
    | Annotated[SetTrait, Tag("set_trait")]
    | Annotated[Webhook, Tag("webhook")]
    | Annotated[Exit, Tag("exit")],
    Discriminator(
        _kind,
        custom_error_type="step",
        custom_error_message=(
            "not a step: it needs one of delay, until, wait_for, if, random, message, set_trait, webhook, exit"
        ),
    ),
]


class Journey(_Model):
    """One journey.

    Attributes:
        name: Unique among journeys; runs, decisions and reports carry it.
        description: What it does, in one line for people.
        revision: A name of this state of the definition, for reports.
        own_events: Names of custom events; any other unknown name is reported as misspelt.
        enabled: If false, no run starts; active runs continue.
        entry: The event or segment by which a person enters.
        re_entry: For each key by itself: `once` in a life; `after_exit`, one run at a time; `restart`, likewise, but
            until its first message is sent a run begins anew with each entry; `always`, each entry is a run.
        re_entry_after: Further: not within so long of the last entry; a restart is none.
        exit_when: The events or segments that end a run at any step. A late event ends it too, and a message that was
            sent although the event had happened before is marked as regretted.
        goals: The events that count as its success.
        holdout: Share of people who get none of its messages, so that its effect can be measured.
        experiment: How its variants, and its messages against the holdout, are compared.
        steps: The steps, in order.
    """

    name: Slug
    description: Label
    revision: Slug | None = None
    own_events: tuple[Label, ...] = ()
    enabled: bool = True
    entry: Entry
    re_entry: Literal["once", "after_exit", "restart", "always"] = "after_exit"
    re_entry_after: Duration = 0
    exit_when: tuple[Match, ...] = ()
    goals: tuple[Goal, ...] = ()
    holdout: Share = 0.0
    experiment: Experiment = Experiment()
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Journey:
        ids = [step.id for _, step in self.walk() if step.id]
        for what, names in (("steps", ids), ("goals", [goal.name for goal in self.goals])):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"two {what} are called {twice!r}")
        return self

    @property
    def version(self) -> str:
        """Return the version: a hash of the definition but `enabled`, after its `revision` if it has one."""
        digest = hashlib.sha256(self._as_json(exclude={"enabled", "description"})).hexdigest()[:12]
        return f"{self.revision}-{digest}" if self.revision else digest

    def archived(self) -> bytes:
        """Return the definition as JSON, stored for runs that continue with it; `model_validate_json` reads it."""
        return self._as_json(exclude=set())

    def _as_json(self, exclude: set[str]) -> bytes:
        plain = self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=exclude)
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)

    def walk(self) -> Iterator[tuple[tuple[str | int, ...], AnyStep]]:
        """Yield all steps in the order of the file, each with its path."""
        return _walk(self.steps, ("steps",))

    def matches(self) -> Iterator[tuple[tuple[str | int, ...], EventMatch | SegmentMatch]]:
        """Yield every event and segment that the journey listens to, each with its path in the file."""
        yield ("entry",), self.entry
        yield from ((("exit_when", index), match) for index, match in enumerate(self.exit_when))
        yield from ((("goals", index), goal) for index, goal in enumerate(self.goals))
        yield from (((*path, "wait_for"), step.wait_for) for path, step in self.walk() if isinstance(step, WaitFor))

    def conditions(self) -> Iterator[tuple[tuple[str | int, ...], Condition]]:
        """Yield every condition on a person, each with its path in the file."""
        if self.entry.condition is not None:
            yield ("entry", "if"), self.entry.condition
        yield from (((*path, "if"), step.condition) for path, step in self.walk() if isinstance(step, If))


def _walk(steps: tuple[AnyStep, ...], path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], AnyStep]]:
    for index, step in enumerate(steps):
        here = (*path, index)
        yield here, step
        if isinstance(step, WaitFor | If):
            yield from _walk(step.then, (*here, "then"))
            yield from _walk(step.otherwise, (*here, "else"))
        elif isinstance(step, RandomSplit):
            for number, arm in enumerate(step.random):
                yield from _walk(arm.steps, (*here, "random", number, "steps"))

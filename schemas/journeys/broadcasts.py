"""The file format of a broadcast: one message to the members of a segment, at one time.

A broadcast becomes a journey (`as_journey`) that everybody enters once, when it is started. So its messages pass the
same gates as those of journeys, with the same rows, caps, templates and coupons.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.decisions.decision import Choice
from schemas.durations import DAY_MS, Duration
from schemas.journeys.broadcast_parts import SendTime, WinnerChoice
from schemas.journeys.coupon_choice import CouponChoice
from schemas.journeys.definitions import Journey
from schemas.journeys.experiment import Experiment
from schemas.journeys.values import Campaign, Channels, Label, Scalar, Share, Slug
from schemas.segments.conditions import Condition
from schemas.segments.conditions import Name as SegmentName

STEPS = SEND, AUDIENCE, SAMPLE, SPLIT, WINNER = "send", "audience", "sample", "split", "winner"
"""Ids of the steps of a broadcast's journey."""
MESSAGE = "message"
"""Of a broadcast without variants: what its message is called in place of a variant."""
SMALLEST_SHARE = 1e-6
"""A smaller share of a split would be of nobody."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class BroadcastVariant(_Part):
    """One version of the message; its share is its weight among all weights. `template`: one of its own."""

    name: Slug
    weight: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    template: Slug | None = None
    data: dict[Label, Scalar] = Field(default_factory=dict)


class BroadcastSplit(_Part):
    """Versions of the message that are compared.

    Attributes:
        variants: The versions.
        share: With a winner: the share of people who get the variants before it is chosen.
        winner: How it is chosen; left out: everybody gets one of the variants, and nobody waits.
    """

    variants: Annotated[tuple[BroadcastVariant, ...], Field(min_length=2)]
    share: Annotated[float, Field(ge=SMALLEST_SHARE, lt=1)] | None = None
    winner: WinnerChoice | None = None

    @model_validator(mode="after")
    def _share_of_a_winner(self) -> BroadcastSplit:
        names = [one.name for one in self.variants]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two variants are called {twice!r}")
        if (self.share is None) is not (self.winner is None):
            raise ValueError(
                "`share` and `winner` go together: a share of people gets the variants (`share: 0.2`), the rest the"
                " winner (`winner: {metric: clicked, at: 2026-12-01 16:00, within: 4h}`)"
            )
        return self


class Budget(_Part):
    """What a broadcast may cost at most: no more people are taken than it could pay for on the dearest of its channels.

    Attributes:
        messages: The most messages.
        cost: The most money, in the currency of the message policy's costs.
    """

    messages: Annotated[int, Field(ge=1)] | None = None
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Budget:
        if self.messages is None and self.cost is None:
            raise ValueError("give it `messages` or `cost`, such as `budget: {cost: 400}`")
        return self


class Broadcast(_Part):
    """One broadcast.

    Attributes:
        name: Unique among broadcasts and journeys. It can be started once; decisions and reports carry it.
        description: What it is, in one line for people.
        segment: The people who get it.
        members: `frozen`: the members at the moment when it is started; `live`: those who are members when it is sent
            to them, also who became one meanwhile.
        exclude: Members of these segments do not get it; looked at when it is sent to a person.
        condition: `if`; must hold when it is sent to a person.
        send: When.
        template: `message`; the template's name.
        channels: The possible channels, best first; `channel` for one alone; all channels of the policy if left out.
        choose: `declared`, `preferred` or `next_best`: the one channel, as for a message of a journey; `all`: the same
            message on each of `channels`.
        purpose, tags, campaign, priority, margin, coupon, data: As of a message of a journey.
        split: Versions of the message, and how the winner is chosen.
        experiment_window: `count_for`; how long after the draw what a person does counts in results.
        holdout: Share of people who do not get it, so that its effect can be measured.
        budget: What it may cost at most.
        expires_after: The life time of a message from when it was to be sent to the person: later is never.
    """

    name: Slug
    description: Label
    segment: SegmentName
    members: Literal["frozen", "live"] = "frozen"
    exclude: tuple[SegmentName, ...] = ()
    condition: Condition | None = Field(default=None, alias="if")
    send: SendTime = SendTime()
    template: Slug = Field(alias="message")
    channels: Channels = Field(default=(), validation_alias=AliasChoices("channels", "channel"))
    choose: Choice | Literal["all"] = "declared"
    purpose: Slug = "marketing"
    tags: tuple[Slug, ...] = ()
    campaign: Campaign = Field(default_factory=dict)
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    margin: Annotated[float, Field(gt=0)] | None = None
    coupon: CouponChoice | None = None
    data: dict[Label, Scalar] = Field(default_factory=dict)
    split: BroadcastSplit | None = None
    experiment_window: Annotated[Duration, Field(ge=1)] | None = Field(default=None, alias="count_for")
    holdout: Share = 0.0
    budget: Budget | None = None
    expires_after: Annotated[Duration, Field(ge=1)] = DAY_MS

    @model_validator(mode="after")
    def _consistent(self) -> Broadcast:
        if self.choose == "all" and len(self.channels) < 2:
            raise ValueError("`choose: all` sends on each of `channels`: name two or more of them")
        if self.members == "live" and self.budget is not None:
            raise ValueError("a budget needs `members: frozen`: of a live segment nobody knows how many it will have")
        if self.members == "live" and self.send.rate_per_hour is not None:
            raise ValueError("a rate needs `members: frozen`: of a live segment nobody knows how many it will have")
        if self.experiment_window is not None and self.split is not None and self.split.winner is not None:
            raise ValueError("with a winner its `within` is what counts: leave `count_for` out")
        return self

    @model_validator(mode="after")
    def _becomes_a_journey(self) -> Broadcast:
        try:
            self.as_journey()
        except ValidationError as error:
            first = error.errors()[0]
            said = first["msg"].removeprefix("Value error, ")
            called = f"{first['input']!r}: {said}" if first["loc"][-1:] == ("id",) else said
            raise ValueError(
                f"its steps are called {', '.join(STEPS)}, and after its variants and channels: {called}"
            ) from None
        return self

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates that it sends."""
        variants = self.split.variants if self.split else ()
        return tuple(dict.fromkeys((self.template, *(one.template for one in variants if one.template))))

    @property
    def messages_a_person(self) -> int:
        """The most messages that one person gets."""
        return len(self.channels) if self.choose == "all" else 1

    def message_steps(self, name: str) -> list[str]:
        """Return the ids of the steps that send the message of a variant; without variants it is called `message`."""
        return [f"{name}-{channel}" for channel in self.channels] if self.choose == "all" else [name]

    def as_journey(self) -> Journey:
        """Return the journey that the broadcast becomes; an equal broadcast has an equal version."""
        winner = self.split.winner if self.split else None
        window = winner.within if winner else self.experiment_window
        metric = winner.metric if winner else "ordered"
        steps: list[dict[str, Any]] = [{"id": SEND, "send": self.send, "expires_after": self.expires_after}]
        if condition := self._still_asked():
            steps.append({"id": AUDIENCE, "if": condition, "else": [{"exit": "not in the audience"}]})
        if self.split is None:
            steps += self._messages(MESSAGE, None)
        elif winner is None:
            steps.append({"id": SPLIT, "random": self._arms("")})
        else:
            sample = {"bucket": self.name, "from": 0, "to": round((self.split.share or 0) * 100, 6)}
            waits = {"winner": winner, "expires_after": self.expires_after}
            rest = [{"id": WINNER, **waits, "random": self._arms("winner-")}]
            then = [{"id": SPLIT, "random": self._arms("")}]
            steps.append({"id": SAMPLE, "if": sample, "then": then, "else": rest})
        experiment = Experiment(metric=metric) if window is None else Experiment(metric=metric, window=window)
        return Journey.model_validate(
            {
                "name": self.name,
                "description": self.description,
                "entry": {"segment": self.segment, "members": self.members},
                "re_entry": "once",
                "holdout": self.holdout,
                "experiment": experiment,
                "steps": steps,
            }
        )

    def _still_asked(self) -> dict[str, Any] | None:
        """Return the condition that is asked when it is sent to a person."""
        asked: list[Any] = [{"segment": self.segment}] if self.members == "live" else []
        asked += [{"not": {"segment": name}} for name in self.exclude]
        asked += [self.condition] if self.condition is not None else []
        return {"all": asked} if asked else None

    def _arms(self, prefix: str) -> list[dict[str, Any]]:
        return [
            {"name": one.name, "weight": one.weight, "steps": self._messages(prefix + one.name, one)}
            for one in (self.split.variants if self.split else ())
        ]

    def _messages(self, step: str, variant: BroadcastVariant | None) -> list[dict[str, Any]]:
        message: dict[str, Any] = {
            "message": (variant.template if variant else None) or self.template,
            "purpose": self.purpose,
            "tags": self.tags,
            "campaign": self.campaign,
            "priority": self.priority,
            "expires_after": self.expires_after,
            "data": {**self.data, **(variant.data if variant else {})},
            **({"margin": self.margin} if self.margin is not None else {}),
            **({"coupon": self.coupon} if self.coupon is not None else {}),
            **({"best_within": self.send.best_within} if self.send.best_within is not None else {}),
        }
        if self.choose == "all":
            ids = zip(self.message_steps(step), self.channels, strict=True)
            return [{**message, "id": one, "channels": [name]} for one, name in ids]
        return [{**message, "id": step, "channels": self.channels, "choose": self.choose}]

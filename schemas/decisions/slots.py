"""The file format of a slot: a place on the site, in the app or at the till, and what it may show to whom.

A slot asks while a person is there (`POST /v1/decide`), so nothing waits: the first candidate is shown whose
audience the person is in, and that passes the gates of messages; else the fallback.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, StringConstraints, model_validator

from schemas.decisions.policy import CapRule
from schemas.delivery.templates import Language
from schemas.durations import Duration
from schemas.journeys.coupon_choice import CouponChoice
from schemas.journeys.values import Campaign, Label, Scalar, Share, Slug
from schemas.segments.conditions import Condition

MAX_RECOMMENDED = 24
"""The most products that a slot shows."""
Text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=2000, pattern=r"\S")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SlotCap(_Part):
    """How often one person sees a candidate at most, in a rolling window or a day, week or month of their calendar."""

    limit: Annotated[int, Field(ge=1, le=1000)]
    within: Annotated[Duration, Field(ge=1)] | None = None
    calendar: Literal["day", "week", "month"] | None = None

    @model_validator(mode="after")
    def _one_period(self) -> SlotCap:
        self.rule("x")
        return self

    def rule(self, tag: str) -> CapRule:
        """Return the cap over messages with a tag."""
        return CapRule(limit=self.limit, tag=tag, within=self.within, calendar=self.calendar)


class Score(_Part):
    """The value of a candidate for a person: `plus + times * attribute`; without the attribute `otherwise`.

    Attributes:
        attribute: A number of the person, as conditions name it: `scores.purchase_likelihood`.
        times: Its weight.
        plus: Added to it.
        otherwise: `else`; the value for people of whom the attribute is not known.
    """

    attribute: Label | None = None
    times: float = 1.0
    plus: float = 0.0
    otherwise: float = Field(default=0.0, alias="else")

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {"plus": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Candidate(_Part):
    """One thing that a slot may show.

    Attributes:
        name: Unique in the slot; decisions and reports carry it.
        condition: `if`; its audience, in the language of segments; left out: everybody.
        offer: A broadcast or a journey whose offer it shows while that is under way for the person, with its template,
            campaign, tags, purpose, coupon and control group, so that mail, push, site and till say the same.
        template: `message`; a template with a text for the slot's channel. It goes before that of the offer.
        purpose: The purpose that the person must not have said no to; left out: that of the slot or of the offer.
        tags: For caps by tag, which messages of journeys with the tag share, and for topics that people refuse.
        campaign: The campaign of its clicks: a name, or `{name, source, medium, id, …}`.
        starts: `from`; not shown earlier, on the person's clock.
        ends: `until`; not shown from then on.
        caps: How often a person sees it at most.
        score: Its value for the person, where the slot chooses the best.
        recommend: How many products are recommended with it, as data that the page draws by itself.
        coupon: A coupon for each person, who sees the same code again; of an offer, the code of its message.
        data: Fixed values for the template.
    """

    name: Slug
    condition: Condition | None = Field(default=None, alias="if")
    offer: Slug | None = None
    template: Slug | None = Field(default=None, alias="message")
    purpose: Slug | None = None
    tags: tuple[Slug, ...] = ()
    campaign: Campaign = Field(default_factory=dict)
    starts: NaiveDatetime | None = Field(default=None, alias="from")
    ends: NaiveDatetime | None = Field(default=None, alias="until")
    caps: tuple[SlotCap, ...] = ()
    score: Score = Score()
    recommend: Annotated[int, Field(ge=0, le=MAX_RECOMMENDED)] = 0
    coupon: CouponChoice | None = None
    data: dict[Label, Scalar] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _shows_something(self) -> Candidate:
        if self.template is None and self.offer is None and not self.recommend:
            raise ValueError("it shows nothing: give it `message: TEMPLATE`, `offer: BROADCAST`, or `recommend: 4`")
        if self.starts is not None and self.ends is not None and self.ends <= self.starts:
            raise ValueError("`until` is before `from`: it would never be shown")
        if self.offer is not None and self.coupon is not None:
            raise ValueError("an offer has the coupon of its messages: leave `coupon` out")
        return self


class FallbackText(_Part):
    """What a slot shows where no candidate may be shown, in one language. It is shown as it is, without any store."""

    title: Text | None = None
    text: Text | None = None
    link: Text | None = None

    @model_validator(mode="after")
    def _plain(self) -> FallbackText:
        if any("{{" in part or "{%" in part for part in self.parts().values()):
            raise ValueError("a fallback is shown as it is, to people of whom nothing is known: write it without {{ }}")
        return self

    def parts(self) -> dict[str, str]:
        """Return the parts that have a text."""
        return {name: value for name, value in self if value is not None}


class Slot(_Part):
    """One slot.

    Attributes:
        name: Unique among slots, journeys and broadcasts; decisions and reports carry it as their journey.
        description: What it is, in one line for people.
        channel: Where it is: `web`, `app`, `store` or another channel of events.
        purpose: The purpose of its candidates; `transactional` is part of a service and bypasses gates as messages do.
        choose: `first` in the order of the file, or `best` by `score`.
        holdout: Share of people who always get the fallback, so that the effect of the slot can be measured.
        candidates: What it may show.
        default_language: The language of the fallback for people in whose language there is none.
        fallback: By language; left out: nothing is shown.
    """

    name: Slug
    description: Label
    channel: Slug
    purpose: Slug = "marketing"
    choose: Literal["first", "best"] = "first"
    holdout: Share = 0.0
    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1, max_length=100)]
    default_language: Language = "en"
    fallback: dict[Language, FallbackText] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Slot:
        names = [one.name for one in self.candidates]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two candidates are called {twice!r}")
        if self.fallback and self.default_language not in self.fallback:
            raise ValueError(f"the fallback has no text in the default language, {self.default_language}")
        return self

    @property
    def version(self) -> str:
        """The version: a hash of the definition."""
        text = self.model_dump_json(by_alias=True, exclude_unset=True, exclude={"description"})
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def conditions(self) -> Iterator[tuple[tuple[str | int, ...], Condition]]:
        """Yield the audiences with their places."""
        for index, one in enumerate(self.candidates):
            if one.condition is not None:
                yield ("candidates", index, "if"), one.condition

"""Parts of a broadcast that also are in the journey that it becomes: when it is sent, and which variant has won."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NaiveDatetime, StringConstraints, model_validator

from schemas.durations import Duration
from schemas.time import known_zone

Variant = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _person_or_zone(name: str) -> str:
    try:
        return name if name == "person" else known_zone(name)
    except ValueError as error:
        raise ValueError(f"{error}, nor `person`") from None


class SendTime(_Part):
    """When a broadcast is sent.

    Attributes:
        at: Day and hour, `2026-12-01 10:00`; left out: as soon as it is started.
        zone: On whose clock: `person`, on each person's own; or a time zone, so that all get it at one moment.
        if_missed: What becomes of people for whom that hour has passed when it is started: `send` at once, or `skip`.
        best_within: Longest wait from then on for the person's best hour.
        rate_per_hour: The most people an hour. They are spread evenly, each at a place of their own, over the hours
            that all of them take; a pause puts off those who wait, so that the rate holds afterwards too.
    """

    at: NaiveDatetime | None = None
    zone: Annotated[str, AfterValidator(_person_or_zone)] = "person"
    if_missed: Literal["send", "skip"] = "send"
    best_within: Annotated[Duration, Field(ge=1)] | None = None
    rate_per_hour: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _zone_of_a_time(self) -> SendTime:
        if self.at is None and {"zone", "if_missed"} & self.model_fields_set:
            raise ValueError("zone and if_missed belong to a time: give it `at`, such as `at: 2026-12-01 10:00`")
        return self


class WinnerChoice(_Part):
    """How the winner among variants is chosen, and when the rest gets it.

    Attributes:
        metric: What it is chosen by, of each person who got a variant: whether they `clicked` or `ordered`, or their
            `revenue`.
        at: When, on the deployment's clock.
        within: How long after a person was drawn what they do counts; who was drawn later than so long before `at`
            counts in neither variant.
        send_at: When the rest gets it, on each person's clock; left out: as soon as it is chosen, outside quiet hours.
    """

    metric: Literal["clicked", "ordered", "revenue"] = "clicked"
    at: NaiveDatetime
    within: Annotated[Duration, Field(ge=1)]
    send_at: NaiveDatetime | None = None

    @model_validator(mode="after")
    def _in_order(self) -> WinnerChoice:
        # A day earlier on the calendar is possible: the person's clock may be behind the deployment's by 26 hours.
        if self.send_at is not None and (self.at - self.send_at).total_seconds() > 26 * 3600:
            raise ValueError("send_at is before `at`: there would be no winner yet")
        return self

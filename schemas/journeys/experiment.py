"""How the variants of a journey or of a broadcast are compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.durations import DAY_MS, Duration, duration_text

Metric = Literal["ordered", "clicked", "goal", "revenue"]
Arm = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class Experiment(BaseModel):
    """How the variants of a journey are compared: the arms of its random splits and the variants of its messages.

    Attributes:
        metric: What a variant is to raise: the share of people with an order (`ordered`), who clicked (`clicked`) or
            who reached a goal of the journey (`goal`), or the revenue of a person (`revenue`).
        window: How long after the draw what a person does counts.
        horizon: When the winner is decided, once, counted from the first draw of a version; by the people whose window
            is over by then. If not given, a sequential test decides, which may be looked at as often as one likes.
        control: The variant that the others are compared with; if not given the first one of each split.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    metric: Metric = "ordered"
    window: Annotated[Duration, Field(ge=1)] = 7 * DAY_MS
    horizon: Annotated[Duration, Field(ge=1)] | None = None
    control: Arm | None = None

    @model_validator(mode="after")
    def _people_before_the_horizon(self) -> Experiment:
        if self.horizon is not None and self.horizon <= self.window:
            raise ValueError(
                f"a horizon of {duration_text(self.horizon)} is not longer than the window of"
                f" {duration_text(self.window)}: nobody's window would be over by then"
            )
        return self

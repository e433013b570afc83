"""The tracking plan: what the events of the retailer's own mean, who owns them, and which properties they have.

A plan is the files of `definitions/plan`, merged. Known events may be planned too; their own shapes hold as well.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, StringConstraints, model_validator
from pydantic_core import SchemaError, SchemaValidator, core_schema

from schemas.intake.sources import SourceName

Mode = Literal["observe", "warn", "refuse"]
"""What happens to an event that breaks its plan: nothing, a note on the event, or a dead letter."""

ANY_SOURCE = "*"

EventName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"\S")]
PropertyName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
OneLine = Annotated[str, StringConstraints(max_length=500)]


class Kind(StrEnum):
    """The type of a property's value."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    MONEY = "money"
    BOOLEAN = "boolean"
    TIME = "time"
    DATE = "date"
    LIST = "list"
    OBJECT = "object"


_NUMERIC = frozenset({Kind.INTEGER, Kind.NUMBER, Kind.MONEY})
_VALUE_TYPES: dict[Kind, type] = {Kind.TEXT: str, Kind.INTEGER: int, Kind.BOOLEAN: bool}


class PlannedProperty(BaseModel):
    """One property of a planned event.

    Attributes:
        type: `text`, `integer`, `number`, `money` (a decimal as text, or a number), `boolean`, `time`, `date`
            (`2026-11-22`), `list` or `object`.
        required: Every event has it.
        meaning: For people.
        values: The allowed values; empty: any.
        pattern: A regular expression that the text matches somewhere; write `^…$` for all of it. Without look-around
            and back-references, so that no text takes long.
        min: The smallest number.
        max: The largest number.
        of: What the elements of a list are.
        properties: What an object has.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Kind = Kind.TEXT
    required: StrictBool = False
    meaning: OneLine = ""
    values: tuple[StrictBool | StrictInt | StrictStr, ...] = ()
    pattern: str | None = None
    min: float | None = None
    max: float | None = None
    of: PlannedProperty | None = None
    properties: dict[PropertyName, PlannedProperty] = {}

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if self.values and any(type(one) is not _VALUE_TYPES.get(self.type) for one in self.values):
            raise ValueError(f"values: not all of them are of type {self.type} (a text is written in quotes: 'on')")
        if self.pattern is not None and self.type is not Kind.TEXT:
            raise ValueError(f"pattern: it is for a text, this is of type {self.type}")
        if (self.min is not None or self.max is not None) and self.type not in _NUMERIC:
            raise ValueError(f"min and max: they are for numbers, this is of type {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min: it is above max")
        if self.of is not None and self.type is not Kind.LIST:
            raise ValueError(f"of: it is for a list, this is of type {self.type}")
        if self.properties and self.type is not Kind.OBJECT:
            raise ValueError(f"properties: they are for an object, this is of type {self.type}")
        if self.pattern is not None:
            _check_pattern(self.pattern)
        return self


class PlannedSource(BaseModel):
    """What differs for one source of an event.

    Attributes:
        mode: As that of the event.
        properties: Properties in place of those of the same name, or further ones.
        closed: As that of the event.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode | None = None
    properties: dict[PropertyName, PlannedProperty] = {}
    closed: StrictBool | None = None


class PlannedEvent(BaseModel):
    """One event.

    Attributes:
        owner: Who answers questions about it.
        meaning: When it is sent, for people.
        mode: What happens to an event that breaks the plan.
        properties: Its properties.
        closed: A property that is not planned breaks the plan.
        sources: What differs by source; with `only_sources`, the only sources that may send it.
        only_sources: An event of a source that is not named breaks the plan.
        since: The day from which it is sent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: OneLine = Field(min_length=1)
    meaning: OneLine = Field(min_length=1)
    mode: Mode = "observe"
    properties: dict[PropertyName, PlannedProperty] = {}
    closed: StrictBool = False
    sources: dict[SourceName, PlannedSource] = {}
    only_sources: StrictBool = False
    since: date | None = None

    @model_validator(mode="after")
    def _names_its_sources(self) -> Self:
        if self.only_sources and not self.sources:
            raise ValueError("only_sources: no source is named, so nobody could send it")
        return self

    def mode_of(self, source: str) -> Mode:
        """Return the mode for a source."""
        one = self.sources.get(source)
        return one.mode if one is not None and one.mode is not None else self.mode

    def properties_of(self, source: str) -> dict[str, PlannedProperty]:
        """Return the properties for a source."""
        one = self.sources.get(source)
        return {**self.properties, **one.properties} if one is not None else self.properties

    def is_closed(self, source: str) -> bool:
        """Return whether a property that is not planned breaks the plan for a source."""
        one = self.sources.get(source)
        return one.closed if one is not None and one.closed is not None else self.closed


class PlanDefinitions(BaseModel):
    """One file of the plan, or all of them merged.

    Attributes:
        events: By name.
        unplanned: What happens to an event of the retailer's own that is not planned, by source; `*` is any other
            source. Known events, such as `Order Completed`, need no plan.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    events: dict[EventName, PlannedEvent] = {}
    unplanned: dict[SourceName | Literal["*"], Mode] = {}


def _check_pattern(pattern: str) -> None:
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"pattern: it is no regular expression that takes bounded time: {lines[-1]}") from None

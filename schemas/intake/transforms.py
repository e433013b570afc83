"""Transforms: how the events of one source are corrected before they are judged. Definitions, without any code.

For a producer that cannot be changed soon, such as the firmware of a till or an app that people do not update. A path
is written with dots, `properties.price`, and `[]` for every element of a list, `properties.products[].price`.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from schemas.intake.expressions import Expression
from schemas.intake.mappings import Scalar, Value, ValueMapping

MAX_STEPS, MAX_PATHS = 100, 100

_PATH = re.compile(r"[^.\[\]\s]{1,100}(\[\])?(\.[^.\[\]\s]{1,100}(\[\])?){0,9}")


def _checked(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ValueError(f"{path!r} is no path such as properties.price or properties.products[].price")
    root = path.partition(".")[0].removesuffix("[]")
    if root == "source":
        raise ValueError("source: it says whose transform this is, so it stays as it is")
    return path


def _from_cast(value: object) -> object:
    """Read the short form of a cast: a text is the type."""
    if isinstance(value, str):
        return {"get": "@", "as": value}
    return {"get": "@", **value} if isinstance(value, dict) else value


Path = Annotated[str, AfterValidator(_checked)]
Cast = Annotated[ValueMapping, BeforeValidator(_from_cast)]


class TransformStep(BaseModel):
    """One step. What it names of the following is done in this order.

    Attributes:
        when: An expression of the event; without it the step is taken always.
        rename: The value at a path moves to another one, unless that has a value. In lists both are of one element.
        set: The value at a path becomes that of an expression of the event, or a constant. So an event gets another
            name or channel.
        default: The value at a path where there is none.
        cast: The value at a path is read as a type, as in mappings: `money`, or `{as: money, decimal: ","}`. One that
            cannot be read stays as it is.
        hash: The text or number at a path becomes its hash, keyed with the identity secret.
        drop: The value at a path is removed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    when: Expression | None = None
    rename: Annotated[dict[Path, Path], Field(max_length=MAX_PATHS)] = {}
    values: Annotated[dict[Path, Value], Field(max_length=MAX_PATHS, alias="set")] = {}
    default: Annotated[dict[Path, Scalar], Field(max_length=MAX_PATHS)] = {}
    cast: Annotated[dict[Path, Cast], Field(max_length=MAX_PATHS)] = {}
    hash: Annotated[tuple[Path, ...], Field(max_length=MAX_PATHS)] = ()
    drop: Annotated[tuple[Path, ...], Field(max_length=MAX_PATHS)] = ()

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.rename or self.values or self.default or self.cast or self.hash or self.drop):
            raise ValueError("a step has at least one of rename, set, default, cast, hash and drop")
        for old, new in self.rename.items():
            if lists_of(old) != lists_of(new):
                raise ValueError(f"rename {old}: {new} is of another list, so it is not known which element is meant")
        for path, how in self.values.items():
            if how.fields is not None:
                raise ValueError(f"set {path}: a value is one of get and value")
        return self

    def names_freely(self) -> bool:
        """Return whether the event itself may say which name the step gives it."""
        how = self.values.get("event")
        return "event" in self.rename.values() or (how is not None and how.get is not None and how.lookup is None)

    def written(self) -> set[str]:
        """Return the paths that the step may give a value to."""
        return {*self.rename.values(), *self.values, *self.default, *self.cast, *self.hash}


class Transform(BaseModel):
    """One file of `transforms/`.

    Attributes:
        name: What `context.transformed` calls it.
        version: Raised when it changes, so that each event says by which it was transformed.
        description: For people.
        steps: The steps, in order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,60}$")]
    version: Annotated[int, Field(ge=1)] | Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,30}$")] = 1
    description: str = ""
    steps: Annotated[tuple[TransformStep, ...], Field(min_length=1, max_length=MAX_STEPS)]

    @property
    def label(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    def roots(self) -> set[str]:
        """Return the parts of an event that it may write to, such as `identifiers`."""
        return {path.partition(".")[0].removesuffix("[]") for step in self.steps for path in step.written()}


def lists_of(path: str) -> str:
    """Return a path up to its last list; empty if it has none."""
    return path[: path.rfind("[]") + 2] if "[]" in path else ""

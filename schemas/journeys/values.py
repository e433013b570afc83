"""The values that fields of definitions share: names, local times, durations, channels, campaigns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationInfo

from schemas.durations import parse_definition_duration, parse_duration

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
"""A name in file names, reports and hashes: small letters, digits, `-` and `_`."""
Label = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]


def _signed(length: object, info: ValidationInfo) -> object:
    if isinstance(length, str) and length.lstrip().startswith("-"):
        forwards = parse_duration(length.lstrip()[1:])
        return -forwards if isinstance(forwards, int) else forwards
    return parse_definition_duration(length, info)


def _within_properties(path: object) -> object:
    return path.removeprefix("properties.") if isinstance(path, str) else path


def _unquoted(value: object) -> object:
    """YAML reads 10:30 without quotes as 630, ten sixties and thirty."""
    return f"{value // 60:02d}:{value % 60:02d}" if type(value) is int else value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Clock = Annotated[str, BeforeValidator(_unquoted), StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
"""A local time of day, `HH:MM`."""
SignedDuration = Annotated[int, BeforeValidator(_signed)]
"""Milliseconds, forwards or (`-1d`) backwards."""
PropertyPath = Annotated[
    str, BeforeValidator(_within_properties), StringConstraints(pattern=r"^[^.\s]+(\.[^.\s]+)*$", max_length=200)
]
"""A property of an event, `cart_id` or `products.product_id`; through a list it means each of its items."""
Share = Annotated[float, Field(ge=0, lt=1)]
Channels = Annotated[tuple[Slug, ...], BeforeValidator(_as_list)]
"""Channels, best first, or the name of one."""
Campaign = Annotated[dict[Slug, Label], BeforeValidator(_as_name)]
"""The campaign of clicks: `{name, source, medium, id, …}`, or its name alone."""
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Scalar = str | int | float | bool | None

WEEKDAYS: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

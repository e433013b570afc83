"""Models as validators that write what they read; the laws are in `tests/property/test_decode_never_raises.py`."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, PlainSerializer, ValidationError, model_validator

from schemas.events.one_pass import one_pass_validator


class Part(BaseModel, extra="allow"):
    size: Annotated[int, PlainSerializer(lambda size: f"{size} cm", when_used="json")] = 1
    note: str | None = None


class Whole(BaseModel, extra="forbid"):
    parts: tuple[Part, ...] = ()
    secret: Annotated[str | None, Field(exclude=True)] = None
    more: dict[str, Any] = Field(default_factory=dict)


class Careful(BaseModel):
    name: str

    @model_validator(mode="after")
    def _look(self) -> Careful:
        return self


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"parts": [{"size": 7, "colour": "red"}, {"note": "x"}]}, id="parts, with a key of their own"),
        pytest.param({"secret": "s", "more": {"a": [1]}}, id="what is read and not written"),
        pytest.param({"secret": 5, "parts": []}, id="whatever it is"),
    ],
)
def test_it_gives_what_the_model_would_write(value: dict[str, Any]) -> None:
    expected = Whole.model_validate({**value, "secret": None}).model_dump(mode="json", exclude_none=True)
    found = one_pass_validator(Whole).validate_python(value)

    assert {"more": {}, **expected} == {"more": {}, **found}


@pytest.mark.parametrize("value", [{"x": 1}, {"parts": [{"note": None}]}, {"parts": {}}, []])
def test_it_may_refuse_and_then_the_model_is_asked(value: object) -> None:
    with pytest.raises(ValidationError):
        one_pass_validator(Whole).validate_python(value)


def test_functions_before_the_model_can_be_left_out_by_name() -> None:
    class Shy(BaseModel):
        name: str = ""

        @model_validator(mode="before")
        @classmethod
        def _tidy(cls, value: dict[str, Any]) -> dict[str, Any]:
            return {"name": "tidied"}

    class Group(BaseModel):
        first: Shy
        others: tuple[Shy, ...] = ()

    value = {"first": {"name": "a"}, "others": [{"name": "b"}]}
    tidied = {"name": "tidied"}

    assert {"first": tidied, "others": [tidied]} == one_pass_validator(Group).validate_python(value)
    assert {"first": tidied, "others": [tidied]} == one_pass_validator(Group, "_other").validate_python(value)
    assert value == one_pass_validator(Group, "_tidy").validate_python(value)


def test_code_that_needs_an_instance_is_refused_when_the_validator_is_made() -> None:
    with pytest.raises(TypeError, match="function-after"):
        one_pass_validator(Careful)


def test_a_kind_of_schema_that_nobody_taught_it_is_refused_when_the_validator_is_made() -> None:
    class Odd(BaseModel):
        members: set[int]

    with pytest.raises(TypeError, match="'set' can not be written in one pass"):
        one_pass_validator(Odd)

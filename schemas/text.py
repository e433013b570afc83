"""The types of text in an event: their maximum length, and whether an integer is accepted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

MAX_TEXT = 8192
"""Longest string anywhere in an event, keys included, in characters."""

CUT_TO = "cut_to"


class _TextOrInteger:
    """Validates a string, or an integer, which becomes its digits. A float is refused: it may have lost digits.

    The error about a text that may be cut to its limit says so: `ctx` has `cut_to`.
    """

    def __init__(self, max_length: int, min_length: int | None = None, *, may_be_cut: bool = False) -> None:
        self.max_length = max_length
        self.min_length = min_length
        self.may_be_cut = may_be_cut

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.union_schema(
            [
                core_schema.str_schema(strict=True, max_length=self.max_length, min_length=self.min_length),
                core_schema.no_info_after_validator_function(str, core_schema.int_schema(strict=True)),
            ],
            mode="left_to_right",
            custom_error_type="text",
            custom_error_message=(
                f"it should be a text of {self.min_length or 0} to {self.max_length} characters, or an integer"
            ),
            custom_error_context={CUT_TO: self.max_length} if self.may_be_cut else {},
        )


Id = Annotated[str, _TextOrInteger(200)]
"""An identifier of a thing: an order, a product, a message. Many shops number them, so integers are accepted."""

RequiredId = Annotated[str, _TextOrInteger(200, min_length=1)]
"""An `Id` that must not be empty."""

MAX_NAME = 500
"""Longest `Name`, in characters."""

Name = Annotated[str, _TextOrInteger(MAX_NAME, may_be_cut=True)]
"""A short human text: a name, a category, a campaign."""

Text = Annotated[str, StringConstraints(strict=True, max_length=MAX_TEXT)]
"""A long text: a URL, a review, a message."""

"""The mapping of an import: how the rows of a file become touchpoints, and how the file is written."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.intake.mappings import Mapping

ImportKind = Literal["people", "orders", "events", "products"]
Delimiter = Literal[",", ";", "\t", "|"]

ROWS = "_rows"
"""What expressions read the rows of an order by, where a file has one row for each of its lines."""
ROW_HASH = "_row_hash"
"""A hash of the columns that the mapping reads: as a part of an event's id it makes a changed row a new event."""
FILE_TIME = "_file_time"
"""When the file was last changed, as a text: the time of rows that have none of their own."""


class FileFormat(BaseModel):
    """How a file is written.

    Attributes:
        encoding: Of a CSV or JSON Lines file.
        delimiter: Between the values of a CSV file; None: the one of its header.
        group_by: The column that is the same in all rows of one order; they have to follow each other. A column of the
            order is read from the first of its rows that fills it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: str = "utf-8"
    delimiter: Delimiter | None = None
    group_by: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError:
            raise ValueError(f"{encoding!r} is no encoding such as utf-8 or cp1252") from None
        return encoding


class FileMapping(Mapping):
    """The file of `throughline import people|orders|events|products --map`.

    Attributes:
        kind: What a row is about: of which command it is the mapping; None: of any.
        file: How the file is written.
    """

    kind: ImportKind | None = None
    file: FileFormat = FileFormat()

"""The definition of a sync: a query of a warehouse, and which of its columns are identifiers and traits of people."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.intake.mappings import IdentifierType

Column = Annotated[str, StringConstraints(min_length=1, max_length=200)]
OWN_COLUMNS = ("_sync_id", "_sync_at", "_sync_run")
"""Columns that a sync adds to the rows that have changed."""


class SyncDefinition(BaseModel):
    """The file of `throughline sync`.

    Attributes:
        name: Of the sync: the beginning of the ids of its events. Another name publishes every row anew.
        source: The source of its events.
        database: `clickhouse`, or the name of a database in `THROUGHLINE_SYNC_DATABASES`.
        query: A SELECT in the SQL of that database, one row for each person.
        key: The identifier type by which a row is recognised in the next run: one of `identifiers`.
        identifiers: The column of each identifier type.
        traits: The column of each trait; a row whose traits and identifiers are as they were is no event.
        channel: The channel of its events.
        changed_at: The column with the time since when a row is so; without it, or empty, the time of the run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    source: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    database: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")] = "clickhouse"
    query: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
    key: IdentifierType
    identifiers: Annotated[dict[IdentifierType, Column], Field(min_length=1, max_length=20)]
    traits: Annotated[dict[str, Column], Field(min_length=1, max_length=100)]
    channel: str = "api"
    changed_at: Column | None = None

    @model_validator(mode="after")
    def _has_its_key(self) -> Self:
        if self.key not in self.identifiers:
            raise ValueError(f"key: {self.key} is none of the identifiers {', '.join(self.identifiers)}")
        if own := sorted({*self.identifiers.values(), *self.traits.values()} & set(OWN_COLUMNS)):
            raise ValueError(f"{own[0]} is the name of a column that a sync adds: name it otherwise in the query")
        return self

    def compared(self) -> list[str]:
        """Return the columns in which a row may change."""
        return sorted({*self.identifiers.values(), *self.traits.values()})

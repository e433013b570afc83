"""What the stage `export` reads and keeps: conversions, clicks and the ledger in ClickHouse, people in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from processors.export.decisions import Person
from processors.profiles.document import read_profile
from schemas.export.destinations import Destination
from schemas.export.exports import Conversion, ExportEntry
from schemas.profiles.document import StoredProfile
from sinks.clickhouse import exports

Answer = TypeVar("Answer")


class Profiles(Protocol):
    """The profile store."""

    async def get(self, profile_id: str) -> StoredProfile | None:
        """Return a person's live profile; None when the person was erased."""


class Tables(Protocol):
    """Inserts rows."""

    async def insert_all(self, table: str, rows: Sequence[bytes], token: str) -> list[tuple[int, str]]:
        """Insert rows; returns those that the server refuses."""


class StoredFacts:
    """The facts of one destination.

    Args:
        destination: The destination.
        client: Opens a client of the deployment's database; the methods call it in the thread.
        profiles: The live profiles.
        tables: Inserts.
        thread: Of this destination alone, so that a slow query delays no other.
    """

    def __init__(
        self,
        destination: Destination,
        client: Callable[[], Any],
        profiles: Profiles,
        tables: Tables,
        thread: ThreadPoolExecutor,
    ) -> None:
        self._open, self._profiles, self._tables, self._thread = client, profiles, tables, thread
        self._client: Any = None
        bases = {rule.value for rule in destination.conversions}
        self._margins, self._predicted = "margin" in bases, "predicted" in bases

    async def conversions(self, ids: Collection[str], goals: Collection[str]) -> list[Conversion]:
        """Return conversions by their ids."""
        return await self._ask(lambda client: exports.read_conversions(client, ids, goals, margins=self._margins))

    async def conversions_of(self, people: Collection[str], goals: Collection[str], since_ms: int) -> list[str]:
        """Return the ids of people's conversions since a time."""
        return await self._ask(lambda client: exports.conversions_of_people(client, people, goals, since_ms))

    async def people(self, destination: Destination, conversions: Sequence[Conversion]) -> Mapping[str, Person]:
        """Return the people of conversions as known now, by profile id."""
        ids = sorted({one.profile_id for one in conversions if one.profile_id})
        if not ids:
            return {}
        since_ms = min(one.converted_ms for one in conversions) - destination.lookback
        names = destination.limits.clicks
        clicks = await self._ask(lambda client: exports.read_clicks(client, ids, names, since_ms))
        predicted, currency = (
            await self._ask(lambda client: exports.read_predicted(client, ids)) if self._predicted else ({}, "")
        )
        found = {}
        for person in ids:
            stored = await self._profiles.get(person)
            document = None if stored is None else read_profile(stored)
            found[person] = Person(document, clicks.get(person, ()), predicted.get(person), currency)
        return found

    async def entries(self, destination: str, ids: Collection[str]) -> list[ExportEntry]:
        """Return the ledger's rows of conversions."""
        return await self._ask(lambda client: exports.read_entries(client, destination, ids))

    async def waiting(self, destination: str) -> list[str]:
        """Return the ids of conversions with an export that the other side was not ready for."""
        return await self._ask(lambda client: exports.read_waiting(client, destination))

    async def keep(self, entries: Sequence[ExportEntry]) -> None:
        """Write rows of the ledger; return when they are stored.

        Raises:
            RuntimeError: ClickHouse refuses a row: nothing is acknowledged that the ledger does not have.
        """
        refused = await self._tables.insert_all(exports.TABLE, [exports.entry_row(one) for one in entries], "")
        if refused:
            raise RuntimeError(f"the ledger of exports refuses a row: {refused[0][1]}")

    async def _ask(self, question: Callable[[Any], Answer]) -> Answer:
        def ask() -> Answer:
            if self._client is None:
                self._client = self._open()
            return question(self._client)

        return await asyncio.get_running_loop().run_in_executor(self._thread, ask)

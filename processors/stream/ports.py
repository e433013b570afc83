"""What the agents ask of the world: each port is a Protocol that a sink satisfies without importing this file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.identity.resolution import Resolution, ResolveRequest
from schemas.records import Outgoing


class Publisher(Protocol):
    """Writes records to Kafka."""

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Write all and return when the broker has confirmed all."""


class IdentityStore(Protocol):
    """Knows which identifiers belong to which profile."""

    async def resolve(self, requests: Sequence[ResolveRequest]) -> list[Resolution]:
        """Resolve events in order, atomically, and log every change to the outbox in the same step."""


class Outbox(Protocol):
    """Records that a store has decided on and that are not yet in Kafka."""

    async def acquire_relay(self, token: str, ttl_ms: int) -> bool:
        """Take or keep the right to relay; False while another process has it."""

    async def pending(self, count: int) -> list[tuple[str, Outgoing]]:
        """The oldest records that are not yet acknowledged, with their ids."""

    async def acknowledge(self, last_id: str, token: str) -> bool:
        """Forget records up to `last_id`; False when the right to relay was lost."""


class Timers(Protocol):
    """Knows for whom time alone will change something."""

    async def acquire_timers(self, token: str, ttl_ms: int) -> bool:
        """Take or keep the right to fire timers; False while another process has it."""

    async def due(self, now_ms: int, count: int) -> list[str]:
        """People whose time has come, the longest overdue first."""


class Products(Protocol):
    """Remembers products and who looked at them."""

    async def exchange(self, product_id: str, name: str, value: str, event_id: str, at_ms: int) -> str | None:
        """Note a fact about a product; answer with what it was before, the same answer for the same event again."""

    async def watchers(self, product_id: str) -> list[str]:
        """People who looked at a product last."""


class Tables(Protocol):
    """Writes rows to ClickHouse."""

    async def insert_all(self, table: str, rows: Sequence[bytes], token: str) -> list[tuple[int, str]]:
        """Insert JSON rows; what the server refuses is left out and answered as (index, message)."""


class ChangedProfiles(Protocol):
    """Profiles that changed since their last snapshot."""

    async def changed(self, count: int) -> list[tuple[str, int, bytes]]:
        """Some of them: profile id, version, document."""

    async def exported(self, done: Sequence[tuple[str, int]]) -> None:
        """These versions are stored; a profile that has changed again stays listed."""

"""Ports of the agents and stages: Protocols that sinks satisfy without importing this file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from schemas.identity.resolution import Resolution, ResolveRequest
from schemas.intake.registered_schema import RegisteredSchema, SchemaKey
from schemas.offsets import LogProgress
from schemas.products import Change, Fact, FactKey, Look
from schemas.records import Outgoing

OUTBOX_LIMIT = 20_000
"""Records in an outbox at which nothing that can wait is added until the relay has published them."""


class Publisher(Protocol):
    """Publishes records to Kafka."""

    async def send(self, records: Sequence[Outgoing], /) -> None:
        """Publish all records and return when the broker has confirmed all.

        Raises:
            RecordsTooLargeError: Some can never be published, and it says which; all others are confirmed.
        """


class IdentityStore(Protocol):
    """Keeps which identifiers belong to which profile."""

    async def resolve(self, requests: Sequence[ResolveRequest]) -> list[Resolution]:
        """Resolve events in order, atomically, and log every change to the outbox in the same step."""


class SchemaRegistry(Protocol):
    """Keeps the schemas of records in Confluent's wire format."""

    async def schemas(self, ids: Collection[SchemaKey]) -> dict[SchemaKey, RegisteredSchema]:
        """Return the schemas of some ids; one that the registry does not know is left out."""


class RefusedShare(Protocol):
    """Keeps how many of the latest records were refused, across restarts."""

    async def load(self) -> tuple[int, int]:
        """Return how many records were counted and how many of them were refused; zeros: nothing is kept."""

    async def save(self, records: int, refused: int) -> None:
        """Keep the counts."""


class Outbox(Protocol):
    """Keeps records that a store has decided on and that are not yet in Kafka."""

    async def acquire_relay(self, token: str, ttl_ms: int) -> bool:
        """Acquire or renew the lease of the relay; False while another process holds it."""

    async def pending(self, count: int) -> list[tuple[str, Outgoing]]:
        """Return the oldest records that are not acknowledged, with their ids."""

    async def acknowledge(self, ids: Sequence[str], token: str) -> bool:
        """Remove these records; False when the lease was lost."""


class Waiting(Protocol):
    """Tells how many records wait to be published."""

    async def size(self) -> int:
        """Return their number."""


class ProfileOutbox(Outbox, Waiting, Protocol):
    """The outbox of what follows for people."""


class Durability(Protocol):
    """Tells when what was written to a store outlives the store's process."""

    async def begin(self) -> str:
        """Return the server that answers now."""

    async def reached(self, server: str) -> None:
        """Return when all writes before this call are durable; an error when another server answers than before."""


class Timers(Protocol):
    """Keeps the timers of profiles."""

    async def due(self, now_ms: int, count: int, shards: Sequence[int]) -> list[str]:
        """Return the ids of profiles of some shards with a timer that is due, the longest overdue first."""


class OwnShards(Protocol):
    """Tells whose events this process reads: the shards of its partitions of `resolved-touchpoints`."""

    def any(self) -> bool:
        """Return whether it reads a partition."""

    def first(self) -> bool:
        """Return whether it reads partition 0, as one of all processes of a role does."""

    def shards(self) -> Sequence[int]:
        """Return the shards now; none while it reads no partition, or it is not known how many there are."""


class Progress(Protocol):
    """Reads how far the pipeline has processed the log."""

    async def measure(self) -> LogProgress | None:
        """Measure; None: it cannot be known now."""


class Products(Protocol):
    """Keeps the facts of products, and their watchers."""

    async def state(self, facts: Sequence[Fact]) -> list[Change]:
        """Store facts and return what each has changed; the same statement again gets the same answer."""

    async def products(self, product_ids: Iterable[str]) -> Mapping[str, Mapping[FactKey, str]]:
        """Return the facts of products; one of which nothing is known is left out."""

    async def watchers(self, product_id: str) -> list[str]:
        """Return the ids of profiles that looked at a product, the last 10,000."""


class WatchedProducts(Protocol):
    """Keeps who watches a product, and what is known of it."""

    async def watch(self, looks: Sequence[Look]) -> Mapping[str, Sequence[Fact]]:
        """Note that people watch products, then return the facts of these; of one without facts none."""


class Tables(Protocol):
    """Inserts rows into ClickHouse."""

    async def insert_all(self, table: str, rows: Sequence[bytes], token: str) -> list[tuple[int, str]]:
        """Insert JSON rows; returns those that the server refuses, as (index, message)."""

    async def note_source_starts(self, starts: Mapping[str, str]) -> None:
        """Record when the first of these events of each source was received, as a text with milliseconds."""

    async def sources_heard_by(self, sources: Collection[str], received_ms: int) -> Collection[str]:
        """Return those sources of which an event was received and recorded by this time, milliseconds since 1970."""

    async def first_deliveries(self, events: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], int]:
        """Read when the first recorded delivery of events was received, by source and event id, ms since 1970."""


class ChangedProfiles(Protocol):
    """Keeps which profiles have changed since their last snapshot."""

    async def changed(self, count: int) -> list[tuple[str, int, bytes, bytes]]:
        """Return some of them: profile id, version, document, state."""

    async def mark_exported(self, snapshots: Sequence[tuple[str, int]]) -> None:
        """Remove stored versions from the list; a profile that has changed again stays listed."""

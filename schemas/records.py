"""A Kafka record as the agents see it: raw bytes with their place in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes | None]]
"""Headers of a record: name and value, in order; a name may come more than once."""


class Record(Protocol):
    """One record read from Kafka."""

    @property
    def topic(self) -> str:
        """The topic it was read from."""

    @property
    def partition(self) -> int:
        """Its partition."""

    @property
    def offset(self) -> int:
        """Its offset in the partition."""

    @property
    def timestamp(self) -> int:
        """The broker's time of the record, milliseconds since 1970."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value; None for a tombstone."""

    @property
    def headers(self) -> Headers:
        """Its headers, mostly none."""


class Outgoing(NamedTuple):
    """One record to write: topic (without the deployment's prefix), key, value, headers."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers = ()

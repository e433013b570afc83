"""Kafka records: read ones with their place in the log, and outgoing ones."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
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


NO_PARTITION = -1
"""The partition of an `UnloggedRecord`."""


class UnloggedRecord(NamedTuple):
    """A `Record` that is in no topic, because it was refused or too large before it was published.

    Attributes:
        topic: The topic for which it was made.
        partition: `NO_PARTITION`.
        offset: A hash of what names the record, see `unlogged_offset`.
        timestamp: Time of its creation, milliseconds since 1970.
        key: Its key.
        value: Its value.
        headers: None.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Headers = ()


def unlogged_offset(name: bytes) -> int:
    """Return the offset of an `UnloggedRecord`: 63 bits of a hash of what names it, the same for the same record."""
    return int.from_bytes(blake2b(name, digest_size=8).digest()) >> 1


class RecordsTooLargeError(Exception):
    """Some records of a call are larger than the broker accepts; it has confirmed all the others.

    Attributes:
        places: Their places in the call, ascending.
    """

    def __init__(self, places: Sequence[int], message: str) -> None:
        super().__init__(message)
        self.places = tuple(places)

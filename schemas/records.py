"""Kafka records: as read, with their place in the log, and as they are to be published."""

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
    """A `Record` that is in no topic: it was refused, or did not fit, before it was published.

    Attributes:
        topic: The topic that it was made for.
        partition: `NO_PARTITION`.
        offset: A number that no other such record has; `unlogged_offset`.
        timestamp: When it was made, milliseconds since 1970.
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
    """Derive the offset of an `UnloggedRecord` from what names it: 63 bits, the same for the same record again."""
    return int.from_bytes(blake2b(name, digest_size=8).digest()) >> 1


class RecordsTooLargeError(Exception):
    """Some records of a call are larger than the broker takes, now or later; it has confirmed all the others.

    Attributes:
        places: Their places in the call, ascending.
    """

    def __init__(self, places: Sequence[int], message: str) -> None:
        super().__init__(message)
        self.places = tuple(places)

"""How far consumer groups have read Kafka's topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Partition = tuple[str, int]
"""The full name of a topic, and the number of its partition."""

Offsets = Mapping[Partition, int]


class GroupProgress(NamedTuple):
    """How far one consumer group has read its topics.

    Attributes:
        committed: The first offset that the group has not committed, by partition; 0 where it is left out.
        ends: The offset that the next record will get, for every partition that the group reads.
    """

    committed: Offsets
    ends: Offsets


class LogProgress(NamedTuple):
    """How far the stages of a pipeline have come, each of which publishes to the topics that the next one reads.

    Attributes:
        at_ms: The time before anything was read, milliseconds since 1970.
        groups: The stages in order. What each has committed was read before the ends of the next one's topics.
    """

    at_ms: int
    groups: Sequence[GroupProgress]

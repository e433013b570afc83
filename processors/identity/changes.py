"""Counts the changes of who is who on their way from the outbox to Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from processors.stream.ports import Publisher
from schemas.identity.resolution import ChangeKind
from schemas.metrics import IDENTITY_CHANGES, Meter
from schemas.records import Outgoing
from schemas.topics import IDENTITY_CHANGES as TOPIC

_KINDS = frozenset(get_args(ChangeKind))
_BEFORE, _AFTER = b'"kind":"', b'"'


class CountedChanges:
    """A publisher of which the identity changes are counted when they are confirmed.

    Args:
        publisher: Publishes.
        meter: Counts.
    """

    def __init__(self, publisher: Publisher, meter: Meter) -> None:
        self._publisher, self._meter = publisher, meter

    async def send(self, records: Sequence[Outgoing], /) -> None:
        """Publish records; for the errors, see the publisher."""
        await self._publisher.send(records)
        for kind, number in Counter(_kind(one.value) for one in records if one.topic == TOPIC).items():
            self._meter.add(IDENTITY_CHANGES, number, kind)


def _kind(change: bytes) -> str:
    """Return the kind of a change, read without parsing the rest of it: inside a text, JSON would escape the quotes."""
    kind = change.partition(_BEFORE)[2].partition(_AFTER)[0].decode("ascii", "replace")
    return kind if kind in _KINDS else "other"

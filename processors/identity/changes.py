"""Identity's outbox as records of the topic `identity-changes`."""

from __future__ import annotations

import orjson

from processors.identity.stage import utc_text
from processors.stream.ports import IdentityOutbox
from schemas.identity.resolution import IdentityChange
from schemas.records import Outgoing
from schemas.topics import IDENTITY_CHANGES


class IdentityChanges:
    """An outbox like any other, out of the identity store's log.

    Args:
        outbox: The log.
    """

    def __init__(self, outbox: IdentityOutbox) -> None:
        self._outbox = outbox
        self.acquire_relay = outbox.acquire_relay
        self.acknowledge = outbox.acknowledge_changes

    async def pending(self, count: int) -> list[tuple[str, Outgoing]]:
        """The oldest changes that are not yet acknowledged, with their ids."""
        return [(entry, _change_record(change)) for entry, change in await self._outbox.pending_changes(count)]


def _change_record(change: IdentityChange) -> Outgoing:
    value = {
        "version": change.version,
        "kind": change.kind,
        "profile_id": change.profile_id,
        "from_profile_id": change.from_profile_id,
        "anchors": change.anchors,
        "event_id": change.event_id,
        "occurred_at": utc_text(change.occurred_ms),
        "rule": change.rule,
    }
    return Outgoing(IDENTITY_CHANGES, change.profile_id.encode(), orjson.dumps(value))

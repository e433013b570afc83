"""The stage `identify`: raw records become touchpoints of known people, duplicates, or dead letters.

Invariant: every record gives exactly one outgoing record, on one of three topics, so that counts can be reconciled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from processors.identity.claims import candidate_profile, claim, claims, event_key, origin_key
from processors.intake.decode import Rejected
from processors.intake.validation_mark import ValidationMark, decode_record
from processors.profiles.joins import milliseconds
from processors.stream.ports import IdentityStore
from schemas.dead_letters import Reason, dead_letter
from schemas.events.touchpoint import Event
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import Resolution, ResolveRequest
from schemas.records import Outgoing, Record
from schemas.topics import DROPPED_TOUCHPOINTS, RESOLVED_TOUCHPOINTS

STAGE = "identify"
SIGNED_OUT = "Signed Out"
"""The event after which a device may be somebody else's, if policy says so."""


class TooManyDeadLettersError(Exception):
    """Most of what arrives is refused: rather a misconfiguration than bad data, so stop instead of binning it all."""


class Arrived(NamedTuple):
    """A record that holds a valid touchpoint, ready to be resolved."""

    record: Record
    event: Event
    identifiers: list[dict[str, Any]]
    request: ResolveRequest


class Identify:
    """Turns a batch of producers' records into what goes on.

    Args:
        identities: The identity store.
        policy: Which identifiers count and how they are normalised.
        secret: Key of the identifier hashes.
        channels: Channels that this deployment knows.
        max_event_bytes: Largest record value, in bytes.
        dead_letter_limit_ratio: Share of refused records among the last `WINDOW` that stops the stage.
    """

    WINDOW = 10_000
    """Records over which the share of refused ones is taken."""
    AT_ONCE = 500
    """Records prepared in one go; then others of this process may work: large events take milliseconds each."""

    def __init__(
        self,
        identities: IdentityStore,
        *,
        policy: IdentityPolicy,
        secret: bytes,
        channels: frozenset[str],
        max_event_bytes: int,
        dead_letter_limit_ratio: float = 0.5,
    ) -> None:
        self._identities = identities
        self._policy = policy
        self._secret = secret
        self._channels = channels
        self._max_event_bytes = max_event_bytes
        self._mark = ValidationMark(secret)
        self._limit = dead_letter_limit_ratio
        self._recent: deque[tuple[int, int]] = deque()  # (records, refused) of recent batches
        self._seen = self._refused = 0

    async def __call__(self, records: Sequence[Record]) -> list[Outgoing]:
        """Decode, claim, resolve.

        Returns:
            One outgoing record for each record, in order.

        Raises:
            TooManyDeadLettersError: Nothing of the batch may be acknowledged.
        """
        prepared: list[Arrived | Outgoing] = []
        for start in range(0, len(records), self.AT_ONCE):
            prepared += map(self._prepare, records[start : start + self.AT_ONCE])
            await asyncio.sleep(0)  # the relay has a lease to renew
        arrived = [one for one in prepared if isinstance(one, Arrived)]
        self._watch(len(records), len(records) - len(arrived))
        resolutions = iter(await self._identities.resolve([one.request for one in arrived]))
        return [self._onward(one, next(resolutions)) if isinstance(one, Arrived) else one for one in prepared]

    def _onward(self, arrived: Arrived, resolution: Resolution) -> Outgoing:
        apart = resolution.refused and {one.anchor for one in resolution.refused if one.rule == "separated"}
        if not apart:
            return _onward(arrived, resolution)
        # What was taken apart from a person must not come back as an address of theirs.
        made = [claim(one["type"], one["value"], self._policy, self._secret) for one in arrived.identifiers]
        kept = [
            one for one, its in zip(arrived.identifiers, made, strict=True) if its is None or its.anchor not in apart
        ]
        return _onward(arrived._replace(identifiers=kept), resolution)

    def _prepare(self, record: Record) -> Arrived | Outgoing:
        # A bug in our own code must cost one event its way, not the worker its life or the batch its neighbours.
        try:
            event = decode_record(record, self._mark, channels=self._channels, max_bytes=self._max_event_bytes)
            if isinstance(event, Rejected):
                return dead_letter(record, STAGE, event.reason, event.message, event.field)
            origin = origin_key(record.topic, record.partition, record.offset)
            request, identifiers = request_for(event, self._policy, self._secret, origin, record.timestamp)
            return Arrived(record, event, identifiers, request)
        except Exception as error:  # noqa: BLE001
            return dead_letter(record, STAGE, Reason.BUG, f"{type(error).__name__}: {error}")

    def _watch(self, records: int, refused: int) -> None:
        self._recent.append((records, refused))
        self._seen += records
        self._refused += refused
        while self._recent and self._seen - self._recent[0][0] >= self.WINDOW:
            old_records, old_refused = self._recent.popleft()
            self._seen -= old_records
            self._refused -= old_refused
        if self._seen >= self.WINDOW and self._refused > self._limit * self._seen:
            raise TooManyDeadLettersError(
                f"{self._refused} of the last {self._seen} records were refused, more than "
                f"THROUGHLINE_DEAD_LETTER_LIMIT_RATIO={self._limit}: look at `throughline dead-letters list`"
            )


def request_for(
    event: Event, policy: IdentityPolicy, secret: bytes, origin: bytes, received_ms: int
) -> tuple[ResolveRequest, list[dict[str, Any]]]:
    """Ask whose an event is.

    Args:
        event: The event in its canonical form.
        policy: Which identifiers count and how they are normalised.
        secret: Key of the identifier hashes.
        origin: 8 bytes that tell our own redelivery from a producer's duplicate.
        received_ms: When it was received, milliseconds since 1970.

    Returns:
        What the identity store is asked, and the identifiers that count in clear.
    """
    found, identifiers = claims(event, policy, secret)
    event_id = event["event_id"]
    request = ResolveRequest(
        event_id,
        event_key(event_id),
        origin,
        received_ms,
        milliseconds(event["occurred_at"]),
        found,
        candidate_profile(event_id, secret),
        event["event"] == SIGNED_OUT,
    )
    return request, identifiers


def _onward(arrived: Arrived, resolution: Resolution) -> Outgoing:
    """Write what the store said of one event."""
    record, event = arrived.record, arrived.event
    received_at = utc_text(record.timestamp)
    origin = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    if resolution.duplicate or resolution.suppressed:
        dropped = {
            "event_id": event["event_id"],
            "reason": "duplicate" if resolution.duplicate else "erased",
            "source": event["source"],
            "channel": event["channel"],
            **origin,
            "received_at": received_at,
        }
        return Outgoing(DROPPED_TOUCHPOINTS, event["event_id"].encode(), orjson.dumps(dropped))
    event["identifiers"] = arrived.identifiers
    event["received_at"] = received_at
    event["profile_id"] = resolution.profile_id
    event["anchor"] = resolution.anchor
    event["identity_version"] = resolution.version
    event["origin"] = origin
    key = resolution.profile_id or event["event_id"]
    return Outgoing(RESOLVED_TOUCHPOINTS, key.encode(), orjson.dumps(event))


@lru_cache(maxsize=4096)  # the records of a batch share their milliseconds
def utc_text(milliseconds: int) -> str:
    """Write milliseconds since 1970 as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"

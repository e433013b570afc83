"""The stage `identify`: resolves the touchpoints of raw records to profiles.

    Record ─▶ Claimed ─▶ Resolved ─▶ Outgoing
       decode, claim  resolve    write

Invariant: every record has exactly one outcome, and so one record on one of three topics: received = resolved + dropped
+ rejected.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from processors.identity.claims import (
    all_claims,
    candidate_profile,
    claims,
    content_key,
    event_key,
    keep_unknown_phone,
    origin_key,
)
from processors.intake.event_time import clamp_to_arrival, doubt_unset_clock
from processors.intake.frames import Frames
from processors.intake.order_sources import note_order
from processors.intake.record_forms import decode_record
from processors.intake.tracking_plan import TrackingPlan
from processors.intake.transform import Transforms
from processors.intake.validation_mark import ValidationMark
from processors.stream.ports import IdentityStore, RefusedShare, SchemaRegistry
from schemas.events.touchpoint import Event
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import (
    HASHED_IDENTIFIER,
    OWN_SOURCE,
    Resolution,
    ResolveRequest,
    read_hashed_identifier,
)
from schemas.intake.sources import Source
from schemas.json_bytes import json_bytes
from schemas.outcomes import Drop, DropReason, Ok, Outcome, Reject, rejected_for_bug
from schemas.records import Outgoing, Record
from schemas.time import ms_of_text, text_of_ms
from schemas.topics import RESOLVED_TOUCHPOINTS

SIGNED_OUT = "Signed Out"
"""The event after which a device may get another owner, by the policy's `on_sign_out`."""


class TooManyDeadLettersError(Exception):
    """Too many records are rejected, as after a wrong setting: the worker stops before it rejects a whole topic."""


class Claimed(NamedTuple):
    """A valid touchpoint with the identifiers by which it claims a profile.

    Attributes:
        record: The record that it came in.
        event: The event in its canonical form.
        identifiers: The identifiers that count, in clear: `type`, `value`, `verified`.
        request: The request to the identity store.
    """

    record: Record
    event: Event
    identifiers: list[dict[str, Any]]
    request: ResolveRequest


class Resolved(NamedTuple):
    """A touchpoint with the answer of the identity store.

    Attributes:
        record: The record that it came in.
        event: The event in its canonical form.
        identifiers: The identifiers in clear that still belong to the profile.
        resolution: The profile, or why the event must not go on.
    """

    record: Record
    event: Event
    identifiers: list[dict[str, Any]]
    resolution: Resolution


class Identify:
    """Resolves a batch of producers' records.

    Args:
        identities: The identity store.
        policy: Which identifiers count and how they are normalised.
        secret: Key of the identifier hashes.
        channels: Channels that this deployment knows.
        max_event_bytes: Largest record value, in bytes.
        enrich: Adds to an event what its user agent and network address show; None: nothing.
        dead_letter_limit_ratio: Share of rejected records among the last `WINDOW` that stops the stage.
        refused_share: Keeps that share for the next start; None: each start counts anew.
        plan: The tracking plan; None: there is none.
        registry: Has the schemas of records in Confluent's wire format; None: such records are refused.
        transforms: Those of sources, which correct events before they are validated; None: there are none.
        sources: The defined sources, by name: their kinds and order name spaces.
    """

    WINDOW = 10_000
    """The number of latest records over which the share of rejected ones is computed."""
    RECORDS_PER_TURN = 500
    """Records that are decoded before other tasks of the event loop run: large events take milliseconds each."""

    def __init__(
        self,
        identities: IdentityStore,
        *,
        policy: IdentityPolicy,
        secret: bytes,
        channels: frozenset[str],
        max_event_bytes: int,
        enrich: Callable[[Event], None] | None = None,
        dead_letter_limit_ratio: float = 0.5,
        refused_share: RefusedShare | None = None,
        plan: TrackingPlan | None = None,
        registry: SchemaRegistry | None = None,
        transforms: Transforms | None = None,
        sources: Mapping[str, Source] = MappingProxyType({}),
    ) -> None:
        self._identities = identities
        self._policy = policy
        self._secret = secret
        self._channels = channels
        self._max_event_bytes = max_event_bytes
        self._enrich = enrich
        rules = (plan.digest if plan else b"") + (transforms.digest if transforms else b"")
        self._mark = ValidationMark(secret, rules=rules)
        self._plan = plan
        self._registry = registry
        self._frames = Frames()
        self._transforms = transforms
        self._sources = sources
        self._limit = dead_letter_limit_ratio
        self._recent: deque[tuple[int, int]] = deque()  # (records, rejected) of recent batches
        self._recent_records = self._rejected = 0
        self._refused_share = refused_share
        self._is_loaded = refused_share is None
        self._records_unsaved = 0

    async def __call__(self, records: Sequence[Record]) -> list[Outcome[Outgoing]]:
        """Decode, claim, resolve, write.

        Returns:
            For each record, in order: the record of `resolved-touchpoints` that it leads to, or why there is none.

        Raises:
            TooManyDeadLettersError: Nothing of the batch may be acknowledged.
        """
        await self._learn_schemas(records)
        claimed: list[Claimed | Reject] = []
        for start in range(0, len(records), self.RECORDS_PER_TURN):
            claimed += map(self._claim, records[start : start + self.RECORDS_PER_TURN])
            await asyncio.sleep(0)  # the relay renews its lease meanwhile
        requests = [one.request for one in claimed if isinstance(one, Claimed)]
        await self._check_rejected_share(len(records), len(records) - len(requests))
        resolutions = iter(await self._identities.resolve(requests))
        return [one if isinstance(one, Reject) else self._resolved(one, next(resolutions)) for one in claimed]

    async def _learn_schemas(self, records: Sequence[Record]) -> None:
        """Ask the registry for the schemas that the batch needs; while it is down, the batch waits."""
        if self._registry is not None and (unknown := self._frames.unknown(records)):
            self._frames.learn(unknown, await self._registry.schemas(unknown))

    def _claim(self, record: Record) -> Claimed | Reject:
        try:
            event = decode_record(
                record, self._mark, channels=self._channels, max_bytes=self._max_event_bytes, plan=self._plan,
                frames=self._frames, transforms=self._transforms,
            )  # fmt: skip
            if isinstance(event, Reject):
                return event
            clamp_to_arrival(event, record.timestamp)
            doubt_unset_clock(event, record.timestamp)
            note_order(event, self._sources)
            if self._enrich is not None:
                self._enrich(event)
            origin = origin_key(record.topic, record.partition, record.offset)
            request, identifiers = request_for(event, self._policy, self._secret, origin, record.timestamp)
            if len(identifiers) < len(event["identifiers"]):
                keep_unknown_phone(event, self._policy)
            return Claimed(record, event, identifiers, request)
        except Exception as error:  # noqa: BLE001 - a bug costs one event, not the worker or the event's neighbours
            return rejected_for_bug(error)

    def _resolved(self, claimed: Claimed, resolution: Resolution) -> Outcome[Outgoing]:
        try:
            identifiers = claimed.identifiers
            if resolution.refused:
                identifiers = self._without_separated(identifiers, resolution)
            return _write(Resolved(claimed.record, claimed.event, identifiers, resolution))
        except Exception as error:  # noqa: BLE001 - the same
            return rejected_for_bug(error)

    def _without_separated(self, identifiers: list[dict[str, Any]], resolution: Resolution) -> list[dict[str, Any]]:
        """Leave out identifiers that an unmerge has separated from the profile: they must not become its addresses."""
        separated = {one.anchor for one in resolution.refused if one.rule == "separated"}
        if not separated:
            return identifiers
        return [
            one
            for one in identifiers
            if all(
                made.anchor not in separated
                for made in all_claims(one["type"], one["value"], self._policy, self._secret)
            )
        ]

    async def _check_rejected_share(self, records: int, rejected: int) -> None:
        """Stop at a batch of mostly rejected records after a window of mostly rejected records.

        A good batch passes whatever came before it, so a stage that was stopped goes on once the cause is mended.
        """
        if not self._is_loaded and self._refused_share:
            self._count(*await self._refused_share.load())
            self._is_loaded = True
        self._count(records, rejected)
        await self._save(records, rejected)
        if (
            self._recent_records >= self.WINDOW
            and self._rejected > self._limit * self._recent_records
            and rejected > self._limit * records
        ):
            raise TooManyDeadLettersError(
                f"{self._rejected} of the last {self._recent_records} records were refused, more than "
                f"THROUGHLINE_DEAD_LETTER_LIMIT_RATIO={self._limit}: look at `throughline dead-letters list`"
            )

    def _count(self, records: int, rejected: int) -> None:
        self._recent.append((records, rejected))
        self._recent_records += records
        self._rejected += rejected
        while self._recent and self._recent_records - self._recent[0][0] >= self.WINDOW:
            old_records, old_rejected = self._recent.popleft()
            self._recent_records -= old_records
            self._rejected -= old_rejected

    async def _save(self, records: int, rejected: int) -> None:
        """Keep the share of the window: after each refusal, of good records after every tenth of a window."""
        self._records_unsaved += records
        if self._refused_share is None or not (rejected or self._records_unsaved * 10 >= self.WINDOW):
            return
        self._records_unsaved = 0
        # At most a window is kept, or a stage that is restarted again and again would keep ever more.
        kept = min(self._recent_records, self.WINDOW)
        await self._refused_share.save(kept, self._rejected * kept // max(self._recent_records, 1))


def request_for(
    event: Event, policy: IdentityPolicy, secret: bytes, origin: bytes, received_ms: int
) -> tuple[ResolveRequest, list[dict[str, Any]]]:
    """Make the request that asks the identity store for an event's profile.

    Args:
        event: The event in its canonical form.
        policy: Which identifiers count and how they are normalised.
        secret: Key of the identifier hashes.
        origin: 8 bytes that distinguish our own redelivery from a producer's duplicate.
        received_ms: When it was received, milliseconds since 1970.

    Returns:
        The request, and the identifiers that count in clear.
    """
    found, identifiers = claims(event, policy, secret)
    source, event_id = event["source"], event["event_id"]
    request = ResolveRequest(
        event_id,
        event_key(source, event_id),
        origin,
        received_ms,
        _claimed_ms(event),
        found,
        candidate_profile(source, event_id, secret),
        event["event"] == SIGNED_OUT,
        content_key(event),
    )
    return request, identifiers


def _claimed_ms(event: Event) -> int:
    """Return the time for which an event claims its identifiers, milliseconds since 1970: mostly its own.

    One of our own that names a hash claims it for the time at which the person was known by it. So who clicks on a
    message that was sent before their erasure stays erased.
    """
    occurred_ms = ms_of_text(event["occurred_at"])
    if event["source"] != OWN_SOURCE:
        return occurred_ms
    hashed = (read_hashed_identifier(one["value"]) for one in event["identifiers"] if one["type"] == HASHED_IDENTIFIER)
    return min((occurred_ms, *(one.known_s * 1000 for one in hashed if one is not None)))


def _drop_reason(resolution: Resolution) -> DropReason:
    if resolution.conflict:
        return DropReason.CONFLICT
    return DropReason.DUPLICATE if resolution.duplicate else DropReason.ERASED


def _write(resolved: Resolved) -> Outcome[Outgoing]:
    """Write a resolved event as a record of `resolved-touchpoints`, under its profile's id."""
    record, event, identifiers, resolution = resolved
    if resolution.duplicate or resolution.suppressed:
        return Drop(_drop_reason(resolution), event["event_id"], event["source"], event["channel"])
    event["identifiers"] = identifiers
    event["received_at"] = text_of_ms(record.timestamp)
    event["profile_id"] = resolution.profile_id
    event["anchor"] = resolution.anchor
    event["identity_version"] = resolution.version
    event["origin"] = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    key = resolution.profile_id or event["event_id"]
    return Ok(Outgoing(RESOLVED_TOUCHPOINTS, key.encode(), json_bytes(event)))

"""Finds a second delivery of an event that comes so late that the identity store has forgotten the first.

It matters since the key of `touchpoints` begins with the day of the event: an SDK's clock is corrected anew each time
it sends, so two deliveries may fall on two days and would be two rows. While marks are kept (`DUPLICATES_FOUND_MS`)
the identity store drops the second one. A delivery that may be older than a mark is looked up in ClickHouse, if its
source was heard that long ago at all: one query for each batch that has such an event. What is found is left out as a
duplicate, so the first delivery's time stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from processors.intake.event_time import TIME_DOUBTFUL
from schemas.durations import DAY_MS
from schemas.events.envelope import ORIGINAL_TIMESTAMP
from schemas.identity.resolution import DUPLICATES_FOUND_MS
from schemas.time import ms_of_text, text_of_ms

LATE_MS = DUPLICATES_FOUND_MS - DAY_MS
"""How old an event is at its arrival, in milliseconds, if an earlier delivery of it may have no mark any more. A day
less than marks are kept, as the clocks of an event and of the broker may differ. Whole days."""

EventKey = tuple[str, str]
"""Source and event id."""


class Delivery(NamedTuple):
    """One delivery of an event.

    Attributes:
        key: Source and id of the event.
        received_at: When the broker got it.
        is_late: An earlier delivery may have been recorded and forgotten by the identity store.
    """

    key: EventKey
    received_at: str
    is_late: bool


def delivery(event: Mapping[str, Any]) -> Delivery:
    """Return the delivery that a value of `resolved-touchpoints` is."""
    received_at, occurred_at = event["received_at"], event["occurred_at"]
    if received_at[:10] != occurred_at[:10]:
        is_late = occurred_at <= _late_day(received_at[:10]) + received_at[10:]  # texts sort as their times
    else:
        # Dated by its arrival, as its own time is in the future or cannot be believed: it may be any time old.
        context = event.get("context") or ()
        is_late = TIME_DOUBTFUL in context or (occurred_at == received_at and ORIGINAL_TIMESTAMP in context)
    return Delivery((event["source"], event["event_id"]), received_at, is_late)


@lru_cache(maxsize=256)
def _late_day(received_day: str) -> str:
    return text_of_ms(ms_of_text(f"{received_day}T00:00:00.000Z") - LATE_MS)[:10]


def late_keys(deliveries: Iterable[Delivery | None]) -> list[EventKey]:
    """List the events that have to be looked up, each once; mostly empty."""
    return list(dict.fromkeys(one.key for one in deliveries if one is not None and one.is_late))


def forgotten_before(deliveries: Iterable[Delivery | None]) -> int:
    """Return the time up to which earlier deliveries may be forgotten, milliseconds since 1970; 0: there are none.

    A source that was heard later than that has nothing to be looked up.
    """
    latest = max((one.received_at for one in deliveries if one is not None), default="")
    return ms_of_text(latest) - LATE_MS if latest else 0


def later_deliveries(
    deliveries: Sequence[Delivery | None], keys: Sequence[EventKey], recorded: Mapping[EventKey, int]
) -> list[int]:
    """List the deliveries that are not the first of their event.

    Args:
        deliveries: The deliveries of a batch; None for a record without one.
        keys: What `late_keys` returned for them.
        recorded: When the first recorded delivery of these was received, milliseconds since 1970.

    Returns:
        Places in the batch. The first delivery itself, when it is read again, is not among them.
    """
    if not recorded and _once_each(deliveries):
        return []
    wanted = set(keys)
    own = [(place, one) for place, one in enumerate(deliveries) if one is not None and one.key in wanted]
    first = {key: text_of_ms(received_ms) for key, received_ms in recorded.items()}
    for _, one in own:
        first[one.key] = min(first.get(one.key, one.received_at), one.received_at)
    return [place for place, one in own if one.received_at > first[one.key]]


def _once_each(deliveries: Sequence[Delivery | None]) -> bool:
    found = [one.key for one in deliveries if one is not None]
    return len(set(found)) == len(found)

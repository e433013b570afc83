"""Reads a record of a topic `touchpoints.<channel>`, in whichever form its producer has written it.

A touchpoint as JSON is by far the most frequent form: it is tried first, and costs nothing for the sake of the others.
"""

from __future__ import annotations

from typing import Any

import orjson

from processors.intake.cloud_events import Circumstances, of_record, touchpoint_of
from processors.intake.cut_lines import MAX_READ_BYTES, cut_to_size
from processors.intake.decode import decode, too_large, validate
from processors.intake.frames import Frames, frame_of, with_header
from processors.intake.json_text import json_of
from processors.intake.other_formats import other_format
from processors.intake.segment_calls import in_fields_of_call
from processors.intake.tracking_plan import TrackingPlan
from processors.intake.transform import Transforms
from processors.intake.validation_mark import ValidationMark
from schemas.events.touchpoint import Event
from schemas.outcomes import Reject
from schemas.records import Record
from schemas.time import text_of_ms
from schemas.topics import TOUCHPOINTS_PREFIX

NO_FRAMES = Frames()
"""Decodes no schema's values, since none was given."""

_MAGIC = (b"\0", b"\1")
_SPECVERSION = b'"specversion"'


def decode_record(
    record: Record,
    mark: ValidationMark,
    *,
    channels: frozenset[str],
    max_bytes: int,
    plan: TrackingPlan | None = None,
    frames: Frames = NO_FRAMES,
    transforms: Transforms | None = None,
) -> Event | Reject:
    """Read one record of a topic `touchpoints.<channel>`: parse a marked value, validate any other.

    Size and channel are the deployment's own limits, so they hold for marked records too.

    Args:
        record: The record.
        mark: Verifies marks.
        channels: The channels that this deployment knows.
        max_bytes: The largest event, in bytes; of one that is larger texts and the last products are cut.
        plan: The tracking plan, which marked records keep to.
        frames: Decodes values in Confluent's wire format.
        transforms: Those of sources, which were applied to marked records.

    Returns:
        The event in its canonical form, or why there is none.
    """
    value, headers = record.value, record.headers
    if headers and value is not None and len(value) <= max_bytes and mark.verify(value, headers):
        event: Event = orjson.loads(value)
        if event["channel"] in channels:
            return event
    if headers or (value is not None and value[:1] in _MAGIC):
        decoded = _other_form(record, channels, max_bytes, frames, transforms)
    else:
        decoded = None
    if decoded is None:
        decoded = decode(value, channels=channels, max_bytes=max_bytes, transform=transforms)
        if (
            isinstance(decoded, Reject)
            and value is not None
            and _is_readable(value, max_bytes)
            and _SPECVERSION in value
        ):
            decoded = _unlabelled_cloud_event(record, channels, max_bytes, transforms) or decoded
    if plan is None or isinstance(decoded, Reject):
        return decoded
    return plan.apply(decoded) or decoded


def _other_form(
    record: Record, channels: frozenset[str], max_bytes: int, frames: Frames, transforms: Transforms | None
) -> Event | Reject | None:
    """Read a record in the wire format, a CloudEvent or both; None if it is neither."""
    value = record.value
    data: dict[str, Any] | None = None
    frame = frame_of(value, record.headers)
    if value is not None and frame is not None and not (value[:1] in _MAGIC and other_format(value)):
        if not _is_readable(value, max_bytes):
            return too_large(value, max_bytes)
        read = frames.decode(frame)
        if isinstance(read, Reject):
            return read._replace(kept=with_header(value, record.headers))
        data = read
    found = of_record(value, record.headers, data) if record.headers and _is_readable(value, max_bytes) else None
    if isinstance(found, Reject):
        return found
    if found is not None:
        return _completed(found, record, channels, max_bytes, transforms)
    if data is None:
        return None
    judged = _judged(data, channels, max_bytes, transforms)
    return judged._replace(kept=with_header(value or b"", record.headers)) if isinstance(judged, Reject) else judged


def _is_readable(value: bytes | None, max_bytes: int) -> bool:
    return value is None or len(value) <= max(max_bytes, MAX_READ_BYTES)


def _judged(
    event: dict[str, Any], channels: frozenset[str], max_bytes: int, transforms: Transforms | None
) -> Event | Reject:
    """Transform and validate an event that was not sent as JSON; the largest are cut, as `decode` cuts them."""
    changed: dict[str, Any] | None = event if transforms is None else transforms(event)
    text = json_of(changed)
    if text is not None and len(text) > max_bytes:
        changed = cut_to_size(changed, max_bytes)
        if changed is None:
            return too_large(text, max_bytes)
        text = None
    return validate(changed, text, channels=channels)


def _unlabelled_cloud_event(
    record: Record, channels: frozenset[str], max_bytes: int, transforms: Transforms | None
) -> Event | Reject | None:
    """Read a record that is a CloudEvent in the structured mode but for its header."""
    try:
        parsed = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    return (
        _completed(parsed, record, channels, max_bytes, transforms)
        if isinstance(parsed, dict) and "specversion" in parsed
        else None
    )


def _completed(
    cloud_event: dict[str, object],
    record: Record,
    channels: frozenset[str],
    max_bytes: int,
    transforms: Transforms | None,
) -> Event | Reject:
    channel = record.topic.rpartition(TOUCHPOINTS_PREFIX)[2]
    around = Circumstances(text_of_ms(record.timestamp), channel if channel in channels else None)
    completed = touchpoint_of(cloud_event, around)
    if isinstance(completed, Reject):
        outcome: Event | Reject = completed
    else:
        validated = _judged(completed.event, channels, max_bytes, transforms)
        outcome = in_fields_of_call(validated, completed.field_names) if isinstance(validated, Reject) else validated
    # Half of an event in the binary mode is in the headers, which a dead letter has no place for.
    return outcome._replace(kept=json_of(cloud_event) or b"") if isinstance(outcome, Reject) else outcome

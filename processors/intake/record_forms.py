"""Reads a record of a topic `touchpoints.<channel>`, in whichever form its producer has written it.

A touchpoint as JSON is by far the most frequent form: it is tried first, and costs nothing for the sake of the others.
"""

from __future__ import annotations

from typing import Any

import orjson

from processors.intake.cloud_events import Circumstances, of_record, touchpoint_of
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
        max_bytes: The largest value that is read, in bytes.
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
        if isinstance(decoded, Reject) and value is not None and len(value) <= max_bytes and _SPECVERSION in value:
            decoded = _unlabelled_cloud_event(record, channels, transforms) or decoded
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
        if len(value) > max_bytes:
            return too_large(value, max_bytes)
        read = frames.decode(frame)
        if isinstance(read, Reject):
            return read._replace(kept=with_header(value, record.headers))
        data = read
    found = of_record(value, record.headers, data) if record.headers else None
    if isinstance(found, Reject):
        return found
    if found is not None:
        return (
            too_large(value, max_bytes)
            if value and len(value) > max_bytes
            else _completed(found, record, channels, transforms)
        )
    if data is None:
        return None
    if transforms is not None:
        data = transforms(data)
    text = json_of(data)
    large = text is not None and len(text) > max_bytes
    judged = too_large(text or b"", max_bytes) if large else validate(data, text, channels=channels)
    return judged._replace(kept=with_header(value or b"", record.headers)) if isinstance(judged, Reject) else judged


def _unlabelled_cloud_event(
    record: Record, channels: frozenset[str], transforms: Transforms | None
) -> Event | Reject | None:
    """Read a record that is a CloudEvent in the structured mode but for its header."""
    try:
        parsed = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    return (
        _completed(parsed, record, channels, transforms)
        if isinstance(parsed, dict) and "specversion" in parsed
        else None
    )


def _completed(
    cloud_event: dict[str, object], record: Record, channels: frozenset[str], transforms: Transforms | None
) -> Event | Reject:
    channel = record.topic.rpartition(TOUCHPOINTS_PREFIX)[2]
    around = Circumstances(text_of_ms(record.timestamp), channel if channel in channels else None)
    completed = touchpoint_of(cloud_event, around)
    if isinstance(completed, Reject):
        outcome: Event | Reject = completed
    else:
        event = completed.event if transforms is None else transforms(completed.event)
        validated = validate(event, json_of(event), channels=channels)
        outcome = in_fields_of_call(validated, completed.field_names) if isinstance(validated, Reject) else validated
    # Half of an event in the binary mode is in the headers, which a dead letter has no place for.
    return outcome._replace(kept=json_of(cloud_event) or b"") if isinstance(outcome, Reject) else outcome

"""Turns the events of a request into records: touchpoints to publish, and dead letters of those that are refused.

An event is validated as the stage `identify` would validate it (`decode.py`), so an event that is accepted here is
accepted there. A refused event is named in the answer and kept as a dead letter, since the official SDKs read no
answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from processors.intake.call_commerce import give_order_id
from processors.intake.cloud_events import Circumstances, touchpoint_of
from processors.intake.cut_lines import cut_to_size
from processors.intake.decode import too_large, validate
from processors.intake.json_text import json_of, not_json, parsed
from processors.intake.mapping import CompiledMapping, MappedRecord, Payload, RecordResult
from processors.intake.odd_details import (
    MAX_DETAILS,
    OddDetail,
    note_details,
    set_aside,
    without_foreign_numbers,
)
from processors.intake.refused_calls import (
    CLOUD_EVENT,
    WHOLE,
    RefusedCall,
    RefusedRecord,
    beyond_rights,
    refused_call,
    refused_record,
)
from processors.intake.segment_calls import (
    Arrival,
    CallAndVerb,
    Translated,
    in_fields_of_call,
    translate,
    with_currency,
)
from processors.intake.tracking_plan import TrackingPlan
from processors.intake.transform import Transforms
from processors.intake.validation_mark import ValidationMark
from schemas.dead_letters import Reason, dead_letter
from schemas.events import limits
from schemas.events.limits import HALF_PAIR
from schemas.events.touchpoint import Event
from schemas.intake.sources import Source
from schemas.outcomes import Reject, rejected_for_bug
from schemas.records import NO_PARTITION, Outgoing, UnloggedRecord, unlogged_offset
from schemas.time import ms_of_time, text_of_time
from schemas.topics import touchpoint_topic

STAGE = "collect"
"""The stage that dead letters of the collector name."""


class Refusal(NamedTuple):
    """Why one event of a request is refused.

    Attributes:
        place: Its place in the request, from 0.
        event_id: Its id; empty if it has none that prints.
        rejected: The reason, with the field as the producer calls it.
    """

    place: int
    event_id: str
    rejected: Reject

    def as_json(self) -> dict[str, Any]:
        """Write it for the answer."""
        return {
            "index": self.place,
            "messageId": self.event_id,
            "code": self.rejected.reason.value,
            "field": self.rejected.field,
            "message": self.rejected.message,
        }


@dataclass(slots=True)
class CollectResult:
    """The records of a request.

    Attributes:
        outgoing: Records to publish, touchpoints and dead letters, in the order of the request.
        accepted: How many of the events are touchpoints.
        refusals: One for each other event.
        ignored: How many records of a webhook no rule of its mapping is for, by the reason.
    """

    outgoing: list[Outgoing] = field(default_factory=list)
    accepted: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)

    def add(self, more: CollectResult, start: int) -> None:
        """Add the records of further events, of which the first has the place `start`."""
        self.outgoing += more.outgoing
        self.accepted += more.accepted
        self.refusals += [one._replace(place=start + one.place) for one in more.refusals]
        self.ignored += more.ignored


class Collect:
    """Turns the events of a request into records.

    Args:
        channels: Channels that the deployment knows.
        max_event_bytes: The largest event, in bytes, once it is a touchpoint.
        key: Makes the record key of an event: a hash, never an address.
        topic_prefix: What the deployment puts before its topics' names; a dead letter names the whole topic.
        mark: Marks the records of valid events.
        plan: The tracking plan; None: there is none.
        transforms: Those of sources, which correct events before they are validated; None: there are none.
    """

    def __init__(
        self, *, channels: frozenset[str], max_event_bytes: int, key: Callable[[dict[str, Any]], bytes | None],
        topic_prefix: str, mark: ValidationMark, plan: TrackingPlan | None = None, transforms: Transforms | None = None,
    ) -> None:  # fmt: skip
        self._channels = channels
        self._max_event_bytes = max_event_bytes
        self._key = key
        self._prefix = topic_prefix
        self._mark = mark
        self._plan = plan
        self._transforms = transforms

    def calls(
        self, name: str, source: Source, calls: Sequence[CallAndVerb], arrivals: Sequence[Arrival]
    ) -> CollectResult:
        """Translate calls of a Segment-compatible SDK and validate them.

        Args:
            name: The source's name.
            source: The source whose write key they came with.
            calls: Each call, and its verb.
            arrivals: What is known of each besides its content.
        """
        collected = CollectResult()
        for place, ((call, verb), arrival) in enumerate(zip(calls, arrivals, strict=True)):
            translated = self._translated(call, verb, name, source, arrival)
            if isinstance(translated, Translated):
                self._collect(collected, place, translated, source, arrival)
            else:
                refusal = Refusal(place, _text(call, "messageId"), translated)
                kept = RefusedCall(_without_key(call), name, verb, arrival.sent_at).as_json()
                self._refuse(collected, refusal, translated, _Kept(kept, source.channel), arrival)
        return collected

    def foreign_events(
        self, name: str, source: Source, events: Sequence[Any], arrivals: Sequence[Arrival],
        calls_of: Callable[[Any, Arrival], list[CallAndVerb]], field_names: dict[str, str],
    ) -> CollectResult:  # fmt: skip
        """Translate the events of another product's clients, each into one call or several, and validate them.

        Args:
            name: The source's name.
            source: The source whose write key they came with.
            events: The events.
            arrivals: What is known of each besides its content.
            calls_of: Translates an event into calls.
            field_names: The client's field for each field of a call that is named differently, for refusals.
        """
        calls: list[CallAndVerb] = []
        places: list[int] = []
        call_arrivals: list[Arrival] = []
        broken = CollectResult()
        for place, (event, arrival) in enumerate(zip(events, arrivals, strict=True)):
            try:
                translated = calls_of(event, arrival)
            except Exception as error:  # noqa: BLE001 - a bug of ours costs this event, not its neighbours
                rejected = rejected_for_bug(error)
                kept = _Kept(RefusedCall(_without_key(event), name, None).as_json(), source.channel)
                self._refuse(broken, Refusal(place, "", rejected), rejected, kept, arrival)
                continue
            for number, call in enumerate(translated):
                calls.append(call)
                places.append(place)
                event_id = f"{arrival.event_id}-{number}" if number else arrival.event_id
                call_arrivals.append(arrival._replace(event_id=event_id))
        collected = self.calls(name, source, calls, call_arrivals)
        collected.refusals = [
            one._replace(place=places[one.place], rejected=_in_fields_of_client(one.rejected, field_names))
            for one in collected.refusals
        ]
        collected.add(broken, 0)
        return collected

    def touchpoints(
        self, name: str, source: Source, events: Sequence[object], arrivals: Sequence[Arrival]
    ) -> CollectResult:
        """Validate events in the form of a channel's topic; their source is that of the write key."""
        collected = CollectResult()
        for place, (event, arrival) in enumerate(zip(events, arrivals, strict=True)):
            event = _without_key(event)
            if isinstance(event, dict):
                event = {"channel": source.channel, **event, "source": name}
            self._collect(collected, place, Translated(event, {}), source, arrival)
        return collected

    def cloud_events(
        self, name: str, source: Source, events: Sequence[object], arrivals: Sequence[Arrival]
    ) -> CollectResult:
        """Validate the touchpoints that CloudEvents hold; their source is that of the write key."""
        collected = CollectResult()
        for place, (event, arrival) in enumerate(zip(events, arrivals, strict=True)):
            around = Circumstances(text_of_time(arrival.received), source.channel, name)
            try:
                completed = touchpoint_of(event, around)
            except Exception as error:  # noqa: BLE001 - the same
                completed = rejected_for_bug(error)
            if isinstance(completed, Reject):
                refusal = Refusal(place, _text(event, "id"), completed)
                kept = RefusedCall(event, name, CLOUD_EVENT).as_json()
                self._refuse(collected, refusal, completed, _Kept(kept, source.channel), arrival)
            else:
                translated = Translated(completed.event, completed.field_names)
                self._collect(collected, place, translated, source, arrival, strict=True)
        return collected

    def records(
        self, name: str, source: Source, mapping: CompiledMapping, records: Sequence[MappedRecord],
        arrivals: Sequence[Arrival],
    ) -> CollectResult:  # fmt: skip
        """Map records of a webhook and validate their touchpoints.

        A record of which a touchpoint is refused becomes one dead letter, as it came: a replay maps it again, and what
        was accepted of it is a duplicate then.

        Args:
            name: The source's name.
            source: The source that has proved itself.
            mapping: Its mapping.
            records: The records, as they came.
            arrivals: What is known of each besides its content.
        """
        collected = CollectResult()
        for place, (record, arrival) in enumerate(zip(records, arrivals, strict=True)):
            try:
                result = mapping.apply(record)
            except Exception as error:  # noqa: BLE001 - a bug of ours costs this record, not its neighbours
                result = RecordResult(refusals=[("", rejected_for_bug(error))])
            refusals = [Refusal(place, event_id, rejected) for event_id, rejected in result.refusals]
            for mapped in result.events:
                event = self._with_rights(mapped.event, name, source)
                sent, validated = self._judged(event, lenient=True)
                if isinstance(validated, Reject):
                    rejected = _with_expression(validated, mapped.expressions)
                    refusals.append(Refusal(place, _text(event, "event_id"), rejected))
                else:
                    collected.outgoing.append(self._touchpoint(validated, sent))
                    collected.accepted += 1
            if result.ignored:
                collected.ignored[result.ignored] += 1
            if refusals:
                kept = RefusedRecord(record.value, record.scope, name)._asdict()
                self._refuse(collected, refusals[0], refusals[0].rejected, _Kept(kept, source.channel), arrival)
                collected.refusals += refusals[1:]
        return collected

    def unmapped(
        self, name: str, source: Source, mapping: CompiledMapping, payload: Payload, rejected: Reject, arrival: Arrival
    ) -> CollectResult:
        """Refuse a payload that its mapping cannot split into records; the letter keeps it as one record."""
        collected = CollectResult()
        beside = {part: value for part, value in mapping.scope(payload).items() if part != "_body"}
        kept = RefusedRecord(payload.body, {**beside, WHOLE: True}, name)._asdict()
        self._refuse(collected, Refusal(0, "", rejected), rejected, _Kept(kept, source.channel), arrival)
        return collected

    def _with_rights(self, event: dict[str, Any], name: str, source: Source) -> dict[str, Any]:
        """Add what the definition of its source says; a channel that the deployment lacks becomes the source's."""
        event = {**event, "source": name}
        if event.get("channel") not in self._channels:
            event["channel"] = source.channel
        if source.verified:
            event["identifiers"] = [
                {**one, "verified": True} if one["type"] in source.verified else one
                for one in event.get("identifiers", ())
            ]
        if isinstance(properties := event.get("properties"), dict):
            event["properties"] = with_currency(properties, source)
        return event

    def _translated(
        self, call: object, verb: object, name: str, source: Source, arrival: Arrival
    ) -> Translated | Reject:
        if not isinstance(call, dict):
            return Reject(Reason.NOT_AN_OBJECT, "", "The event is no JSON object: send one for each call.")
        try:
            return translate(call, verb, name, source, arrival, self._channels)
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this event, not its neighbours
            return rejected_for_bug(error)

    def _collect(
        self, collected: CollectResult, place: int, translated: Translated, source: Source, arrival: Arrival,
        *, strict: bool = False,
    ) -> None:  # fmt: skip
        event, field_names = translated
        lenient = bool(field_names) and not strict  # a call of an SDK, which reads no answer
        sent, validated = self._judged(event, lenient=lenient, of_call=lenient)
        if isinstance(validated, Reject):
            refusal = Refusal(place, _text(event, "event_id"), in_fields_of_call(validated, field_names))
            channel = _text(event, "channel")
            key = self._key(event) or b"" if isinstance(event, dict) else b""
            kept = _Kept(event, channel if channel in self._channels else source.channel, key)
            self._refuse(collected, refusal, validated, kept, arrival)
        else:
            collected.outgoing.append(self._touchpoint(validated, sent))
            collected.accepted += 1

    def _judged(self, event: object, *, lenient: bool, of_call: bool = False) -> tuple[bytes, Event | Reject]:
        """Transform and validate an event, set odd details aside if it is lenient, and hold it to the tracking plan."""
        try:
            if self._transforms is not None:
                event = self._transforms(event)
            sent, validated = self._validated(event)
            if isinstance(validated, Reject) and lenient:
                sent, validated = self._without_odd_details(event, sent, validated, of_call=of_call)
            if self._plan is not None and not isinstance(validated, Reject):
                validated = self._plan.apply(validated) or validated
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this event, not its neighbours
            return b"", rejected_for_bug(error)
        return sent, validated

    def _without_odd_details(
        self, event: object, sent: bytes, refused: Reject, *, of_call: bool
    ) -> tuple[bytes, Event | Reject]:
        """Validate a copy of a refused event without the details that are refused; those are noted in its context.

        An order of a call without a number gets one. A webhook's does not: its mapping is to read the number.
        """
        details: list[OddDetail] = []
        validated: Event | Reject = refused
        mended = sent
        if refused.reason is Reason.NOT_JSON:
            event, details = without_foreign_numbers(event, of_call=of_call)
            mended, validated = self._validated(event)
        reasons = (Reason.INVALID_FIELD, Reason.MISSING_FIELD) if of_call else (Reason.INVALID_FIELD,)
        may_mend = isinstance(validated, Reject) and validated.reason in reasons
        copy = parsed(mended) if mended and may_mend else None
        for _ in range(MAX_DETAILS + 1):
            if not isinstance(validated, Reject):
                note_details(validated, details)
                return mended, validated
            if of_call and copy and (order_id := give_order_id(copy, validated)):
                found = [order_id]
            elif not (found := set_aside(copy, validated, of_call=of_call)):
                break
            details += found
            mended, validated = self._validated(copy)
        return sent, refused

    def _validated(self, event: object) -> tuple[bytes, Event | Reject]:
        """Validate an event; return its JSON as well, empty if it has none."""
        try:
            sent = orjson.dumps(event)
        except orjson.JSONEncodeError as error:
            return self._validated_with_half_pairs(event, not_json(error, event))
        if len(sent) > self._max_event_bytes:
            cut = cut_to_size(event, self._max_event_bytes)
            if cut is None:
                return sent, too_large(sent, self._max_event_bytes)
            event, sent = cut, orjson.dumps(cut)
        return sent, validate(event, sent, channels=self._channels)

    def _validated_with_half_pairs(self, event: object, refused: Reject) -> tuple[bytes, Event | Reject]:
        """Validate an event that JSON cannot hold: half a surrogate pair can be mended, nothing else."""
        sent = json_of(event) if HALF_PAIR in refused.message else None
        if sent is None or len(sent) > self._max_event_bytes:
            return b"", refused
        validated = validate(event, None, channels=self._channels)
        return (b"", refused) if isinstance(validated, Reject) and HALF_PAIR in validated.message else (sent, validated)

    def _touchpoint(self, event: Event, sent: bytes) -> Outgoing:
        """Make the record of a valid event: its canonical form, with the mark of its validation."""
        topic, key, value = touchpoint_topic(event["channel"]), self._key(event) or b"", orjson.dumps(event)
        # The canonical form may be longer than what was sent, or have more keys: then a worker that does not trust the
        # mark would refuse it, so the event goes as it was sent.
        if len(value) > self._max_event_bytes or value.count(b":") > limits.MAX_KEYS:
            return Outgoing(topic, key, sent)
        return Outgoing(topic, key, value, self._mark.headers(value))

    def replay(
        self, value: bytes, sources: Mapping[str, Source], arrival: Arrival,
        mappings: Mapping[str, CompiledMapping] = MappingProxyType({}),
    ) -> CollectResult:  # fmt: skip
        """Collect again the event that a dead letter of the collector keeps, with the rights that its source has now.

        Args:
            value: The letter's value.
            sources: The defined sources, by name.
            arrival: When the event came in, and the id that it gets if it has none.
            mappings: The mappings of webhook sources, by the name of the source.

        Returns:
            The records of touchpoints, several for a webhook alone, or refusals. There is no new dead letter: the old
            one stays.
        """
        kept = parsed(value)
        if not isinstance(kept, dict):
            return _refused(Reject(Reason.NOT_AN_OBJECT, "", "What is kept is no JSON object."))
        name = kept.get("source")
        source = sources.get(name) if isinstance(name, str) else None
        if name is None or source is None:
            return _refused(Reject(Reason.INVALID_FIELD, "source", "Its source is not defined any more."))
        call, record = refused_call(kept), refused_record(kept)
        if record is not None:
            mapping = mappings.get(record.source)
            if mapping is None:
                return _refused(Reject(Reason.INVALID_FIELD, "source", "Its source has no webhooks any more."))
            records = record.split(mapping, arrival.received)
            if isinstance(records, Reject):
                return _refused(records)
            arrivals = [arrival._replace(event_id=f"{arrival.event_id}-{n}") for n in range(len(records))]
            collected = self.records(name, source, mapping, records, arrivals)
            if not collected.accepted and not collected.refusals:
                return _refused(Reject(Reason.INVALID_FIELD, "", "Its mapping has no rule for it any more."))
        elif call is not None and call.verb == CLOUD_EVENT and source.kind == "server":
            collected = self.cloud_events(name, source, [call.call], [arrival])
        elif call is not None:
            arrival = arrival._replace(sent_at=call.sent_at)
            collected = self.calls(name, source, [(call.call, call.verb)], [arrival])
        elif beyond := beyond_rights(kept, source):
            return _refused(beyond)
        else:
            collected = self.touchpoints(name, source, [kept], [arrival])
        return CollectResult(refusals=collected.refusals) if collected.refusals else collected

    def _refuse(
        self, collected: CollectResult, refusal: Refusal, rejected: Reject, kept: _Kept, arrival: Arrival
    ) -> None:
        """Add a refusal, and a dead letter: a translated call is kept as a touchpoint, and its field named as there."""
        collected.refusals.append(refusal)
        value = json_of(kept.event) or b'"nested too deep to be written"'
        record = UnloggedRecord(
            topic=self._prefix + touchpoint_topic(kept.channel),
            partition=NO_PARTITION,
            offset=unlogged_offset(arrival.event_id.encode()),
            timestamp=ms_of_time(arrival.received),
            key=kept.key,
            value=value,
        )
        collected.outgoing.append(dead_letter(record, STAGE, rejected.reason, rejected.message, rejected.field))


class _Kept(NamedTuple):
    """The content of the dead letter of a refused event: the event, the channel of its topic, its record key."""

    event: object
    channel: str
    key: bytes = b""


def _without_key(event: object) -> object:
    """Leave out the write key: no key is stored."""
    if not isinstance(event, dict):
        return event
    return {name: value for name, value in event.items() if name != "writeKey"}


def _refused(rejected: Reject) -> CollectResult:
    return CollectResult(refusals=[Refusal(0, "", rejected)])


def _text(event: object, field: str) -> str:
    """Read a field that prints, shortened; empty if it is no such text."""
    found = event.get(field) if isinstance(event, dict) else None
    return found[:100] if isinstance(found, str) and found[:100].isprintable() else ""


def _with_expression(rejected: Reject, expressions: dict[str, str]) -> Reject:
    """Add the expression of a mapping that has read the field at fault."""
    expression = expressions.get(rejected.field) or expressions.get(f"{rejected.field}.value")
    if expression is None:
        return rejected
    return rejected._replace(message=f"{rejected.message} The mapping reads it as `{expression}`.")


def _in_fields_of_client(rejected: Reject, field_names: dict[str, str]) -> Reject:
    """Name the field as a client that sends no calls does."""
    named = in_fields_of_call(rejected, field_names)
    ids = list(dict.fromkeys(field_names.get(name, name) for name in ("userId", "anonymousId")))
    first, missing = field_names.get("userId", "userId"), " and anonymousId are missing"
    if not named.message.startswith(first + missing):
        return named
    either = f"{' and '.join(ids)} {'are' if len(ids) > 1 else 'is'} missing"
    return Reject(named.reason, named.field, either + named.message.removeprefix(first + missing))

"""What the collector makes of a request: touchpoints to publish, dead letters, and an answer for each event.

The judge is the pipeline's own (`processors.intake.decode`), so what is accepted here is accepted there. What is
refused is told to the producer and kept as a dead letter: the official SDKs read no answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from processors.intake.decode import too_large, validate
from processors.intake.refused_calls import RefusedCall, beyond_rights, refused_call
from processors.intake.segment_calls import Arrival, Translated, spelling, translate
from processors.intake.validation_mark import ValidationMark
from schemas.dead_letters import Reason, dead_letter
from schemas.events import limits
from schemas.events.touchpoint import Event
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from schemas.records import Headers, Outgoing
from schemas.time import ms_of_time
from schemas.topics import touchpoint_topic

STAGE = "collect"
NO_PARTITION = -1
"""The partition of a dead letter that never was in the log; its offset then is a number that no other has."""

KEPT_BYTES = 524_288
"""A refused event larger than this is answered, not kept: a broker takes records up to a megabyte."""


class Refusal(NamedTuple):
    """Why one event of a request is refused.

    Attributes:
        place: Its number in the request, from 0.
        event_id: Its id, as far as it has one.
        rejected: The reason, with the field as the producer spells it.
    """

    place: int
    event_id: str
    rejected: Reject

    def as_json(self) -> dict[str, Any]:
        """For the answer."""
        return {
            "index": self.place,
            "messageId": self.event_id,
            "code": self.rejected.reason.value,
            "field": self.rejected.field,
            "message": self.rejected.message,
        }


@dataclass(slots=True)
class Collected:
    """What became of the events of a request.

    Attributes:
        outgoing: What to publish: touchpoints and dead letters, in the order of the request.
        accepted: How many are touchpoints.
        refusals: The others.
    """

    outgoing: list[Outgoing] = field(default_factory=list)
    accepted: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    def add(self, more: Collected, start: int) -> None:
        """Add what became of the events from `start` on."""
        self.outgoing += more.outgoing
        self.accepted += more.accepted
        self.refusals += [one._replace(place=start + one.place) for one in more.refusals]


class Collect:
    """Turns the events of a request into records.

    Args:
        channels: Channels that the deployment knows.
        max_event_bytes: The largest event, in bytes, once it is a touchpoint.
        key: Gives the record key of an event: a hash, never an address.
        topic_prefix: What the deployment puts before its topics' names; a dead letter says the whole name.
        mark: Marks the records of valid events.
    """

    def __init__(
        self, *, channels: frozenset[str], max_event_bytes: int, key: Callable[[dict[str, Any]], bytes | None],
        topic_prefix: str, mark: ValidationMark,
    ) -> None:  # fmt: skip
        self._channels = channels
        self._max_event_bytes = max_event_bytes
        self._key = key
        self._prefix = topic_prefix
        self._mark = mark

    def calls(
        self, name: str, source: Source, calls: Sequence[tuple[object, object]], arrivals: Sequence[Arrival]
    ) -> Collected:
        """Read calls of a Segment-compatible SDK, each with its verb.

        Args:
            name: The source's name.
            source: Whose write key they came with.
            calls: What came, and which of the six calls it is.
            arrivals: What else is known of each.
        """
        collected = Collected()
        for place, ((call, verb), arrival) in enumerate(zip(calls, arrivals, strict=True)):
            found = _translated(call, verb, name, source, arrival)
            if isinstance(found, Translated):
                self._judge(collected, place, found.event, source, arrival, found.spelt)
            else:
                refusal = Refusal(place, _text(call, "messageId"), found)
                kept = RefusedCall(_without_key(call), name, verb, arrival.sent_at).as_json()
                self._refuse(collected, refusal, found, _Kept(kept, source.channel), arrival)
        return collected

    def touchpoints(
        self, name: str, source: Source, events: Sequence[object], arrivals: Sequence[Arrival]
    ) -> Collected:
        """Read touchpoints as they are on a channel's topic; the source is that of the write key, whatever they say."""
        collected = Collected()
        for place, (event, arrival) in enumerate(zip(events, arrivals, strict=True)):
            event = _signed(event, name)
            if isinstance(event, dict):
                event = {"channel": source.channel, **event}
            self._judge(collected, place, event, source, arrival, {})
        return collected

    def _judge(
        self, collected: Collected, place: int, event: object, source: Source, arrival: Arrival, spelt: dict[str, str]
    ) -> None:
        judged: Event | Reject
        value = b""
        try:
            value = orjson.dumps(event)
        except orjson.JSONEncodeError as error:
            judged = _unwritable(str(error))
        else:
            if len(value) > self._max_event_bytes:
                judged = too_large(value, self._max_event_bytes)
            else:
                judged = validate(event, value, channels=self._channels)
        if isinstance(judged, Reject):
            refusal = Refusal(place, _text(event, "event_id"), _respelt(judged, spelt))
            channel = _text(event, "channel")
            key = self._key(event) or b"" if isinstance(event, dict) else b""
            kept = _Kept(event, channel if channel in self._channels else source.channel, key)
            self._refuse(collected, refusal, judged, kept, arrival)
        else:
            collected.outgoing.append(self._touchpoint(judged, value))
            collected.accepted += 1

    def _touchpoint(self, event: Event, sent: bytes) -> Outgoing:
        """Write a valid event in its canonical form, with the mark that spares `identify` the validation."""
        topic, key, value = touchpoint_topic(event["channel"]), self._key(event) or b"", orjson.dumps(event)
        # The canonical form may be longer than what was sent, or have more keys: then a worker that does not trust the
        # mark would refuse it, so the event goes as it was sent.
        if len(value) > self._max_event_bytes or value.count(b":") > limits.MAX_KEYS:
            return Outgoing(topic, key, sent)
        return Outgoing(topic, key, value, self._mark.headers(value))

    def replay(self, value: bytes, sources: Mapping[str, Source], arrival: Arrival) -> Collected:
        """Read again what a dead letter of the collector keeps, with the rights that its source has now.

        Args:
            value: The letter's value.
            sources: By name.
            arrival: When the event came in, and the id that it gets if it has none.

        Returns:
            One record of a touchpoint, or one refusal. There is no new dead letter: the old one stays.
        """
        try:
            kept = orjson.loads(value)
        except orjson.JSONDecodeError:
            kept = None
        if not isinstance(kept, dict):
            return _refused(Reject(Reason.NOT_AN_OBJECT, "", "What is kept is no JSON object."))
        name = kept.get("source")
        source = sources.get(name) if isinstance(name, str) else None
        if name is None or source is None:
            return _refused(Reject(Reason.INVALID_FIELD, "source", "Its source is not defined any more."))
        call = refused_call(kept)
        if call is not None:
            arrival = arrival._replace(sent_at=call.sent_at)
            collected = self.calls(name, source, [(call.call, call.verb)], [arrival])
        elif beyond := beyond_rights(kept, source):
            return _refused(beyond)
        else:
            collected = self.touchpoints(name, source, [kept], [arrival])
        return collected if collected.accepted else Collected(refusals=collected.refusals)

    def _refuse(self, collected: Collected, refusal: Refusal, rejected: Reject, kept: _Kept, arrival: Arrival) -> None:
        """Note a refusal, and keep the event as a dead letter: a translated call as a touchpoint, so with its names."""
        collected.refusals.append(refusal)
        value = json_of(kept.event) or b'"nested too deep to be written"'
        if len(value) > KEPT_BYTES:
            return
        record = _NeverInTheLog(
            topic=self._prefix + touchpoint_topic(kept.channel),
            partition=NO_PARTITION,
            offset=int.from_bytes(blake2b(arrival.event_id.encode(), digest_size=8).digest()) >> 1,
            timestamp=ms_of_time(arrival.received),
            key=kept.key,
            value=value,
        )
        collected.outgoing.append(dead_letter(record, STAGE, rejected.reason, rejected.message, rejected.field))


class _Kept(NamedTuple):
    """What a dead letter keeps of a refused event, the channel whose topic it names, and its record key."""

    event: object
    channel: str
    key: bytes = b""


class _NeverInTheLog(NamedTuple):
    """A `Record` that was refused before it became one."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Headers = ()


def _signed(event: object, name: str) -> object:
    """An event with its source's name instead of the write key that proves it."""
    return {**event, "source": name} if isinstance(event := _without_key(event), dict) else event


def _without_key(event: object) -> object:
    """An event without its write key: no key is stored."""
    if not isinstance(event, dict):
        return event
    return {name: value for name, value in event.items() if name != "writeKey"}


def _refused(rejected: Reject) -> Collected:
    return Collected(refusals=[Refusal(0, "", rejected)])


def _translated(call: object, verb: object, name: str, source: Source, arrival: Arrival) -> Translated | Reject:
    if not isinstance(call, dict):
        return Reject(Reason.NOT_AN_OBJECT, "", "The event is no JSON object: send one for each call.")
    try:
        return translate(call, verb, name, source, arrival)
    except Exception as error:  # noqa: BLE001 - a bug costs this event its way, not its neighbours theirs
        return Reject(Reason.BUG, "", f"{type(error).__name__}: {error}")


def _unwritable(said: str) -> Reject:
    """Say what JSON has no word for, from what the writer says of it."""
    said = said.lower()
    if "recursion" in said:
        return Reject(
            Reason.TOO_DEEP, "", f"The event is nested deeper than {limits.MAX_DEPTH} levels, the most: flatten it."
        )
    if "surrogate" in said:
        what, hint = "half a surrogate pair", "send both halves, or the character itself in UTF-8"
    elif "integer" in said:
        what, hint = "an integer that does not fit into 64 bits", "send it as a text"
    else:
        what, hint = "NaN, Infinity or a number beyond all bounds", "leave the field out"
    return Reject(Reason.NOT_JSON, "", f"The event holds {what}: {hint}.")


def json_of(event: object) -> bytes | None:
    """Write anything as JSON: a value that JSON cannot hold becomes a text. None if it is nested too deep."""
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(event, default=str).encode()
    except (RecursionError, ValueError):
        return None


def _text(event: object, field: str) -> str:
    found = event.get(field) if isinstance(event, dict) else None
    return found[:100] if isinstance(found, str) and found[:100].isprintable() else ""


def _respelt(rejected: Reject, spelt: dict[str, str]) -> Reject:
    """Say a refusal in the names of the call."""
    field, message = rejected.field, rejected.message
    theirs = spelling(field, spelt)
    if field and message.startswith(field):
        message = theirs + message.removeprefix(field)
    return Reject(rejected.reason, theirs, message)

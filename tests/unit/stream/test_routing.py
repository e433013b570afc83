"""Outcomes become records, and a record that no broker takes stops no stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson
import pytest

from processors.stream.routing import Router, route
from schemas.dead_letters import DeadLetter, Reason, truncation
from schemas.outcomes import Drop, DropReason, Ok, Outcome, Reject
from schemas.records import Headers, Outgoing, RecordsTooLargeError
from schemas.topics import DEAD_LETTERS, DROPPED_TOUCHPOINTS

NOW_MS = 1_700_000_000_000


class Raw(NamedTuple):
    offset: int
    value: bytes | None = b"{}"
    topic: str = "prefix-touchpoints.web"
    partition: int = 3
    timestamp: int = NOW_MS
    key: bytes | None = b"k"
    headers: Headers = ()


class Broker:
    """A publisher whose broker takes records up to a size, and keeps what it took."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.taken: list[Outgoing] = []

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.taken += [one for one in records if len(one.value) <= self.limit_bytes]
        if places := [place for place, one in enumerate(records) if len(one.value) > self.limit_bytes]:
            raise RecordsTooLargeError(places, "too large")

    @property
    def letters(self) -> list[DeadLetter]:
        return [DeadLetter.model_validate_json(one.value) for one in self.taken if one.topic == DEAD_LETTERS]


def router(broker: Broker) -> Router:
    return Router(broker, "identify", lambda: NOW_MS)


def resolved(value: bytes = b"{}") -> Outgoing:
    return Outgoing("resolved-touchpoints", b"person", value)


def test_every_record_gives_one_entry_in_order() -> None:
    outcomes: list[Outcome[Outgoing]] = [
        Ok(resolved()),
        Drop(DropReason.DUPLICATE, "e1", "shop", "web"),
        Reject(Reason.NOT_JSON, "properties.price", "no JSON"),
    ]
    went_on, dropped, letter = route("identify", [Raw(0), Raw(1), Raw(2, b"{")], outcomes)

    assert resolved() == went_on
    assert (DROPPED_TOUCHPOINTS, b"e1") == (dropped.topic, dropped.key)
    assert {
        "event_id": "e1", "reason": "duplicate", "source": "shop", "channel": "web",
        "topic": "prefix-touchpoints.web", "partition": 3, "offset": 1, "received_at": "2023-11-14T22:13:20.000Z",
    } == orjson.loads(dropped.value)  # fmt: skip
    found = DeadLetter.model_validate_json(letter.value)
    assert (DEAD_LETTERS, "identify", Reason.NOT_JSON, "properties.price", "no JSON", 2, b"{") == (
        letter.topic, found.stage, found.reason, found.field, found.message, found.offset, found.value
    )  # fmt: skip


async def test_outcomes_without_a_record_publish_nothing() -> None:
    broker = Broker(100)
    await router(broker).publish([Raw(0), Raw(1)], [Ok(None), Ok(resolved())])

    assert [resolved()] == broker.taken


async def test_a_record_that_is_too_large_becomes_a_dead_letter_of_its_origin_and_its_neighbours_go_on() -> None:
    broker = Broker(1_000_000)
    records = [Raw(0), Raw(1), Raw(2, b"v" * 890_000), Raw(3)]
    await router(broker).publish(records, [Ok(resolved()), Ok(None), Ok(resolved(b"v" * 1_000_001)), Ok(resolved())])

    assert [resolved(), resolved()] == broker.taken[:2]
    [letter] = broker.letters
    assert (Reason.TOO_LARGE, "identify", "prefix-touchpoints.web", 2) == (
        letter.reason, letter.stage, letter.topic, letter.offset
    )  # fmt: skip
    assert "resolved-touchpoints has 1000007 bytes" in letter.message


async def test_a_dead_letter_that_a_broker_does_not_take_is_made_small_and_keeps_its_reason() -> None:
    broker = Broker(200_000)
    await router(broker).publish(
        [Raw(0, b"v" * 300_000), Raw(1)], [Reject(Reason.NOT_JSON, "", "no JSON"), Ok(resolved())]
    )

    assert resolved() == broker.taken[0]
    [letter] = broker.letters
    assert (Reason.NOT_JSON, True) == (letter.reason, letter.message.startswith("no JSON [truncated"))
    assert truncation(letter.message, b"k", letter.value)


async def test_a_dead_letter_keeps_nothing_of_its_original_where_even_a_part_is_too_large() -> None:
    broker = Broker(2_000)
    await router(broker).publish([Raw(0, b"v" * 300_000)], [Reject(Reason.NOT_JSON, "", "no JSON")])

    [letter] = broker.letters
    assert (Reason.NOT_JSON, b"", 0) == (letter.reason, letter.value, letter.offset)
    assert truncation(letter.message, b"", b"")


async def test_a_dead_letter_of_an_outbox_record_has_the_full_name_of_its_topic() -> None:
    broker = Broker(1_000_000)
    named = Router(broker, "relay", lambda: NOW_MS, topic_prefix="eu-")
    await named.send([Outgoing("decisions", b"person", b"v" * 1_000_001)])

    assert ["eu-decisions"] == [letter.topic for letter in broker.letters]


async def test_if_not_even_that_is_taken_the_stage_stops() -> None:
    with pytest.raises(RecordsTooLargeError):
        await router(Broker(10)).publish([Raw(0, b"{")], [Reject(Reason.NOT_JSON, "", "no JSON")])


async def test_what_comes_from_an_outbox_has_a_dead_letter_without_a_place_in_the_log() -> None:
    broker = Broker(1_000_000)
    large = Outgoing("decisions", b"person", b"v" * 1_000_001)
    await router(broker).send([resolved(), large])
    await router(broker).send([large])

    assert resolved() == broker.taken[0]
    first, second = broker.letters
    assert first == second
    assert ("decisions", -1, NOW_MS) == (first.topic, first.partition, first.received_at.timestamp() * 1000)


async def test_records_made_from_one_record_have_that_as_their_origin() -> None:
    broker = Broker(1_000_000)
    await router(broker).send([resolved(b"v" * 1_000_001), resolved()], Raw(7))

    assert [7] == [letter.offset for letter in broker.letters]

"""The stage `identify`: every record ends on exactly one topic, whatever it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import pytest

from processors.identify import Identify, TooManyDeadLettersError
from schemas.identity import Resolution, ResolveRequest
from schemas.policy import IdentityPolicy
from schemas.topics import CHANNELS, DEAD_LETTERS, DROPPED_TOUCHPOINTS, RESOLVED_TOUCHPOINTS
from tests.builders import touchpoint

PERSON = "00000000-0000-0000-0000-000000000001"


@dataclass
class Raw:
    value: bytes | None
    offset: int = 0
    topic: str = "touchpoints.web"
    partition: int = 3
    timestamp: int = 1_700_000_000_123
    key: bytes | None = b"k"


class OnePerson:
    """An identity store that knows one person and calls a second `event_id` a duplicate."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def resolve(self, requests: Sequence[ResolveRequest]) -> list[Resolution]:
        answers = []
        for request in requests:
            known = request.event_id in self.seen
            self.seen.add(request.event_id)
            anchor = request.claims[0].anchor if request.claims else None
            answers.append(Resolution(request.event_id, PERSON if request.claims else None, anchor, duplicate=known))
        return answers


def stage(**options: float) -> Identify:
    return Identify(
        OnePerson(),
        policy=IdentityPolicy(),
        secret=b"secret",
        channels=frozenset(CHANNELS),
        max_event_bytes=65_536,
        **options,
    )


async def test_a_valid_event_goes_on_with_its_person_and_its_place_in_the_log() -> None:
    event = touchpoint(identifiers={"email": " Anna@Shop.Example "}, received_at="1999-01-01T00:00:00Z")

    [out] = await stage()([Raw(orjson.dumps(event), offset=7)])

    value = orjson.loads(out.value)
    assert (RESOLVED_TOUCHPOINTS, PERSON.encode()) == (out.topic, out.key)
    assert PERSON == value["profile_id"]
    assert [{"type": "email", "value": "anna@shop.example"}] == [
        {key: one[key] for key in ("type", "value")} for one in value["identifiers"]
    ]
    assert "2023-11-14T22:13:20.123Z" == value["received_at"]  # the broker's time, not the client's
    assert {"topic": "touchpoints.web", "partition": 3, "offset": 7} == value["origin"]


async def test_an_event_about_nobody_goes_on_without_a_person() -> None:
    price = {"product_id": "p1", "price": "9.99", "currency": "EUR"}
    event = touchpoint("Price Changed", identifiers=[], properties=price)

    [out] = await stage()([Raw(orjson.dumps(event))])

    assert (RESOLVED_TOUCHPOINTS, event["event_id"].encode()) == (out.topic, out.key)
    assert orjson.loads(out.value)["profile_id"] is None


async def test_a_second_delivery_is_dropped_and_says_so() -> None:
    event = orjson.dumps(touchpoint())

    first, second = await stage()([Raw(event, offset=1), Raw(event, offset=2)])

    assert RESOLVED_TOUCHPOINTS == first.topic
    assert DROPPED_TOUCHPOINTS == second.topic
    assert ("duplicate", 2) == (orjson.loads(second.value)["reason"], orjson.loads(second.value)["offset"])


async def test_every_record_of_a_mixed_batch_ends_in_one_place_in_order() -> None:
    good = [orjson.dumps(touchpoint()) for _ in range(3)]
    batch = [Raw(good[0]), Raw(b"not json"), Raw(good[1]), Raw(None), Raw(b"{}"), Raw(good[2])]

    out = await stage()(batch)

    assert [
        RESOLVED_TOUCHPOINTS, DEAD_LETTERS, RESOLVED_TOUCHPOINTS, DEAD_LETTERS, DEAD_LETTERS, RESOLVED_TOUCHPOINTS
    ] == [one.topic for one in out]  # fmt: skip


async def test_mostly_dead_letters_stop_the_stage_rather_than_emptying_the_topic_into_the_bin() -> None:
    identify = stage(dead_letter_limit_ratio=0.5)

    with pytest.raises(TooManyDeadLettersError, match="THROUGHLINE_DEAD_LETTER_LIMIT_RATIO"):
        for _ in range(Identify.WINDOW // 100 + 1):
            await identify([Raw(b"junk")] * 100)


async def test_a_burst_of_dead_letters_below_the_limit_passes() -> None:
    identify = stage(dead_letter_limit_ratio=0.5)
    good = orjson.dumps(touchpoint())

    for _ in range(3 * Identify.WINDOW // 100):
        assert 100 == len(await identify([Raw(b"junk")] * 40 + [Raw(good)] * 60))

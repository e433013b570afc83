"""Raw records from the future: what the stage `identify` hands on of them, and what profiles make of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import orjson

from processors.identity.stage import Identify
from processors.intake.validation_mark import ValidationMark
from processors.profiles.document import apply, new_profile
from processors.profiles.view import view
from processors.stream.routing import route
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.events.touchpoint import read
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import Resolution, ResolveRequest
from schemas.records import Headers
from schemas.time import ms_of_text, text_of_ms
from tests.support.builders import touchpoint
from tests.support.in_process_pipeline import Arrived

PERSON = "00000000-0000-0000-0000-000000000001"
SECRET = b"secret"
RECEIVED_MS = ms_of_text("2026-11-22T10:15:30.000Z")
MINUTE_MS = 60_000


class OnePerson:
    """An identity store that knows one person, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[ResolveRequest] = []

    async def resolve(self, requests: Sequence[ResolveRequest]) -> list[Resolution]:
        self.requests += requests
        return [Resolution(request.event_id, PERSON, PERSON) for request in requests]


async def identified(*records: Arrived, store: OnePerson | None = None) -> list[dict[str, Any]]:
    identify = Identify(
        store or OnePerson(),
        policy=IdentityPolicy(),
        secret=SECRET,
        channels=frozenset(TOUCHPOINT_CHANNELS),
        max_event_bytes=65_536,
    )
    return [orjson.loads(one.value) for one in route("identify", records, await identify(records))]


def arrived(*events: dict[str, Any]) -> list[Arrived]:
    """Records of a producer, a minute apart."""
    return [
        Arrived(offset, RECEIVED_MS + offset * MINUTE_MS, orjson.dumps(event))
        for event, offset in zip(events, count(), strict=False)
    ]


def told(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    profile = new_profile(PERSON)
    for event in events:
        apply(profile, event)
    return view(profile)


def answer(yes: bool, occurred_at: str) -> dict[str, Any]:
    said = {"marketing": yes, "channels": {"email": yes}}
    return touchpoint("Consent Updated", "store", occurred_at=occurred_at, consent=said)


async def test_a_consent_of_2099_is_withdrawn_by_a_later_no() -> None:
    yes = answer(True, "2099-01-01T00:00:00.000Z")
    no = answer(False, text_of_ms(RECEIVED_MS + MINUTE_MS))

    consent = told(await identified(*arrived(yes, no)))["consent"]

    assert [False, False] == [consent["purposes"]["marketing"]["granted"], consent["channels"]["email"]["granted"]]


async def test_an_unsubscription_after_a_consent_of_2099_counts() -> None:
    yes = answer(True, "2099-01-01T00:00:00.000Z")
    no = touchpoint("Email Unsubscribed", "email", occurred_at=text_of_ms(RECEIVED_MS + MINUTE_MS))

    profile = told(await identified(*arrived(yes, no)))

    assert not profile["consent"]["channels"]["email"]["granted"]
    assert text_of_ms(RECEIVED_MS + MINUTE_MS) == profile["last_seen"]


async def test_the_identity_store_is_asked_with_the_time_that_goes_on() -> None:
    store = OnePerson()

    [event] = await identified(*arrived(touchpoint(occurred_at="2099-01-01T00:00:00.000Z")), store=store)

    assert [RECEIVED_MS] == [request.occurred_ms for request in store.requests]
    assert event["occurred_at"] == event["received_at"] == text_of_ms(RECEIVED_MS)
    assert "2099-01-01T00:00:00.000Z" == event["context"]["original_timestamp"]


async def test_a_till_whose_clock_was_never_set_sells_when_its_receipt_arrives_and_begins_nothing() -> None:
    store = OnePerson()
    times = ("1970-01-01T00:05:00Z", "0001-01-01T00:00:00Z", "2000-01-01T00:03:00+01:00")
    sales = [
        touchpoint("Order Completed", "store", occurred_at=time, properties={"order_id": str(number), "revenue": "5"})
        for number, time in enumerate(times)
    ]

    profile = told(events := await identified(*arrived(*sales), store=store))

    arrivals = [RECEIVED_MS + number * MINUTE_MS for number in range(3)]
    assert arrivals == [request.occurred_ms for request in store.requests]
    assert [text_of_ms(at) for at in arrivals] == [event["occurred_at"] for event in events]
    assert ["1970-01-01T00:05:00.000Z", "0001-01-01T00:00:00Z", "1999-12-31T23:03:00.000Z"] == [
        event["context"]["original_timestamp"] for event in events
    ]
    assert (3, None) == (profile["orders"]["count"], profile["first_seen"])


async def test_an_old_order_happened_on_its_day() -> None:
    old = [touchpoint("Order Completed", occurred_at=f"{year}-01-01T00:00:00Z", properties={"order_id": str(year)})
           for year in (1996, 2001, 2005)]  # fmt: skip

    assert [f"{year}-01-01T00:00:00.000Z" for year in (1996, 2001, 2005)] == [
        event["occurred_at"] for event in await identified(*arrived(*old))
    ]


async def test_an_event_that_the_collector_has_validated_is_held_to_the_same() -> None:
    value = orjson.dumps(read(touchpoint(occurred_at="2099-01-01T00:00:00.000Z")))
    headers: Headers = ValidationMark(SECRET).headers(value)

    [event] = await identified(Arrived(0, RECEIVED_MS, value, headers=headers))

    assert text_of_ms(RECEIVED_MS) == event["occurred_at"]


async def test_imported_history_and_a_replayed_dead_letter_keep_their_time() -> None:
    old = touchpoint(occurred_at="2019-05-01T08:00:00.000Z")

    [event] = await identified(*arrived(old))

    assert ("2019-05-01T08:00:00.000Z", None) == (event["occurred_at"], event.get("context"))


async def test_events_of_one_producer_are_dated_by_the_broker_where_its_clock_is_behind() -> None:
    """Their order of arrival stays, and what happened before the broker's time keeps its own."""
    ahead = [touchpoint(occurred_at=text_of_ms(RECEIVED_MS + minutes * MINUTE_MS)) for minutes in (90, 91, 1)]

    times = [event["occurred_at"] for event in await identified(*arrived(*ahead))]

    assert [text_of_ms(RECEIVED_MS + minutes * MINUTE_MS) for minutes in (0, 1, 1)] == times

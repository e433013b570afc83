"""A person's state is made again as it came about: in the order of receipt, nothing twice, nothing said again."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from processors.profiles.document import encode
from processors.profiles.rebuild import rebuild, replacement, without
from schemas.decisions.decision import Emit
from schemas.markets import ONE_MARKET
from schemas.profiles.document import StoredProfile
from schemas.profiles.person import Person
from schemas.time import ms_of_text
from tests.support.profiles import resolved


class Diary:
    """A decider that writes down what it is asked, and how many events the profile had then."""

    markets = ONE_MARKET

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    def on_event(self, person: Person, event: dict[str, Any], now_ms: int) -> list[Emit]:
        self.asked.append(("event", now_ms, person.document["event_count"]))
        person.state["journeys"] = {event["event_id"]: 1}
        return []

    def on_time(self, person: Person, now_ms: int) -> list[Emit]:
        self.asked.append(("time", now_ms, person.document["event_count"]))
        return []

    def due(self, person: Person) -> int | None:
        return 9_000 if person.state else None

    def combine(self, winner: dict[str, Any], loser: dict[str, Any]) -> None:
        raise AssertionError("a rebuild merges nobody")


def received(event_id: str, second: int) -> dict[str, Any]:
    return {**resolved(event_id=event_id), "received_at": f"2026-11-01T12:00:{second:02d}.000Z"}


def test_time_passes_between_events_and_up_to_now() -> None:
    diary, events = Diary(), [received("second", 2), received("first", 1), received("second", 2)]
    first, second = (ms_of_text(f"2026-11-01T12:00:0{number}Z") for number in (1, 2))
    rebuilt = rebuild("p1", events, decider=diary, until_ms=second + 5_000)

    assert [("event", first, 1), ("time", second, 1), ("event", second, 2), ("time", second + 5_000, 2)] == diary.asked
    assert (2, 9_000, {"journeys": {"second": 1}}) == (rebuilt.event_count, rebuilt.due_ms, rebuilt.state)


def test_the_order_of_the_rows_does_not_matter() -> None:
    events = [received(f"e{number}", number % 2) for number in range(4)]

    assert 1 == len({encode(rebuild("p1", shuffled).document) for shuffled in permutations(events)})


def test_an_identifier_of_somebody_else_is_left_out_and_the_event_stays_as_it_is() -> None:
    event = resolved(identifiers={"email": "ann@shop.example", "phone": "+14155552671"})
    mine = without(event, {("phone", "+14155552671")})

    assert (["email"], 2) == ([one["type"] for one in mine["identifiers"]], len(event["identifiers"]))
    assert event is without(event, {("email", "ben@shop.example")})


def test_only_marks_that_can_still_be_found_are_written() -> None:
    rebuilt = rebuild("p1", [received("old", 1), received("new", 2)])
    since = ms_of_text("2026-11-01T12:00:02Z")
    change = replacement(StoredProfile("p1", 7, None), rebuilt, decided=False, marked_since_ms=since)

    assert ([since], 7, None) == ([at for _, at in change.events], change.expected_version, change.state)


def test_a_decided_state_replaces_the_stored_one_even_if_nothing_is_left() -> None:
    rebuilt = rebuild("p1", [])
    change = replacement(StoredProfile("p1", 7, None), rebuilt, decided=True, marked_since_ms=0)

    assert (b"", 0) == (change.state, change.due_ms)

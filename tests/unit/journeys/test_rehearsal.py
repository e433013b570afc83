"""Rehearsal of journeys over imported history: people reached, and the lift over people held out."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

from rich.console import Console

from deploy.demo import page as demo_page
from processors.attribution.experiments import Group
from processors.decisions.engine import DecisionEngine
from processors.journeys.rehearsal import Rehearsal, rehearse
from processors.journeys.simulate import received_when_happened
from schemas.decisions.policy import HoldoutRules, MessagePolicy
from schemas.time import ms_of_text
from tests.support.builders import DAY_ONE
from tests.support.stories import shipped_segments, simple
from tests.support.warehouse import instant, person, resolved

START, STOP = (ms_of_text(instant(DAY_ONE + timedelta(days=days))) for days in (0, 60))
IMPORTED = instant(DAY_ONE + timedelta(days=90))


def history(people: int) -> list[tuple[str, list[dict[str, Any]]]]:
    """Everybody signs up, and says yes to e-mail; every third orders on the next day, and all of it comes late."""
    found = []
    for who in range(people):
        at = DAY_ONE + timedelta(hours=who % 100)
        consent = {"marketing": True, "channels": {"email": True}}
        address = {"type": "email", "value": f"p{who}@shop.example", "verified": True}
        signed_up = resolved(f"s{who}", who, at, event="Signed Up", identifiers=[address], consent=consent)
        ordered = resolved(
            f"o{who}", who, at + timedelta(days=1), event="Order Completed", properties={"order_id": "1"}
        )
        events = [ordered, signed_up] if not who % 3 else [signed_up]
        told_later = {"received_at": IMPORTED, "context": {"historical": True}}
        found.append((person(who), [{**event, **told_later} for event in events]))
    return found


def rehearsed(people: int, **policy: Any) -> Rehearsal:
    journey = simple("- {message: hello, channel: email}", name="hello", goals=[{"event": "Order Completed"}])
    decider = DecisionEngine(shipped_segments(), [journey], MessagePolicy(quiet_hours={}, caps=(), **policy))
    return rehearse(decider, ["hello"], history(people), START, STOP, "UTC")


def test_imported_history_is_in_the_order_of_event_times() -> None:
    events = received_when_happened(history(1)[0][1])

    assert ["Signed Up", "Order Completed"] == [event["event"] for event in events]
    assert [event["occurred_at"] for event in events] == [event["received_at"] for event in events]


def test_events_too_late_for_a_live_journey_are_entries() -> None:
    found = rehearsed(30, holdout=HoldoutRules(share=0))

    assert (30, 40, 30, 10) == (
        found.people,
        found.events,
        found.channels("hello").total(),
        found.tallies["hello"].goals,
    )
    assert (Group(30, 10), Group(0, 0), None) == (found.reached, found.held_out, found.lift)
    assert 10 == found.segments["customers"]


def test_people_held_out_are_compared_with_people_reached() -> None:
    found = rehearsed(300, holdout=HoldoutRules(share=0.4))

    assert 300 == found.reached.people + found.held_out.people
    assert 100 == found.reached.converted + found.held_out.converted
    assert found.held_out.people == found.held_back()["holdout"] > 90
    assert found.lift is not None
    assert found.lift.low < 0 < found.lift.high


def test_the_story_is_of_a_run_that_reached_its_goal_after_a_message() -> None:
    lines = rehearsed(30, holdout=HoldoutRules(share=0)).story

    assert lines[0].startswith("Journey hello")
    for part in ("Entered the journey", "message hello: Sent by e-mail", "Reached the goal"):
        assert any(part in line for line in lines)


def test_the_page_says_when_there_is_nothing_to_compare_and_that_people_stand_for_others() -> None:
    terminal = StringIO()

    demo_page.show_journeys(Console(width=80, file=terminal), rehearsed(3, holdout=HoldoutRules(share=0)), 0.25)

    for part in ("of 25% of all", "nobody was reached or nobody held out"):
        assert part in " ".join(terminal.getvalue().split())

"""Journeys that are paused or stopped: what is held, what ends, and which row says so."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.journeys.control import JourneyControl, JourneyState
from tests.support.stories import Story, moment, simple, story

REMINDER = """
  - delay: 1h
  - {message: reminder, channel: email, expires_after: 1d}
  - {set_trait: {reminded: true}}
"""


def under(told: Story, state: JourneyState, since: str, stopped: str = "") -> Story:
    """Let a change of the journey's state take effect."""
    control = JourneyControl(state, moment(since), moment(stopped) if stopped else 0, "mia")
    told.decider = told.decider.under({"test": control})
    return told


def signed_up(steps: str = REMINDER, **fields: Any) -> Story:
    return story(simple(steps, **fields)).event("Signed Up")


def test_a_paused_journey_holds_its_message_with_one_row_and_sends_it_when_it_goes_on() -> None:
    told = under(signed_up(), "paused", "10:30").at("12:00").at("13:00").event("Page Viewed").at("14:00")

    assert [] == told.sent()
    assert [("reminder", "postponed", "paused")] == told.decisions()
    assert ["2"] == [row["step"] for row in told.journey_events("held")]
    assert told.decider.due(told.person) is None

    under(told, "running", "15:00").at("15:00")

    assert [("email", "reminder")] == told.sent()
    assert [("reminder", "postponed", "paused"), ("reminder", "sent", "")] == told.decisions()
    assert "2026-11-02T15:00:00.000Z" == told.rows("decisions")[-1]["decided_at"]
    assert [("", "completed")] == told.exits()


def test_the_row_says_since_when_and_by_whom() -> None:
    (row,) = under(signed_up(), "paused", "10:30").at("12:00").rows("decisions")

    assert "Postponed: its journey is paused." == row["reason"]
    assert [{"gate": "paused", "passed": False, "input": {"since": "2026-11-02T10:30:00.000Z", "by": "mia"}}] == row[
        "gates"
    ]


def test_a_message_that_expires_while_it_is_held_is_not_sent_later() -> None:
    told = under(under(signed_up(), "paused", "10:30").at("day 3 12:00"), "running", "day 3 12:00").at("day 3 12:00")

    assert [] == told.sent()
    assert ("reminder", "suppressed", "expiry") == told.decisions()[-1]


def test_a_journey_that_is_paused_again_holds_what_it_had_not_sent() -> None:
    told = under(signed_up(), "paused", "10:30").at("12:00")
    told = under(under(told, "running", "12:10"), "paused", "12:20").at("13:00")
    under(told, "running", "14:00").at("14:00")

    assert [("reminder", "postponed", "paused"), ("reminder", "sent", "")] == told.decisions()


@pytest.mark.parametrize("step", ["{webhook: crm}", "{set_trait: {seen: true}}"], ids=["webhook", "trait"])
def test_a_webhook_and_a_trait_are_held_too(step: str) -> None:
    told = under(signed_up(f"  - delay: 1h\n  - {step}\n"), "paused", "10:30").at("12:00")

    assert ["2"] == [row["step"] for row in told.journey_events("held")]
    assert [] == told.rows("actions")
    assert "seen" not in told.person.document.get("traits", {})

    under(told, "running", "12:30").at("12:30")

    assert [("", "completed")] == told.exits()
    assert bool(told.rows("actions")) != ("seen" in told.person.document.get("traits", {}))


def test_people_enter_a_paused_journey_and_leave_it_and_the_message_that_was_held_is_withdrawn() -> None:
    told = story(simple("  - {message: hello, channel: email}\n", exit_when=({"event": "Order Completed"},)))
    under(told, "paused", "09:00").event("Signed Up").event("Order Completed")

    assert [("hello", "postponed", "paused"), ("hello", "suppressed", "withdrawn")] == told.decisions()
    assert [("", "exit_when: Order Completed")] == told.exits()


def test_a_stopped_journey_ends_its_runs_at_once_with_a_row_about_the_next_message() -> None:
    told = under(signed_up(), "stopped", "10:30", "10:30")

    assert moment("10:30") == told.decider.due(told.person)

    told.at("10:31")

    assert [("reminder", "suppressed", "stopped")] == told.decisions()
    assert [("", "stopped")] == told.exits()
    assert [] == told.runs()
    assert [] == told.at("day 2 12:00").sent()


def test_a_stopped_journey_takes_in_nobody_and_says_so() -> None:
    told = under(story(simple(REMINDER)), "stopped", "09:00", "09:00").event("Signed Up")

    assert [] == told.runs()
    assert [{"by": "mia"}] == [row["detail"] for row in told.journey_events("stopped")]


def test_runs_of_before_a_stop_do_not_come_back_when_the_journey_goes_on() -> None:
    told = signed_up()
    under(told, "running", "10:40", stopped="10:30").at("10:41").event("Signed Up").at("12:00")

    assert [("reminder", "suppressed", "stopped"), ("reminder", "sent", "")] == told.decisions()


def test_a_run_that_a_pause_holds_ends_by_a_stop_without_being_sent() -> None:
    told = under(signed_up(), "paused", "10:30").at("12:00")
    under(told, "stopped", "12:10", "12:10").at("12:11")

    assert [("reminder", "postponed", "paused"), ("reminder", "suppressed", "stopped")] == told.decisions()
    assert [("", "stopped")] == told.exits()


def test_an_event_of_before_the_stop_that_leads_to_a_message_sends_nothing() -> None:
    told = story(simple("  - wait_for: {event: Page Viewed}\n  - {message: hello, channel: email}\n")).event(
        "Signed Up"
    )
    under(told, "stopped", "10:30", "10:30").event("Page Viewed")

    assert [("hello", "suppressed", "stopped")] == told.decisions()


def test_other_journeys_go_on() -> None:
    other = simple("  - {message: hello, channel: email}\n", name="other")
    told = under(story(simple(REMINDER), other), "paused", "09:00").event("Signed Up")

    assert [("email", "hello")] == told.sent()


def test_a_held_run_goes_on_where_the_state_of_its_journey_was_lost() -> None:
    told = under(signed_up(), "paused", "10:30").at("12:00")
    told.decider = told.decider.under({})

    assert [("email", "reminder")] == told.at("12:01").sent()


def test_two_people_who_become_one_have_one_held_message() -> None:
    ann, other = under(signed_up(), "paused", "10:30").at("12:00"), Story(simple(REMINDER), profile_id="p2").at("10:00")
    other = under(other.event("Signed Up"), "paused", "10:30").at("12:00")
    under(ann.merge(other), "running", "13:00").at("13:00")

    assert [("email", "reminder")] == ann.sent()

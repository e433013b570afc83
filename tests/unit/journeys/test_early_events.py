"""Events that arrive before the run that waits for them: the wait has the event, not only its time."""

from __future__ import annotations

from typing import Any

from tests.support.stories import Story, cart, journey, story

WON = """
entry: {event: Contest Entered, key: contest}
own_events: [Contest Won]
steps:
  - {wait_for: {event: Contest Won, key: contest}, timeout: 1d, else: [{exit: lost}]}
  - {message: won, channel: email}
"""


def last_of_message(timeline: Story) -> dict[str, Any]:
    """Return `run.last` as the template of the only message gets it."""
    (action,) = timeline.rows("actions")
    last: dict[str, Any] = action["context"]["run"].get("last", {})
    properties: dict[str, Any] = last.get("properties", {})
    return properties


def test_a_wait_that_an_earlier_arrival_ends_has_its_event() -> None:
    timeline = story(journey(WON)).event("Contest Won", happened="09:58", contest="c", prize="a bike")
    timeline.event("Contest Entered", happened="09:57", contest="c")

    assert {"contest": "c", "prize": "a bike"} == last_of_message(timeline)


def test_of_two_early_events_the_wait_has_the_one_of_its_key_whatever_their_order() -> None:
    timeline = story(journey(WON)).event("Contest Won", happened="09:58", contest="c", prize="a bike")
    timeline.event("Contest Won", happened="09:59", contest="other", prize="a boat")
    timeline.event("Contest Entered", happened="09:57", contest="c")

    assert "a bike" == last_of_message(timeline)["prize"]


def test_of_two_early_events_of_a_key_the_wait_has_the_later_one_in_either_order() -> None:
    stories = [story(journey(WON)), story(journey(WON))]
    prizes = [("09:58", "a bike"), ("09:59", "a boat")]
    for timeline, order in zip(stories, (prizes, prizes[::-1]), strict=True):
        for happened, prize in order:
            timeline.event("Contest Won", happened=happened, contest="c", prize=prize)
        timeline.event("Contest Entered", happened="09:57", contest="c")

    assert ["a boat", "a boat"] == [last_of_message(timeline)["prize"] for timeline in stories]


def test_an_early_event_is_kept_for_the_wait_through_a_merge() -> None:
    other = story(journey(WON), profile_id="p2").event("Contest Won", happened="09:58", contest="c", prize="a bike")
    timeline = story(journey(WON)).merge(other).event("Contest Entered", happened="09:57", contest="c")

    assert "a bike" == last_of_message(timeline)["prize"]


def test_a_second_wait_does_not_keep_the_event_of_the_first() -> None:
    two = journey(WON.replace("  - {message", "  - {wait_for: {event: Prize Sent}, timeout: 1d}\n  - {message"))
    timeline = story(two).event("Prize Sent", happened="09:59", parcel=7)
    timeline.event("Contest Entered", happened="09:57", contest="c")
    timeline.event("Contest Won", happened="09:58", contest="c", prize="a bike")

    assert {"parcel": 7} == last_of_message(timeline)


def test_events_that_no_wait_is_for_and_expired_ones_are_not_kept() -> None:
    timeline = story(cart(steps=({"delay": "1h"},)), journey(WON)).event("Order Completed", cart_id="c1", order_id="o")
    timeline.event("Contest Won", contest="c", prize="a bike")
    kept = timeline.person.state["journeys"]["heard_events"]
    names = [event["event"] for by_key in kept.values() for event in by_key.values()]
    timeline.at("day 4 12:00").event("Order Completed", cart_id="c2", order_id="p")

    assert (["Contest Won"], False) == (names, "heard_events" in timeline.person.state["journeys"])

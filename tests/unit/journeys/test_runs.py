"""Stories of runs: messages, goals, changed definitions, merges and bounds."""

from __future__ import annotations

import pytest

from processors.journeys.runs import ENTERED_KEPT, PAST_KEPT, RUNS_KEPT
from schemas.decisions.policy import CapRule, HoldoutRules, MessagePolicy
from schemas.journeys.definitions import Journey
from tests.support.stories import UNLIMITED, Story, cart, journey, moment, simple, story


def once_a_week() -> MessagePolicy:
    return UNLIMITED.model_copy(update={"caps": (CapRule(limit=1, within=7 * 86_400_000),)})


# Messages, goals, holdouts


def test_a_message_that_cannot_be_sent_has_a_ledger_row() -> None:
    timeline = (
        story(cart(), reachable=["phone"]).event("Product Added", cart_id="c1", product_id="lamp").at("day 2 12:00")
    )

    assert [("cart-reminder", "suppressed", "channel")] == timeline.decisions()


def test_a_message_in_quiet_hours_waits_and_goes_out_in_the_morning() -> None:
    timeline = Story(simple("  - message: x\n    channel: sms\n  - message: y\n    channel: email")).at("22:00")
    timeline.event("Signed Up")
    waiting = timeline.decisions()
    timeline.at("day 2 08:00")  # 9 o'clock in Berlin

    assert [("x", "postponed", "quiet_hours")] == waiting
    assert [("x", "sent", ""), ("y", "sent", "")] == timeline.decisions()[1:]
    assert 3 == len({row["decision_id"] for row in timeline.rows("decisions")})


def test_a_run_that_ends_while_its_message_waits_sends_nothing() -> None:
    late = journey(
        "entry: {event: Product Added}\nexit_when: [{event: Order Completed}]\nsteps: [{message: x, channel: sms}]"
    )
    timeline = Story(late).at("22:00").event("Product Added", cart_id="c1", product_id="lamp")
    timeline.at("23:00").event("Order Completed", cart_id="c1", order_id="o1").at("day 3 12:00")

    assert [("x", "postponed", "quiet_hours"), ("x", "suppressed", "withdrawn")] == timeline.decisions()
    assert {} == timeline.person.state.get("sends", {})
    last = timeline.rows("decisions")[-1]
    assert "Not sent: its run ended while it waited (exit when: Order Completed)." == last["reason"]
    assert 2 == len({row["decision_id"] for row in timeline.rows("decisions")})


@pytest.mark.parametrize(("held_out", "outcome"), [(0, "sent"), (1, "ghost")], ids=["reached", "held out"])
def test_a_run_starts_anew_until_its_first_message_be_it_sent_or_a_ghost(held_out: int, outcome: str) -> None:
    steps = "  - delay: 1h\n  - message: x\n    channel: email\n  - delay: 1d"
    policy = UNLIMITED.model_copy(update={"holdout": HoldoutRules(share=held_out)})
    timeline = story(simple(steps, "{event: Product Added, key: cart_id}", re_entry="restart"), policy=policy)
    for when in ("10:00", "10:30", "12:00"):
        timeline.at(when).event("Product Added", cart_id="c1", product_id="lamp")
    timeline.at("day 3 12:00")

    assert [outcome] == [row["outcome"] for row in timeline.rows("decisions")]
    assert [("c1", "restarted"), ("c1", "completed")] == timeline.exits()


def test_caps_hold_across_journeys() -> None:
    journeys = [simple("  - message: x\n    channel: email", name=f"j{number}") for number in range(3)]
    timeline = story(*journeys, policy=once_a_week()).event("Signed Up")

    assert ["sent", "suppressed", "suppressed"] == [outcome for _, outcome, _ in timeline.decisions()]


def test_of_a_thousand_alerts_at_once_a_cap_of_three_passes_three() -> None:
    alert = simple(
        "  - message: price-drop\n    channel: email", entry="{event: Product Price Dropped, key: product_id}"
    )
    three = UNLIMITED.model_copy(update={"caps": (CapRule(limit=3, within=7 * 86_400_000),)})
    timeline = story(alert, policy=three)
    for number in range(1000):
        timeline.event("Product Price Dropped", product_id=f"p{number}", derived=True)
    outcomes = [outcome for _, outcome, _ in timeline.decisions()]

    assert (3, 997) == (outcomes.count("sent"), outcomes.count("suppressed"))


def test_the_same_journey_does_not_send_its_message_twice_in_a_run() -> None:
    timeline = story(simple("  - delay: 2d\n  - message: x"), poll="1h").event("Signed Up").at("day 9 10:00")

    assert ["x"] == timeline.templates()


def test_held_out_people_take_the_same_steps_with_ghosts() -> None:
    held_out = UNLIMITED.model_copy(update={"holdout": HoldoutRules(share=1)})
    timeline = story(cart(), policy=held_out).event("Product Added", cart_id="c1", product_id="lamp").at("12:00")

    assert ([], [("cart-reminder", "ghost", "holdout")]) == (timeline.sent(), timeline.decisions())
    assert [("c1", "completed")] == timeline.exits()


def test_a_goal_counts_within_its_window_even_when_the_run_is_over() -> None:
    goal = [{"event": "Order Completed", "within": "2d"}]
    timeline = story(simple("  - message: x", goals=goal)).event("Signed Up")
    timeline.at("day 3 09:59").event("Order Completed", order_id="o1", revenue="9.90", currency="EUR")
    timeline.event("Order Completed", order_id="o2")

    assert [{"goal": "goal", "event": "Order Completed", "order_id": "o1", "revenue": "9.90", "currency": "EUR"}] == [
        row["detail"] for row in timeline.journey_events("goal")
    ]


@pytest.mark.parametrize(
    ("received", "happened", "reached"),
    [
        ("day 3 10:01", "day 3 10:01", 0),
        ("day 3 09:00", "09:00", 0),
        ("day 9 12:00", "day 2 12:00", 1),
        ("day 11 12:00", "day 2 12:00", 0),
    ],
    ids=["after the window", "before the entry", "in the window, reported late", "in the window, reported too late"],
)
def test_a_goal_counts_by_the_time_at_which_it_was_reached(received: str, happened: str, reached: int) -> None:
    timeline = story(simple("  - message: x", goals=[{"event": "Order Completed", "within": "2d"}])).event("Signed Up")
    timeline.at(received).event("Order Completed", order_id="o1", happened=happened)

    assert reached == len(timeline.journey_events("goal"))


# Definitions that change


def test_a_run_keeps_the_version_that_it_entered_with() -> None:
    old, new = simple("  - delay: 1h\n  - message: old"), simple("  - delay: 1h\n  - message: new")
    timeline = story(old).event("Signed Up")
    after = Story(new, policy=UNLIMITED, archive=[old])
    after.person, after.now = timeline.person, timeline.now

    assert ["old"] == after.at("12:00").templates()
    assert ["old", "new"] == after.event("Signed Up").at("14:00").templates()


def test_a_run_without_a_definition_ends_with_a_reason() -> None:
    timeline = story(simple("  - delay: 1h\n  - message: old")).event("Signed Up")
    after = Story(policy=UNLIMITED)
    after.person, after.now = timeline.person, timeline.now

    assert ([("", "definition_removed")], []) == (after.at("12:00").exits(), after.sent())


def test_a_former_journey_with_a_removed_segment_does_not_stop_other_journeys() -> None:
    old = simple("  - delay: 1h\n  - if: {segment: gone}\n    then: [{message: old}]")
    timeline = story(simple("  - message: new"), archive=[old]).event("Signed Up")

    assert ["new"] == timeline.templates()


def test_another_text_is_another_version_and_the_same_text_is_the_same() -> None:
    old, same, new = (simple(f"  - message: {name}") for name in ("x", "x", "y"))

    assert (True, False) == (old.version == same.version, old.version == new.version)
    assert simple("  - exit: x", revision="v2").version.startswith("v2-")


def test_an_archived_definition_is_read_back_as_it_was() -> None:
    old = cart()

    assert old == Journey.model_validate_json(old.archived())


# Merges


def test_of_two_runs_of_a_cart_the_one_with_more_steps_is_kept() -> None:
    phone, desk = (Story(cart(), policy=UNLIMITED, profile_id=name).at("10:00") for name in ("p1", "p2"))
    desk.event("Product Added", cart_id="c1", product_id="lamp")
    phone.at("10:30").event("Product Added", cart_id="c1", product_id="lamp")
    phone.merge(desk)

    assert [moment("11:00")] == [run["due"] for run in phone.runs()]
    assert ["cart-reminder"] == phone.at("12:00").templates()
    assert 1 == len(phone.journey_events("collapsed"))


def test_a_merge_moves_timers() -> None:
    phone, desk = (Story(cart(), policy=UNLIMITED, profile_id=name).at("10:00") for name in ("p1", "p2"))
    desk.event("Product Added", cart_id="c1", product_id="lamp")
    phone.merge(desk)

    assert ["cart-reminder"] == phone.at("11:00").templates()


def test_an_order_known_of_the_other_person_ends_the_run_at_the_merge() -> None:
    phone, desk = (Story(cart(), policy=UNLIMITED, profile_id=name).at("10:00") for name in ("p1", "p2"))
    desk.event("Product Added", cart_id="c1", product_id="lamp")
    phone.at("10:30").event("Order Completed", cart_id="c1", order_id="o1")
    phone.merge(desk).at("12:00")

    assert ([], [{"reason": "already_over"}]) == (
        phone.sent(),
        [row["detail"] for row in phone.journey_events("collapsed")],
    )


def test_re_entry_once_holds_after_a_merge() -> None:
    once = simple("  - delay: 1h\n  - message: x", re_entry="once")
    one, other = (Story(once, policy=UNLIMITED, profile_id=name).at("10:00") for name in ("p1", "p2"))
    one.event("Signed Up").at("12:00")
    other.at("12:30").event("Signed Up")
    one.merge(other).at("15:00").event("Signed Up")

    assert ["x"] == one.templates()


def test_a_message_of_the_run_that_ends_in_a_merge_can_still_be_regretted() -> None:
    after = journey(
        "entry: {event: Product Added, key: cart_id}\nexit_when: [{event: Order Completed, key: cart_id}]\n"
        "steps: [{delay: 1h}, {message: cart-reminder}, {delay: 1d}]"
    )
    one, other = (Story(after, policy=UNLIMITED, profile_id=name).at("10:00") for name in ("p1", "p2"))
    for timeline in (one, other):
        timeline.event("Product Added", cart_id="c1", product_id="lamp").at("11:30")
    one.merge(other).event("Order Completed", cart_id="c1", order_id="o1", happened="10:30")

    assert ["sent", "regretted", "regretted"] == [outcome for _, outcome, _ in one.decisions()]


# Bounds


def test_a_person_without_journeys_has_no_state_of_them() -> None:
    timeline = story(cart()).event("Page Viewed").event("Product Viewed", product_id="lamp")

    assert "journeys" not in timeline.person.state


def test_the_number_of_runs_is_bounded_and_rejections_are_emitted() -> None:
    timeline = story(cart())
    for number in range(RUNS_KEPT + 3):
        timeline.event("Product Added", cart_id=f"c{number}", product_id="lamp")

    assert (RUNS_KEPT, 3) == (len(timeline.runs()), len(timeline.journey_events("too_many_runs")))


def test_ended_runs_expire() -> None:
    timeline = story(cart(goals=[{"event": "Order Completed", "within": "2d"}], re_entry="once"))
    for number in range(ENTERED_KEPT + 5):
        timeline.event("Product Added", cart_id=f"c{number}", product_id="lamp").after("70m")
    section = timeline.person.state["journeys"]

    assert (PAST_KEPT, ENTERED_KEPT) == (len(section["past"]), len(section["entered"]["test"]))


def test_a_person_whose_runs_have_all_expired_has_no_state() -> None:
    timeline = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    timeline.event("Order Completed", cart_id="c1", order_id="o1").at("day 60 10:00").event(
        "Order Completed", order_id="o2"
    )
    timeline.at("day 90 10:00").event("Product Removed", cart_id="c9", product_id="x").event(
        "Order Completed", order_id="o3"
    )

    assert ["heard", "heard_events"] == list(timeline.person.state["journeys"])

"""Who enters a journey, what it waits for and what its steps do, told as stories of one person."""

from __future__ import annotations

import pytest

from schemas.segments.definitions import SegmentDefinitions
from tests.support.stories import UNLIMITED, Story, cart, journey, moment, simple, story

# Keyed runs and waits together: what users of other systems ask for


def test_a_keyed_entry_and_a_wait_for_the_same_key_go_together() -> None:
    told = story(cart(exit_when=()))
    told.event("Product Added", cart_id="c1", product_id="lamp")
    told.at("10:30").event("Order Completed", cart_id="c1", order_id="o1")
    told.at("12:00")

    assert ([], [("c1", "ordered")]) == (told.sent(), told.exits())


def test_the_order_of_another_cart_does_not_answer_for_this_one() -> None:
    told = story(cart())
    told.event("Product Added", cart_id="c1", product_id="lamp").event("Product Added", cart_id="c2", product_id="sofa")
    told.at("10:30").event("Order Completed", cart_id="c2", order_id="o1")
    told.at("12:00")

    assert ["cart-reminder"] == told.templates()
    assert [("c2", "exit_when: Order Completed"), ("c1", "completed")] == told.exits()


def test_an_order_that_names_no_cart_answers_for_every_cart() -> None:
    told = story(cart())
    told.event("Product Added", cart_id="c1", product_id="lamp").event("Product Added", cart_id="c2", product_id="sofa")
    told.at("10:30").event("Order Completed", order_id="o1").at("12:00")

    assert [] == told.sent()


def test_events_without_the_key_share_one_run_of_the_person() -> None:
    told = story(cart())
    told.event("Product Added", product_id="lamp").event("Product Added", product_id="sofa").at("12:00")

    assert ["cart-reminder"] == told.templates()


def test_a_number_and_its_text_are_the_same_key() -> None:
    told = story(cart())
    told.event("Product Added", cart_id="7", product_id="lamp").event("Order Completed", cart_id=7, order_id="o1")

    assert [] == told.runs()


def test_a_key_may_lie_in_a_list() -> None:
    drop = journey(
        "entry: {event: Seen, key: product_id}\n"
        "exit_when: [{event: Order Completed, key: products.product_id}]\n"
        "steps: [{delay: 1h}]"
    )
    told = story(drop).event("Seen", product_id="lamp").event("Seen", product_id="sofa")
    told.event("Order Completed", order_id="o1", products=[{"product_id": "sofa"}, {"product_id": "vase"}])

    assert ["lamp"] == [run["key"] for run in told.runs()]


# Late and out of order


def test_a_late_order_cancels_the_pending_run() -> None:
    told = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    told.at("10:59").event("Order Completed", cart_id="c1", order_id="o1", happened="10:05").at("12:00")

    assert ([], []) == (told.sent(), told.runs())


def test_a_message_that_went_out_before_a_late_order_came_in_is_regretted() -> None:
    told = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    told.at("15:00").event("Order Completed", cart_id="c1", order_id="o1", happened="10:30")

    assert [("cart-reminder", "sent", ""), ("cart-reminder", "regretted", "late_event")] == told.decisions()


def test_a_message_is_regretted_once() -> None:
    told = story(cart()).event("Product Added", cart_id="c1", product_id="lamp").at("15:00")
    for _ in range(2):
        told.event("Order Completed", cart_id="c1", order_id="o1", happened="10:30")

    assert ["sent", "regretted"] == [outcome for _, outcome, _ in told.decisions()]


def test_an_order_that_followed_the_message_is_no_regret() -> None:
    told = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    told.at("15:00").event("Order Completed", cart_id="c1", order_id="o1")

    assert ["sent"] == [outcome for _, outcome, _ in told.decisions()]


def test_an_order_from_before_the_cart_does_not_end_its_run() -> None:
    told = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    told.event("Order Completed", order_id="o1", happened="09:00").at("12:00")

    assert ["cart-reminder"] == told.templates()


def test_an_order_that_is_heard_of_before_its_cart_keeps_people_out() -> None:
    told = story(cart()).event("Order Completed", cart_id="c1", order_id="o1", happened="09:30")
    told.event("Product Added", cart_id="c1", product_id="lamp", happened="09:00").at("12:00")

    assert ([], ["already_over"]) == (told.sent(), [row["kind"] for row in told.told()])


def test_a_wait_sees_what_was_heard_of_before_it_began_but_happened_later() -> None:
    told = story(cart(exit_when=())).event("Order Completed", cart_id="c1", order_id="o1", happened="09:30")
    told.event("Product Added", cart_id="c1", product_id="lamp", happened="09:00").at("12:00")

    assert ([], [("c1", "ordered")]) == (told.sent(), told.exits())


def test_a_wait_does_not_see_what_happened_before_it() -> None:
    told = story(cart(exit_when=())).event("Order Completed", cart_id="c1", order_id="o1", happened="08:30")
    told.event("Product Added", cart_id="c1", product_id="lamp", happened="09:00").at("12:00")

    assert ["cart-reminder"] == told.templates()


def test_the_event_that_lets_a_person_in_does_not_answer_the_first_wait() -> None:
    again = simple("  - {wait_for: {event: Page Viewed}, timeout: 1h}\n  - message: x", entry="{event: Page Viewed}")
    told = story(again).event("Page Viewed")

    assert 1 == len(told.runs())


def test_nobody_enters_by_an_event_that_comes_too_late() -> None:
    told = Story(cart(), policy=UNLIMITED).at("day 3 10:00")
    told.event("Product Added", cart_id="c1", product_id="lamp", happened="day 2 09:59").at("day 4 10:00")

    assert ([], ["too_late"]) == (told.sent(), [row["kind"] for row in told.told()])


@pytest.mark.parametrize(("happened", "rows"), [("day 8 12:00", 1), ("day 8 11:59", 0)], ids=["late", "history"])
def test_an_event_that_is_imported_as_history_leaves_no_row_either(happened: str, rows: int) -> None:
    told = Story(cart(), policy=UNLIMITED).at("day 10 12:00")
    told.event("Product Added", cart_id="c1", product_id="lamp", happened=happened)

    assert (rows, []) == (len(told.told()), told.runs())


def test_delays_count_from_the_time_of_the_log() -> None:
    told = story(cart()).event("Product Added", cart_id="c1", product_id="lamp", happened="01:00").at("10:59")
    before = told.sent()

    assert ([], ["cart-reminder"]) == (before, told.at("11:00").templates())


def test_an_event_of_the_future_is_taken_as_one_of_now() -> None:
    told = story(cart()).event("Product Added", cart_id="c1", product_id="lamp", happened="10:20")
    told.at("10:10").event("Order Completed", cart_id="c1", order_id="o1")

    assert [] == told.runs()


# Re-entry


@pytest.mark.parametrize(
    ("re_entry", "expected"),
    [("once", 1), ("after_exit", 2), ("always", 3)],
    ids=["once in a life", "again when the last run is over", "each entry"],
)
def test_re_entry(re_entry: str, expected: int) -> None:
    told = story(simple("  - delay: 1h", re_entry=re_entry))
    told.event("Signed Up").event("Signed Up").at("12:00").event("Signed Up")

    assert expected == len(told.told("journey_entered"))


def test_re_entry_is_for_each_key_by_itself() -> None:
    told = story(cart(re_entry="once"))
    for key in ("c1", "c2", "c1"):
        told.event("Product Added", cart_id=key, product_id="lamp").after("2h")

    assert ["c1", "c2"] == [row["key"] for row in told.told("journey_entered")]


def test_a_restart_counts_the_wait_from_the_last_entry() -> None:
    told = story(cart(re_entry="restart")).event("Product Added", cart_id="c1", product_id="lamp")
    told.at("10:40").event("Product Added", cart_id="c1", product_id="sofa").at("11:39")
    before = told.sent()

    assert ([], ["cart-reminder"]) == (before, told.at("11:40").templates())


def test_an_older_entry_that_comes_late_restarts_nothing() -> None:
    told = story(cart(re_entry="restart")).event("Product Added", cart_id="c1", product_id="lamp")
    told.at("10:40").event("Product Added", cart_id="c1", product_id="sofa", happened="09:50")

    assert ["cart-reminder"] == told.at("11:00").templates()


def test_after_its_first_message_a_run_is_not_restarted() -> None:
    told = story(simple("  - message: x\n  - delay: 1d", re_entry="restart"))
    told.event("Signed Up").at("11:00").event("Signed Up")

    assert ["x"] == told.templates()


def test_a_pause_between_entries_holds() -> None:
    told = story(simple("  - message: x", re_entry_after=7 * 86_400_000))
    for when in ("11:00", "day 7 10:59", "day 8 11:00"):
        told.at(when).event("Signed Up")

    assert 2 == len(told.sent())


def test_an_entry_condition_decides_at_that_moment() -> None:
    told = story(simple("  - message: x", entry="{event: Order Completed, if: {attribute: orders.count, eq: 2}}"))
    for number in (1, 2, 3):
        told.event("Order Completed", order_id=f"o{number}")

    assert 1 == len(told.sent())


def test_filters_look_at_the_event() -> None:
    told = story(simple("  - message: x", entry="{event: Survey Submitted, where: {properties.score: {lte: 6}}}"))
    told.event("Survey Submitted", score=9).event("Survey Submitted", score=3)

    assert 1 == len(told.sent())


def test_nobody_enters_a_journey_that_is_not_enabled_but_runs_go_on() -> None:
    live = simple("  - delay: 1h\n  - message: x")
    told = story(live).event("Signed Up")
    paused = Story(live.model_copy(update={"enabled": False}), policy=UNLIMITED)
    paused.person, paused.now = told.person, told.now

    assert ["x"] == paused.event("Signed Up").at("12:00").templates()


# Steps


@pytest.mark.parametrize(
    ("step", "goes_on"),
    [
        ("delay: 90 minutes", "11:30"),
        ('until: {time: "12:15"}', "11:15"),
        ('until: {time: "10:59"}', "day 2 09:59"),
        ('until: {time: "09:00", weekdays: [saturday, sunday]}', "day 6 08:00"),
        ("until: {date: event.starts_at, offset: -1d}", "day 9 18:00"),
        ('until: {date: event.starts_at, offset: -1d, time: "08:00"}', "day 9 07:00"),
        ('until: {date: trait.renewal, time: "09:00"}', "day 14 08:00"),
        ("until: {date: trait.birthday, every_year: true}", "day 19 23:00"),
    ],
    ids=lambda value: str(value),
)
def test_a_run_goes_on_where_the_person_lives(step: str, goes_on: str) -> None:
    told = story(simple(f"  - {step}"), traits={"renewal": "2026-11-15", "birthday": "1990-11-21"})
    told.event("Signed Up", starts_at="2026-11-11T19:00:00+01:00")
    before = told.until(moment(goes_on) - 1).exits()

    assert ([], [("", "completed")]) == (before, told.until(moment(goes_on)).exits())


def test_an_hour_that_is_now_need_not_be_waited_for() -> None:
    told = story(simple('  - until: {time: "11:00"}'))  # where the person lives

    assert [("", "completed")] == told.event("Signed Up").at("10:00").exits()


@pytest.mark.parametrize(
    ("if_missed", "starts_at", "sent"),
    [
        ("exit", "2026-11-01T10:00:00Z", []),
        ("continue", "2026-11-01T10:00:00Z", ["x"]),
        ("exit", None, []),
        ("continue", "soon", ["x"]),
    ],
    ids=["passed, leave", "passed, go on", "not known", "not a date"],
)
def test_a_date_that_cannot_be_waited_for(if_missed: str, starts_at: str | None, sent: list[str]) -> None:
    told = story(simple(f"  - until: {{date: event.starts_at, if_missed: {if_missed}}}\n  - message: x"))

    assert sent == told.event("Signed Up", starts_at=starts_at).templates()


def test_an_hour_that_the_night_skips_is_an_hour_later_and_one_that_it_repeats_is_the_first() -> None:
    asked = simple('  - until: {time: "02:30"}')
    spring = Story(asked, policy=UNLIMITED).at("2027-03-27T12:00:00+00:00").event("Signed Up")
    autumn = Story(asked, policy=UNLIMITED).at("2027-10-30T12:00:00+00:00").event("Signed Up")

    assert moment("2027-03-28T01:30:00+00:00") == spring.runs()[0]["due"]
    assert moment("2027-10-31T00:30:00+00:00") == autumn.runs()[0]["due"]


def test_splits_and_arms_are_told() -> None:
    split = simple(
        "  - if: {attribute: traits.vip, eq: true}\n    then: [{message: gold}]\n    else: [{message: tin}]\n"
        "  - random: [{name: a, steps: [{message: one}]}, {name: b, steps: [{message: two}]}]\n"
    )
    told = story(split, traits={"vip": True}).event("Signed Up")

    assert "gold" == told.templates()[0]
    assert [("1", {"holds": True}), ("2", {"arm": told.told("step")[1]["detail"]["arm"]})] == [
        (row["step"], row["detail"]) for row in told.told("step")
    ]


def test_a_random_split_keeps_its_shares_and_takes_a_person_the_same_way_again() -> None:
    split = simple("  - random: [{name: a, weight: 3}, {name: b, weight: 1}]", re_entry="always")
    arms = []
    for number in range(400):
        told = Story(split, policy=UNLIMITED, profile_id=f"p{number}").event("Signed Up").event("Signed Up")
        first, second = (row["detail"]["arm"] for row in told.told("step"))
        assert first == second
        arms.append(first)

    assert 100 == pytest.approx(arms.count("b"), abs=30)


def test_variants_of_a_message_are_told_in_the_ledger() -> None:
    step = "  - message: plain\n    variants: [{name: a}, {name: b, template: bold}]"
    rows = [Story(simple(step), policy=UNLIMITED, profile_id=f"p{n}").event("Signed Up") for n in range(20)]
    seen = {(row["variant"], row["message"]) for told in rows for row in told.rows("decisions")}

    assert {("a", "plain"), ("b", "bold")} == seen


def test_a_wait_for_a_segment_ends_when_the_person_enters_it_or_is_in_it() -> None:
    segments = SegmentDefinitions.model_validate(
        {"segments": [{"name": "buyers", "description": "Bought.", "when": {"performed": "Order Completed"}}]}
    )
    waits = simple("  - {wait_for: {segment: buyers}, timeout: 1d, then: [{message: x}]}", re_entry="always")
    told = story(waits, segments=segments).event("Signed Up")
    told.at("11:00").event("Order Completed", order_id="o1").event("Signed Up")

    assert ["x", "x"] == told.templates()


def test_a_segment_lets_people_in_at_the_very_moment_at_which_time_alone_decides() -> None:
    segments = SegmentDefinitions.model_validate(
        {
            "segments": [
                {
                    "name": "quiet",
                    "description": "No visit for 30 days.",
                    "when": {"not_performed": "Page Viewed", "within": "30d"},
                }
            ]
        }
    )
    back = journey(
        "entry: {segment: quiet}\nexit_when: [{segment: quiet, when: left}]\n"
        "steps: [{message: hello}, {delay: 7d}, {message: again}]"
    )
    told = Story(back, segments=segments, policy=UNLIMITED)
    told.event("Page Viewed").out.clear()
    told.at("day 30 23:59")
    before = told.templates()
    told.at("day 31 00:00")

    assert ([], ["hello"]) == (before, told.templates())
    assert [("", "exit_when: segment quiet")] == told.at("day 33 10:00").event("Page Viewed").exits()[-1:]


def test_a_trait_that_a_journey_sets_moves_segments_and_journeys_at_once() -> None:
    segments = SegmentDefinitions.model_validate(
        {"segments": [{"name": "gold", "description": "Gold.", "when": {"attribute": "traits.tier", "eq": "gold"}}]}
    )
    sets = simple("  - set_trait: {tier: gold}", name="sets")
    follows = simple("  - message: gold-welcome", entry="{segment: gold}", name="follows")
    told = story(sets, follows, segments=segments).event("Signed Up")

    assert ["gold-welcome"] == told.templates()


def test_journeys_that_chase_each_other_come_to_rest() -> None:
    segments = SegmentDefinitions.model_validate(
        {"segments": [{"name": "odd", "description": "Odd.", "when": {"attribute": "traits.odd", "eq": True}}]}
    )
    there = simple("  - set_trait: {odd: false}", entry="{segment: odd}", name="there")
    back = simple("  - set_trait: {odd: true}", entry="{segment: odd, when: left}", name="back")
    told = story(there, back, segments=segments).event("Identify", traits={"odd": True})

    assert 1 < len(told.told("trait_updated")) < 20


def test_a_webhook_is_an_order_to_deliver() -> None:
    told = story(simple("  - webhook: crm\n    data: {list: vip}")).event("Signed Up", plan="pro")
    (action,) = told.rows("actions")

    assert ("webhook", "crm", {"list": "vip"}, {"plan": "pro"}) == (
        action["channel"],
        action["webhook"],
        action["context"]["run"]["data"],
        action["context"]["event"]["properties"],
    )


def test_a_template_gets_the_event_that_let_the_person_in_and_the_last_one_waited_for() -> None:
    waits = simple("  - {wait_for: {event: Contest Won}, timeout: 1d}\n  - message: won", entry="{event: Signed Up}")
    told = story(waits).event("Signed Up", plan="pro").event("Contest Won", prize="bike")
    context = told.rows("actions")[0]["context"]

    assert ("pro", "bike") == (context["event"]["properties"]["plan"], context["run"]["last"]["properties"]["prize"])


def test_of_an_event_with_very_much_in_it_a_run_keeps_the_single_values() -> None:
    told = story(cart()).event("Product Added", cart_id="c1", product_id="lamp", notes=["x" * 99] * 99)

    assert {"cart_id": "c1", "product_id": "lamp"} == told.runs()[0]["event"]["properties"]

"""Who enters a journey, what it waits for and what its steps do, as stories of one person."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.durations import DAY_MS
from schemas.segments.definitions import SegmentDefinitions
from tests.support.stories import UNLIMITED, Story, cart, journey, moment, simple, story

# Keyed runs and waits together: what users of other systems ask for


def test_a_keyed_entry_and_a_wait_for_the_same_key_go_together() -> None:
    timeline = story(cart(exit_when=()))
    timeline.event("Product Added", cart_id="c1", product_id="lamp")
    timeline.at("10:30").event("Order Completed", cart_id="c1", order_id="o1")
    timeline.at("12:00")

    assert ([], [("c1", "ordered")]) == (timeline.sent(), timeline.exits())


def test_the_order_of_another_cart_does_not_end_this_run() -> None:
    timeline = story(cart())
    timeline.event("Product Added", cart_id="c1", product_id="lamp").event(
        "Product Added", cart_id="c2", product_id="sofa"
    )
    timeline.at("10:30").event("Order Completed", cart_id="c2", order_id="o1")
    timeline.at("12:00")

    assert ["cart-reminder"] == timeline.templates()
    assert [("c2", "exit_when: Order Completed"), ("c1", "completed")] == timeline.exits()


def test_an_order_without_a_cart_id_ends_the_runs_of_all_carts() -> None:
    timeline = story(cart())
    timeline.event("Product Added", cart_id="c1", product_id="lamp").event(
        "Product Added", cart_id="c2", product_id="sofa"
    )
    timeline.at("10:30").event("Order Completed", order_id="o1").at("12:00")

    assert [] == timeline.sent()


def test_events_without_the_key_share_one_run_of_the_person() -> None:
    timeline = story(cart())
    timeline.event("Product Added", product_id="lamp").event("Product Added", product_id="sofa").at("12:00")

    assert ["cart-reminder"] == timeline.templates()


def test_a_number_and_its_text_are_the_same_key() -> None:
    timeline = story(cart())
    timeline.event("Product Added", cart_id="7", product_id="lamp").event("Order Completed", cart_id=7, order_id="o1")

    assert [] == timeline.runs()


def test_a_key_may_lie_in_a_list() -> None:
    drop = journey(
        "entry: {event: Seen, key: product_id}\n"
        "exit_when: [{event: Order Completed, key: products.product_id}]\n"
        "steps: [{delay: 1h}]"
    )
    timeline = story(drop).event("Seen", product_id="lamp").event("Seen", product_id="sofa")
    timeline.event("Order Completed", order_id="o1", products=[{"product_id": "sofa"}, {"product_id": "vase"}])

    assert ["lamp"] == [run["key"] for run in timeline.runs()]


# Late and out of order


def test_a_late_order_cancels_the_pending_run() -> None:
    timeline = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    timeline.at("10:59").event("Order Completed", cart_id="c1", order_id="o1", happened="10:05").at("12:00")

    assert ([], []) == (timeline.sent(), timeline.runs())


def test_a_message_sent_before_a_late_order_arrives_is_regretted() -> None:
    timeline = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    timeline.at("15:00").event("Order Completed", cart_id="c1", order_id="o1", happened="10:30")

    assert [("cart-reminder", "sent", ""), ("cart-reminder", "regretted", "late_event")] == timeline.decisions()


def test_a_message_is_regretted_once() -> None:
    timeline = story(cart()).event("Product Added", cart_id="c1", product_id="lamp").at("15:00")
    for _ in range(2):
        timeline.event("Order Completed", cart_id="c1", order_id="o1", happened="10:30")

    assert ["sent", "regretted"] == [outcome for _, outcome, _ in timeline.decisions()]


def test_an_order_that_followed_the_message_is_no_regret() -> None:
    timeline = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    timeline.at("15:00").event("Order Completed", cart_id="c1", order_id="o1")

    assert ["sent"] == [outcome for _, outcome, _ in timeline.decisions()]


def test_an_order_from_before_the_cart_does_not_end_its_run() -> None:
    timeline = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    timeline.event("Order Completed", order_id="o1", happened="09:00").at("12:00")

    assert ["cart-reminder"] == timeline.templates()


def test_an_order_that_arrives_before_its_cart_prevents_the_entry() -> None:
    timeline = story(cart()).event("Order Completed", cart_id="c1", order_id="o1", happened="09:30")
    timeline.event("Product Added", cart_id="c1", product_id="lamp", happened="09:00").at("12:00")

    assert ([], ["already_over"]) == (timeline.sent(), [row["kind"] for row in timeline.journey_events()])


def test_a_wait_counts_an_event_that_arrived_before_it_began_but_happened_later() -> None:
    timeline = story(cart(exit_when=())).event("Order Completed", cart_id="c1", order_id="o1", happened="09:30")
    timeline.event("Product Added", cart_id="c1", product_id="lamp", happened="09:00").at("12:00")

    assert ([], [("c1", "ordered")]) == (timeline.sent(), timeline.exits())


def test_a_wait_does_not_count_an_event_that_happened_before_it() -> None:
    timeline = story(cart(exit_when=())).event("Order Completed", cart_id="c1", order_id="o1", happened="08:30")
    timeline.event("Product Added", cart_id="c1", product_id="lamp", happened="09:00").at("12:00")

    assert ["cart-reminder"] == timeline.templates()


def test_the_entry_event_does_not_end_the_first_wait() -> None:
    again = simple("  - {wait_for: {event: Page Viewed}, timeout: 1h}\n  - message: x", entry="{event: Page Viewed}")
    timeline = story(again).event("Page Viewed")

    assert 1 == len(timeline.runs())


def test_an_imported_event_starts_no_journey_whatever_its_time() -> None:
    imported = {"historical": True}
    timeline = story(simple("  - message: x")).event("Signed Up", context=imported).at("12:00")

    assert ([], []) == (timeline.sent(), timeline.journey_events())


def test_an_imported_event_starts_no_journey_by_the_segment_that_it_changes() -> None:
    buyers = SegmentDefinitions.model_validate(
        {"segments": [{"name": "buyers", "description": "Bought.", "when": {"performed": "Order Completed"}}]}
    )
    greeting = simple("  - message: x", entry="{segment: buyers}")
    timeline = story(greeting, segments=buyers)
    timeline.event("Order Completed", order_id="o1", context={"historical": True}).at("12:00")

    assert ([], {"buyers"}) == (timeline.sent(), {*timeline.person.state["segments"]["in"]})


@pytest.mark.parametrize("mark", [False, "true", None], ids=["false", "a text", "absent"])
def test_only_the_mark_itself_keeps_an_event_from_starting_a_journey(mark: object) -> None:
    timeline = story(simple("  - message: x")).event(
        "Signed Up", context={"historical": mark} if mark is not None else None
    )

    assert ["x"] == timeline.templates()


def test_an_imported_order_ends_a_run_as_any_other_order() -> None:
    timeline = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    timeline.at("10:30").event("Order Completed", cart_id="c1", order_id="o1", context={"historical": True}).at("12:00")

    assert ([], 1) == (timeline.sent(), len(timeline.exits()))


def test_an_event_that_arrives_too_late_is_no_entry() -> None:
    timeline = Story(cart(), policy=UNLIMITED).at("day 3 10:00")
    timeline.event("Product Added", cart_id="c1", product_id="lamp", happened="day 2 09:59").at("day 4 10:00")

    assert ([], ["too_late"]) == (timeline.sent(), [row["kind"] for row in timeline.journey_events()])


@pytest.mark.parametrize(("happened", "rows"), [("day 8 12:00", 1), ("day 8 11:59", 0)], ids=["late", "history"])
def test_an_imported_event_emits_no_row_either(happened: str, rows: int) -> None:
    timeline = Story(cart(), policy=UNLIMITED).at("day 10 12:00")
    timeline.event("Product Added", cart_id="c1", product_id="lamp", happened=happened)

    assert (rows, []) == (len(timeline.journey_events()), timeline.runs())


def test_delays_count_from_the_time_of_the_log() -> None:
    timeline = story(cart()).event("Product Added", cart_id="c1", product_id="lamp", happened="01:00").at("10:59")
    before = timeline.sent()

    assert ([], ["cart-reminder"]) == (before, timeline.at("11:00").templates())


def test_an_event_of_the_future_counts_as_one_of_now() -> None:
    timeline = story(cart()).event("Product Added", cart_id="c1", product_id="lamp", happened="10:20")
    timeline.at("10:10").event("Order Completed", cart_id="c1", order_id="o1")

    assert [] == timeline.runs()


# Re-entry


@pytest.mark.parametrize(
    ("re_entry", "expected"),
    [("once", 1), ("after_exit", 2), ("always", 3)],
    ids=["once in a life", "again when the last run is over", "each entry"],
)
def test_re_entry(re_entry: str, expected: int) -> None:
    timeline = story(simple("  - delay: 1h", re_entry=re_entry))
    timeline.event("Signed Up").event("Signed Up").at("12:00").event("Signed Up")

    assert expected == len(timeline.journey_events("journey_entered"))


def test_re_entry_is_for_each_key_by_itself() -> None:
    timeline = story(cart(re_entry="once"))
    for key in ("c1", "c2", "c1"):
        timeline.event("Product Added", cart_id=key, product_id="lamp").after("2h")

    assert ["c1", "c2"] == [row["key"] for row in timeline.journey_events("journey_entered")]


def test_a_restart_counts_the_wait_from_the_last_entry() -> None:
    timeline = story(cart(re_entry="restart")).event("Product Added", cart_id="c1", product_id="lamp")
    timeline.at("10:40").event("Product Added", cart_id="c1", product_id="sofa").at("11:39")
    before = timeline.sent()

    assert ([], ["cart-reminder"]) == (before, timeline.at("11:40").templates())


def test_an_older_entry_that_comes_late_restarts_nothing() -> None:
    timeline = story(cart(re_entry="restart")).event("Product Added", cart_id="c1", product_id="lamp")
    timeline.at("10:40").event("Product Added", cart_id="c1", product_id="sofa", happened="09:50")

    assert ["cart-reminder"] == timeline.at("11:00").templates()


def test_after_its_first_message_a_run_is_not_restarted() -> None:
    timeline = story(simple("  - message: x\n  - delay: 1d", re_entry="restart"))
    timeline.event("Signed Up").at("11:00").event("Signed Up")

    assert ["x"] == timeline.templates()


def test_a_pause_between_entries_holds() -> None:
    timeline = story(simple("  - message: x", re_entry_after=7 * 86_400_000))
    for when in ("11:00", "day 7 10:59", "day 8 11:00"):
        timeline.at(when).event("Signed Up")

    assert 2 == len(timeline.sent())


def test_an_entry_condition_decides_at_that_moment() -> None:
    timeline = story(simple("  - message: x", entry="{event: Order Completed, if: {attribute: orders.count, eq: 2}}"))
    for number in (1, 2, 3):
        timeline.event("Order Completed", order_id=f"o{number}")

    assert 1 == len(timeline.sent())


def test_filters_look_at_the_event() -> None:
    timeline = story(simple("  - message: x", entry="{event: Survey Submitted, where: {properties.score: {lte: 6}}}"))
    timeline.event("Survey Submitted", score=9).event("Survey Submitted", score=3)

    assert 1 == len(timeline.sent())


def test_a_disabled_journey_has_no_entries_but_runs_continue() -> None:
    live = simple("  - delay: 1h\n  - message: x")
    timeline = story(live).event("Signed Up")
    paused = Story(live.model_copy(update={"enabled": False}), policy=UNLIMITED)
    paused.person, paused.now = timeline.person, timeline.now

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
def test_a_run_continues_at_the_local_time_of_the_person(step: str, goes_on: str) -> None:
    timeline = story(simple(f"  - {step}"), traits={"renewal": "2026-11-15", "birthday": "1990-11-21"})
    timeline.event("Signed Up", starts_at="2026-11-11T19:00:00+01:00")
    before = timeline.until(moment(goes_on) - 1).exits()

    assert ([], [("", "completed")]) == (before, timeline.until(moment(goes_on)).exits())


def test_an_hour_that_is_now_need_not_be_waited_for() -> None:
    timeline = story(simple('  - until: {time: "11:00"}'))  # where the person lives

    assert [("", "completed")] == timeline.event("Signed Up").at("10:00").exits()


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
    timeline = story(simple(f"  - until: {{date: event.starts_at, if_missed: {if_missed}}}\n  - message: x"))

    assert sent == timeline.event("Signed Up", starts_at=starts_at).templates()


def test_an_hour_that_the_night_skips_is_an_hour_later_and_one_that_it_repeats_is_the_first() -> None:
    asked = simple('  - until: {time: "02:30"}')
    spring = Story(asked, policy=UNLIMITED).at("2027-03-27T12:00:00+00:00").event("Signed Up")
    autumn = Story(asked, policy=UNLIMITED).at("2027-10-30T12:00:00+00:00").event("Signed Up")

    assert moment("2027-03-28T01:30:00+00:00") == spring.runs()[0]["due"]
    assert moment("2027-10-31T00:30:00+00:00") == autumn.runs()[0]["due"]


def test_splits_and_arms_are_emitted() -> None:
    split = simple(
        "  - if: {attribute: traits.vip, eq: true}\n    then: [{message: gold}]\n    else: [{message: tin}]\n"
        "  - random: [{name: a, steps: [{message: one}]}, {name: b, steps: [{message: two}]}]\n"
    )
    timeline = story(split, traits={"vip": True}).event("Signed Up")

    assert "gold" == timeline.templates()[0]
    drawn = timeline.journey_events("step")[1]["detail"]["arm"]
    compared = {"share": 0.5, "control": "a", "metric": "ordered", "window_ms": 7 * DAY_MS}
    assert [("1", {"holds": True}), ("2", {"arm": drawn, "experiment": compared})] == [
        (row["step"], row["detail"]) for row in timeline.journey_events("step")
    ]


def test_a_random_split_keeps_its_shares_and_is_the_same_for_a_person() -> None:
    split = simple("  - random: [{name: a, weight: 3}, {name: b, weight: 1}]", re_entry="always")
    arms = []
    for number in range(400):
        timeline = Story(split, policy=UNLIMITED, profile_id=f"p{number}").event("Signed Up").event("Signed Up")
        first, second = (row["detail"]["arm"] for row in timeline.journey_events("step"))
        assert first == second
        arms.append(first)

    assert 100 == pytest.approx(arms.count("b"), abs=30)


def test_variants_of_a_message_are_in_the_ledger() -> None:
    step = "  - message: plain\n    variants: [{name: a}, {name: b, template: bold}]"
    rows = [Story(simple(step), policy=UNLIMITED, profile_id=f"p{n}").event("Signed Up") for n in range(20)]
    seen = {(row["variant"], row["message"]) for timeline in rows for row in timeline.rows("decisions")}

    assert {("a", "plain"), ("b", "bold")} == seen
    assert all(
        [timeline.rows("decisions")[0]["variant"]] == [row["detail"]["arm"] for row in timeline.journey_events("step")]
        for timeline in rows
    )


def test_a_draw_says_how_its_variants_are_compared() -> None:
    declared = simple(
        "  - random: [{name: a, weight: 3}, {name: b, weight: 1}, {name: gone, weight: 0}]",
        experiment={"metric": "revenue", "window": "3d", "horizon": "30d", "control": "b"},
    )
    timeline = story(declared).event("Signed Up")

    compared = {"metric": "revenue", "window_ms": 3 * DAY_MS, "horizon_ms": 30 * DAY_MS}
    (step,) = timeline.journey_events("step")
    share = {"a": 0.75, "b": 0.25}[step["detail"]["arm"]]
    assert {"share": share, "control": "b", **compared} == step["detail"]["experiment"]
    assert [{"experiment": compared}] == [row["detail"] for row in timeline.journey_events("journey_entered")]


@pytest.mark.parametrize(
    ("steps", "experiment", "said"),
    [
        ("  - random: [{name: a, weight: 0}, {name: b, weight: 0}]", {}, "all weights are 0"),
        ("  - message: x", {"window": "7d", "horizon": "7d"}, "nobody's window would be over by then"),
    ],
)
def test_an_experiment_that_could_have_no_result_is_an_error(steps: str, experiment: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        simple(steps, experiment=experiment)


def test_a_wait_for_a_segment_ends_when_the_person_enters_it_or_is_in_it() -> None:
    segments = SegmentDefinitions.model_validate(
        {"segments": [{"name": "buyers", "description": "Bought.", "when": {"performed": "Order Completed"}}]}
    )
    waits = simple("  - {wait_for: {segment: buyers}, timeout: 1d, then: [{message: x}]}", re_entry="always")
    timeline = story(waits, segments=segments).event("Signed Up")
    timeline.at("11:00").event("Order Completed", order_id="o1").event("Signed Up")

    assert ["x", "x"] == timeline.templates()


def test_a_segment_is_an_entry_at_the_exact_time_of_a_change_without_an_event() -> None:
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
    timeline = Story(back, segments=segments, policy=UNLIMITED)
    timeline.event("Page Viewed").out.clear()
    timeline.at("day 30 23:59")
    before = timeline.templates()
    timeline.at("day 31 00:00")

    assert ([], ["hello"]) == (before, timeline.templates())
    assert [("", "exit_when: segment quiet")] == timeline.at("day 33 10:00").event("Page Viewed").exits()[-1:]


def test_a_trait_that_a_journey_sets_moves_segments_and_journeys_at_once() -> None:
    segments = SegmentDefinitions.model_validate(
        {"segments": [{"name": "gold", "description": "Gold.", "when": {"attribute": "traits.tier", "eq": "gold"}}]}
    )
    sets = simple("  - set_trait: {tier: gold}", name="sets")
    follows = simple("  - message: gold-welcome", entry="{segment: gold}", name="follows")
    timeline = story(sets, follows, segments=segments).event("Signed Up")

    assert ["gold-welcome"] == timeline.templates()


def test_journeys_that_trigger_each_other_stop() -> None:
    segments = SegmentDefinitions.model_validate(
        {"segments": [{"name": "odd", "description": "Odd.", "when": {"attribute": "traits.odd", "eq": True}}]}
    )
    there = simple("  - set_trait: {odd: false}", entry="{segment: odd}", name="there")
    back = simple("  - set_trait: {odd: true}", entry="{segment: odd, when: left}", name="back")
    timeline = story(there, back, segments=segments).event("Identify", traits={"odd": True})

    assert 1 < len(timeline.journey_events("trait_updated")) < 20


def test_a_webhook_is_an_action() -> None:
    timeline = story(simple("  - webhook: crm\n    data: {list: vip}")).event("Signed Up", plan="pro")
    (action,) = timeline.rows("actions")

    assert ("webhook", "crm", {"list": "vip"}, {"plan": "pro"}) == (
        action["channel"],
        action["webhook"],
        action["context"]["run"]["data"],
        action["context"]["event"]["properties"],
    )


def test_a_template_gets_the_entry_event_and_the_last_awaited_one() -> None:
    waits = simple("  - {wait_for: {event: Contest Won}, timeout: 1d}\n  - message: won", entry="{event: Signed Up}")
    timeline = story(waits).event("Signed Up", plan="pro").event("Contest Won", prize="bike")
    context = timeline.rows("actions")[0]["context"]

    assert ("pro", "bike") == (context["event"]["properties"]["plan"], context["run"]["last"]["properties"]["prize"])


def test_of_a_large_event_a_run_keeps_scalar_values() -> None:
    timeline = story(cart()).event("Product Added", cart_id="c1", product_id="lamp", notes=["x" * 99] * 99)

    assert {"cart_id": "c1", "product_id": "lamp"} == timeline.runs()[0]["event"]["properties"]


def test_an_event_of_doubtful_time_is_no_entry_and_still_ends_a_run() -> None:
    doubtful: dict[str, Any] = {"context": {"time_doubtful": True}}
    entry = story(cart()).event("Product Added", cart_id="c1", product_id="lamp", **doubtful).at("12:00")
    ended = story(cart()).event("Product Added", cart_id="c1", product_id="lamp")
    ended.at("10:30").event("Order Completed", cart_id="c1", order_id="o1", **doubtful).at("12:00")

    assert ([], ["too_late"]) == (entry.sent(), [row["kind"] for row in entry.journey_events()])
    assert ([], 1) == (ended.sent(), len(ended.exits()))

"""Stories of the shipped journeys, with the shipped segments and the shipped policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from processors.journeys.lint import lint
from schemas.journeys.definitions import MessageNode
from tests.support.stories import DEFINITIONS, Story, shipped, shipped_journeys, shipped_segments

THE_THIRTEEN = {
    "welcome", "first_purchase", "cart_abandonment", "browse_abandonment", "win_back", "cross_sell", "price_drop",
    "back_in_stock", "loyalty_milestone", "birthday", "payment_notification", "event_reminder", "contest_prize",
}  # fmt: skip


def story(name: str, **fields: Any) -> Story:
    """Return the story of a person in Berlin with all consent, at noon there."""
    return Story(shipped(name), segments=shipped_segments(), **fields).at("11:00")


def test_there_are_thirteen_shipped_journeys() -> None:
    assert set() == THE_THIRTEEN - set(shipped_journeys())


def test_shipped_journeys_have_no_lint_problems() -> None:
    templates = [path.stem for path in (DEFINITIONS / "templates").iterdir() if path.suffix != ".txt"]

    assert [] == lint(shipped_journeys().values(), shipped_segments(), templates)


def test_a_file_has_the_name_of_its_journey() -> None:
    files = {path.stem.replace("-", "_") for path in Path(DEFINITIONS / "journeys").glob("*.yaml")}

    assert set(shipped_journeys()) == files


@pytest.mark.parametrize("name", sorted(THE_THIRTEEN))
def test_every_message_has_an_expiry_and_a_campaign(name: str) -> None:
    messages = [step for _, step in shipped_journeys()[name].walk() if isinstance(step, MessageNode)]

    assert all(message.expires_after_ms and message.campaign for message in messages)


# Welcome and first purchase


def test_new_members_are_welcomed_and_get_an_offer_two_days_later() -> None:
    timeline = story("welcome").event("Signed Up").at("day 2 12:00")

    assert [("email", "welcome")] == timeline.sent()
    assert ["welcome", "welcome-offer"] == timeline.at("day 3 09:00").templates()


def test_a_person_who_has_bought_meanwhile_gets_no_offer() -> None:
    timeline = story("welcome").event("Signed Up").at("day 2 12:00").event("Order Completed", "store", order_id="o1")
    timeline.at("day 5 12:00").event("Signed Up")

    assert (["welcome"], [("", "has bought already")]) == (timeline.templates(), timeline.exits())
    assert ["first_order"] == [row["detail"]["goal"] for row in timeline.journey_events("goal")]


def test_the_first_order_is_thanked_for_and_the_second_invited() -> None:
    timeline = story("first_purchase").event("Order Completed", "store", order_id="o1").at("day 2 09:00")

    assert [("email", "first-purchase-thanks")] == timeline.sent()
    assert ["first-purchase-thanks", "second-purchase"] == timeline.at("day 18 12:00").templates()


def test_the_second_order_needs_no_invitation() -> None:
    timeline = story("first_purchase").event("Order Completed", order_id="o1").at("day 9 12:00")
    timeline.event("Order Completed", "app", order_id="o2").at("day 30 12:00")

    assert ["first-purchase-thanks"] == timeline.templates()


# Carts and looks


def put(timeline: Story, cart: str, product: str = "lamp") -> Story:
    return timeline.event("Product Added", cart_id=cart, product_id=product, price="49.90", currency="EUR", quantity=1)


def test_a_cart_is_reminded_of_after_an_hour_and_on_the_next_day() -> None:
    timeline = put(story("cart_abandonment"), "c1").at("11:59")
    silent = timeline.sent()
    timeline.at("12:00")

    assert ([], ["cart-reminder"]) == (silent, timeline.templates())

    last = timeline.at("day 2 12:00").templates()[1:]

    assert last in (["cart-last-reminder"], ["cart-last-reminder-coupon"])


def test_the_hour_counts_from_the_last_product() -> None:
    timeline = put(put(story("cart_abandonment"), "c1").at("11:50"), "c1", "sofa").at("12:49")

    assert ([], ["cart-reminder"]) == (timeline.sent(), timeline.at("12:50").templates())


def test_two_carts_are_two_runs_and_an_order_ends_its_own() -> None:
    timeline = put(put(story("cart_abandonment"), "c1"), "c2", "sofa")
    timeline.at("11:30").event("Order Completed", "call_center", cart_id="c1", order_id="o1").at("12:00")

    assert ["c2"] == [row["key"] for row in timeline.journey_events("step") if row["step"] == "left_alone"]
    assert ["cart-reminder"] == timeline.templates()


def test_an_order_that_the_till_reports_late_ends_the_run_and_regrets_what_was_sent() -> None:
    timeline = put(story("cart_abandonment"), "c1").at("12:30")
    timeline.event("Order Completed", "store", cart_id="c1", order_id="o1", happened="11:20").at("day 3 12:00")

    assert [("cart-reminder", "sent"), ("cart-reminder", "regretted")] == [row[:2] for row in timeline.decisions()]


def test_an_emptied_cart_gets_no_reminder() -> None:
    timeline = (
        put(story("cart_abandonment"), "c1").event("Product Removed", cart_id="c1", product_id="lamp").at("13:00")
    )

    assert ([], [("c1", "the cart is empty")]) == (timeline.sent(), timeline.exits())


def test_viewed_products_get_a_browse_reminder() -> None:
    timeline = story("browse_abandonment")
    for product in ("lamp", "sofa", "vase"):
        timeline.event("Product Viewed", product_id=product)
    timeline.at("day 2 22:00")

    assert ["browse-reminder"] == timeline.templates()


def test_a_product_in_the_cart_gets_no_browse_reminder() -> None:
    timeline = story("browse_abandonment")
    for product in ("lamp", "sofa", "vase"):
        timeline.event("Product Viewed", product_id=product)
    put(timeline.at("12:00"), "c1").at("day 3 12:00")

    assert [] == timeline.sent()


# Customers


def test_inactive_customers_are_won_back_and_get_an_offer_if_they_do_not_answer() -> None:
    timeline = story("win_back").event("Order Completed", order_id="o1").at("day 200 12:00")

    assert ["win-back", "win-back-offer"] == timeline.templates()


def test_a_person_who_comes_back_gets_no_message() -> None:
    timeline = story("win_back").event("Order Completed", order_id="o1")
    for _ in range(200):
        timeline.after("1d" if not timeline.sent() else "0h")
    timeline.after("1d").event("Order Completed", "store", order_id="o2").after("20d")

    assert ["win-back"] == timeline.templates()
    assert ["order"] == [row["detail"]["goal"] for row in timeline.journey_events("goal")]


def test_two_weeks_after_an_order_something_that_goes_with_it() -> None:
    timeline = story("cross_sell").event("Order Completed", "store", order_id="o1").at("day 17 12:00")

    assert timeline.templates() in (["cross-sell-together"], ["cross-sell-category"])


@pytest.mark.parametrize(
    ("event", "properties"),
    [("Order Cancelled", {"order_id": "o1"}), ("Order Completed", {"order_id": "o2"})],
    ids=["the order was cancelled", "something was bought meanwhile"],
)
def test_nothing_is_suggested_when(event: str, properties: dict[str, Any]) -> None:
    timeline = story("cross_sell").event("Order Completed", order_id="o1").at("day 5 12:00").event(event, **properties)

    assert [] == timeline.at("day 16 12:00").sent()


# News about products


@pytest.mark.parametrize(
    ("name", "event", "template"),
    [
        ("price_drop", "Product Price Dropped", "price-drop"),
        ("back_in_stock", "Product Back In Stock", "back-in-stock"),
    ],
    ids=["a price falls", "a product is there again"],
)
def test_a_price_drop_or_restock_is_sent_once(name: str, event: str, template: str) -> None:
    timeline = story(name)
    for _ in range(2):
        timeline.event(
            event, "api", derived=True, product_id="lamp", name="Lamp", price="39.90", old_price="49.90"
        ).after("1h")

    assert [template] == timeline.templates()
    assert "lamp" == timeline.rows("actions")[0]["context"]["event"]["properties"]["product_id"]


def test_each_product_has_a_message_of_its_own() -> None:
    timeline = story("price_drop")
    for product in ("lamp", "sofa"):
        timeline.event("Product Price Dropped", "api", derived=True, product_id=product, price="39.90")

    assert ["price-drop", "price-drop"] == timeline.templates()


# Service and loyalty


def test_points_earned_in_the_store_are_spent_on_the_web() -> None:
    timeline = story("loyalty_milestone").event("Loyalty Points Earned", "store", points=400)
    few = timeline.sent()
    timeline.event("Loyalty Points Earned", "store", points=150).at("day 10 12:00")

    assert ([], ["loyalty-milestone"]) == (few, timeline.templates())

    timeline.event("Loyalty Points Redeemed", "web", points=500)

    assert ["loyalty-milestone", "loyalty-thanks"] == timeline.templates()


def test_unused_points_are_reminded_of_after_a_month() -> None:
    timeline = story("loyalty_milestone").event("Loyalty Points Earned", "call_center", points=600).at("day 35 12:00")

    assert ["loyalty-milestone", "loyalty-reminder"] == timeline.templates()


def test_a_birthday_is_greeted_at_nine_where_the_person_lives() -> None:
    timeline = story("birthday", traits={"birthday": "1990-11-05"}, timezone="America/New_York").at("day 4 13:59")

    assert ([], ["birthday"]) == (timeline.sent(), timeline.at("day 4 14:00").templates())
    assert ["birthday", "birthday"] == timeline.at("2027-11-06T12:00:00+00:00").templates()


def test_a_payment_is_announced_and_confirmed_without_consent_and_at_night() -> None:
    timeline = (
        story("payment_notification", agrees=False).at("23:30").event("Payment Due", "api", order_id="o1", amount="90")
    )
    timeline.at("day 2 23:30").event("Payment Received", "api", order_id="o1")

    assert [("email", "payment-due"), ("email", "payment-received")] == timeline.sent()


def test_a_payment_that_does_not_come_is_reminded_of_by_sms_and_then_people_take_over() -> None:
    timeline = story("payment_notification").event("Payment Due", "api", order_id="o1").at("day 4 11:00")

    assert [("email", "payment-due"), ("sms", "payment-reminder")] == timeline.sent()
    assert ["accounts"] == [row["webhook"] for row in timeline.at("day 20 11:00").rows("actions") if "webhook" in row]


def test_who_texts_help_is_answered_each_time_without_consent_and_at_night() -> None:
    timeline = story("help", agrees=False).at("23:30").event("SMS Replied", "sms", asked_for="help")
    timeline.at("23:40").event("SMS Replied", "sms").at("23:50").event("SMS Replied", "sms", asked_for="help")

    assert [("sms", "help"), ("sms", "help")] == timeline.sent()


def test_a_booked_event_is_remembered_a_day_and_two_hours_before() -> None:
    timeline = story("event_reminder").event("Event Booked", booking_id="b1", starts_at="2026-11-10T19:00:00+01:00")
    sent = [timeline.at(when).sent() for when in ("day 8 17:59", "day 8 18:00", "day 9 16:00")]

    assert [[], [("email", "event-reminder")], [("email", "event-reminder"), ("app_push", "event-soon")]] == sent


@pytest.mark.parametrize(
    ("starts_at", "reminded"),
    [
        pytest.param("2026-11-02T22:00:00+01:00", ["event-reminder", "event-soon"], id="on the day of the booking"),
        pytest.param("2026-11-01T19:00:00+01:00", [], id="the day before the booking"),
        pytest.param(None, [], id="nobody knows when"),
        pytest.param("soon", [], id="no date"),
    ],
)
def test_an_event_that_is_over_or_has_no_date_is_not_reminded_of(starts_at: str | None, reminded: list[str]) -> None:
    timeline = story("event_reminder").event("Event Booked", booking_id="b1", starts_at=starts_at).at("day 20 12:00")

    assert reminded == timeline.templates()


def test_a_cancelled_event_gets_no_reminder() -> None:
    timeline = story("event_reminder").event("Event Booked", booking_id="b1", starts_at="2026-11-10T19:00:00+01:00")
    timeline.at("day 3 12:00").event("Event Booking Cancelled", booking_id="b1").at("day 12 12:00")

    assert [] == timeline.sent()


def test_a_contest_is_entered_on_social_notified_by_mail_and_handed_over_in_a_store() -> None:
    timeline = story("contest_prize").event("Contest Entered", "social", contest_id="k1").at("day 20 12:00")
    timeline.event("Contest Won", "api", contest_id="k1", prize="A bicycle")

    assert [("email", "contest-won")] == timeline.sent()

    timeline.at("day 22 12:00").event("Prize Collected", "store", contest_id="k1")

    assert ["contest-won", "contest-thanks"] == timeline.templates()
    assert True is timeline.person.document["traits"]["contest_winner"][0]


def test_a_prize_that_is_not_collected_is_reminded_of_once() -> None:
    timeline = story("contest_prize").event("Contest Entered", "social", contest_id="k1")
    timeline.event("Contest Won", "api", contest_id="k1").at("day 30 12:00")

    assert ["contest-won", "contest-prize-waiting"] == timeline.templates()


def test_a_person_who_has_not_won_gets_no_message() -> None:
    timeline = story("contest_prize").event("Contest Entered", "social", contest_id="k1").at("day 90 12:00")

    assert ([], [("k1", "has not won")]) == (timeline.sent(), timeline.exits())


# Bought online, picked up in the store; and seen in the store, bought online


def test_an_order_for_pickup_is_announced_reminded_of_and_followed_by_what_goes_with_it() -> None:
    timeline = story("click_and_collect", agrees=False).event("Order Ready For Pickup", "store", order_id="o1")

    assert [("app_push", "pickup-ready")] == timeline.sent()
    assert ["pickup-ready", "pickup-reminder"] == timeline.at("day 5 12:00").templates()
    timeline = story("click_and_collect").event("Order Ready For Pickup", "store", order_id="o2").at("day 2 11:00")
    timeline.event("Order Picked Up", "store", order_id="o2").at("day 4 12:00")
    assert [("app_push", "pickup-ready"), ("email", "cross-sell-together")] == timeline.sent()


def test_the_pickup_of_another_order_and_a_cancelled_one_remind_of_nothing() -> None:
    timeline = story("click_and_collect").event("Order Ready For Pickup", "store", order_id="o1")
    timeline.event("Order Picked Up", "store", order_id="another")
    timeline.event("Order Cancelled", order_id="o1").at("day 9 12:00")

    assert ["pickup-ready"] == timeline.templates()


def test_what_was_seen_in_a_store_comes_back_once_and_not_to_who_has_it_in_the_cart_or_bought_it() -> None:
    seen: dict[str, Any] = {"product_id": "lamp", "name": "Lamp"}
    timeline = story("seen_in_store").event("Product Viewed", "store", **seen).at("day 2 11:00")

    assert ["seen-in-store"] == timeline.templates()
    assert ["seen-in-store"] == timeline.event("Product Viewed", "store", **seen).at("day 4 11:00").templates()
    carted = story("seen_in_store").event("Product Viewed", "store", **seen).event("Product Added", **seen)
    assert [] == carted.at("day 3 11:00").templates()
    bought = story("seen_in_store").event("Product Viewed", "store", **seen)
    bought.event("Receipt Issued", "store", order_id="o1", products=[{"product_id": "lamp", "quantity": 1}])
    assert [] == bought.at("day 3 11:00").templates()
    assert [] == story("seen_in_store").event("Product Viewed", "web", **seen).at("day 3 11:00").templates()

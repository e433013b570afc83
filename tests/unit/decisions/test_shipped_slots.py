"""Stories of the shipped slots, with the shipped segments, broadcasts and policy."""

from __future__ import annotations

from typing import Any

from deploy.operations.engines import lint_all, load_definitions, load_slots
from deploy.operations.template_files import load_templates
from deploy.settings import Settings
from processors.decisions.slots import SlotDecision
from processors.profiles.view import view
from schemas.decisions.slots import Slot
from schemas.journeys.control import JourneyControl
from tests.support.slots import Visitor, shipped_broadcasts, shipped_slot
from tests.support.stories import DEFINITIONS, Story, shipped_segments

(SEASON,) = (one for one in shipped_broadcasts() if one.name == "season_news")
TEN_IN_BERLIN = "2030-03-04T09:00+00:00"


def visitor(*slots: str | Slot, offer_holdout: float = 0.0, **fields: Any) -> Visitor:
    """Return a person in Berlin, at noon there."""
    journeys = [SEASON.as_journey().model_copy(update={"holdout": 0.0})]
    story = Story(*journeys, segments=shipped_segments(), **fields).at("11:00")
    broadcasts = [SEASON.model_copy(update={"holdout": offer_holdout})]
    shown = (shipped_slot(one) if isinstance(one, str) else one for one in slots)
    return Visitor(story, *shown, broadcasts=broadcasts)


def texts(found: SlotDecision, somebody: Visitor, language: str = "en") -> str:
    """Return what the person reads."""
    action = found.action or {}
    values = {**action["context"], "profile": view(somebody.story.person.document), "message": {}}
    rendered = load_templates(DEFINITIONS / "templates").render(
        action["template"], action["channel"], values, locale=language
    )
    return rendered.text


def test_shipped_slots_have_no_lint_problems_and_their_names() -> None:
    findings = [one for one in lint_all(load_definitions(Settings())) if "/slots/" in one.file]
    slots, files = load_slots(sorted((DEFINITIONS / "slots").glob("*.yaml")))

    assert [] == findings
    assert [one.name for one in slots] == [files[one.name].stem.replace("-", "_") for one in slots]


# The reminder of the cart on the site


def test_the_site_reminds_of_the_cart_an_hour_after_it_was_left_three_times_a_day_until_it_is_ordered() -> None:
    ann = visitor("site_banner")
    ann.story.event("Product Added", product_id="lamp", name="Lamp")

    assert "fallback: audience" == ann.sees("site_banner")
    ann.story.after("61m")
    found = ann.look("site_banner")
    assert "Still in your cart: Lamp." == texts(found, ann)
    assert "Noch in Ihrem Warenkorb: Lamp." == texts(found, ann, "de")
    assert ["cart_reminder", "cart_reminder", "fallback: caps"] == [ann.sees("site_banner") for _ in range(3)]
    ann.story.at("day 2 11:00").event("Order Completed", order_id="o1", products=[{"product_id": "lamp"}])
    assert "fallback: audience" == ann.sees("site_banner")


# The next best offer at the till


def test_the_till_speaks_of_points_to_who_has_many_and_asks_others_to_join() -> None:
    ann, ben = visitor("till_offer"), visitor("till_offer", profile_id="p2")
    ann.story.event("Loyalty Points Earned", "loyalty", points=300)

    assert "You have 300 points. Would you like to use them today?" == texts(ann.look("till_offer"), ann)
    assert "fallback: caps" == ann.sees("till_offer")
    assert "join" == ben.sees("till_offer")


# The same offer in the mail, by push, on the site and at the till


def test_a_campaign_is_in_step_over_mail_push_site_and_till() -> None:
    ann = visitor("site_banner", "till_offer")
    ann.story.event("Order Completed", order_id="o1", total="20.00", currency="EUR")
    ann.story.at("2030-03-04T08:00+00:00").event("Product Viewed", product_id="x")
    started = JourneyControl("running", ann.story.now, version=SEASON.as_journey().version, started_ms=ann.story.now)

    assert "fallback: audience" == ann.sees("site_banner")  # not started
    ann.controls = {"season_news": started}
    assert "fallback: audience" == ann.sees("site_banner")  # an hour too early in Berlin
    ann.story.at(TEN_IN_BERLIN)
    shown = ann.look("site_banner")
    assert ("season", "season-news", "season-news") == (
        shown.shown and shown.shown.name, shown.row["message"], shown.row["campaign"],
    )  # fmt: skip
    assert "season" == ann.sees("till_offer")
    ann.controls = {"season_news": started._replace(state="paused")}
    assert ["fallback: audience", "join"] == [ann.sees("site_banner"), ann.sees("till_offer")]
    ann.controls = {"season_news": started}
    ann.story.after("13h")
    assert "fallback: audience" == ann.sees("site_banner")  # its messages have expired


def test_who_got_a_variant_by_mail_sees_it_on_the_site_with_the_coupon_of_the_mail() -> None:
    ann = visitor("site_banner")
    ann.story.event("Order Completed", order_id="o1", total="20.00", currency="EUR").at(TEN_IN_BERLIN)
    sent = [
        ann.story.now,
        0,
        "season_news",
        "v",
        "r1",
        "message",
        "season-news-story",
        "email",
        "marketing",
        [],
        "",
        "story",
        0,
    ]
    ann.story.person.state["sends"] = {"log": {"key of the mail": sent}}
    ann.controls = {"season_news": JourneyControl("running", 0, version="v", started_ms=ann.story.now)}

    found = ann.look("site_banner")

    assert ("season-news-story", "story", "key of the mail") == (
        found.row["message"], found.row["variant"], found.coupon_key,
    )  # fmt: skip


def test_who_wants_no_news_sees_none_of_it_anywhere() -> None:
    ann = visitor("site_banner", agrees=False)
    ann.story.event("Order Completed", order_id="o1", total="20.00", currency="EUR")
    ann.story.at("2030-03-04T08:00+00:00").event("Product Viewed", product_id="x").at(TEN_IN_BERLIN)
    ann.controls = {"season_news": JourneyControl("running", 0, version="v", started_ms=ann.story.now)}

    assert "fallback: consent" == ann.sees("site_banner")


def seen_before_and_during_the_season(name: str, *slots: str | Slot, **fields: Any) -> list[str]:
    """Return what the slots show a person with a cart, before the news is sent and while it is."""
    somebody = visitor(*slots, profile_id=name, **fields)
    somebody.story.event("Order Completed", order_id="o1", total="20.00", currency="EUR")
    somebody.story.at("2030-03-04T08:00+00:00").event("Product Added", product_id="lamp", name="Lamp")
    somebody.story.at("2030-03-04T09:01+00:00")
    seen = [somebody.sees("site_banner")]
    somebody.controls = {"season_news": JourneyControl("running", 0, version="v", started_ms=somebody.story.now)}
    return [*seen, *(somebody.sees(one if isinstance(one, str) else one.name) for one in slots)]


def test_whom_the_slot_holds_out_sees_the_fallback_also_in_place_of_an_offer() -> None:
    banner = shipped_slot("site_banner").model_copy(update={"holdout": 0.5})

    found = {tuple(seen_before_and_during_the_season(f"p{number}", banner)) for number in range(12)}

    assert {("cart_reminder", "season"), ("fallback: holdout", "fallback: holdout")} == found


def test_whom_an_offer_holds_out_sees_it_neither_on_the_site_nor_at_the_till() -> None:
    slots = "site_banner", "till_offer"

    found = {tuple(seen_before_and_during_the_season(f"p{number}", *slots, offer_holdout=0.5)) for number in range(12)}

    held_out = ("cart_reminder", "fallback: holdout", "fallback: holdout")
    assert {("cart_reminder", "season", "season"), held_out} == found


# Recommendations on the home page


def test_the_home_page_recommends_to_everybody_but_who_said_no() -> None:
    ann, ben = visitor("home_recommendations"), visitor("home_recommendations", agrees=False)

    found = ann.look("home_recommendations")
    assert (8, "recommended-on-site") == (found.shown and found.shown.recommend, found.row["campaign"])
    assert "fallback: consent" == ben.sees("home_recommendations")

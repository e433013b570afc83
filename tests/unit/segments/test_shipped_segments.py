"""A history for each shipped segment: the events of a person, and when the person entered and left, in milliseconds."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from deploy.operations.engines import load_segments
from deploy.settings import Settings
from processors.profiles.document import apply, combine, new_profile
from processors.segments.engine import SegmentEngine
from processors.segments.scores import Prediction, set_scores
from schemas.profiles.person import Person
from schemas.segments.conditions import Condition
from schemas.segments.definitions import Rfm
from schemas.territory import Territory
from schemas.time import ms_of_text
from tests.support.builders import at
from tests.support.profiles import resolved

HOUR = 3_600_000
DAY = 24 * HOUR
START = ms_of_text(at())

Happened = tuple[float, str, dict[str, Any]]
"""Day, event name, fields of the event."""


@cache
def engine() -> SegmentEngine:
    return SegmentEngine(load_segments(Settings()), territory=Territory.of("Europe/Paris"))


def happen(person: Person, day: float, name: str, channel: str = "web", **fields: Any) -> None:
    """Apply an event to a person, after the evaluations that were due before it."""
    event = resolved(name, channel, occurred_at=at(days=day), **fields)
    pass_time(person, day)
    apply(person.document, event)
    engine().observe(person, event)
    engine().evaluate(person, ms_of_text(event["occurred_at"]), event)


def pass_time(person: Person, day: float) -> None:
    """Evaluate everything that is due up to a day after the start."""
    while (due := engine().due(person)) is not None and due <= START + day * DAY:
        engine().evaluate(person, due, None)


def changes_of(segment: str, history: list[Happened], until: float = 400) -> list[tuple[int, bool]]:
    """Return when a person enters (True) and leaves (False) a segment, in milliseconds after the start."""
    person = Person("p1", new_profile("p1"), {})
    found: list[tuple[int, bool]] = []

    def record(changes: Any) -> None:
        found.extend((change.at_ms - START, change.entered) for change in changes if change.segment == segment)

    for day, name, fields in history:
        event = resolved(name, fields.pop("channel", "web"), occurred_at=at(days=day), **fields)
        now = ms_of_text(event["occurred_at"])
        while (due := engine().due(person)) is not None and due <= now:
            record(engine().evaluate(person, due, None))
        apply(person.document, event)
        engine().observe(person, event)
        record(engine().evaluate(person, now, event))
    while (due := engine().due(person)) is not None and due <= START + until * DAY:
        record(engine().evaluate(person, due, None))
    return found


def bought(day: float, number: int, revenue: str = "200.00", **fields: Any) -> Happened:
    properties = {"order_id": f"o{number}", "revenue": revenue, "currency": "EUR", **fields.pop("properties", {})}
    return (day, "Order Completed", {"properties": properties, **fields})


def consented(day: float, **consent: Any) -> Happened:
    return (day, "Identify", {"identifiers": {"email": "a@b.example", "phone": "+33199000001"}, "consent": consent})


def viewed(day: float, product: str) -> Happened:
    return (day, "Product Viewed", {"properties": {"product_id": product}})


def added(day: float, product: str = "lamp") -> Happened:
    return (day, "Product Added", {"properties": {"product_id": product, "cart_id": "c1", "quantity": 1}})


YES = {"marketing": True, "channels": {"email": True, "sms": True, "app_push": True, "web_push": True}}
DISCOUNT: dict[str, Any] = {"properties": {"coupon": "TEN"}}


def clicks(noun: str, channel: str, days: tuple[float, ...]) -> list[Happened]:
    return [(day, f"{noun} Link Clicked", {"channel": channel}) for day in days]


IN, OUT = True, False
HISTORIES: dict[str, tuple[list[Happened], list[tuple[int, bool]]]] = {
    "visitors": ([(0, "Page Viewed", {}), consented(2)], [(0, IN), (2 * DAY, OUT)]),
    "prospects": ([consented(0), bought(3, 1)], [(0, IN), (3 * DAY, OUT)]),
    "customers": ([bought(1, 1), (2, "Order Cancelled", {"properties": {"order_id": "o1"}})],
                  [(DAY, IN), (2 * DAY, OUT)]),
    "new_customers": ([bought(0, 1)], [(0, IN), (30 * DAY, OUT)]),
    "active_customers": ([bought(0, 1)], [(0, IN), (90 * DAY, OUT)]),
    "loyal": ([bought(0, 1), bought(10, 2), bought(20, 3)], [(20 * DAY, IN), (110 * DAY, OUT)]),
    "at_risk": ([bought(0, 1)], [(90 * DAY, IN), (180 * DAY, OUT)]),
    "lapsed": ([bought(0, 1), bought(200, 2)], [(180 * DAY, IN), (200 * DAY, OUT), (380 * DAY, IN)]),
    "vip": ([bought(day, day) for day in (1, 2, 3, 4, 5)], [(5 * DAY, IN), (65 * DAY, OUT)]),
    "inactive": ([(0, "Page Viewed", {}), (10, "Email Sent", {"channel": "email"}), (70, "Page Viewed", {})],
                 [(60 * DAY, IN), (70 * DAY, OUT), (130 * DAY, IN)]),
    # The start is noon of 1 November in UTC; the birthday begins at midnight in Paris, 23:00 UTC of the day before.
    "birthday_today": ([(0, "Identify", {"traits": {"birthday": "1990-11-05"}})],
                       [(hours * HOUR, entered) for hours, entered in
                        ((83, IN), (107, OUT), (83 + 365 * 24, IN), (107 + 365 * 24, OUT))]),
    "cart_abandoners": ([added(0)], [(HOUR, IN), (30 * DAY, OUT)]),
    "browse_abandoners": ([viewed(0, "lamp"), viewed(1, "lamp"), added(2)],
                          [(HOUR, IN), (DAY, OUT), (DAY + HOUR, IN), (2 * DAY, OUT)]),
    "comparing": ([viewed(0, "lamp"), viewed(1, "vase"), viewed(1.5, "lamp")], [(36 * HOUR, IN), (7 * DAY, OUT)]),
    "discount_prone": ([bought(0, 1, **DISCOUNT), bought(1, 2, **DISCOUNT), bought(2, 3), bought(3, 4), bought(4, 5)],
                       [(DAY, IN), (3 * DAY, OUT)]),
    "likely_to_purchase": ([(0, "Checkout Started", {}), (5, "Checkout Started", {}), bought(6, 1)],
                           [(0, IN), (3 * DAY, OUT), (5 * DAY, IN), (6 * DAY, OUT)]),
    "big_spenders": ([bought(0, 1, "150.00"), bought(10, 2, "50.00")], [(10 * DAY, IN), (90 * DAY, OUT)]),
    "online_buyers": ([bought(0, 1, channel="store"), bought(1, 2, channel="app")], [(DAY, IN)]),
    "store_buyers": ([bought(0, 1), bought(1, 2, channel="store")], [(DAY, IN)]),
    "email_buyers": ([*clicks("Email", "email", (0, 10)), bought(4, 1), bought(12, 2)], [(12 * DAY, IN)]),
    "social_buyers": ([(0, "Social Post Liked", {"channel": "social"}), bought(2, 1)], [(2 * DAY, IN)]),
    "omnichannel_buyers": ([bought(0, 1), bought(1, 2, channel="store")], [(DAY, IN)]),
    "app_users": ([(0, "Application Opened", {"channel": "app"}), (5, "Application Uninstalled", {"channel": "app"})],
                  [(0, IN), (5 * DAY, OUT)]),
    "engaged_email": ([(0, "Email Opened", {"channel": "email"}), *clicks("Email", "email", (1,))],
                      [(DAY, IN), (91 * DAY, OUT)]),
    "engaged_sms": (clicks("SMS", "sms", (0,)), [(0, IN), (90 * DAY, OUT)]),
    "engaged_web_push": (clicks("Push", "web_push", (0,)), [(0, IN), (90 * DAY, OUT)]),
    "engaged_app_push": (clicks("Push", "app_push", (0, 30)), [(0, IN), (120 * DAY, OUT)]),
    "engaged_whatsapp": ([(0, "WhatsApp Message Replied", {"channel": "whatsapp"})], [(0, IN), (90 * DAY, OUT)]),
    "engaged_messenger": ([(0, "Messenger Message Replied", {"channel": "messenger"})], [(0, IN), (90 * DAY, OUT)]),
    "engaged_telegram": ([(0, "Telegram Message Replied", {"channel": "telegram"})], [(0, IN), (90 * DAY, OUT)]),
    "engaged_web": ([(0, "Page Viewed", {}), (20, "Page Viewed", {})], [(0, IN), (50 * DAY, OUT)]),
    "engaged_store": ([(0, "Store Visited", {"channel": "store"})], [(0, IN), (90 * DAY, OUT)]),
    "engaged_social": ([(0, "Social Post Shared", {"channel": "social"})], [(0, IN), (90 * DAY, OUT)]),
    "engaged_call_center": ([(0, "Call Started", {"channel": "call_center"})], [(0, IN), (90 * DAY, OUT)]),
    "reachable": ([consented(0, **YES), (1, "Unsubscribed", {"channel": "email"}),
                   consented(2, channels={"sms": False})],
                  [(0, IN), (2 * DAY, OUT)]),
    "unreachable": ([bought(0, 1), consented(1, **YES)], [(0, IN), (DAY, OUT)]),
}  # fmt: skip


def likely(channel: str, noun: str, address: dict[str, str]) -> tuple[list[Happened], list[tuple[int, bool]]]:
    """Two clicks of two messages make (1 + 2) / (20 + 2), more than the 10 % asked for."""
    agreed = {"identifiers": address, "consent": {"marketing": True, "channels": {channel: True}}}
    history: list[Happened] = [(0, "Identify", agreed)]
    for day in (1, 2):
        history += [(day, f"{noun} Sent", {"channel": channel}), *clicks(noun, channel, (day + 0.5,))]
    return [*history, (9, f"{noun} Unsubscribed", {"channel": channel})], [(60 * HOUR, IN), (9 * DAY, OUT)]


HISTORIES |= {
    f"likely_to_engage_{channel}": likely(channel, noun, {kind: value})
    for channel, noun, kind, value in (
        ("email", "Email", "email", "a@b.example"),
        ("sms", "SMS", "phone", "+33199000001"),
        ("web_push", "Push", "push_token", "t1"),
        ("app_push", "Push", "push_token", "t1"),
        ("whatsapp", "WhatsApp Message", "whatsapp_id", "33199000001"),
        ("messenger", "Messenger Message", "messenger_id", "m1"),
        ("telegram", "Telegram Message", "telegram_id", "g1"),
    )
}


@pytest.mark.parametrize("segment", HISTORIES)
def test_a_shipped_segment_is_entered_and_left_at_the_expected_times(segment: str) -> None:
    history, expected = HISTORIES[segment]

    assert expected == changes_of(segment, [(day, name, dict(fields)) for day, name, fields in history])


@pytest.mark.parametrize(
    ("revenue", "currency", "is_big", "monetary"),
    [
        ("8000", "JPY", False, 2),  # about 48 euros
        ("32000", "JPY", True, 3),
        ("849", "PLN", False, 3),
        ("850", "PLN", True, 3),
        ("200", "EUR", True, 3),
        ("199", "CHF", False, 3),
    ],
)
def test_amounts_are_judged_by_the_thresholds_of_their_currency(
    revenue: str, currency: str, is_big: bool, monetary: int
) -> None:
    person = Person("p1", new_profile("p1"), {})
    properties = {"order_id": "o1", "revenue": revenue, "currency": currency}
    happen(person, 0, "Order Completed", properties=properties)

    assert is_big is ("big_spenders" in engine().members(person))
    assert monetary == engine().attribute("rfm.monetary", person, START)


def test_thresholds_of_a_currency_have_to_rise() -> None:
    with pytest.raises(ValueError, match=r"monetary_by_currency\.JPY: each should be above the one before"):
        Rfm(monetary_by_currency={"JPY": (1, 3, 2, 4)})


def test_every_shipped_segment_has_a_history() -> None:
    assert {segment.name for segment in load_segments(Settings()).segments} == set(HISTORIES)


def test_a_window_ends_within_the_second_and_not_at_the_next_batch() -> None:
    """Segment's batch computes windows once in eight hours; PostHog's and Unomi's once a day."""
    person = Person("p1", new_profile("p1"), {})
    happen(person, 0, "Page Viewed")

    assert START + 30 * DAY == engine().due(person)


def test_an_order_that_arrives_late_corrects_the_membership() -> None:
    person = Person("p1", new_profile("p1"), {})
    happen(person, 0, "Product Added", properties={"product_id": "lamp", "cart_id": "c1"})
    pass_time(person, 1)
    before = engine().members(person)
    late = resolved(
        "Order Completed", "store", occurred_at=at(hours=0.5), properties={"order_id": "o1", "cart_id": "c1"}
    )
    apply(person.document, late)
    engine().observe(person, late)
    changes = engine().evaluate(person, START + DAY, late)

    assert "cart_abandoners" in before
    assert ("cart_abandoners", False) in [(change.segment, change.entered) for change in changes]


def test_products_of_two_browsers_count_together_after_a_merge() -> None:
    one, other = Person("p1", new_profile("p1"), {}), Person("p2", new_profile("p2"), {})
    happen(one, 0, "Product Viewed", properties={"product_id": "lamp"})
    happen(other, 1, "Product Viewed", properties={"product_id": "lamp"})
    engine().combine(one.state, other.state)
    joined = Person("p1", combine(one.document, other.document), one.state)
    due = engine().due(joined)
    engine().evaluate(joined, due or 0, None)

    assert START + DAY == due
    assert "comparing" in engine().members(joined)


def test_a_prediction_that_is_written_back_is_due_at_once() -> None:
    person = Person("p1", new_profile("p1"), {})
    happen(person, 0, "Page Viewed")
    set_scores(person.state, {"purchase_likelihood": 0.7}, START + DAY)
    due = engine().due(person)
    engine().evaluate(person, due or 0, None)

    assert START + DAY == due
    assert "likely_to_purchase" in engine().members(person)


def test_the_same_prediction_again_changes_nothing() -> None:
    state: dict[str, Any] = {}

    assert [True, False, True] == [
        set_scores(state, {"alive": value}, at) for value, at in ((0.5, 1), (0.5, 2), (0.6, 3))
    ]


def test_the_purchase_likelihood_of_one_expected_order_is_63_percent() -> None:
    scores = Prediction(alive=1.0, orders=1.0, revenue=49.9).scores()

    assert {"alive": 1.0, "expected_orders": 1.0, "predicted_cltv": 49.9, "purchase_likelihood": 0.6321} == scores
    assert 0.0 == Prediction(0.0, 0.0, 0.0).scores()["purchase_likelihood"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_has_no_scores(number: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Prediction(alive=0.5, orders=number, revenue=1.0).scores()


def test_a_condition_without_its_series_is_an_error_and_not_false() -> None:
    condition = Condition.model_validate({"performed": "Product Viewed", "where": {"channel": "web"}})
    with pytest.raises(LookupError, match="give it as `extra`"):
        engine().holds(condition, Person("p1", new_profile("p1"), {}), START)


def test_a_bucket_holds_its_share_of_people_and_always_the_same_people() -> None:
    half = Condition.model_validate({"bucket": "test", "to": 50})
    people = [Person(f"p{number}", new_profile(f"p{number}"), {}) for number in range(2000)]
    inside = [engine().holds(half, person, START) for person in people]

    assert inside == [engine().holds(half, person, START + DAY) for person in people]
    assert 900 < sum(inside) < 1100

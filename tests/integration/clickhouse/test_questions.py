"""Analysts' questions have the right answers, on a few people whose story is known."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from processors.recording.decision_rows import decision_rows, journey_event_rows
from sinks.clickhouse.tables import Question, questions
from tests.integration.conftest import empty
from tests.integration.decisions.test_decision_views import decision, happening
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, instant, resolved

pytestmark = pytest.mark.integration


def did(number: int, who: int, hours: float, event: str, channel: str = "web", **properties: Any) -> dict[str, Any]:
    return resolved(
        f"e{number}", who, DAY_ONE + timedelta(hours=hours), event=event, channel=channel, properties=properties
    )


def bought(number: int, who: int, hours: float, revenue: str, channel: str, **more: Any) -> dict[str, Any]:
    order = {"order_id": f"o{number}", "revenue": revenue, "currency": "EUR", **more}
    return did(number, who, hours, "Order Completed", channel, **order)


LAMP, OAK = {"product_id": "p1", "name": "Lamp", "quantity": 1}, {"product_id": "p2", "name": "Oak", "quantity": 1}
DAY = 24
VISIT = {"context": {"session_id": "s1", "page": {"url": "https://shop.example/sale?x=1"}}}
EVENTS = [
    {**did(1, 1, 0, "Page Viewed"), **VISIT},
    {**did(2, 1, 0.1, "Products Searched", query=" Lamp ", results=3), **VISIT},
    did(3, 1, 0.2, "Products Searched", query="sofa", results=0),
    {**bought(10, 1, 1, "100.00", "web", coupon="autumn", products=[LAMP, OAK]), "context": {"geo": {"country": "DE"}}},
    did(4, 1, 2 * DAY, "Call Started", "call_center"),
    did(5, 1, 3 * DAY, "Product Reviewed", product_id="p1", rating=2),
    did(6, 1, 3 * DAY, "Survey Submitted", "survey", survey_id="after-sale", score=9),
    bought(11, 1, 10 * DAY, "50.00", "store", products=[LAMP]),
    bought(12, 2, 0, "30.00", "store"),
    did(7, 2, DAY, "Survey Submitted", "survey", survey_id="after-sale", score=3),
    did(8, 3, 0, "Email Delivered", "email", message_id="k2"),
    did(9, 3, 1, "Email Link Clicked", "email", message_id="k2"),
]
NOVEMBER = date(2026, 11, 1)
ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "11_sales_by_month.sql": [(NOVEMBER, "web", 1, 100, 100, 1, 100), (NOVEMBER, "store", 2, 80, 40, 1, 30)],
    "12_research_online.sql": [(0, 1, 30, 30), (1, 1, 50, 50)],
    "13_customers_by_channel.sql": [("several", 1, 150, 1, 10), ("store", 1, 30, 0, None)],
    "14_bought_together.sql": [("p1", "Lamp", "p2", "Oak", 1)],
    "15_messages.sql": [("email", 1, 1, 0, 1, 0, 0)],
    "16_support_contact.sql": [(0, 1, 0, 30), (1, 1, 1, 150)],
    "17_messages_held_back.sql": [("welcome", "hello", "suppressed", "consent", 1, 1, "Not sent: no.")],
    "18_countries.sql": [("DE", 1, 1, 100, 100, 1), ("", 2, 2, 80, 40, 1)],
    "19_coupons.sql": [("AUTUMN", 1, 1, 100, 1)],
    "20_promoter_score.sql": [("after-sale", NOVEMBER, 2, 6, 0)],
    "21_disappointing_products.sql": [("p1", "Lamp", 2, 1, 0, 2)],
    "22_landing_pages.sql": [("https://shop.example/sale", 1, 1, 0, 0)],
    "23_searches.sql": [("lamp", 1, 1, 0, 1), ("sofa", 1, 1, 1, 1)],
    "24_message_variants.sql": [("welcome", "hello", "a", 1, 1, 1, 1)],
    "25_people_in_journeys.sql": [("welcome", "2", 1, DAY_ONE.replace(tzinfo=None), DAY_ONE.replace(tzinfo=None))],
}


def store_story(database: Warehouse) -> None:
    """Write the events and decisions that the answers are about."""
    database.store(*EVENTS)
    for value in (
        decision(1, 1, "suppressed", gate="consent", reason="Not sent: no.", idempotency_key="k1"),
        decision(2, 3, variant="a", idempotency_key="k2"),
        happening(3, 1, "journey_entered"),
        happening(4, 1, "waiting", step="2"),
        happening(5, 2, "waiting", step="2"),
        happening(6, 2, "exited", at=instant(DAY_ONE + timedelta(hours=1))),
    ):
        for table, row in decision_rows(value) if "decision_id" in value else journey_event_rows(value):
            database.insert(table, row)


@pytest.fixture(scope="module")
def database(one_database: Warehouse) -> Warehouse:
    empty(one_database)
    store_story(one_database)
    return one_database


@pytest.mark.parametrize("one", questions()[10:], ids=lambda one: one.name)
def test_a_question_is_answered_rightly(database: Warehouse, one: Question) -> None:
    assert ANSWERS[one.name] == database.rows(one.sql)

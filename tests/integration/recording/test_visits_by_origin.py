"""What a referrer and a click id do to credit, in the tables that analysts read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from deploy.settings import Settings
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, merged, ordered, resolved, warehouse

pytestmark = pytest.mark.integration


@pytest.fixture
def tables(stack: Settings) -> Iterator[Warehouse]:
    with warehouse(stack) as found:
        yield found


def page(event_id: str, person: int, minutes: int, session: str, url: str, **fields: Any) -> dict[str, Any]:
    at = {"url": f"https://shop.example/{url}"}
    if referrer := fields.pop("referrer", ""):
        at["referrer"] = referrer
    context = {"session_id": session, "page": at}
    return resolved(event_id, person, DAY_ONE + timedelta(minutes=minutes), context=context, **fields)


@pytest.mark.parametrize(
    "referrer",
    [
        "https://shop.app/pay/abc",
        "https://www.paypal.com/",
        "https://www.amazon.de/ap/signin",
        "https://acs.bank.example/",
    ],
)
def test_who_comes_back_from_paying_leaves_the_credit_where_it_was(tables: Warehouse, referrer: str) -> None:
    mail = {"source": "crm", "medium": "email", "name": "sale"}
    tables.store(
        page("p-1", 1, 0, "s1", "?utm_source=crm", campaign=mail),
        page("p-2", 1, 20, "s2", "thanks", referrer=referrer),
        page("p-4", 1, 21, "s2", "thanks/more"),
        ordered("P-3", 1, DAY_ONE + timedelta(minutes=22), "60.00", context={"session_id": "s2"}),
    )

    credited = tables.rows(
        "SELECT model, groupArray((channel, round(revenue_credit, 2))) FROM v_attribution_default GROUP BY model"
    )

    assert len(credited) > 5
    assert [] == [(model, found) for model, found in credited if found != [("Email", 60.0)]]


def test_a_return_from_another_site_is_a_visit_of_its_own(tables: Warehouse) -> None:
    tables.store(
        page("p-1", 1, 0, "s1", "", campaign={"source": "crm", "medium": "email"}),
        page("p-2", 1, 20, "s2", "thanks", referrer="https://coupons.example/"),
        ordered("P-3", 1, DAY_ONE + timedelta(minutes=22), "60.00"),
    )

    assert [("Referral",)] == tables.rows(
        "SELECT channel FROM v_attribution_default WHERE model = 'last_touch' AND credit > 0"
    )


def test_contradictions_of_tag_and_click_id_are_counted(tables: Warehouse) -> None:
    shared = {"source": "linkedin", "medium": "social"}
    maps = {"source": "google", "medium": "organic", "name": "maps"}
    tables.store(
        page("g-1", 1, 0, "s1", "?utm_source=linkedin&gclid=OLD1", campaign=shared),
        page("g-2", 1, 1, "s1", "jeans?utm_source=linkedin&gclid=OLD1", campaign=shared),
        page("g-3", 2, 2, "s2", "?utm_source=linkedin&gclid=OLD1", campaign=shared),
        page("g-4", 3, 3, "s3", "?utm_source=google&utm_medium=organic&gclid=X", campaign=maps),
        page("g-5", 4, 4, "s4", "?gclid=OLD2", referrer="https://www.facebook.com/"),
        page(
            "g-6",
            5,
            5,
            "s5",
            "?utm_source=google&utm_medium=cpc&gclid=Y",
            campaign={"source": "google", "medium": "cpc"},
        ),
        page("g-7", 6, 6, "s6", "?gclid=Z", referrer="https://www.google.com/"),
    )
    tables.change(merged(1, 1, [2]))

    assert [
        ("", "", "", "google", "Organic Social", 1, 1, "g-5"),
        ("google", "organic", "maps", "google", "Organic Search", 1, 1, "g-4"),
        ("linkedin", "social", "", "google", "Organic Social", 3, 1, "g-1"),
    ] == tables.rows(
        "SELECT campaign_source, campaign_medium, campaign, conflicting_network, "
        "marketing_channel, events, people, example_event_id FROM v_campaign_conflicts ORDER BY 1"
    )

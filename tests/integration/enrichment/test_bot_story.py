"""A customer behind a mail filter, a crawler and a visitor, from the producer's event to profile and report."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.operations.definition_files import user_agents
from deploy.operations.engines import load_decision_engine
from deploy.operations.locations import open_locations
from deploy.settings import Settings
from processors.enrichment.enrichment import Enrichment
from tests.support.builders import at, order, touchpoint
from tests.support.in_process_pipeline import Town, town
from tests.unit.operations.test_locations import MAXMIND, database

pytestmark = pytest.mark.integration

ADA = {"email": "ada@mail.example"}
PHONE = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/129.0.0.0 Mobile Safari/537.36"
)


@pytest.fixture
async def here(stack: Settings, tmp_path: Path) -> AsyncIterator[Town]:
    locations = open_locations(database(tmp_path / "places.mmdb", {"203.0.113.0/24": MAXMIND}))
    enrich = Enrichment(user_agents(stack), locations, "truncated")
    async with town(stack, enrich, load_decision_engine(stack)) as found:
        yield found


def mail(step: str, seconds: float, **properties: Any) -> dict[str, Any]:
    said = {"message_id": "m1", **properties}
    return touchpoint(f"Email {step}", "email", occurred_at=at(seconds=seconds), identifiers=ADA, properties=said)


async def profile(here: Town, kind: str, value: str) -> tuple[dict[str, Any], dict[str, Any]]:
    stored = await here.profiles.get(await here.owner(kind, value))
    assert stored is not None
    return orjson.loads(stored.document or b"{}"), orjson.loads(stored.state or b"{}")


async def test_a_customer_behind_a_mail_filter_clicks_once(here: Town) -> None:
    scan = [
        mail("Link Clicked", 1 + 0.4 * n, link_id=link) for n, link in enumerate(["a", "b", "unsubscribe", "c", "d"])
    ]
    await here.live(mail("Delivered", 0), *scan, mail("Unsubscribed", 2.7, method="GET"))
    await here.live(mail("Link Clicked", 3600, link_id="a"))
    await here.live(order("o1", occurred_at=at(hours=2), identifiers=ADA))
    here.tables.judge()

    document, state = await profile(here, "email", "ada@mail.example")

    assert 1 == document["messages"]["email"]["clicked"][0]
    assert "consent" not in document
    assert [1, 1] == state["sends"]["learned"]["email"]
    assert [(1,)] == here.tables.rows("SELECT count() FROM v_touches WHERE channel = 'Email'")
    assert [("link_scan", 6)] == here.tables.rows("SELECT reason, sum(events) FROM v_bots GROUP BY reason")
    assert [(1, 0)] == here.tables.rows("SELECT responded, unsubscribed FROM v_messages")


async def test_a_crawler_is_stored_and_counted_and_nothing_else(here: Town) -> None:
    crawler = {"user_agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}
    page, itself = {"url": "https://shop.example/?utm_source=google&utm_medium=cpc"}, {"anonymous_id": "crawler"}
    await here.live(
        touchpoint(identifiers=itself, context={**crawler, "page": page}, campaign={"source": "google"}),
        touchpoint("Product Viewed", identifiers=itself, context=crawler, properties={"product_id": "p"}),
    )

    document, state = await profile(here, "anonymous_id", "crawler")

    assert {"profile_id", "event_count", "bots"} == set(document)
    assert ({}, 2) == (state, document["event_count"])
    assert [(2, "crawler")] == here.tables.rows("SELECT count(), any(bot_reason) FROM v_touchpoints WHERE is_bot")
    for view in ("v_touches", "v_sessions", "v_engagement"):
        assert [] == here.tables.rows(f"SELECT * FROM {view}")


async def test_a_visitor_has_a_device_and_a_place_and_no_whole_address(here: Town) -> None:
    context = {"user_agent": PHONE, "ip": "203.0.113.9", "page": {"url": "https://shop.example/"}}
    await here.live(touchpoint(identifiers={"anonymous_id": "visitor"}, context=context))

    document, _ = await profile(here, "anonymous_id", "visitor")

    assert {"device": "mobile", "os": "Android", "country": "DE", "city": "Munich"} == {
        name: value for name, (value, _) in document["known"].items()
    }
    assert [("mobile", "Android", "Chrome Mobile", "DE", "Munich", 0)] == here.tables.rows(
        "SELECT device, os, browser, country, city, is_bot FROM v_touchpoints"
    )
    assert [(1,)] == here.tables.rows("SELECT position(context, '203.0.113.0\"') > 0 FROM touchpoints")


async def test_a_country_by_address_joins_nobody(here: Town) -> None:
    context = {"ip": "203.0.113.9"}  # in Germany, where 030 123456 is a number of Berlin
    await here.live(
        touchpoint(identifiers={"phone": "030 123456", "anonymous_id": "one"}, context=context),
        touchpoint(identifiers={"phone": "030 123456", "anonymous_id": "two"}, context=context),
    )

    assert await here.owner("anonymous_id", "one") != await here.owner("anonymous_id", "two")

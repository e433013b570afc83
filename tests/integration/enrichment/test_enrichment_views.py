"""ClickHouse has what was found out of each event, shows no whole network address, and counts what bots did."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from sinks.clickhouse.history import read_events
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, merged, person, resolved

pytestmark = pytest.mark.integration

COLUMNS = "device, os, browser, country, city, enriched_by, is_bot, bot_reason"
FOUND = {
    "device": "mobile",
    "os": "iOS",
    "browser": "Mobile Safari",
    "country": "DE",
    "city": "Berlin",
    "by": "rules 1",
}


def page(event_id: str, who: int = 1, minutes: int = 0, **fields: Any) -> dict[str, Any]:
    return resolved(event_id, who, DAY_ONE + timedelta(minutes=minutes), **fields)


def bot(event_id: str, reason: str, name: str = "", **fields: Any) -> dict[str, Any]:
    return page(event_id, enriched={"browser": name, "bot": reason, "by": "rules 1"}, **fields)


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        pytest.param(
            {"enriched": FOUND}, ("mobile", "iOS", "Mobile Safari", "DE", "Berlin", "rules 1", 0, ""), id="found"
        ),
        pytest.param(
            {
                "enriched": FOUND,
                "context": {"device": {"type": "watch"}, "os": {"name": "watchOS"}, "geo": {"city": "Ulm"}},
            },
            ("watch", "watchOS", "Mobile Safari", "DE", "Ulm", "rules 1", 0, ""),
            id="what the producer says counts first",
        ),
        pytest.param(
            {"enriched": {"country": "DE"}, "context": {"geo": {"country": "Germany"}}},
            ("", "", "", "DE", "", "", 0, ""),
            id="a country's name is its code",
        ),
        pytest.param(
            {"context": {"geo": {"country": "PL", "city": "Gdynia"}, "device": {"type": "mobile"}}},
            ("mobile", "", "", "PL", "Gdynia", "", 0, ""),
            id="an event that was stored before there was enrichment",
        ),
        pytest.param({}, ("", "", "", "", "", "", 0, ""), id="nothing"),
        pytest.param(
            {"enriched": {"browser": "Googlebot", "bot": "crawler", "by": "rules 1"}},
            ("", "", "Googlebot", "", "", "rules 1", 1, "crawler"),
            id="a bot",
        ),
    ],
)  # fmt: skip
def test_columns_are_what_the_producer_says_else_what_was_found(
    tables: Warehouse, fields: dict[str, Any], row: tuple[Any, ...]
) -> None:
    tables.store(page("e1", **fields))

    assert [row] == tables.rows(f"SELECT {COLUMNS} FROM v_touchpoints")
    assert [row] == tables.rows(f"SELECT {COLUMNS} FROM v_touchpoints_of(person = '{person(1)}')")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("203.0.113.9", "203.0.113.0"),
        ("2001:db8:85a3:8d3:1319:8a2e:370:7348", "2001:db8:85a3::"),
        ("ada's laptop", ""),
        ("203.0.113.9, 10.0.0.1", ""),
    ],
)
def test_views_show_the_network_of_an_address_alone(tables: Warehouse, address: str, shown: str) -> None:
    tables.store(page("e1", context={"ip": address, "locale": "de-DE", "page": {"title": "the ip: 203.0.113.9"}}))

    (context,) = tables.rows("SELECT context FROM v_touchpoints")[0]

    assert {"ip": shown, "locale": "de-DE", "page": {"title": "the ip: 203.0.113.9"}} == orjson.loads(context)


def test_a_context_without_an_address_is_shown_as_it_is(tables: Warehouse) -> None:
    tables.store(page("e1", context={"locale": "de-DE"}))

    assert [('{"locale":"de-DE"}',)] == tables.rows("SELECT context FROM v_touchpoints")


def test_history_gives_back_what_was_published(tables: Warehouse) -> None:
    event = page("e1", enriched=FOUND, context={"ip": "203.0.113.9"})
    tables.store(event)

    (read,) = read_events(tables.client, person(1))

    assert (event["enriched"], event["context"]) == (read["enriched"], read["context"])


def test_a_replay_with_a_new_database_restates_the_place(tables: Warehouse) -> None:
    event = page("e1", enriched=FOUND)
    tables.store(event)
    tables.store({**event, "enriched": {**FOUND, "country": "AT", "city": "Vienna", "by": "rules 2"}})

    assert [("AT", "Vienna", "rules 2")] == tables.rows("SELECT country, city, enriched_by FROM v_touchpoints")


def test_bots_are_counted_by_day_source_reason_and_name(tables: Warehouse) -> None:
    tables.store(
        page("e1", 1),
        bot("e2", "crawler", "Googlebot", who=2),
        bot("e3", "crawler", "Googlebot", who=3, minutes=1),
        bot("e4", "mail_scanner", who=3, source="mail", channel="email", event="Email Link Clicked"),
        bot("e5", "crawler", "Googlebot", who=3, minutes=24 * 60),
    )
    tables.change(merged(1, 2, [2, 3]))

    assert [
        ("2026-11-01", "mail", "email", "mail_scanner", "", 1, 1.0, 1, "e4"),
        ("2026-11-01", "shop", "web", "crawler", "Googlebot", 2, 2 / 3, 1, "e2"),
        ("2026-11-02", "shop", "web", "crawler", "Googlebot", 1, 1.0, 1, "e5"),
    ] == tables.rows(
        "SELECT toString(day), source, channel, reason, name, events, share, people, example_event_id"
        " FROM v_bots ORDER BY ALL"
    )

"""A time line in words, and the names of its pages."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import typer
from rich.console import Console

from deploy.cli.pages import page_name, read_page_name
from deploy.reporting.terminal.timeline import sentence, show
from sinks.clickhouse.timeline import TimelinePosition

PARIS = ZoneInfo("Europe/Paris")


def event(name: str, channel: str = "web", **fields: Any) -> dict[str, Any]:
    return {
        "at": "2026-11-22T23:30:00.000Z", "kind": "event", "channel": channel, "event": name, "marketing_channel": "",
        "campaign": "", "bot_reason": "", "properties": {}, **fields,
    }  # fmt: skip


def decision(reason: str, until: str | None = None) -> dict[str, Any]:
    return {
        "at": "2026-11-22T23:30:00.000Z", "kind": "decision", "channel": "", "message": "hello", "journey": "welcome",
        "reason": reason, "until": until,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param(
            event("Product Viewed", properties={"product_id": "p1", "name": "Lamp", "price": 9.9, "currency": "EUR"}),
            "Product Viewed · Lamp · 9.9 EUR",
            id="a product by its name",
        ),
        pytest.param(
            event("Product Viewed", properties={"product_id": "p1"}),
            "Product Viewed · product p1",
            id="a product without a name",
        ),
        pytest.param(
            event(
                "Order Completed",
                properties={"order_id": "o1", "revenue": "40.00", "currency": "EUR",
                            "products": [{"name": "Lamp"}, {"product_id": "p2"}, {"name": "Oak"}, {"name": "Elm"}]},
            ),
            "Order Completed · order o1 · Lamp, p2, Oak and 1 more · 40.00 EUR",
            id="an order",
        ),
        pytest.param(
            event("Page Viewed", marketing_channel="Email", campaign="autumn", bot_reason="mail_scanner"),
            "Page Viewed · from Email autumn · not the person but a program (mail scanner)",
            id="a mail scanner",
        ),
        pytest.param(event("Email Sent", campaign="autumn"), "Email Sent · campaign autumn", id="a message"),
        pytest.param(
            decision("Postponed: it is night.", "2026-11-23T08:00:00.000Z"),
            "Message hello of journey welcome: Postponed: it is night. Decided again 2026-11-23 09:00:00.",
            id="a decision",
        ),
    ],
)  # fmt: skip
def test_an_entry_is_said_in_a_line(entry: dict[str, Any], said: str) -> None:
    assert said == sentence(entry, PARIS)


def test_odd_properties_are_no_reason_to_fail() -> None:
    odd = {"name": {"de": "Lampe"}, "products": ["p1", None], "price": [1], "path": "", "rating": True}

    assert "Product Viewed · " == sentence(event("Product Viewed", properties=odd), PARIS)


def test_lines_are_under_the_local_day_and_nothing_steers_the_terminal() -> None:
    written = StringIO()
    entries = [event("Page Viewed", properties={"title": "\x1b[31mred [bold]" + "long " * 40})]

    show(entries, PARIS, Console(file=written, width=80))

    lines = written.getvalue().splitlines()

    assert ["", "2026-11-23"] == lines[:2]
    assert lines[2].startswith("00:30:00  web  Page Viewed · \\x1b[31mred [bold]long")
    assert 80 >= max(map(len, lines))


@pytest.mark.parametrize("key", ["e1 shop", "", "é ~ /+\x00 \N{SNOWMAN}"])
def test_the_name_of_a_page_leads_back_to_its_position(key: str) -> None:
    position = TimelinePosition(datetime(2026, 11, 22, 10, 15, 30, 123_000, UTC), 2, key)

    assert position == read_page_name(page_name(position))


@pytest.mark.parametrize("name", ["abc", "WzFd", "é", "", "WyJhIiwgMCwgIiJd", "W251bGwsMCwiIl0"])
def test_what_names_no_page_is_refused(name: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected the name of a page"):
        read_page_name(name)

"""ClickHouse finds mail filters as profiles do, and devices that are faster than people; late events restate it."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from deploy.operations.bots import BotJudge, judge_all_bots
from schemas.durations import DAY_MS
from schemas.time import ms_of_time
from sinks.clickhouse.bots import judge_bots, judge_bots_near
from sinks.clickhouse.client import StoreDown
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, merged, ordered, person, resolved
from tests.unit.profiles.test_link_scans import CLICKS, SCAN, clicked, delivered, happened, viewed

pytestmark = pytest.mark.integration

SEEN_LATER = {"a late scan: its first click has counted": 0}
"""Where ClickHouse, which knows what came later, counts otherwise than a profile."""

HUMAN = "SELECT count() FROM v_touchpoints WHERE event = 'Email Link Clicked' AND NOT is_bot"
LINK_SCANS = "SELECT event_id FROM v_touchpoints WHERE bot_reason = 'link_scan'"
TOUCHES = (
    "SELECT count() FROM touches(start_ms = 0, stop_ms = 4133980800000, contacts = 'all', only = [], without = [])"
    " WHERE channel = 'Email'"
)


def happened_to(who: int, event: dict[str, Any]) -> dict[str, Any]:
    """The same event as one of another person."""
    return event | {"event_id": f"{event['event_id']} of {who}", "profile_id": person(who), "anchor": person(who)}


@pytest.mark.parametrize(
    ("events", "counted"),
    [pytest.param(one.values[0], SEEN_LATER.get(str(one.id), one.values[1]), id=str(one.id)) for one in CLICKS],
)
def test_clicks_are_read_as_profiles_read_them(tables: Warehouse, events: Any, counted: Any) -> None:
    tables.store(*events)
    tables.judge()

    assert [(counted,)] == tables.rows(HUMAN) == tables.rows(TOUCHES)


def test_the_order_in_which_events_come_does_not_matter(tables: Warehouse) -> None:
    for event in (clicked(3600), *reversed(SCAN), delivered()):
        tables.store(event)
        tables.judge()

    assert [(1,)] == tables.rows(HUMAN)


def test_a_late_visit_restates_a_click(tables: Warehouse) -> None:
    tables.store(delivered(), clicked(3))
    tables.judge()
    before = tables.rows("SELECT bot_reason FROM v_touchpoints WHERE event = 'Email Link Clicked'")
    stored_at = datetime.now(UTC)
    tables.store(viewed(5))
    judge_bots_near(tables.client, stored_at - timedelta(seconds=1))

    assert [("instant_click",)] == before
    assert [("",)] == tables.rows("SELECT bot_reason FROM v_touchpoints WHERE event = 'Email Link Clicked'")


def test_a_visit_under_another_profile_confirms_the_click_once_they_are_one(tables: Warehouse) -> None:
    visit = resolved("visit", 2, DAY_ONE + timedelta(seconds=5))
    tables.store(delivered(), clicked(3), visit)
    tables.judge()
    before = tables.rows(HUMAN)
    tables.change(merged(1, 1, [2]))
    tables.judge()

    assert ([(0,)], [(1,)]) == (before, tables.rows(HUMAN))


def emails_before_orders(tables: Warehouse, days: int) -> int:
    """Count the touches by e-mail of the orders of so many days."""
    begin = ms_of_time(DAY_ONE)
    query = (
        "SELECT countIf(channel = 'Email') FROM attribution_weights(start_ms = {start:Int64}, stop_ms = {stop:Int64},"
        " lookback_ms = 2592000000, half_life_ms = 604800000, goal = 'purchase', scope = 'all', repeats = 'keep',"
        " milestone = '', contacts = 'all', only = [], without = [])"
    )
    return int(tables.rows(query, start=begin, stop=begin + days * DAY_MS)[0][0])


def test_a_report_on_a_month_judges_clicks_as_one_on_a_year_does(tables: Warehouse) -> None:
    clicks = [happened_to(2, click) for click in (delivered(), clicked(3))]
    tables.store(*clicks, delivered(), *SCAN, clicked(3600), ordered("o-1", 1, DAY_ONE + timedelta(days=1)))
    tables.judge()
    before = [emails_before_orders(tables, days) for days in (30, 365)]
    tables.store(resolved("visit", 3, DAY_ONE + timedelta(seconds=5)))
    tables.change(merged(1, 1, [2, 3]))
    tables.judge()

    assert ([1, 1], [2, 2]) == (before, [emails_before_orders(tables, days) for days in (30, 365)])


def test_a_scan_is_neither_a_response_nor_an_unsubscription(tables: Warehouse) -> None:
    tables.store(delivered(), *SCAN, happened("Email Unsubscribed", 2.5))
    tables.judge()

    assert [(1, 0, 0)] == tables.rows("SELECT delivered, responded, unsubscribed FROM v_messages")
    assert [("link_scan", 6)] == tables.rows("SELECT reason, sum(events) FROM v_bots GROUP BY reason")


def test_acts_are_scans_if_two_links_are_clicked_within_two_seconds_of_them(tables: Warehouse) -> None:
    random = Random(1)
    acts = [
        (f"{n}", random.randrange(40), random.random() < 0.7, random.randrange(60) * 500, random.randrange(4))
        for n in range(1500)
    ]
    steps = {True: "Email Link Clicked", False: "Email Unsubscribed"}
    tables.store(
        *(
            resolved(
                act, message, DAY_ONE + timedelta(milliseconds=ms), event=steps[is_click], channel="email",
                properties={"message_id": f"m-{message}"} | ({"link_id": f"l-{link}"} if link else {}),
            )
            for act, message, is_click, ms, link in acts
        )
    )  # fmt: skip
    tables.judge()

    scans = {
        act
        for act, message, is_click, ms, link in acts
        if link or not is_click
        if len({e[4] for e in acts if e[1] == message and e[2] and e[4] and abs(e[3] - ms) <= 2000}) > 1
    }

    assert 0 < len(scans) < len(acts)
    assert scans == {act for (act,) in tables.rows(LINK_SCANS)}


def test_thousands_of_clicks_of_one_message_are_judged_in_one_pass(tables: Warehouse) -> None:
    tables.client.command(
        "INSERT INTO message_clicks (message, event_hash, is_click, occurred_at, link)"
        " SELECT 1, number, 1, toDateTime64(1778371200, 3) + toIntervalMillisecond(number), number % 3"
        " FROM numbers(20000)"
    )

    assert [(13333,)] == tables.rows(
        "SELECT count() FROM suspected_acts(start_ms = 0, stop_ms = 4133980800000)"
        " WHERE is_scan SETTINGS max_memory_usage = 500000000"
    )


def test_a_person_behind_a_filter_responds_and_unsubscribes(tables: Warehouse) -> None:
    tables.store(delivered(), *SCAN, clicked(3600), happened("Email Unsubscribed", 3700))
    tables.judge()

    assert [(1, 1, 1)] == tables.rows("SELECT delivered, responded, unsubscribed FROM v_messages")


def test_two_receivers_of_one_message_id_are_two(tables: Warehouse) -> None:
    other = {**clicked(20.5, "b"), "event_id": "other", "anchor": person(2), "profile_id": person(2)}
    tables.store(delivered(), clicked(20, "a"), other)
    tables.judge()

    assert [(2,)] == tables.rows(HUMAN)


def pages(count: int, per_second: float, who: int = 1, **fields: Any) -> list[dict[str, Any]]:
    return [
        resolved(f"{who} page {n}", who, DAY_ONE + timedelta(seconds=n / per_second), session_id="s", **fields)
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("events", "bots"),
    [
        pytest.param(pages(100, 10), 100, id="ten pages a second"),
        pytest.param(pages(31, 3.1), 31, id="31 pages in ten seconds"),
        pytest.param(pages(30, 3), 0, id="30 pages in ten seconds"),
        pytest.param(pages(100, 0.5), 0, id="a page every two seconds for minutes"),
        pytest.param(pages(100, 10, channel="store"), 0, id="a shop's counter"),
        pytest.param([*pages(60, 10), *(ordered(f"o{n}", 1, DAY_ONE) for n in range(3))], 60, id="but its orders"),
        pytest.param([*pages(60, 10), *pages(3, 1, who=2)], 60, id="another device is its own"),
    ],
)  # fmt: skip
def test_a_device_that_is_faster_than_a_person_is_none(
    tables: Warehouse, events: list[dict[str, Any]], bots: int
) -> None:
    tables.store(*events)
    tables.judge()

    assert [(bots, bots)] == tables.rows("SELECT countIf(is_bot), countIf(bot_reason = 'speed') FROM v_touchpoints")


def test_pages_that_are_delivered_twice_are_no_speed(tables: Warehouse) -> None:
    for _ in range(3):
        tables.store(*pages(20, 2))
    tables.judge()

    assert [(0,)] == tables.rows("SELECT countIf(is_bot) FROM v_touchpoints")


def test_views_leave_fast_devices_out(tables: Warehouse) -> None:
    tables.store(*pages(60, 10), *pages(3, 1, who=2))
    tables.judge()

    assert [(1,)] == tables.rows("SELECT sum(people) FROM v_engagement")
    assert [("speed", 60)] == tables.rows("SELECT reason, events FROM v_bots")


def test_what_is_judged_again_is_written_only_if_it_has_changed(tables: Warehouse) -> None:
    tables.store(delivered(), clicked(3), *pages(60, 10, who=2))
    judged = [judge_bots(tables.client) for _ in range(2)]
    tables.store(viewed(5))

    assert [61, 0, 1] == [*judged, judge_bots(tables.client)]
    assert [("", 1), ("speed", 60)] == tables.rows(
        "SELECT reason, count() FROM bot_verdicts FINAL GROUP BY reason ORDER BY reason"
    )


def test_an_event_from_long_ago_that_is_stored_now_restates_what_was_near_it(tables: Warehouse) -> None:
    now = datetime.now(UTC)
    tables.store(delivered(), clicked(3))
    tables.judge()
    judge_bots_near(tables.client, now + timedelta(hours=1))
    tables.store(viewed(5))

    assert 1 == judge_bots_near(tables.client, now - timedelta(minutes=1))


def test_a_device_that_becomes_too_fast_is_none_in_the_whole_hour(tables: Warehouse) -> None:
    hour = DAY_ONE.replace(minute=0, second=0, microsecond=0)
    slow = resolved("slow", 1, hour, session_id="s")
    fast = [resolved(f"fast {n}", 1, hour + timedelta(minutes=50, seconds=n / 10), session_id="s") for n in range(60)]
    tables.store(slow)
    tables.judge()
    now = datetime.now(UTC)
    tables.client.command(
        "ALTER TABLE touchpoints UPDATE stored_at = stored_at - INTERVAL 1 DAY WHERE 1", settings={"mutations_sync": 2}
    )
    tables.store(*fast)

    assert 61 == judge_bots_near(tables.client, now - timedelta(minutes=1))


async def test_a_worker_judges_everything_at_first_and_then_what_is_near_to_what_was_stored(tables: Warehouse) -> None:
    await asyncio.to_thread(tables.store, delivered(), clicked(3))
    judge = BotJudge(tables.settings)
    first = await judge.judge()
    await asyncio.to_thread(tables.store, viewed(5))

    assert (1, 1, 0) == (first, await judge.judge(), await judge.judge())


async def test_a_worker_whose_clickhouse_is_down_judges_later(tables: Warehouse) -> None:
    judge = BotJudge(tables.settings.model_copy(update={"clickhouse_url": "http://127.0.0.1:1"}))

    assert await judge.judge() is None


def test_a_clickhouse_that_stands_still_is_waited_for_no_longer_than_asked(tables: Warehouse) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = tables.settings.model_copy(update={"clickhouse_url": address})
        begun = time.monotonic()
        with pytest.raises(StoreDown):
            judge_all_bots(settings, timeout_s=1)

    assert time.monotonic() - begun < 30

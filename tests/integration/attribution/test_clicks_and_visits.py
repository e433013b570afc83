"""A click on a message and the visit that it opens are one touch, in `v_touches` and in the journeys of conversions."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import pytest

from tests.oracles.clicks import Seen, one_touch_each
from tests.support.builders import DAY_ONE
from tests.support.visits import seen
from tests.support.warehouse import Warehouse, merged, ordered, person, resolved

pytestmark = pytest.mark.integration

Event = dict[str, Any]
SALE = {"source": "crm", "medium": "email", "name": "sale"}
CLICKS = [
    pytest.param("Email Link Clicked", "email", "Email", id="e-mail"),
    pytest.param("SMS Link Clicked", "sms", "SMS", id="SMS"),
    pytest.param("Push Notification Tapped", "app_push", "App Push", id="push"),
]


def clicked(
    minutes: float, who: int = 1, name: str = "Email Link Clicked", channel: str = "email", link: str = "/", **more: Any
) -> Event:
    """A click that the provider of a message reports."""
    properties = {"message_id": more.pop("message_id", f"m-{who}-{minutes}"), "link_url": f"https://shop.example{link}"}
    return resolved(
        f"click {who} {minutes} {link}", who, DAY_ONE + timedelta(minutes=minutes), event=name, channel=channel,
        **{"properties": properties, "campaign": {"name": "letter"}, "identifiers": [], **more},
    )  # fmt: skip


def touches(tables: Warehouse) -> list[tuple[str, str, float]]:
    """Marketing channel, campaign and minutes of every touch; they are the same in the journey of a later order."""
    rows = tables.rows("SELECT profile_id, channel, campaign, touched_at, event_id FROM v_touches")
    people = sorted({int(str(who)[-12:]) for who, *_ in rows})
    tables.store(*(ordered(f"o{who}", who, DAY_ONE + timedelta(days=2), channel="api") for who in people))
    credited = tables.rows(
        "SELECT profile_id, channel, campaign, touched_at, touch_event_id FROM v_attribution_default"
        " WHERE model = 'linear' AND conversion_type = 'purchase' AND touch_event_id != ''"
    )

    assert sorted(rows, key=str) == sorted(credited, key=str)

    found = [
        (str(channel), str(campaign), (at.replace(tzinfo=DAY_ONE.tzinfo) - DAY_ONE).total_seconds() / 60)
        for _, channel, campaign, at, _ in rows
    ]
    return sorted(found, key=lambda touch: (touch[2], touch))


@pytest.mark.parametrize(("name", "place", "channel"), CLICKS)
def test_a_direct_visit_after_a_click_is_a_touch_of_the_messages_channel(
    tables: Warehouse, name: str, place: str, channel: str
) -> None:
    tables.store(clicked(0, name=name, channel=place), seen(1))

    assert [(channel, "letter", 1.0)] == touches(tables)


def test_a_tagged_visit_after_a_click_is_one_touch_with_its_own_campaign(tables: Warehouse) -> None:
    tables.store(clicked(0), seen(1, campaign=SALE))

    assert [("Email", "sale", 1.0)] == touches(tables)


def test_a_tagged_visit_without_a_campaign_has_that_of_the_message(tables: Warehouse) -> None:
    tables.store(clicked(0), seen(1, campaign={"medium": "email", "source": "crm"}))

    assert [("Email", "letter", 1.0)] == touches(tables)


def test_a_visit_of_another_channel_leaves_both(tables: Warehouse) -> None:
    tables.store(clicked(0), seen(1, referrer="https://www.google.com/"))

    assert ["Email", "Organic Search"] == [channel for channel, *_ in touches(tables)]


def test_a_click_without_a_visit_is_a_touch(tables: Warehouse) -> None:
    tables.store(clicked(0))

    assert [("Email", "letter", 0.0)] == touches(tables)


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        pytest.param(0, ["Email"], id="at the same time"),
        pytest.param(5, ["Email"], id="five minutes later"),
        pytest.param(6, ["Email", "Direct"], id="six minutes later"),
        pytest.param(-1, ["Direct", "Email"], id="before the click"),
    ],
)
def test_the_visit_follows_within_five_minutes(tables: Warehouse, minutes: float, expected: list[str]) -> None:
    tables.store(clicked(0), seen(minutes))

    assert expected == [channel for channel, *_ in touches(tables)]


def test_the_click_of_another_person_says_nothing(tables: Warehouse) -> None:
    tables.store(clicked(0, who=1), seen(1, who=2))

    assert ["Email", "Direct"] == [channel for channel, *_ in touches(tables)]


def test_a_merge_makes_them_one_and_a_split_two(tables: Warehouse) -> None:
    tables.store(clicked(0, who=1), seen(1, who=2))
    tables.change(merged(1, 1, [2]))

    assert [(1, "Email")] == tables.rows("SELECT count(), any(channel) FROM v_touches")

    tables.change(merged(2, 3, [2], kind="split"))

    assert [("Direct",), ("Email",)] == tables.rows("SELECT channel FROM v_touches ORDER BY 1")


def test_a_click_or_a_visit_that_arrives_late_restates(tables: Warehouse) -> None:
    tables.store(seen(1))
    assert [("Direct",)] == tables.rows("SELECT channel FROM v_touches")

    late = {"received_at": "2027-06-01T00:00:00.000Z"}
    tables.store({**clicked(0), **late})
    assert [("Email",)] == tables.rows("SELECT channel FROM v_touches")

    tables.store({**seen(0.5, "b-1"), **late})
    assert [("Email", 0.5), ("Direct", 1.0)] == [(channel, at) for channel, _, at in touches(tables)]


def test_of_two_clicks_the_last_opens_the_visit(tables: Warehouse) -> None:
    tables.store(clicked(0), clicked(1, campaign={"name": "second"}), seen(2))

    assert [("Email", "letter", 0.0), ("Email", "second", 2.0)] == touches(tables)


def test_a_click_opens_the_first_of_two_visits(tables: Warehouse) -> None:
    tables.store(clicked(0), seen(1), seen(2, "b-1"))

    assert [("Email", "letter", 1.0), ("Direct", "", 2.0)] == touches(tables)


def test_a_scan_opens_no_visit(tables: Warehouse) -> None:
    scan = [clicked(second / 60, link=f"/{second}", message_id="m") for second in (0, 1, 2)]
    tables.store(*scan, clicked(60, enriched={"bot": "crawler"}), seen(1), seen(61))
    tables.judge()

    assert [("Direct", "", 1.0), ("Direct", "", 61.0)] == touches(tables)


def test_a_second_delivery_changes_nothing(tables: Warehouse) -> None:
    again = {"received_at": "2027-06-01T00:00:00.000Z"}
    tables.store(clicked(0), seen(1), {**clicked(0), **again}, {**seen(1), **again, "campaign": SALE})

    assert [("Email", "letter", 1.0)] == touches(tables)


@pytest.mark.parametrize(
    ("only", "without", "contacts", "expected"),
    [
        (["Email"], [], "all", ["Email"]),
        (["Direct"], [], "all", []),
        ([], ["Direct"], "clicks", ["Email"]),
        ([], ["Email"], "all", []),
        ([], [], "views", []),
    ],
)
def test_filters_see_the_channel_of_the_one_touch(
    tables: Warehouse, only: list[str], without: list[str], contacts: str, expected: list[str]
) -> None:
    tables.store(clicked(0), seen(1), ordered("o", 1, DAY_ONE + timedelta(days=1), channel="api"))
    filters = {"only": only, "without": without, "contacts": contacts}
    texts = "contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)}"

    for source in (
        f"touches(start_ms = 0, stop_ms = 4133980800000, {texts})",
        "attribution_credits(start_ms = 0, stop_ms = 4133980800000, lookback_ms = 2592000000, half_life_ms = 604800000,"
        f" goal = '', scope = 'all', repeats = 'keep', milestone = '', {texts})",
    ):
        where = "1" if source.startswith("touches") else "model = 'linear' AND touch_event_id != ''"
        found = tables.rows(f"SELECT channel FROM {source} WHERE {where}", **filters)

        assert expected == [str(channel) for (channel,) in found]


@pytest.mark.parametrize("seed", range(3))
def test_random_clicks_and_visits_are_the_touches_of_the_definition(tables: Warehouse, seed: int) -> None:
    random = Random(seed)
    events, world = [], []
    for number in range(120):
        who = random.randrange(4)
        minutes = random.randrange(3) * 600 + random.choice([0, 1, 2, 5, 6, 10])
        owner = person({3: 0}.get(who, who))
        at = DAY_ONE + timedelta(minutes=minutes)
        if random.random() < 0.4:
            event = clicked(minutes, who, link=f"/{number}", message_id=f"m{number}", campaign={"name": f"c{number}"})
            world.append(Seen(event["event_id"], owner, at, 0, "Email", f"c{number}", is_click=True))
        else:  # a browser of its own, so that each is a visit
            tagged = random.choice([{}, {}, SALE, {"source": "google", "medium": "cpc", "name": "ad"}])
            fields: dict[str, Any] = {"campaign": tagged} if tagged else {}
            event = seen(minutes, f"d{number}", who, **fields)
            channel = {"": "Direct", "sale": "Email", "ad": "Paid Search"}[tagged.get("name", "")]
            world.append(Seen(event["event_id"], owner, at, 0, channel, tagged.get("name", ""), is_click=False))
        events.append(event)
    tables.store(*events)
    tables.change(merged(1, 0, [3]))
    ties = dict(tables.rows("SELECT event_id, event_hash FROM touchpoints FINAL"))
    world = [Seen(**{**vars(one), "tie": ties[one.event_id]}) for one in world]

    expected = sorted((one.event_id, one.channel, one.campaign) for one in one_touch_each(world))

    assert expected == tables.rows(
        "SELECT event_id, toString(channel), toString(campaign) FROM v_touches ORDER BY event_id"
    )
    touches(tables)

"""Visits and their touches in the tables that analysts read: what real SDKs send, and edges of every rule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from sinks.clickhouse.reports import publish_settings
from tests.oracles.visits import VisitEvent, visits
from tests.support.builders import DAY_ONE
from tests.support.visits import of_server, seen, step
from tests.support.warehouse import Warehouse, merged, ordered, person

pytestmark = pytest.mark.integration

Event = dict[str, Any]
AUTUMN = {"source": "google", "medium": "cpc", "name": "autumn"}
MAIL = {"source": "crm", "medium": "email", "name": "sale"}


def touches(tables: Warehouse) -> list[tuple[str, float]]:
    """All touches: marketing channel and minutes."""
    rows = tables.rows("SELECT channel, touched_at FROM v_touches ORDER BY touched_at, event_id")
    return [(channel, (at.replace(tzinfo=DAY_ONE.tzinfo) - DAY_ONE).total_seconds() / 60) for channel, at in rows]


def revenue_of(tables: Warehouse) -> dict[str, dict[str, float]]:
    """Model → marketing channel → revenue."""
    found: dict[str, dict[str, float]] = {}
    for model, channel, revenue in tables.rows(
        "SELECT model, channel, round(sum(revenue_credit), 2) AS revenue FROM v_attribution_default"
        " GROUP BY model, channel HAVING revenue > 0 ORDER BY model, channel"
    ):
        found.setdefault(model, {})[channel] = revenue
    return found


class TestWithoutSessionIds:
    """What analytics.js sends: no session id, and the referrer of the landing page with every event."""

    def test_a_pause_begins_a_visit_and_organic_search_is_credited(self, tables: Warehouse) -> None:
        google = "https://www.google.com/"
        tables.store(
            seen(0, url="jeans", referrer=google),
            seen(2, name="Product Viewed", url="jeans", referrer=google),
            seen(180),
            ordered("o", 1, DAY_ONE + timedelta(minutes=190), "40", channel="api"),
        )

        assert [("Organic Search", 0), ("Direct", 180)] == touches(tables)
        assert {"Organic Search": 40.0} == revenue_of(tables)["last_non_direct"]
        assert {"Direct": 20.0, "Organic Search": 20.0} == revenue_of(tables)["linear"]
        assert [("Organic Search", 2, 1, 120.0), ("Direct", 1, 1, 0.0)] == tables.rows(
            "SELECT marketing_channel, events, touches, seconds FROM v_sessions ORDER BY started_at"
        )
        assert [("Direct", 1), ("Organic Search", 1)] == tables.rows(
            "SELECT channel, sessions FROM v_traffic ORDER BY 1"
        )

    @pytest.mark.parametrize(
        ("minutes", "visits"),
        [
            pytest.param([0, 29.98], 1, id="29 minutes and 59 seconds"),
            pytest.param([0, 30], 2, id="30 minutes"),
            pytest.param([0, 20, 40, 60, 80], 1, id="long, without a pause"),
            pytest.param([600, 700, 620, 640, 660, 680], 1, id="out of order"),
        ],
    )
    def test_a_pause_of_half_an_hour_ends_a_visit(self, tables: Warehouse, minutes: list[float], visits: int) -> None:
        tables.store(*(seen(minute) for minute in minutes))

        assert [(visits, len(minutes))] == tables.rows("SELECT count(), sum(events) FROM v_sessions")
        assert visits == len(touches(tables))

    def test_a_late_event_restates_visits_and_touches(self, tables: Warehouse) -> None:
        tables.store(seen(0), seen(40))
        before = touches(tables)

        tables.store(seen(20))
        tables.store(seen(-5, campaign=MAIL))

        assert [("Direct", 0), ("Direct", 40)] == before
        assert [("Email", -5)] == touches(tables)

    def test_two_devices_of_one_person_are_two_visits(self, tables: Warehouse) -> None:
        tables.store(seen(0), seen(1, "phone"), seen(2), seen(3, "phone"))

        assert [("Direct", 0), ("Direct", 1)] == touches(tables)
        assert [(2, 2)] == tables.rows("SELECT count(), uniqExact(device_hash) FROM v_sessions")

    def test_a_merge_and_a_split_restate_visits(self, tables: Warehouse) -> None:
        tables.store(seen(0, who=1), seen(5, who=2, event_id="after login"))
        separate = touches(tables)

        tables.change(merged(1, 2, [1]))
        together = touches(tables)
        tables.change(merged(2, 3, [1], kind="split"))

        assert ([("Direct", 0), ("Direct", 5)], [("Direct", 0)]) == (separate, together)
        assert separate == touches(tables)

    def test_the_pause_is_a_setting(self, tables: Warehouse) -> None:
        tables.store(seen(0), seen(40))

        publish_settings(
            tables.client, goal="purchase", direct_channels=["Direct"], margin=1.0, timezone="UTC",
            visit_pause_minutes=60,
        )  # fmt: skip

        assert [("Direct", 0)] == touches(tables)

    def test_mobile_life_cycle_events_make_visits_and_messages_make_none(self, tables: Warehouse) -> None:
        app: dict[str, Any] = {"channel": "app", "context": {}}
        tables.store(
            seen(0, name="Application Installed", **app),
            seen(0.1, name="Application Opened", **app),
            seen(60, name="Deep Link Opened", campaign=MAIL, **app),
            seen(120, name="Email Opened", channel="email"),
            seen(240, name="Order Completed", channel="api", properties={"order_id": "s"}),
        )

        assert [("Direct", 0), ("Email", 60)] == touches(tables)
        assert [(2, 3)] == tables.rows("SELECT count(), sum(events) FROM v_sessions")

    def test_a_second_delivery_changes_nothing(self, tables: Warehouse) -> None:
        event = seen(0, campaign=MAIL)
        tables.store(event, seen(10))
        tables.store({**event, "received_at": "2027-01-01T00:00:00.000Z", "campaign": AUTUMN})

        assert [("Email", 0)] == touches(tables)


class TestSessionIds:
    def test_the_producers_session_id_wins_over_the_pause(self, tables: Warehouse) -> None:
        tables.store(seen(0, session="s1"), seen(45, session="s1"), seen(46, session="s2"))

        assert [("Direct", 0), ("Direct", 46)] == touches(tables)
        assert [("s1", 2), ("s2", 1)] == tables.rows("SELECT session_id, events FROM v_sessions ORDER BY 1")

    def test_an_event_without_one_joins_the_visit_of_its_device(self, tables: Warehouse) -> None:
        tables.store(seen(0), seen(1, session="s1"), seen(2), seen(40))

        assert [("Direct", 0), ("Direct", 40)] == touches(tables)
        assert [("s1", 3)] == tables.rows("SELECT session_id, events FROM v_sessions WHERE events > 1")

    def test_two_tabs_with_session_ids_of_their_own_are_two_visits(self, tables: Warehouse) -> None:
        tabs = [seen(n, session=f"s{n % 2}", campaign=(MAIL, AUTUMN)[n % 2]) for n in range(8)]
        tables.store(*tabs)

        assert [("Email", 0), ("Paid Search", 1)] == touches(tables)
        assert [(2, 8)] == tables.rows("SELECT count(), sum(events) FROM v_sessions")

    def test_a_session_id_without_a_device_is_a_visit(self, tables: Warehouse) -> None:
        tables.store(seen(0, "", session="s1"), seen(50, "", session="s1", event_id="b"), seen(51, "", event_id="c"))

        assert [("Direct", 0)] == touches(tables)

    def test_what_sdks_send_before_they_have_a_session_is_none(self, tables: Warehouse) -> None:
        tables.store(seen(0, session="-1"), seen(60, session="-1"))

        assert [("Direct", 0), ("Direct", 60)] == touches(tables)


class TestCampaigns:
    def test_a_campaign_in_the_address_of_a_visit_is_one_touch(self, tables: Warehouse) -> None:
        names = ["Page Viewed", "Product Viewed", "Product Added", "Checkout Started"]
        tables.store(
            *(seen(n, session="s1", name=name, campaign=AUTUMN) for n, name in enumerate(names)),
            seen(4260, session="s2", campaign={"source": "crm", "medium": "email", "name": "reminder"}),
            ordered("o", 1, DAY_ONE + timedelta(minutes=4270), "100", channel="api"),
        )

        found = revenue_of(tables)

        assert [("Paid Search", 0), ("Email", 4260)] == touches(tables)
        assert {"Email": 50.0, "Paid Search": 50.0} == found["linear"] == found["position_based"]
        assert [(["Paid Search", "Email"], 1)] == tables.rows("SELECT path, conversions FROM v_paths")

    def test_calls_about_the_person_reloads_and_the_order_add_nothing(self, tables: Warehouse) -> None:
        same: dict[str, Any] = {"url": "?utm_source=google&gclid=X", "campaign": AUTUMN}
        tables.store(
            seen(0, name="Identify", event_id="i", **same),
            seen(0.1, **same), seen(0.2, name="Group Joined", **same), seen(5, **same),
            seen(6, name="Order Completed", properties={"order_id": "o", "revenue": "10", "currency": "EUR"}, **same),
        )  # fmt: skip

        assert [("Paid Search", 0.1)] == [(channel, round(at, 3)) for channel, at in touches(tables)]
        assert {"Paid Search": 10.0} == revenue_of(tables)["linear"]
        assert [("X", "gclid")] == tables.rows(
            "SELECT DISTINCT click_id, click_id_name FROM v_touchpoints WHERE touch = 'campaign'"
        )

    @pytest.mark.parametrize(
        ("events", "expected"),
        [
            pytest.param([AUTUMN, MAIL, AUTUMN], [0, 1], id="there and back: each counts once"),
            pytest.param([None, MAIL], [0, 1], id="a campaign after a direct start"),
            pytest.param([AUTUMN, None, None], [0], id="pages without it"),
            pytest.param([AUTUMN, {**AUTUMN, "content": "footer"}], [0], id="another link of the same mail"),
            pytest.param([AUTUMN, {**AUTUMN, "name": " Autumn "}], [0], id="spelt otherwise"),
            pytest.param([AUTUMN, {**AUTUMN, "name": "winter"}], [0, 1], id="another campaign"),
            pytest.param([{"channel": "Radio"}, {"channel": "Radio"}, {"channel": "TV"}], [0, 2], id="named channels"),
        ],
    )
    def test_a_different_campaign_is_a_further_touch(
        self, tables: Warehouse, events: list[dict[str, str] | None], expected: list[int]
    ) -> None:
        tables.store(*(seen(n, campaign=one) if one else seen(n) for n, one in enumerate(events)))

        assert expected == [at for _, at in touches(tables)]

    def test_another_click_is_a_further_touch_and_the_same_one_is_none(self, tables: Warehouse) -> None:
        urls = ["?gclid=A", "?gclid=A&size=3", "?gclid=B", "?gad_source=1", "?gclid=B"]
        tables.store(*(seen(n, url=url) for n, url in enumerate(urls)))

        assert [0, 2, 3] == [at for _, at in touches(tables)]

    def test_the_same_campaign_in_another_visit_is_another_touch(self, tables: Warehouse) -> None:
        tables.store(seen(0, campaign=AUTUMN), seen(30, campaign=AUTUMN))

        assert [0, 30] == [at for _, at in touches(tables)]

    def test_a_referrer_within_a_visit_is_no_touch(self, tables: Warehouse) -> None:
        tables.store(seen(0, campaign=MAIL), seen(5, referrer="https://www.google.com/"))

        assert [("Email", 0)] == touches(tables)

    def test_without_device_and_session_each_campaign_is_a_touch(self, tables: Warehouse) -> None:
        tables.store(seen(0, "", campaign=MAIL), seen(1, "", campaign=MAIL, event_id="b"), seen(2, "", event_id="c"))

        assert [0, 1] == [at for _, at in touches(tables)]


BANK = "https://secure5.arcot.example/acs"
RETURNS = [
    "https://shop.app/pay/abc", "https://checkout.shopify.com/1/checkouts/2", "https://pay.amazon.com/",
    "https://www.amazon.de/ap/signin", "https://appleid.apple.com/", "https://www.paypal.com/", BANK,
]  # fmt: skip


def hooked(order_id: str, minutes: float, revenue: str, **fields: Any) -> Event:
    """An order as a shop system's webhook tells it: by a server, mostly without a browser."""
    fields = {"source": "shopify", "order": {"source_kind": "server"}, **fields}
    return ordered(order_id, 1, DAY_ONE + timedelta(minutes=minutes), revenue, **fields)


def bought(order_id: str, minutes: float, **fields: Any) -> Event:
    """The page of thanks, which says the amount with tax."""
    properties = {"order_id": order_id, "revenue": "120.00", "currency": "EUR"}
    return seen(minutes, name="Order Completed", properties=properties, order={"source_kind": "browser"}, **fields)


class TestOrdersThatAServerTells:
    """A webhook is nobody's presence on the site; the visit that ended in the order has it."""

    VISITS = "SELECT marketing_channel, touches, events, conversions, revenue FROM v_sessions ORDER BY started_at"
    ORGANIC = seen(0, referrer="https://www.google.com/")

    @pytest.mark.parametrize("minutes", [pytest.param(4.9, id="before the page"), pytest.param(5.1, id="after it")])
    def test_the_visit_of_the_page_has_the_order_with_the_servers_amount(
        self, tables: Warehouse, minutes: float
    ) -> None:
        tables.store(self.ORGANIC, bought("A-1", 5), hooked("A-1", minutes, "100.00"))

        assert [("Organic Search", 1, 2, 1, 100.0)] == tables.rows(self.VISITS)
        assert [("Organic Search", 0.0)] == touches(tables)

    def test_an_update_of_the_order_is_no_visit_either(self, tables: Warehouse) -> None:
        update = {**hooked("A-1", 900, "90.00"), "event": "Order Updated", "event_id": "updated"}
        tables.store(self.ORGANIC, bought("A-1", 5), update)

        assert [("Organic Search", 1, 2, 1, 90.0)] == tables.rows(self.VISITS)

    def test_an_order_that_only_a_server_tells_is_in_no_visit(self, tables: Warehouse) -> None:
        tables.store(hooked("A-1", 5, "100.00"))

        assert [] == tables.rows(self.VISITS)
        assert [(1,)] == tables.rows("SELECT count() FROM v_conversions")

    def test_the_page_loaded_again_on_the_next_day_has_no_second_order(self, tables: Warehouse) -> None:
        tables.store(self.ORGANIC, bought("A-1", 5), bought("A-1", 1445, event_id="again"))

        assert [(1, 120.0), (0, 0.0)] == [row[3:] for row in tables.rows(self.VISITS)]

    def test_a_server_that_names_the_browser_is_heard_in_its_visit(self, tables: Warehouse) -> None:
        named = hooked("A-1", 5, "100.00", identifiers=[{"type": "anonymous_id", "value": "a-1"}])
        tables.store(self.ORGANIC, named)

        assert [("Organic Search", 1, 2, 1, 100.0)] == tables.rows(self.VISITS)

    def test_a_campaign_that_only_a_server_knows_is_a_touch(self, tables: Warehouse) -> None:
        tables.store(hooked("A-1", 5, "100.00", campaign=AUTUMN))

        assert [("Paid Search", 5.0)] == touches(tables)


class TestContinuations:
    @pytest.mark.parametrize("sessions", [("s1", "s2"), ("", "")], ids=["a new session id", "no session id"])
    @pytest.mark.parametrize("referrer", RETURNS)
    def test_who_comes_back_from_paying_goes_on(
        self, tables: Warehouse, referrer: str, sessions: tuple[str, str]
    ) -> None:
        tables.store(
            seen(0, session=sessions[0], campaign=MAIL),
            seen(20, session=sessions[1], url="thanks", referrer=referrer),
            ordered("P-3", 1, DAY_ONE + timedelta(minutes=20, seconds=1), "60", identifiers=seen(0)["identifiers"]),
            seen(21, session=sessions[1], url="more"),
        )

        found = revenue_of(tables)

        assert len(found) > 5
        assert [] == [model for model, credited in found.items() if credited != {"Email": 60.0}]
        assert [("Email", 4, 1, 1)] == tables.rows(
            "SELECT marketing_channel, events, touches, continuations FROM v_sessions"
        )

    @pytest.mark.parametrize(
        ("minutes", "expected"),
        [
            pytest.param(29, ["Email"], id="29 minutes after a step of the checkout"),
            pytest.param(31, ["Email", "Referral"], id="31 minutes after it"),
        ],
    )
    def test_an_unknown_site_near_a_checkout_is_the_bank(
        self, tables: Warehouse, minutes: float, expected: list[str]
    ) -> None:
        tables.store(
            seen(0, session="s1", campaign=MAIL),
            seen(5, session="s1", name="Payment Info Entered"),
            seen(5 + minutes, session="s2", referrer=BANK),
        )

        assert expected == [channel for channel, _ in touches(tables)]

    @pytest.mark.parametrize(
        ("fields", "channel"),
        [
            pytest.param({"referrer": "https://www.google.com/"}, "Organic Search", id="a search engine is no bank"),
            pytest.param(
                {"referrer": "https://shop.app/", "campaign": AUTUMN}, "Paid Search", id="an ad on such a site"
            ),
            pytest.param({"referrer": BANK, "device": "a-2"}, "Referral", id="on another device"),
        ],
    )
    def test_what_brings_a_visitor_even_then(self, tables: Warehouse, fields: dict[str, Any], channel: str) -> None:
        tables.store(
            seen(0, session="s1", campaign=MAIL),
            seen(5, session="s1", name="Checkout Started"),
            seen(10, session="s2", **fields),
        )

        assert ["Email", channel] == [found for found, _ in touches(tables)]

    def test_a_return_goes_on_after_a_pause_but_not_after_a_day(self, tables: Warehouse) -> None:
        paypal = "https://www.paypal.com/"
        tables.store(
            seen(0, campaign=MAIL), seen(90, referrer=paypal), seen(91), seen(90 + 24 * 60 + 2, referrer=paypal)
        )

        assert [("Email", 0)] == touches(tables)
        assert [("Email", 3), ("Unassigned", 1)] == tables.rows(
            "SELECT marketing_channel, events FROM v_sessions ORDER BY started_at"
        )

    def test_two_attempts_to_pay_are_one_visit(self, tables: Warehouse) -> None:
        tables.store(
            seen(0, session="s1", campaign=MAIL), seen(10, session="s2", referrer=RETURNS[0]),
            seen(15, session="s3", referrer=RETURNS[5]), seen(16, session="s3"),
        )  # fmt: skip

        assert [("Email", 0)] == touches(tables)
        assert [("s1", 4, 2)] == tables.rows("SELECT session_id, events, continuations FROM v_sessions")


CAMPAIGNS = [{"source": "crm", "medium": "email", "name": name} for name in "abc"]


def random_event(random: Random, number: int) -> tuple[Event, Callable[[int, dict[int, int]], VisitEvent]]:
    """An event of a few devices in few minutes, and the same as the definition sees it."""
    device, who = random.choice("abcd"), random.randrange(6)
    minutes = random.choice([0, 1, 10, 30, 31, 60, 1440, 1441, 4000]) + random.choice([0, 0.5, 1, 29, 30, 45])
    session = random.choice(["", "", "", "s1", "s2", "s3"])
    campaign: dict[str, str] = {}
    click = ""
    name, referrer, role = "Page Viewed", "", "session"
    match random.randrange(8):
        case 0 | 1:
            campaign, click, role = random.choice(CAMPAIGNS), random.choice(["", "", "A", "B"]), "campaign"
        case 2:
            referrer, role = "https://coupons.example/", "referral"
        case 3:
            referrer, role = "https://www.paypal.com/", "return"
        case 4:
            name, role = "Identify", "visit"
        case 5:
            name = random.choice(["Checkout Started", "Order Completed"])
        case 6 if random.randrange(3) == 0:
            name = random.choice(["Checkout Started", "Order Completed"])
            return step(name, minutes, who, event_id=f"e{number}"), of_server(name, minutes, who)
    fields: dict[str, Any] = {"campaign": {**campaign, "click_id": click} if click else campaign} if campaign else {}
    event_id = f"e{number}"
    event = seen(minutes, device, who, name, session=session, referrer=referrer, event_id=event_id, **fields)

    def defined(tie: int, owner: dict[int, int]) -> VisitEvent:
        at = datetime.fromisoformat(event["occurred_at"].replace("Z", "+00:00"))
        return VisitEvent(
            event_id, at, tie, f"{owner.get(who, who)} {device}", session, role, campaign.get("name", ""), click,
            checkout=name in ("Checkout Started", "Order Completed"), order=name == "Order Completed",
            person=str(owner.get(who, who)),
        )  # fmt: skip

    return event, defined


@pytest.mark.parametrize("seed", range(6))
def test_the_views_find_the_visits_and_touches_of_the_definition(tables: Warehouse, seed: int) -> None:
    random = Random(seed)
    both = [random_event(random, number) for number in range(250)]
    deliveries = [event for event, _ in both]
    late = [
        {**event, "received_at": "2027-06-01T00:00:00.000Z", "campaign": {"name": "x"}} for event in deliveries[:20]
    ]
    tables.store(*random.sample(deliveries, 200))
    tables.change(merged(1, 0, [1]), merged(2, 3, [2]), merged(3, 4, [2], kind="split"))
    tables.store(*deliveries, *late)
    owner = {1: 0, 2: 4}
    ties = dict(tables.rows("SELECT event_id, event_hash FROM touchpoints FINAL"))

    expected = visits(defined(ties[event["event_id"]], owner) for event, defined in both)

    assert sorted(touch for visit in expected for touch in visit.touches) == sorted(
        event_id for (event_id,) in tables.rows("SELECT event_id FROM v_touches")
    )
    assert sorted((visit.events[0].at, len(visit.events), len(visit.touches)) for visit in expected) == sorted(
        (at.replace(tzinfo=DAY_ONE.tzinfo), events, touched)
        for at, events, touched in tables.rows("SELECT started_at, events, touches FROM v_sessions")
    )
    assert person(0) in {str(who) for (who,) in tables.rows("SELECT profile_id FROM v_sessions")}


@pytest.mark.parametrize("seed", range(3))
def test_journeys_of_conversions_have_the_same_touches(tables: Warehouse, seed: int) -> None:
    random = Random(200 + seed)
    events = [random_event(random, number)[0] for number in range(250)]
    orders = [
        ordered(f"o{who} {minutes}", who, DAY_ONE + timedelta(minutes=minutes), channel="api")
        for who in range(6) for minutes in (10, 1441, 4500)
    ]  # fmt: skip
    tables.store(*events, *orders)
    tables.change(merged(1, 0, [1]))

    expected = tables.rows(
        "SELECT c.conversion_id, t.event_id"
        " FROM v_conversions AS c INNER JOIN v_touches AS t ON t.profile_id = c.profile_id"
        " WHERE c.converted_at >= t.touched_at AND c.conversion_type = 'purchase' AND c.event_id != t.event_id"
        " ORDER BY ALL"
    )

    assert expected == tables.rows(
        "SELECT conversion_id, touch_event_id FROM v_attribution_default"
        " WHERE model = 'linear' AND conversion_type = 'purchase' AND touch_event_id != '' ORDER BY ALL"
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_touches_of_a_period_are_those_of_the_whole_history(tables: Warehouse, seed: int) -> None:
    random = Random(100 + seed)
    tables.store(*(random_event(random, number)[0] for number in range(200)))
    start, stop = DAY_ONE + timedelta(minutes=1441), DAY_ONE + timedelta(minutes=1475)
    period = {"start": int(start.timestamp() * 1000), "stop": int(stop.timestamp() * 1000)}

    whole = tables.rows(
        "SELECT event_id FROM v_touches WHERE touched_at BETWEEN fromUnixTimestamp64Milli({start:Int64}, 'UTC')"
        " AND fromUnixTimestamp64Milli({stop:Int64}, 'UTC') ORDER BY 1", **period,
    )  # fmt: skip

    assert whole == tables.rows(
        "SELECT event_id FROM touches(start_ms = {start:Int64}, stop_ms = {stop:Int64}, contacts = 'all', only = [],"
        " without = []) ORDER BY 1", **period,
    )  # fmt: skip

"""One customer, five channels, one history: from a producer's event to an attribution table, on both brokers."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from deploy.settings import Settings
from tests.support.builders import at, order, touchpoint, visit
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["tansu", "kafka"])
def settings(request: pytest.FixtureRequest) -> Settings:
    found: Settings = request.getfixturevalue("stack" if request.param == "tansu" else "kafka_stack")
    return found


def test_anna_is_one_person_on_five_channels(settings: Settings, tmp_path: Path) -> None:
    browser, phone = {"anonymous_id": "browser-anna"}, {"device_id": "phone-anna"}
    card = {"loyalty_id": "card-77"}
    paid_search = visit("Paid Search", identifiers=browser, occurred_at=at())
    sign_in = touchpoint(
        "Signed In",
        identifiers={**browser, "user_id": "anna", "email": "Anna@Shop.example "},
        occurred_at=at(minutes=10),
    )  # of the same visit
    mail_click = touchpoint(
        "Email Link Clicked", "email", identifiers={"email": "anna@shop.example"}, occurred_at=at(days=2),
        campaign={"channel": "Email", "name": "weekly"},
    )  # fmt: skip
    app_open = visit("App Push", channel="app_push", identifiers=phone, occurred_at=at(days=3))
    app_login = touchpoint(
        "Signed In", "app", identifiers={**phone, "user_id": "anna"}, occurred_at=at(days=3, hours=1)
    )  # a visit of the app that nothing brought
    till = order(
        "till-1", "80.50", channel="store", identifiers={**card, "email": "anna@shop.example"}, occurred_at=at(days=4)
    )
    stranger = order("web-9", "19.50", identifiers={"anonymous_id": "someone-else"}, occurred_at=at(days=4))

    with Pipeline(settings, tmp_path) as pipeline:
        pipeline.publish(paid_search, sign_in, mail_click, app_open, app_login, till, stranger)
        pipeline.publish(mail_click)  # the producer sends it twice
        pipeline.send("web", b'{"event_id": "broken", "channel": "web"}')
        pipeline.drain()

        people = pipeline.rows("SELECT profile_id, groupUniqArray(channel) FROM v_touchpoints GROUP BY profile_id")
        by_channels = {tuple(sorted(channels)): profile for profile, channels in people}
        assert {("app", "app_push", "email", "store", "web"), ("web",)} == set(by_channels)

        credit = pipeline.rows(
            "SELECT model, channel, round(sum(credit), 6), round(sum(revenue_credit), 2) FROM v_attribution_default"
            " WHERE model IN ('first_touch', 'last_touch', 'linear') AND credit > 0"
            " GROUP BY model, channel ORDER BY model, channel"
        )
        assert [
            ("first_touch", "(unattributed)", 1.0, 19.5),
            ("first_touch", "Paid Search", 1.0, 80.5),
            ("last_touch", "(unattributed)", 1.0, 19.5),
            ("last_touch", "Direct", 1.0, 80.5),
            ("linear", "(unattributed)", 1.0, 19.5),
            ("linear", "App Push", 0.25, 20.12),
            ("linear", "Direct", 0.25, 20.12),
            ("linear", "Email", 0.25, 20.12),
            ("linear", "Paid Search", 0.25, 20.12),
        ] == credit

        received, stored, duplicate, dead, difference = pipeline.rows(
            "SELECT sum(received), sum(stored), sum(duplicate), sum(dead_lettered), sum(difference) FROM v_accounting"
        )[0]
        assert (9, 7, 1, 1, 0) == (received, stored, duplicate, dead, difference)
        reason, field = pipeline.rows("SELECT reason, field FROM dead_letters FINAL")[0]
        assert ("missing_field", "event") == (reason, field)

        document = orjson.loads(
            pipeline.value("SELECT document FROM profiles FINAL ORDER BY JSONExtractUInt(document, 'event_count') DESC")
        )
        assert 6 == document["event_count"]


def test_a_late_merge_restates_what_was_reported_before(settings: Settings, tmp_path: Path) -> None:
    click = visit("Paid Social", identifiers={"anonymous_id": "tablet"}, occurred_at=at())
    bought = order("o1", "10.00", identifiers={"user_id": "ben"}, occurred_at=at(days=1))
    login = touchpoint("Signed In", identifiers={"anonymous_id": "tablet", "user_id": "ben"}, occurred_at=at(days=2))
    last_touch = "SELECT channel FROM v_attribution_default WHERE model = 'last_touch' AND credit > 0"

    with Pipeline(settings, tmp_path) as pipeline:
        pipeline.publish(click, bought)
        pipeline.drain()
        before = pipeline.rows(last_touch)

        pipeline.publish(login)
        pipeline.drain()
        after = pipeline.rows(last_touch)

    assert [("(unattributed)",)] == before
    assert [("Paid Social",)] == after

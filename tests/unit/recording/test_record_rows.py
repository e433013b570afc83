"""What is written to ClickHouse of each record."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from deploy.operations.definition_files import load
from deploy.settings import DEFINITIONS
from processors.recording.rows import (
    dead_letter_rows,
    dropped_rows,
    identity_rows,
    profile_row,
    touchpoint_rows,
)
from processors.recording.touch_rules import TouchRules
from schemas.identity.resolution import NIL_UUID
from schemas.recording.touches import TouchDefinitions

PERSON = "11111111-1111-4111-8111-111111111111"
ANCHOR = "22222222-2222-4222-8222-222222222222"


@pytest.fixture(scope="module")
def rules() -> TouchRules:
    return TouchRules(load(DEFINITIONS / "touches.yaml", TouchDefinitions))


def resolved(event: str = "Product Viewed", **fields: Any) -> dict[str, Any]:
    return {
        "event_id": "e1",
        "event": event,
        "channel": "web",
        "source": "shop-eu",
        "occurred_at": "2026-11-22T10:15:30.123Z",
        "received_at": "2026-11-22T10:15:31.000Z",
        "profile_id": PERSON,
        "anchor": ANCHOR,
        "identifiers": [{"type": "email", "value": "anna@shop.example", "verified": True}],
        "traits": {"first_name": "Anna"},
        "origin": {"topic": "touchpoints.web", "partition": 3, "offset": 42},
        **fields,
    }


def text(value: object) -> str:
    """What the store keeps of an object in a column of text: its bytes."""
    return orjson.dumps(value).decode()


def tables(event: dict[str, Any], rules: TouchRules) -> dict[str, dict[str, Any]]:
    return {table: orjson.loads(row) for table, row in touchpoint_rows(event, rules)}


def test_an_event_is_one_row_with_its_place_in_the_log(rules: TouchRules) -> None:
    row = tables(resolved(properties={"product_id": "p1"}), rules)["touchpoints"]

    assert ("e1", PERSON, ANCHOR, "p1") == (row["event_id"], row["profile_id"], row["anchor"], row["product_id"])
    assert ("touchpoints.web", 3, 42) == (row["origin_topic"], row["origin_partition"], row["origin_offset"])


def test_each_fact_of_a_product_is_a_row_of_which_the_first_delivery_stays(rules: TouchRules) -> None:
    stated = {
        "product_id": "lamp",
        "price": "9.00",
        "currency": "EUR",
        "market": "de",
        "url": "javascript:",
        "quantity": 3,
    }
    earlier, later = (
        [
            orjson.loads(row)
            for table, row in touchpoint_rows(resolved("Product Updated", properties=stated, received_at=at), rules)
            if table == "product_facts"
        ]
        for at in ("2026-11-22T10:15:31.000Z", "2026-11-23T10:15:31.000Z")
    )

    assert [("price", "9.00", "de", "EUR", ""), ("stock", "3", "", "", "")] == [
        (row["fact"], row["value"], row["market"], row["currency"], row["store_id"]) for row in earlier
    ]
    assert [one["delivery"] for one in earlier] > [one["delivery"] for one in later]


def test_who_it_was_is_in_the_row_of_the_event_and_in_no_other(rules: TouchRules) -> None:
    campaign = {"channel": "Email", "name": "weekly", "audience": "loyal"}
    rows = tables(resolved("Order Completed", properties={"order_id": "o1"}, campaign=campaign), rules)

    assert (
        '[{"type":"email","value":"anna@shop.example","verified":true}]',
        '{"first_name":"Anna"}',
        '{"channel":"Email","name":"weekly","audience":"loyal"}',
    ) == tuple(text(rows["touchpoints"][column]) for column in ("identifiers", "traits", "campaign_fields"))
    assert "anna@shop.example" not in str(rows["order_events"])


def test_an_event_about_nobody_has_nil_for_a_person(rules: TouchRules) -> None:
    row = tables(resolved(profile_id=None, anchor=None), rules)["touchpoints"]

    assert (NIL_UUID, NIL_UUID) == (row["profile_id"], row["anchor"])


def test_payloads_are_kept_as_json_texts(rules: TouchRules) -> None:
    row = tables(resolved(properties={"a": [1]}, context={"locale": "de"}, consent={"marketing": True}), rules)[
        "touchpoints"
    ]

    found = tuple(text(row[column]) for column in ("properties", "context", "consent"))
    assert ('{"a":[1]}', '{"locale":"de"}', '{"marketing":true}') == found


def test_a_campaign_fills_its_columns_and_makes_a_touch(rules: TouchRules) -> None:
    campaign = {"source": "google", "medium": "cpc", "name": "brand", "creative": "blue", "click_id": "c", "id": "7"}
    row = tables(resolved(campaign=campaign), rules)["touchpoints"]

    assert ("campaign", "Paid Search", "brand", "blue") == (
        row["touch"], row["marketing_channel"], row["campaign"], row["creative"]
    )  # fmt: skip
    assert ("google", "cpc", "c", "7") == (
        row["campaign_source"], row["campaign_medium"], row["click_id"], row["campaign_id"]
    )  # fmt: skip


def test_a_click_id_of_another_network_is_named_in_the_row(rules: TouchRules) -> None:
    page = {"page": {"url": "https://shop.example/?utm_source=linkedin&gclid=OLD"}}

    found = [
        tables(resolved(campaign={"source": source}, context=page), rules)["touchpoints"].get("conflicting_network")
        for source in ("linkedin", "google")
    ]

    assert ["google", None] == found


def test_a_senders_own_campaign_name_stands_in_for_a_missing_one(rules: TouchRules) -> None:
    named = {"campaign_name": "weekly", "creative": "green"}

    rows = [
        tables(resolved("Email Link Clicked", properties=named, **more), rules)["touchpoints"]
        for more in ({}, {"campaign": {"source": "crm"}}, {"campaign": {"name": "spring", "creative": "red"}})
    ]

    assert [("weekly", "green"), ("weekly", "green"), ("spring", "red")] == [
        (row["campaign"], row["creative"]) for row in rows
    ]


def test_an_order_is_a_conversion_by_its_own_number(rules: TouchRules) -> None:
    order = {"order_id": "o1", "revenue": "49.90", "currency": "EUR"}
    rows = tables(resolved("Order Completed", properties=order), rules)

    assert {
        "kind": "order",
        "conversion_id": "o1",
        "order_namespace": "",
        "order_id": "o1",
        "part_id": "",
        "claims": "",
        "goals": ["purchase"],
        "occurred_at": "2026-11-22T10:15:30.123Z",
        "event_id": "e1",
        "channel": "web",
        "source": "shop-eu",
        "country": "",
        "store_id": "",
        "language": "",
        "anchor": ANCHOR,
        "profile_id": PERSON,
        "identity_version": 0,
        "authority": 2,
        "amount": "49.90",
        "refunded_total": None,
        "currency": "EUR",
        "discounted": 0,
        "is_return": 0,
        "received_at": "2026-11-22T10:15:31.000Z",
    } == rows["order_events"]
    assert "o1" == rows["touchpoints"]["conversion_id"]
    assert "conversions" not in rows


def test_a_goal_without_an_order_is_a_conversion_by_the_event(rules: TouchRules) -> None:
    conversion = tables(resolved("Signed Up"), rules)["conversions"]

    assert ("signup", ":shop-eu::e1", "0", "") == (
        conversion["conversion_type"], conversion["conversion_id"], conversion["revenue"], conversion["currency"]
    )  # fmt: skip


def test_an_order_about_nobody_is_still_a_conversion(rules: TouchRules) -> None:
    order = resolved("Order Completed", profile_id=None, anchor=None, properties={"order_id": "o1", "revenue": "1.00"})

    assert NIL_UUID == tables(order, rules)["order_events"]["profile_id"]


@pytest.mark.parametrize(
    ("properties", "revenue"),
    [
        pytest.param({"revenue": "49.90", "total": "60.00"}, "49.90", id="revenue first"),
        pytest.param({"total": "60.00"}, "60.00", id="else the total"),
        pytest.param({"total": "126.00", "tax": "21.00", "shipping": "5.00"}, "100.00", id="less tax and shipping"),
        pytest.param({"total": "4.00", "shipping": "5.00"}, "4.00", id="a total that had no shipping in it"),
        pytest.param({"total": "-60.50", "tax": "-10.50"}, "-50.00", id="goods that come back"),
        pytest.param({"total": "-60.50", "tax": "10.50"}, "-50.00", id="with a tax that is not signed"),
        pytest.param({}, None, id="else nothing"),
        pytest.param({"revenue": "1e3"}, None, id="no plain number"),
        pytest.param({"revenue": "999999999999.9999"}, "999999999999.9999", id="the largest amount"),
        pytest.param({"revenue": "9999999999999"}, None, id="more than the column holds"),
        pytest.param({"revenue": 12.5}, "12.5", id="a number"),
        pytest.param({"revenue": ["x"]}, None, id="no amount at all"),
        pytest.param({"revenue": "0.00005"}, None, id="too many places"),
    ],
)
def test_an_order_is_worth(rules: TouchRules, properties: dict[str, Any], revenue: str | None) -> None:
    rows = tables(resolved("Order Completed", properties={"order_id": "o1", **properties}), rules)

    assert (revenue, revenue or "0") == (rows["order_events"]["amount"], rows["touchpoints"]["revenue"])


def test_a_custom_event_may_hold_anything(rules: TouchRules) -> None:
    odd = {"order_id": 17, "product_id": {"a": 1}, "currency": None, "campaign_name": True, "revenue": "much"}

    row = tables(resolved("Spaceship Landed", properties=odd), rules)["touchpoints"]

    assert ("17", "", "", "", "0") == tuple(
        row[column] for column in ("order_id", "product_id", "currency", "campaign", "revenue")
    )


@pytest.mark.parametrize(
    ("bounce_type", "column"),
    [("hard", "bounced_at"), ("Undetermined", "bounced_at"), ("SpamComplaint", "complained_at"), ("AutoResponder", "")],
)
def test_a_bounce_is_a_time_in_the_column_of_what_it_is(rules: TouchRules, bounce_type: str, column: str) -> None:
    event = resolved("Email Bounced", properties={"message_id": "m1", "bounce_type": bounce_type})
    message = tables(event, rules).get("messages", {})

    assert {column} - {""} == {name for name in message if name.endswith("_at")}


@pytest.mark.parametrize(
    ("event", "column"),
    [
        pytest.param("Email Sent", "sent_at", id="sent"),
        pytest.param("Email Marked as Spam", "complained_at", id="complained"),
        pytest.param("Push Notification Tapped", "clicked_at", id="Segment's word for a click"),
    ],
)
def test_a_step_of_a_message_is_a_time_in_its_row(rules: TouchRules, event: str, column: str) -> None:
    message = tables(resolved(event, properties={"message_id": "m1"}), rules)["messages"]

    assert ("m1", "2026-11-22T10:15:30.123Z") == (message["message_id"], message[column])


def test_a_message_without_an_id_has_no_row_of_its_own(rules: TouchRules) -> None:
    assert ["touchpoints"] == [table for table, _ in touchpoint_rows(resolved("Email Sent"), rules)]


def change(kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "version": 7, "kind": kind, "profile_id": PERSON, "from_profile_id": "", "anchors": [[ANCHOR, "email"]],
        "event_id": "e1", "occurred_at": "2026-11-22T10:15:30.123Z", "rule": "attach", **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "moves"),
    [("bind", False), ("merge", True), ("split", True), ("transfer", False), ("erase", False), ("refuse", False)],
)
def test_only_a_merge_and_a_split_move_history(kind: str, moves: bool) -> None:
    rows = identity_rows(change(kind))
    override = [("identity_overrides", {"anchor": ANCHOR, "profile_id": PERSON, "version": 7})]

    assert (override if moves else []) == [(table, orjson.loads(row)) for table, row in rows[1:]]
    assert NIL_UUID == orjson.loads(rows[0][1])["from_profile_id"]


def test_a_change_about_no_profile_is_logged_with_nil() -> None:
    assert NIL_UUID == orjson.loads(identity_rows(change("erase", profile_id=""))[0][1])["profile_id"]


def test_dropped_events_and_dead_letters_are_written_as_they_are() -> None:
    dropped, letter = {"event_id": "e1", "reason": "duplicate"}, {"topic": "touchpoints.web", "offset": 1}

    assert ("dropped_touchpoints", dropped) == (dropped_rows(dropped)[0][0], orjson.loads(dropped_rows(dropped)[0][1]))
    assert ("dead_letters", letter) == (dead_letter_rows(letter)[0][0], orjson.loads(dead_letter_rows(letter)[0][1]))


@pytest.mark.parametrize(("gone", "is_deleted"), [(False, 0), (True, 1)], ids=["alive", "merged away"])
def test_a_profile_is_its_document_and_version(gone: bool, is_deleted: int) -> None:
    document = orjson.dumps({"profile_id": PERSON, "event_count": 2, **({"gone": True} if gone else {})})

    row = orjson.loads(profile_row(PERSON, 7, document))

    row["document"] = text(row["document"])
    assert {"profile_id": PERSON, "version": 7, "document": document.decode(), "is_deleted": is_deleted} == row


@pytest.mark.parametrize("document", [b'"gone"', b'["gone"]', b'{"traits": {"gone": 1', b'{"traits": {"gone": true}}'])
def test_a_document_in_another_shape_is_no_profile_that_has_gone(document: bytes) -> None:
    assert profile_row("p1", 3, document).endswith(b',"is_deleted":0}')


def test_an_event_of_doubtful_time_is_stored_and_is_no_touch(rules: TouchRules) -> None:
    campaign = {"source": "google", "medium": "cpc"}
    dated = tables(resolved(campaign=campaign), rules)["touchpoints"]
    doubtful = tables(resolved(campaign=campaign, context={"time_doubtful": True}), rules)["touchpoints"]

    assert ("campaign", None) == (dated["touch"], dated.get("time_doubtful"))
    assert ("", 1) == (doubtful["touch"], doubtful["time_doubtful"])


@pytest.mark.parametrize(
    ("column", "noted"),
    [
        pytest.param(
            [{"field": "properties.total", "rule": "float_sum"}],
            [{"field": "properties.total", "rule": "float_sum", "count": 2}],
            id="ours",
        ),
        pytest.param(None, "yes", id="a producer's own text"),
        pytest.param(None, [1, {"field": 1, "rule": "x"}, {"rule": "x"}], id="a producer's own list"),
        pytest.param(None, [], id="nothing"),
    ],
)
def test_what_was_mended_is_a_column(rules: TouchRules, column: Any, noted: Any) -> None:
    row = tables(resolved(context={"mended": noted}), rules)["touchpoints"]

    assert column == row.get("mended")

"""Orders as shops, tills and webhooks report them: amounts, sizes, numbers, refunds; in profiles and in views."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.field_events import Field, Inputs

pytestmark = pytest.mark.e2e

INPUTS = Inputs()

# JavaScript and PHP add prices as binary floats.
INPUTS.call(
    "server",
    """
{"type": "track", "event": "Order Completed", "userId": "c-501", "messageId": "fl-1",
 "timestamp": "2026-11-20T10:00:00Z",
 "properties": {"order_id": "W-9001", "currency": "EUR", "revenue": 59.97000000000001, "tax": 11.394300000000001,
  "products": [{"product_id": "P-1", "price": 19.990000000000002, "quantity": 3}]}}
{"type": "track", "event": "Order Completed", "userId": "c-502", "messageId": "fl-2",
 "timestamp": "2026-11-20T10:00:00Z",
 "properties": {"order_id": "W-9002", "currency": "EUR", "revenue": 836.9999999999998}}
{"type": "track", "event": "Order Completed", "userId": "c-503", "messageId": "fl-text",
 "timestamp": "2026-11-20T10:00:00Z",
 "properties": {"order_id": "W-9003", "currency": "EUR", "revenue": "59.97000000000001"}}
{"type": "track", "event": "Order Completed", "userId": "c-504", "messageId": "fl-meant",
 "timestamp": "2026-11-20T10:00:00Z", "properties": {"order_id": "W-9004", "currency": "EUR", "revenue": 9.98765}}
""",
)


def big(event_id: str, order_id: str, lines: int, *keys: str) -> dict[str, Any]:
    """An order of many lines, all of them short."""
    products = [
        {**{key: key[0] for key in keys}, "product_id": f"p{n}", "price": "1.00", "quantity": 1} for n in range(lines)
    ]
    return {
        "event_id": event_id, "event": "Order Completed", "channel": "web", "source": "shop",
        "occurred_at": "2026-11-20T18:00:00Z", "identifiers": {"user_id": f"c-{event_id}"},
        "properties": {"order_id": order_id, "revenue": "120.00", "currency": "EUR", "products": products},
    }  # fmt: skip


_TEN = ("sku", "name", "brand", "category", "variant", "url", "image_url")
INPUTS.records += [
    big("big-1", "B-1", 120, *_TEN),
    big("big-500", "B-500", 500),
    big("big-501", "B-501", 501),
    big("big-5000", "B-5000", 5000),
]
_LONG = big("big-long", "B-long", 400)
for _line in _LONG["properties"]["products"]:
    _line["description"] = "n" * 1000  # 400 KB in all
INPUTS.records.append(_LONG)

# A scale at the counter, and goods that were exchanged or brought back.
INPUTS.event("""
{"event_id": "till-4-88", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-21T09:30:00+01:00", "identifiers": {"loyalty_id": "L-20"},
 "properties": {"order_id": "4-88", "store_id": "S-4", "currency": "EUR", "revenue": "-6.26",
  "products": [{"product_id": "cheese", "price": "19.90", "quantity": "0.375"},
   {"product_id": "jeans-32", "price": "49.90", "quantity": -1},
   {"product_id": "jeans-34", "price": "36.18", "quantity": 1}]}}
{"event_id": "till-4-89", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-20T09:30:00+01:00", "identifiers": {"loyalty_id": "L-21"},
 "properties": {"order_id": "4-89", "store_id": "S-4", "currency": "EUR", "revenue": "24.88",
  "products": [{"product_id": "rope", "price": "2.00", "quantity": 12.43999}]}}
{"event_id": "till-4-90", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-21T09:30:00+01:00", "identifiers": {"loyalty_id": "L-21"},
 "properties": {"order_id": "4-90", "store_id": "S-4", "currency": "EUR", "revenue": "-24.88",
  "products": [{"product_id": "rope", "price": "2.00", "quantity": "-12.43999"}]}}
{"event_id": "till-4-91", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-21T09:30:00+01:00", "identifiers": {"loyalty_id": "L-22"},
 "properties": {"order_id": "4-91", "store_id": "S-4", "currency": "EUR", "revenue": "1.00",
  "products": [{"product_id": "tea", "price": "2.00", "quantity": "0.5000001"}]}}
{"event_id": "till-4-92", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-21T09:30:00+01:00", "identifiers": {"loyalty_id": "L-22"},
 "properties": {"order_id": "4-92", "store_id": "S-4", "currency": "EUR", "revenue": "1.00",
  "products": [{"product_id": "tea", "price": "2.00", "quantity": "0,5"}]}}
{"event_id": "till-4-93", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-21T09:30:00+01:00", "identifiers": {"loyalty_id": "L-23"},
 "properties": {"order_id": "4-93", "store_id": "S-4", "currency": "€", "revenue": "3.00"}}
{"event_id": "till-4-94", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-21T09:30:00+01:00", "identifiers": {"loyalty_id": "L-24"},
 "properties": {"order_id": "4-94", "store_id": "S-4", "currency": "$", "revenue": "3.00"}}
""")

# Two shops that number alike, each declared with its own numbers; a chain whose stores do; and page and server of one.
INPUTS.event("""
{"event_id": "ber-1001", "event": "Order Completed", "channel": "store", "source": "pos-berlin",
 "occurred_at": "2026-11-20T10:00:00Z", "identifiers": {"email": "ada@mail.example"},
 "properties": {"order_id": "1001", "store_id": "berlin", "revenue": "80.00", "currency": "EUR"}}
{"event_id": "wie-1001", "event": "Order Completed", "channel": "store", "source": "pos-wien",
 "occurred_at": "2026-11-20T11:00:00Z", "identifiers": {"email": "bob@mail.example"},
 "properties": {"order_id": "1001", "store_id": "wien", "revenue": "55.00", "currency": "EUR"}}
{"event_id": "wie-r1", "event": "Order Refunded", "channel": "store", "source": "pos-wien",
 "occurred_at": "2026-11-21T11:00:00Z", "identifiers": {"email": "bob@mail.example"},
 "properties": {"order_id": "1001", "store_id": "wien", "revenue": "55.00", "currency": "EUR"}}
{"event_id": "ch-1", "event": "Order Completed", "channel": "store", "source": "pos-chain",
 "occurred_at": "2026-11-20T10:00:00Z", "identifiers": {"loyalty_id": "L-31"},
 "properties": {"order_id": "2002", "store_id": "graz", "revenue": "10.00", "currency": "EUR"}}
{"event_id": "ch-2", "event": "Order Completed", "channel": "store", "source": "pos-chain",
 "occurred_at": "2026-11-20T10:00:00Z", "identifiers": {"loyalty_id": "L-32"},
 "properties": {"order_id": "2002", "store_id": "wels", "revenue": "20.00", "currency": "EUR"}}
{"event_id": "one-1", "event": "Order Completed", "channel": "web", "source": "web",
 "occurred_at": "2026-11-20T10:00:00Z", "identifiers": {"user_id": "c-33"},
 "properties": {"order_id": "W-1", "revenue": "60.00", "currency": "EUR"}}
{"event_id": "one-2", "event": "Order Completed", "channel": "api", "source": "server",
 "occurred_at": "2026-11-20T10:00:03Z", "identifiers": {"user_id": "c-33"},
 "properties": {"order_id": "W-1", "revenue": "60.00", "currency": "EUR"}}
{"event_id": "un-1", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-20T10:00:00Z", "identifiers": {"loyalty_id": "L-34"},
 "properties": {"order_id": "3003", "store_id": "bonn", "revenue": "10.00", "currency": "EUR"}}
{"event_id": "un-2", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-20T10:00:00Z", "identifiers": {"loyalty_id": "L-35"},
 "properties": {"order_id": "3003", "store_id": "ulm", "revenue": "20.00", "currency": "EUR"}}
""")

# Page and webhook report one order with two amounts; then the page is reloaded five times.
INPUTS.event("""
{"event_id": "wh-2", "event": "Order Updated", "channel": "web", "source": "server",
 "occurred_at": "2026-11-04T12:00:00Z", "identifiers": {"email": "eve@mail.example"},
 "properties": {"order_id": "W-5", "revenue": "80.00", "tax": "16.80", "total": "96.80", "currency": "EUR"}}
{"event_id": "pg-1", "event": "Order Completed", "channel": "web", "source": "web",
 "occurred_at": "2026-11-04T10:00:00Z", "identifiers": {"anonymous_id": "a-5"},
 "properties": {"order_id": "W-5", "revenue": "121.00", "currency": "EUR"}}
{"event_id": "wh-1", "event": "Order Completed", "channel": "web", "source": "server",
 "occurred_at": "2026-11-04T10:00:02Z", "identifiers": {"anonymous_id": "a-5", "email": "eve@mail.example"},
 "properties": {"order_id": "W-5", "revenue": "100.00", "tax": "21.00", "total": "121.00", "currency": "EUR"}}
{"event_id": "pg-6", "event": "Order Completed", "channel": "web", "source": "web",
 "occurred_at": "2026-11-04T10:00:00Z", "identifiers": {"email": "eve@mail.example"},
 "properties": {"order_id": "W-6", "revenue": "7.00", "currency": "EUR"}}
{"event_id": "wh-7", "event": "Order Updated", "channel": "web", "source": "server",
 "occurred_at": "2026-11-04T12:00:00Z", "identifiers": {"user_id": "c-37"},
 "properties": {"order_id": "W-7", "revenue": "33.00", "currency": "EUR"}}
""")
INPUTS.records += [
    {
        "event_id": f"pg-1-{n}", "event": "Order Completed", "channel": "web", "source": "web",
        "occurred_at": f"2026-11-05T10:0{n}:00Z", "identifiers": {"anonymous_id": "a-5"},
        "properties": {"order_id": "W-5", "revenue": "121.00", "currency": "EUR"},
    }
    for n in range(5)
]  # fmt: skip

# Refunds: with tax, as running totals of which the second comes first, in another currency, and of too much.
INPUTS.event("""
{"event_id": "o-1", "event": "Order Completed", "channel": "web", "source": "server",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "c-9"}, "properties": {"order_id": "R-1",
  "revenue": "100.00", "tax": "21.00", "shipping": "5.00", "total": "126.00", "currency": "EUR"}}
{"event_id": "r-1", "event": "Order Refunded", "channel": "web", "source": "server",
 "occurred_at": "2026-11-05T10:00:00Z", "identifiers": {"user_id": "c-9"},
 "properties": {"order_id": "R-1", "total": "60.50", "tax": "10.50", "currency": "EUR"}}
{"event_id": "o-2", "event": "Order Completed", "channel": "web", "source": "server",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "c-10"}, "properties": {"order_id": "R-2",
  "revenue": "100.00", "tax": "21.00", "shipping": "5.00", "total": "126.00", "currency": "EUR"}}
{"event_id": "r-2b", "event": "Order Refunded", "channel": "web", "source": "server",
 "occurred_at": "2026-11-06T10:00:00Z", "identifiers": {"user_id": "c-10"},
 "properties": {"order_id": "R-2", "refunded_total": "60.00", "currency": "EUR"}}
{"event_id": "r-2a", "event": "Order Refunded", "channel": "web", "source": "server",
 "occurred_at": "2026-11-05T10:00:00Z", "identifiers": {"user_id": "c-10"},
 "properties": {"order_id": "R-2", "refunded_total": "20.00", "currency": "EUR"}}
{"event_id": "o-3", "event": "Order Completed", "channel": "web", "source": "server",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "c-11"},
 "properties": {"order_id": "R-3", "revenue": "100.00", "currency": "EUR"}}
{"event_id": "r-3", "event": "Order Refunded", "channel": "web", "source": "server",
 "occurred_at": "2026-11-05T10:00:00Z", "identifiers": {"user_id": "c-11"},
 "properties": {"order_id": "R-3", "revenue": "40.00", "currency": "SEK"}}
{"event_id": "o-4", "event": "Order Completed", "channel": "web", "source": "server",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "c-12"},
 "properties": {"order_id": "R-4", "revenue": "10.00", "currency": "EUR"}}
{"event_id": "r-4", "event": "Order Refunded", "channel": "web", "source": "server",
 "occurred_at": "2026-11-05T10:00:00Z", "identifiers": {"user_id": "c-12"},
 "properties": {"order_id": "R-4", "revenue": "99.00", "currency": "EUR"}}
""")


def test_a_sum_of_floats_is_the_amount_that_was_meant(field: Field) -> None:
    properties = field.event("fl-1")["properties"]

    assert ("59.97", "11.3943", "19.99") == (
        properties["revenue"],
        properties["tax"],
        properties["products"][0]["price"],
    )
    assert [(59.97, 59.97, "EUR")] == field.conversion("W-9001")
    assert [(837, 837, "EUR")] == field.conversion("W-9002")
    assert ({"EUR": "59.97"}, {"EUR": "837.00"}) == (field.net("user_id:c-501"), field.net("user_id:c-502"))
    assert ("properties.revenue", "float_sum") in field.mended("fl-1")


def test_an_amount_with_five_places_that_are_meant_is_refused(field: Field) -> None:
    found = {key: field.rejected[key]["field"] for key in ("fl-text", "fl-meant")}

    assert dict.fromkeys(found, "properties.revenue") == found
    assert [] == field.rows("SELECT order_id FROM v_conversions WHERE order_id IN ('W-9003', 'W-9004')")


@pytest.mark.parametrize(("order_id", "lines"), [("B-1", 120), ("B-500", 500), ("B-501", 500), ("B-5000", 500)])
def test_a_large_order_keeps_its_lines_up_to_the_documented_number(field: Field, order_id: str, lines: int) -> None:
    found = field.rows("SELECT count(), round(sum(revenue), 2) FROM v_order_items WHERE order_id = %(o)s", o=order_id)

    assert [(lines, 120.0)] == found
    assert [(120, 120, "EUR")] == field.conversion(order_id)
    assert {"EUR": "120.00"} == field.net(f"user_id:c-big-{order_id.removeprefix('B-')}")


def test_how_many_lines_were_cut_is_said(field: Field) -> None:
    assert [[], [("properties.products", "lines_cut")]] == [field.mended("big-500"), field.mended("big-501")]
    assert [(3,)] == field.rows("SELECT sum(events) FROM v_mended WHERE rule = 'lines_cut'")


def test_an_order_of_long_texts_keeps_its_head_and_as_many_lines_as_fit(field: Field) -> None:
    ((lines,),) = field.rows("SELECT count() FROM v_order_items WHERE order_id = 'B-long'")

    assert [(120.0, 120.0, "EUR")] == field.conversion("B-long")
    assert {"EUR": "120.00"} == field.net("user_id:c-big-long")
    assert 200 <= lines < 400
    assert [("properties.products", "lines_cut")] == field.mended("big-long")


def test_weighed_and_exchanged_goods_add_up_to_the_receipt(field: Field) -> None:
    lines = field.rows(
        "SELECT product_id, quantity, round(revenue, 2) FROM v_order_items WHERE order_id = '4-88' ORDER BY position"
    )

    assert [("cheese", 0.375, 7.46), ("jeans-32", -1.0, -49.9), ("jeans-34", 1.0, 36.18)] == lines
    assert [(-6.26, -6.26, "EUR")] == field.conversion("4-88")
    assert {"EUR": "-6.26"} == field.net("loyalty_id:L-20")
    assert [(0.375, 0.0), (0.0, 1.0)] == field.rows(
        "SELECT quantity, returned FROM v_product_performance WHERE product_id IN ('cheese', 'jeans-32')"
        " ORDER BY product_id"
    )


def test_goods_brought_back_are_a_return_and_no_purchase(field: Field) -> None:
    orders = field.profile("loyalty_id:L-21")["orders"]

    assert 1 == orders["count"]
    assert {} == {currency: net for currency, net in field.net("loyalty_id:L-21").items() if float(net)}
    assert [(24.88, 24.88, "EUR")] == field.conversion("4-89")
    assert [] == field.conversion("4-90")
    assert [("4-90", 24.88)] == field.rows(
        "SELECT order_id, toFloat64(amount) FROM v_returns WHERE order_id LIKE '4-%'"
    )


def test_a_quantity_of_seven_places_is_rounded_and_one_with_a_comma_refused_by_name(field: Field) -> None:
    ((_, path, message),) = field.dead_letters("till-4-92")

    assert [(0.5,)] == field.rows("SELECT quantity FROM v_order_items WHERE order_id = '4-91'")
    assert [("properties.products.quantity", "rounded")] == field.mended("till-4-91")
    assert "properties.products.0.quantity" == path
    assert "with at most 5 places" in message


def test_a_symbol_of_one_currency_is_its_code_and_one_of_several_refused_by_name(field: Field) -> None:
    ((_, path, message),) = field.dead_letters("till-4-94")

    assert [(3.0, 3.0, "EUR")] == field.conversion("4-93")
    assert [("properties.currency", "currency")] == field.mended("till-4-93")
    assert "properties.currency" == path
    assert "'$': it may be" in message


def test_shops_that_number_alike_have_an_order_each_and_the_refund_is_one_persons(field: Field) -> None:
    assert [(80, 80, "EUR"), (55, 0, "EUR")] == field.conversion("1001")
    assert [(10, 10, "EUR"), (20, 20, "EUR")] == field.conversion("2002")
    assert {"EUR": "80.00"} == field.net("email:ada@mail.example")
    assert 0 == sum(map(float, field.net("email:bob@mail.example").values()))


def test_page_and_server_of_one_shop_report_one_order(field: Field) -> None:
    assert [(60, 60, "EUR")] == field.conversion("W-1")
    assert 1 == field.profile("user_id:c-33")["orders"]["count"]


def test_shops_that_number_alike_without_a_declaration_are_warned_of(field: Field) -> None:
    warned = field.rows("SELECT order_id, people, arraySort(stores) FROM v_order_conflicts")

    assert [("3003", 2, ["bonn", "ulm"])] == warned


def test_reports_of_one_order_with_several_amounts_are_one_order_of_the_servers_last_amount(field: Field) -> None:
    found = field.rows("SELECT converted_at, reports, amount_event_id FROM v_conversions WHERE order_id = 'W-5'")
    profile = field.profile("email:eve@mail.example")["orders"]
    eve = field.person("email:eve@mail.example")

    assert [("2026-11-04T10:00:00", 8, "wh-2")] == [(row[0].isoformat(), *row[1:]) for row in found]
    assert [(80, 80, "EUR")] == field.conversion("W-5")
    assert (2, "87.00") == (profile["count"], profile["by_currency"]["EUR"]["net"])
    assert [(2, 87.0)] == field.rows(
        "SELECT orders, round(revenue, 2) FROM v_ltv WHERE profile_id = {eve:UUID}", eve=eve
    )
    assert {80.0} == {round(sum(shares.values()), 2) for shares in field.credits("W-5").values()}


def test_another_number_and_an_update_alone_are_orders_of_their_own(field: Field) -> None:
    assert [[(7, 7, "EUR")], [(33, 33, "EUR")]] == [field.conversion("W-6"), field.conversion("W-7")]


@pytest.mark.parametrize(
    ("order_id", "who", "net"),
    [
        ("R-1", "c-9", 50),
        ("R-2", "c-10", 40),
        ("R-3", "c-11", 100),
        ("R-4", "c-12", 0),
    ],
    ids=["with tax", "running totals in any order", "in another currency", "of more than it was worth"],
)
def test_a_refund_takes_off_what_was_given_back(field: Field, order_id: str, who: str, net: float) -> None:
    (found,) = field.conversion(order_id)

    assert (net, "EUR") == found[1:]
    assert net == float(field.net(f"user_id:{who}").get("EUR", "0"))
    assert [(net,)] == field.rows(
        "SELECT round(revenue, 2) FROM v_ltv WHERE profile_id = {who:UUID}", who=field.person(f"user_id:{who}")
    )


def test_a_refund_that_could_not_be_converted_is_said(field: Field) -> None:
    assert [("refunds", "SEK", 40.0)] == field.rows(
        "SELECT what, currency, toFloat64(total) FROM v_missing_rates WHERE what = 'refunds'"
    )
    assert {"SEK": "40.00"} == field.profile("user_id:c-11")["orders"]["refunded_in_other_currencies"]

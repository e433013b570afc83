"""Orders in the views, as shops, tills and webhooks report them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from processors.profiles.rebuild import rebuild
from sinks.clickhouse.history import read_events
from sinks.clickhouse.spend import insert_rates, publish_currency
from tests.support.builders import DAY_ONE
from tests.support.order_cases import ORDER_CASES, SHOP, OrderCase, said
from tests.support.warehouse import Warehouse, ordered, person

pytestmark = pytest.mark.integration


def prefixed(case: OrderCase, number: int) -> Iterator[dict[str, Any]]:
    """The events of a case with people, events, orders and receipts of their own."""
    for event in case.resolved():
        properties = event["properties"]
        for name in ("order_id", "receipt_id"):
            if name in properties:
                properties = {**properties, name: f"{number}-{properties[name]}"}
        who = person(100 * number + int(event["profile_id"][-2:]))
        event_id = f"{number}-{event['event_id']}"
        yield {**event, "event_id": event_id, "profile_id": who, "anchor": who, "properties": properties}


def test_all_cases_at_once_in_any_order_and_twice(tables: Warehouse) -> None:
    arrivals = [event for number, case in enumerate(ORDER_CASES.values(), 1) for event in prefixed(case, number)]
    random = Random(3)
    for _ in range(2):
        random.shuffle(arrivals)
        tables.store(*arrivals)

    orders: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    for conversion_id, net, at in tables.rows("SELECT conversion_id, net_revenue, converted_at FROM v_conversions"):
        space, _, rest = conversion_id.rpartition("::")
        number, _, name = rest.partition("-")
        key = f"{space}::{name}" if space else name
        orders[int(number)].append((key, f"{net:.2f}", f"{at:%Y-%m-%dT%H:%M:%S}.000Z"))
    net_of = {
        (who, currency): net
        for who, currency, net in tables.rows(
            "SELECT toString(profile_id), currency, sum(net) AS total"
            " FROM (SELECT profile_id, currency, net_revenue AS net FROM v_conversions"
            " UNION ALL SELECT profile_id, currency, -amount FROM v_returns) GROUP BY 1, 2"
            " HAVING total != 0"
        )
    }

    for number, (name, case) in enumerate(ORDER_CASES.items(), 1):
        assert (name, sorted(case.orders)) == (name, sorted(orders[number]))
    assert {
        (person(100 * number + who), currency): Decimal(amount)
        for number, case in enumerate(ORDER_CASES.values(), 1)
        for who, amounts in case.net.items()
        for currency, amount in amounts.items()
    } == net_of
    assert [] == tables.rows("SELECT * FROM v_reconciliation WHERE alert AND model = 'linear'")


def test_lines_of_a_receipt_add_up_to_it(tables: Warehouse) -> None:
    exchange = ORDER_CASES["weighed goods and an exchange are one order with a negative amount"]
    returned = ORDER_CASES["goods that come back alone are no purchase and lower the net revenue"]
    tables.store(*prefixed(exchange, 1), *prefixed(returned, 2))

    assert [("cheese", 0.375, 7.46), ("jeans-32", -1.0, -49.9), ("jeans-34", 1.0, 36.18)] == tables.rows(
        "SELECT product_id, quantity, round(revenue, 2) FROM v_order_items WHERE order_id = '1-4-88' ORDER BY position"
    )
    assert [(-6.26,)] == tables.rows("SELECT round(sum(revenue), 4) FROM v_order_items WHERE order_id = '1-4-88'")
    assert [("cheese", 0.375, 0, 1), ("jeans-32", 0, 2, 0), ("jeans-34", 1, 0, 1)] == tables.rows(
        "SELECT product_id, quantity, returned, buyers FROM v_product_performance WHERE product_id != '' ORDER BY 1"
    )
    assert [(2, 43.64, 49.9)] == tables.rows("SELECT orders, round(revenue, 2), round(refunded, 2) FROM v_sales")
    assert [(1, -6.26), (1, 0)] == tables.rows("SELECT orders, round(revenue, 2) FROM v_ltv ORDER BY revenue")


def test_a_refund_in_another_currency_is_converted_by_the_rates_or_said(tables: Warehouse) -> None:
    case = ORDER_CASES["a refund in another currency is not taken off one to one"]
    tables.store(*case.resolved())
    publish_currency(tables.client, "EUR")
    net = "SELECT net_revenue, refunds_not_converted FROM v_conversions"
    missing = "SELECT what, currency, total FROM v_missing_rates"
    before = tables.rows(net), tables.rows(missing)
    rate = {"date": DAY_ONE.date() + timedelta(days=3), "currency": "USD", "rate": Decimal("0.5")}
    insert_rates(tables.client, [rate])

    assert ([(Decimal(100), 1)], [("refunds", "USD", Decimal(20))]) == before
    assert ([(Decimal(90), 0)], []) == (tables.rows(net), tables.rows(missing))


def test_two_people_with_one_order_id_in_two_stores_are_a_warning(tables: Warehouse) -> None:
    def sold(who: int, store: str, order_id: str = "1001") -> Any:
        return said(who, f"{store}-{who}-{order_id}", "Order Completed", f"pos-{store}", "20T10:00:00", "store",
                    order_id=order_id, store_id=store, revenue="1.00")  # fmt: skip

    alike = [sold(1, "berlin"), sold(2, "wien")]
    one_person = [sold(3, "berlin", "7"), sold(3, "wien", "7")]
    one_store = [sold(4, "berlin", "8"), sold(5, "berlin", "8")]
    tables.store(*OrderCase({}, [*alike, *one_person, *one_store], {}, {}, []).resolved())
    result = CliRunner().invoke(app, ["attribution", "check"])

    assert [("1001", 2, ["berlin", "wien"])] == tables.rows("SELECT order_id, people, stores FROM v_order_conflicts")
    assert 0 == result.exit_code, result.output
    assert "order 1001 has 2 people and the stores berlin, wien" in result.output


def test_declared_name_spaces_restate_the_past_by_a_replay(tables: Warehouse) -> None:
    events = ORDER_CASES["two stores of one till system number alike"]
    tables.store(*events._replace(sources={}).resolved())
    before = tables.rows("SELECT conversion_id FROM v_conversions")
    tables.store(*events.resolved())

    assert [("1001",)] == before
    assert [("berlin::1001", "berlin"), ("wien::1001", "wien")] == tables.rows(
        "SELECT conversion_id, order_namespace FROM v_conversions ORDER BY 1"
    )


def test_an_order_is_of_the_person_whom_the_server_names(tables: Warehouse) -> None:
    page = said(1, "pg", "Order Completed", "web", "04T10:00:00", order_id="W-5", revenue="121.00")
    hook = said(2, "wh", "Order Completed", "server", "04T10:00:02", order_id="W-5", revenue="100.00")
    tables.store(*OrderCase(SHOP, [page, hook], {}, {}, []).resolved())

    assert [(person(2), "pg", "web", "wh", "server", 2)] == tables.rows(
        "SELECT toString(profile_id), event_id, source, amount_event_id, amount_source, reports FROM v_conversions"
    )


def test_a_goal_without_an_order_is_one_of_its_source_and_event(tables: Warehouse) -> None:
    signup = {**ordered("x", 1, DAY_ONE), "event": "Signed Up", "properties": {"revenue": "3.00", "currency": "EUR"}}
    tables.store(signup, signup)

    assert [("signup", ":shop::event of x", Decimal(3))] == tables.rows(
        "SELECT conversion_type, conversion_id, net_revenue FROM v_conversions"
    )


def test_an_order_of_five_hundred_lines_of_twenty_keys_is_stored_whole(tables: Warehouse) -> None:
    products = [
        {
            "product_id": f"p{line}",
            "price": "1.00",
            "quantity": 1,
            **{f"attribute_{key}": "a value" for key in range(17)},
        }
        for line in range(500)
    ]
    order = said(
        1, "b", "Order Completed", "server", "04T10:00:00", "api", order_id="B", revenue="500.00", products=products
    )
    case = OrderCase({}, [order], {}, {}, [])
    assert len(orjson.dumps(case.events[0][1])) > 150_000
    tables.store(*case.resolved())

    assert [(500, 500.0)] == tables.rows("SELECT count(), sum(revenue) FROM v_order_items")


def test_a_rebuild_reads_name_spaces_and_kinds_of_sources_from_history(tables: Warehouse) -> None:
    case = ORDER_CASES["a page and a webhook that share a name space report one order"]
    tables.store(*case.resolved())
    rebuilt = rebuild(person(1), read_events(tables.client, person(1))).document

    assert {"EUR": {"count": 1, "revenue": "50.00", "refunded": "0.00"}} == rebuilt["orders"]["sums"]
    assert ["de::W-1"] == list(rebuilt["orders"]["by_id"])
    assert {("W-1", "de")} == set(
        tables.rows("SELECT order_id, order_namespace FROM v_touchpoints WHERE order_namespace != ''")
    )

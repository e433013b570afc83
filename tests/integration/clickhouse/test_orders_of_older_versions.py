"""Orders that were stored before every report was kept: right after the migration, without a replay."""

from __future__ import annotations

import shutil
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.settings import Settings
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import migrate
from tests.support.databases import create_database
from tests.support.order_cases import ORDER_CASES, OrderCase
from tests.support.warehouse import person

pytestmark = pytest.mark.integration


def as_stored_before(event: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The rows that the version before wrote of an order event."""
    properties = event["properties"]
    order_id, counts = properties.get("order_id", ""), event["event"] == "Order Completed"
    person = {"anchor": event["anchor"], "profile_id": event["profile_id"], "identity_version": 0}
    shared = {name: event[name] for name in ("event_id", "channel", "source", "received_at")} | person
    worth = {"revenue": properties.get("revenue", properties.get("total", "0")), "currency": properties["currency"]}
    rows = [
        ("touchpoints", {
            **shared, **worth, "event": event["event"], "occurred_at": event["occurred_at"], "order_id": order_id,
            "conversion_id": order_id if counts else "", "properties": orjson.dumps(properties).decode(),
        })
    ]  # fmt: skip
    if counts:
        conversion = {"conversion_id": order_id, "conversion_type": "purchase", "converted_at": event["occurred_at"]}
        rows.append(("conversions", {**shared, **worth, **conversion}))
    return rows


def migrated_before(pattern: str, stack: Settings, copies: Path) -> Any:
    """A client of a database with the migrations before the one of that name."""
    client = connect(stack.clickhouse_url)
    folder = Path(str(files("sinks") / "migrations"))
    (first,) = folder.glob(pattern)
    for file in folder.glob("*.sql"):
        if file.name < first.name:
            shutil.copy(file, copies)
    create_database(stack.clickhouse_url, stack.clickhouse_database, copies)
    client.database = stack.clickhouse_database
    return client


@pytest.mark.parametrize(
    "name",
    [
        "page and webhook report one order with two amounts",
        "an update alone is an order",
        "a refund with tax takes off like from like",
        "no more is refunded than the order was worth",
        "a till's receipt alone is a sale",
        "an order claims the receipt that it names",
        "goods that come back alone are no purchase and lower the net revenue",
    ],
)
def test_what_is_stored_is_right_after_the_migration(name: str, stack: Settings, tmp_path: Path) -> None:
    case: OrderCase = ORDER_CASES[name]
    client = migrated_before("*_orders.sql", stack, tmp_path)
    for table, row in [row for event in case.resolved() for row in as_stored_before(event)]:
        client.command(f"INSERT INTO {table} FORMAT JSONEachRow {orjson.dumps(row).decode()}")
    migrate(client, stack.clickhouse_database)

    sold = client.query("SELECT conversion_id, net_revenue, converted_at FROM v_conversions ORDER BY 1").result_rows
    paid_back = client.query("SELECT sum(amount) FROM v_returns").first_row[0]
    alerts = client.query("SELECT * FROM v_reconciliation WHERE alert").result_rows
    client.close()

    # Which source is a page was not stored: two reports of the channel web are equally trusted, and the later counts.
    assert case.orders == [(number, f"{net:.2f}", f"{at:%Y-%m-%dT%H:%M:%S}.000Z") for number, net, at in sold]
    assert sum((Decimal(net) for _, net, _ in case.orders), -paid_back) == sum(
        (Decimal(amount) for amounts in case.net.values() for amount in amounts.values()), Decimal(0)
    )
    assert [] == alerts


def test_stored_orders_of_doubtful_time_start_nothing_after_the_migration(stack: Settings, tmp_path: Path) -> None:
    client = migrated_before("*_orders_of_doubtful_time.sql", stack, tmp_path)
    for number, doubtful in (("A", 1), ("B", 0)):
        stored = {
            "event_id": number, "source": "till", "channel": "store", "profile_id": person(1),
            "received_at": "2026-11-02T10:00:00.000Z", "currency": "EUR",
        }  # fmt: skip
        at = {"occurred_at": f"2026-11-0{2 - doubtful}T10:00:00.000Z"}
        rows: list[tuple[str, dict[str, Any]]] = [
            ("touchpoints", {
                **stored, **at, "event": "Order Completed", "time_doubtful": doubtful, "order_id": number,
            }),
            ("order_events", {
                **stored, **at, "kind": "order", "conversion_id": number, "order_id": number, "goals": ["purchase"],
                "amount": "5", "authority": 3,
            }),
        ]  # fmt: skip
        for table, row in rows:
            client.command(f"INSERT INTO {table} FORMAT JSONEachRow {orjson.dumps(row).decode()}")
    migrate(client, stack.clickhouse_database)

    found = client.query(
        "SELECT conversion_id, v.time_doubtful, is_first, reports FROM v_conversion_values AS v"
        " INNER JOIN v_conversions AS c USING (conversion_id) ORDER BY conversion_id"
    ).result_rows
    client.close()

    assert [("A", 1, 0, 1), ("B", 0, 1, 1)] == [tuple(row) for row in found]

"""No view has a NaN, an infinite number or an address: with a history and one event of today, and with that alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from sinks.clickhouse.predictions import store_ltv
from tests.integration.decisions.test_decision_views import decision, happening
from tests.integration.decisions.test_experiments import bought, drawn, store
from tests.integration.reporting.test_report_page import fill
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, person, resolved

pytestmark = pytest.mark.integration

PARAMETER = re.compile(r"\{(\w+):\s*\w")
DEFAULTS = {
    "start_ms": "0", "stop_ms": "4102444800000", "goal": "'purchase'", "dimension": "'channel'", "only": "[]",
    "without": "[]", "contacts": "'all'", "steps": "['Product Viewed', 'Order Completed']", "person": f"'{person(1)}'",
    "lookback_ms": "2592000000", "lookback_days": "30", "scope": "'all'", "milestone": "'sign_up'", "repeats": "'keep'",
    "window_ms": "604800000", "window_days": "7", "unit": "'month'", "by": "'channel'", "timezone": "'UTC'",
    "half_life_ms": "604800000", "half_life_days": "7", "groups": "3",
}  # fmt: skip
"""Of views with parameters, as a call has them."""
ADDRESSES = (
    "jane.doe@mail.example", "jane.doe%40mail.example", "+4915112345678", "+49 151 12345678", "030 12345678",
    "203.0.113.77", "2001:db8:1:2::9", "tok-0123456789", "Doe-Smith", "Hauptstr. 1",
)  # fmt: skip


def views(tables: Warehouse, *, with_floats: bool = False) -> Iterator[str]:
    """Yield all views of analysts as a query reads them: those with parameters are called."""
    known = tables.rows(
        """
        SELECT name, create_table_query FROM system.tables
        WHERE database = currentDatabase() AND engine = 'View' AND startsWith(name, 'v_')
            AND (NOT {with_floats:Bool} OR position(create_table_query, 'Float64') > 0)
        ORDER BY name
        """,
        with_floats=with_floats,
    )
    for name, text in known:
        parameters = sorted(set(PARAMETER.findall(text)))
        yield f"{name}({', '.join(f'{one} = {DEFAULTS[one]}' for one in parameters)})" if parameters else name


def numbers(value: Any) -> Iterator[float]:
    """Yield the floats of a value, within arrays, maps and tuples too."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        yield from numbers(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from numbers(one)


def faults(tables: Warehouse, names: Iterator[str]) -> list[str]:
    """Read views; return the views and columns that have a number which is none, and the addresses that views show."""
    found = []
    for view in names:
        answer = tables.client.query(f"SELECT * FROM {view}")
        for name, column in zip(answer.column_names, zip(*answer.result_rows, strict=True), strict=False):
            if not all(map(isfinite, numbers(column))):
                found.append(f"{view}: {name}")
        shown = str(answer.result_rows)
        found += [f"{view}: {address}" for address in ADDRESSES if address in shown]
    return found


def with_addresses() -> list[dict[str, Any]]:
    """Return events with addresses wherever producers put them."""
    mail, link, phone, spaced, local, network, network_6, token, name, street = ADDRESSES
    said = {"email": mail, "comment": f"Call {spaced} or {mail}.", "phone": local, "lastName": name, "street": street}
    where = {
        "ip": network, "traits": {"email": mail, "phone": phone}, "device": {"token": token},
        "page": {"url": f"https://shop.example/?email={link}&phone={phone}"},
    }  # fmt: skip
    known: dict[str, Any] = {"identifiers": [{"type": "email", "value": mail}, {"type": "phone", "value": phone}]}
    order = {"order_id": "o1", "revenue": "9.00", "currency": "EUR", "shipping_address": said}
    letter = {"message_id": "<m1@mail.example>", "to": mail}
    return [
        resolved("e1", 901, DAY_ONE, event="Lead Submitted", properties=said, context=where, **known),
        resolved("e2", 901, DAY_ONE, event="Order Completed", properties=order, context={"ip": network_6}, **known),
        resolved("e3", 901, DAY_ONE, event="Email Delivered", channel="email", properties=letter, **known),
    ]


def today(tables: Warehouse) -> None:
    tables.store(resolved("of today", 900, datetime.now(UTC), "Email"))


def test_with_a_history_and_one_event_of_today_every_number_is_finite_and_no_address_whole(tables: Warehouse) -> None:
    fill(tables)
    store(
        tables, drawn(1, 1, "plain"), drawn(2, 2, "coupon", share=0.5), decision(3, 1, run_id="r1"),
        decision(4, 3, "ghost", run_id="r3", holdout="journey"), happening(5, 1, "goal"),
        happening(6, 1, "segment_entered", segment="vip", sequence=1),
    )  # fmt: skip
    tables.store(bought(1, 1), bought(2, 1, "0.00", "for nothing"))
    today(tables)
    tables.store(*with_addresses())
    measures = dict.fromkeys(
        ("holdout_orders", "predicted_orders", "mean_absolute_error", "naive_absolute_error", "holdout_days"), 0
    )
    run = {
        "fitted_at": datetime.now(UTC), "model": "m", "observed_until": DAY_ONE.date(), "horizon_days": 90,
        "customers": 1, "parameters": {}, **measures,
    }  # fmt: skip
    store_ltv(tables.client, run, [(person(1), 0.0, 0.0, 80.0, 0.0)], [(1, 1, 0.0, 0, 0.0, 0.0)])
    for command in ("attribution refresh", "attribution fit --bootstrap 10"):
        printed = CliRunner().invoke(app, command.split())
        assert 0 == printed.exit_code, printed.output

    assert [] == faults(tables, views(tables))


def test_with_one_event_of_today_alone_every_number_is_finite(tables: Warehouse) -> None:
    today(tables)

    assert [] == faults(tables, views(tables, with_floats=True))

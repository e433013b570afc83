"""No view has a NaN or an infinite number: with a history and one event of today, and with that event alone."""

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


def not_finite(tables: Warehouse, names: Iterator[str]) -> list[str]:
    """Read views; return the views and columns that have a number which is none."""
    found = []
    for view in names:
        answer = tables.client.query(f"SELECT * FROM {view}")
        for name, column in zip(answer.column_names, zip(*answer.result_rows, strict=True), strict=False):
            if not all(map(isfinite, numbers(column))):
                found.append(f"{view}: {name}")
    return found


def today(tables: Warehouse) -> None:
    tables.store(resolved("of today", 900, datetime.now(UTC), "Email"))


def test_with_a_history_and_one_event_of_today_every_number_is_finite(tables: Warehouse) -> None:
    fill(tables)
    store(
        tables, drawn(1, 1, "plain"), drawn(2, 2, "coupon", share=0.5), decision(3, 1, run_id="r1"),
        decision(4, 3, "ghost", run_id="r3", holdout="journey"), happening(5, 1, "goal"),
        happening(6, 1, "segment_entered", segment="vip", sequence=1),
    )  # fmt: skip
    tables.store(bought(1, 1), bought(2, 1, "0.00", "for nothing"))
    today(tables)
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

    assert [] == not_finite(tables, views(tables))


def test_with_one_event_of_today_alone_every_number_is_finite(tables: Warehouse) -> None:
    today(tables)

    assert [] == not_finite(tables, views(tables, with_floats=True))

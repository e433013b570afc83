"""Tables of exchange rates and margins are read whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from deploy.operations.importers.money import read_margins, read_rates
from deploy.operations.importers.tables import TableError


def test_rates_are_read_with_eight_places() -> None:
    rows = read_rates(["date,currency,rate", "2026-09-01,usd,0.8571234561"])

    assert [{"date": date(2026, 9, 1), "currency": "USD", "rate": Decimal("0.85712346")}] == rows


def test_rates_of_a_central_bank_are_turned_around() -> None:
    (row,) = read_rates(["currency,date,rate", "USD,2026-09-01,1.25"], inverse=True)

    assert Decimal("0.8") == row["rate"]


def test_margins_are_read() -> None:
    rows = read_margins(["kind,key,margin", "category,Tables,0.35", "campaign,sale,-0.05"])

    assert [("category", "Tables", 0.35), ("campaign", "sale", -0.05)] == [
        (row["kind"], row["key"], row["margin"]) for row in rows
    ]


@pytest.mark.parametrize(
    ("read", "lines", "expected"),
    [
        pytest.param(read_rates, ["2026-09-01,USD,0"], "line 2, column rate: '0': expected a rate", id="zero"),
        pytest.param(read_rates, ["2026-09-01,USD,nan"], "line 2, column rate: 'nan'", id="not a number"),
        pytest.param(read_rates, ["1.9.26,USD,1"], "line 2, column date: '1.9.26'", id="date"),
        pytest.param(read_rates, ["2026-09-01,Dollar,1"], "expected an ISO 4217 code", id="currency"),
        pytest.param(
            read_rates,
            ["2026-09-01,USD,1", "2026-09-01,usd,2"],
            "line 3: the same date and currency as line 2",
            id="twice",
        ),
        pytest.param(read_margins, ["brand,Oak,0.5"], "expected product, category, campaign", id="kind"),
        pytest.param(read_margins, ["product,,0.5"], "line 2, column key: empty", id="no key"),
        pytest.param(read_margins, ["product,p-1,35"], "expected a share such as 0.35", id="percent"),
    ],
)
def test_the_first_mistake_is_named(read: Callable[[list[str]], Any], lines: list[str], expected: str) -> None:
    header = "date,currency,rate" if read is read_rates else "kind,key,margin"

    with pytest.raises(TableError) as caught:
        read([header, *lines])

    assert expected in str(caught.value)

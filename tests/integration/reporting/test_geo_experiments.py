"""`experiments geo` finds what a campaign brought in one country; `geo-plan` where to run the next one."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, ordered

pytestmark = pytest.mark.integration

DAYS, CAMPAIGN = 42, 14
START = DAY_ONE - timedelta(days=60)
PERIOD = (f"{START + timedelta(days=DAYS - CAMPAIGN):%Y-%m-%d}", f"{START + timedelta(days=DAYS - 1):%Y-%m-%d}")


def test_the_orders_of_a_campaign_in_one_country_are_found_and_no_others(tables: Warehouse) -> None:
    orders = []
    for day in range(DAYS):
        for country, revenue in (("DE", 100 + 10 * (day % 7)), ("AT", 20 + 2 * (day % 7)), ("CH", 50 + day % 5)):
            more = 40 if country == "DE" and day >= DAYS - CAMPAIGN else 0
            at = START + timedelta(days=day)
            order = ordered(f"{country}-{day}", None, at, f"{revenue + more}.00")
            order["properties"]["shipping_address"] = {"country": country}
            orders.append(order)
    tables.store(*orders, ordered("nowhere", None, START, "5000.00"))
    asked = ["--from", PERIOD[0], "--to", PERIOD[1], "--before", str(DAYS - CAMPAIGN)]

    found = CliRunner().invoke(app, ["experiments", "geo", "--area", "DE", *asked, "--spend", "280", "--json"])
    printed = CliRunner().invoke(app, ["experiments", "geo", "--area", "DE", *asked])
    unknown = CliRunner().invoke(app, ["experiments", "geo", "--area", "FR", *asked])
    to_come = CliRunner().invoke(app, ["experiments", "geo", "--area", "DE", "--from", PERIOD[0], "--to", "2999-01-01"])
    planned = CliRunner().invoke(
        app, ["experiments", "geo-plan", "--days", "7", "--before", "28", "--to", PERIOD[0], "--json"]
    )

    assert 0 == found.exit_code, found.output
    effect = json.loads(found.stdout)
    assert effect["incremental"] == pytest.approx(CAMPAIGN * 40, rel=0.02)
    assert [effect["low"], effect["high"]] == pytest.approx([CAMPAIGN * 40] * 2, rel=0.02)
    assert effect["return_on_spend"] == pytest.approx(2, rel=0.02)
    assert "AT" == next(iter(effect["weights"]))
    assert effect["significant"]
    assert "brought by it" in printed.stdout
    assert 1 == unknown.exit_code
    assert "FR: no such area; there are AT, CH, DE" in unknown.stderr
    assert 2 == to_come.exit_code
    assert "is not over yet" in to_come.stderr
    assert 0 == planned.exit_code, planned.output
    assert {"AT", "CH", "DE"} == {area for one in json.loads(planned.stdout) for area in one["areas"]}

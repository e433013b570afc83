"""A table of marketing spend: read exactly, or refused with line, column and rule."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from deploy.demo.simulator import Options, Simulation
from deploy.demo.simulator.advertising import SPEND_COLUMNS
from deploy.operations.importers.spend import read_spend
from deploy.operations.importers.tables import TableError
from schemas.markets import MarketDefinitions

HEADER = "date,channel,source,campaign,creative,spend,currency,impressions,clicks\n"
GOOD = "2026-09-01,Paid Search,google,brand,text-a,12.50,EUR,1000,7\n"


def spent(**fields: Any) -> dict[str, Any]:
    nothing = {"source": "", "campaign": "", "creative": "", "impressions": 0, "clicks": 0, "country": "", "market": ""}
    return {"date": date(2026, 9, 1), "currency": "EUR", **nothing, **fields}


def test_a_row_keeps_money_exact() -> None:
    where = {"channel": "Paid Search", "source": "google", "campaign": "brand", "creative": "text-a"}
    expected = spent(**where, spend=Decimal("12.50"), impressions=1000, clicks=7)
    assert [expected] == read_spend([HEADER, GOOD])


MARKETS = MarketDefinitions.model_validate(
    {
        "default": "others",
        "markets": {"others": {}, "dach": {"countries": ["DE", "AT"]}, "france": {"countries": ["FR"]}},
    }
)
BY_MARKET = "date,channel,spend,currency,country,market\n"
TV = "2026-09-01,TV,40,EUR,"


@pytest.mark.parametrize(
    ("stated", "place"),
    [("Austria,", ("AT", "")), (",DACH", ("", "dach")), ("de,dach", ("DE", "")), (",", ("", "")), ("US,", ("US", ""))],
)
def test_a_row_may_say_where_it_was_spent(stated: str, place: tuple[str, str]) -> None:
    (row,) = read_spend([BY_MARKET, TV + stated], MARKETS)

    assert place == (row["country"], row["market"])


@pytest.mark.parametrize(
    ("stated", "error"),
    [
        ("Atlantis,", "line 2, column country: expected a country of ISO 3166 such as FR"),
        (",benelux", "line 2, column market: expected a market of the table: others, dach, france"),
        ("FR,dach", "line 2, column market: FR is in france"),
    ],
)
def test_a_place_that_is_none_is_refused(stated: str, error: str) -> None:
    with pytest.raises(TableError, match=error):
        read_spend([BY_MARKET, TV + stated], MARKETS)


def test_spend_of_two_markets_is_two_rows() -> None:
    rows = read_spend([BY_MARKET, *(f"{TV}{place}\n" for place in ("DE,", "FR,", ","))], MARKETS)

    assert ["DE", "FR", ""] == [row["country"] for row in rows]


def test_what_is_not_known_may_be_left_out() -> None:
    expected = spent(channel="Offline Media", spend=Decimal(40))
    assert [expected] == read_spend(["spend,date,currency,channel\n", "40,2026-09-01,eur,Offline Media\n"])


def test_empty_lines_and_white_space_do_not_matter() -> None:
    assert read_spend([HEADER, GOOD]) == read_spend(["\ufeff" + HEADER, "\n", GOOD.replace(",", " , "), "\n"])


def test_a_creative_may_hold_commas_and_quotes() -> None:
    (row,) = read_spend([HEADER, '2026-09-01,Display,dv360,"a, b","the ""big"" one",1,EUR,0,0\n'])
    assert ("a, b", 'the "big" one') == (row["campaign"], row["creative"])


@pytest.mark.parametrize(
    ("was", "becomes", "error"),
    [
        pytest.param("2026-09-01", "01.09.2026", "line 2, column date: '01.09.2026': expected a date", id="date"),
        pytest.param(
            "2026-09-01", "2026-02-30", "line 2, column date: '2026-02-30': expected a date", id="no such day"
        ),
        pytest.param("12.50", "12;50", "line 2, column spend: '12;50': expected an amount", id="not a number"),
        pytest.param("12.50", "-1", "line 2, column spend: '-1': expected an amount", id="negative"),
        pytest.param("12.50", "NaN", "line 2, column spend: 'NaN': expected an amount", id="NaN"),
        pytest.param("12.50", "Infinity", "line 2, column spend: 'Infinity': expected an amount", id="infinite"),
        pytest.param("12.50", "0.00001", "line 2, column spend: '0.00001': expected an amount", id="too fine"),
        pytest.param("12.50", "1e12", "line 2, column spend: '1e12': expected an amount", id="too much"),
        pytest.param("12.50", "", "line 2, column spend: '': expected an amount", id="no amount"),
        pytest.param("EUR", "€", "line 2, column currency: '€': expected an ISO 4217 code", id="currency"),
        pytest.param("1000", "1.5", "line 2, column impressions: '1.5': expected a whole number", id="impressions"),
        pytest.param(",7", ",-7", "line 2, column clicks: '-7': expected a whole number", id="clicks"),
        pytest.param("Paid Search", "", "line 2, column channel: empty", id="channel"),
        pytest.param(",7", "", "line 2: 8 values, expected 9", id="value missing"),
    ],
)
def test_a_wrong_value_is_named_with_line_column_and_rule(was: str, becomes: str, error: str) -> None:
    with pytest.raises(TableError) as refused:
        read_spend([HEADER, GOOD.replace(was, becomes)])
    assert str(refused.value).startswith(error)


@pytest.mark.parametrize(
    ("header", "error"),
    [
        pytest.param("date,channel,spend\n", "line 1, column currency: missing", id="column missing"),
        pytest.param(HEADER.replace("clicks", "klicks"), "line 1, column klicks: unknown", id="column unknown"),
        pytest.param(HEADER.replace("clicks", "date"), "line 1, column date: there twice", id="column twice"),
    ],
)
def test_a_wrong_header_is_named(header: str, error: str) -> None:
    with pytest.raises(TableError) as refused:
        read_spend([header, GOOD])
    assert str(refused.value).startswith(error)


def test_two_rows_of_one_key_are_refused_since_one_would_replace_the_other() -> None:
    with pytest.raises(
        TableError, match="line 3: the same date, channel, source, campaign, creative, country, market as line 2"
    ):
        read_spend([HEADER, GOOD, GOOD.replace("12.50", "3")])


def test_an_unfinished_quote_is_not_csv() -> None:
    with pytest.raises(TableError, match="line 2: not CSV"):
        read_spend([HEADER, '2026-09-01,"Display\n'])


def test_the_simulated_ledger_can_be_imported() -> None:
    simulation = Simulation(Options(people=50, days=10))
    written = sum(1 for _ in simulation.lines())
    lines = [",".join(SPEND_COLUMNS), *(",".join(row) for row in simulation.spend())]
    assert written > 0
    assert len(lines) - 1 == len(read_spend(lines))

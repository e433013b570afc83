"""The table of markets: the file that ships, and the mistakes that the lint names with file, line and place."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.operations.definition_files import DefinitionError, load_markets
from deploy.settings import settings
from schemas.markets import MarketDefinitions
from tests.support.definition_places import without_columns


def lint(folder: Path, text: str) -> list[str]:
    """The errors of a file, without its folder."""
    file = folder / "markets.yaml"
    file.write_text(text, "utf-8")
    try:
        load_markets(settings().model_copy(update={"markets_file": file}))
    except DefinitionError as error:
        return str(error).replace(f"{folder}/", "").splitlines()
    return []


def test_the_shipped_table_is_valid() -> None:
    markets = load_markets(settings())

    assert ("france", "international") == (markets.market_of("MC"), markets.market_of("US"))
    assert markets.default in markets.markets


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        pytest.param(
            "default: europe\nmarkets:\n  benelux:\n    countries: [BE]\n",
            ["markets.yaml:1: default: 'europe' is none of markets: benelux"],
            id="the default is no market",
        ),
        pytest.param(
            "default: france\nmarkets:\n  france:\n    countries: [FR]\n  benelux:\n    countries: [BE, FR]\n",
            ["markets.yaml:6: markets.benelux.countries.1: FR is in france already: a country is in one market"],
            id="a country in two markets",
        ),
        pytest.param(
            "default: france\nmarkets:\n  france:\n    countries: [FR]\n  benelux: {}\n",
            ["markets.yaml:5: markets.benelux: has no countries, and is not the default market: countries: [FR, MC]"],
            id="a market without countries",
        ),
        pytest.param(
            "default: dach\nmarkets:\n  dach:\n    countries: [DE, AT]\n    stores: {basel: CH}\n",
            ["markets.yaml:5: markets.dach.stores.basel: CH is no country of dach, which has DE, AT"],
            id="a store in a country of no market",
        ),
        pytest.param(
            "default: uk\nmarkets:\n  uk:\n    countries: [UK]\n    currency: pounds\n    time_zone: London\n",
            [
                "markets.yaml:4: markets.uk.countries.0: 'UK' is no country of ISO 3166 with two capital letters,"
                " such as FR or GB",
                "markets.yaml:5: markets.uk.currency: should be a currency of three letters, such as EUR",
                "markets.yaml:6: markets.uk.time_zone: 'London' is no time zone such as Europe/Berlin or UTC",
            ],
            id="several mistakes are named at once",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, errors: list[str]) -> None:
    assert errors == [without_columns(error) for error in lint(tmp_path, text)]


def test_a_store_is_in_one_market() -> None:
    shared = {"countries": ["FR"], "stores": {"s-1": "FR"}}, {"countries": ["BE"], "stores": {"s-1": "BE"}}
    markets = MarketDefinitions.model_validate({"default": "a", "markets": dict(zip("ab", shared, strict=True))})

    assert [(("markets", "b", "stores", "s-1"), "s-1 is in a already: a store is in one market")] == list(
        markets.conflicts()
    )

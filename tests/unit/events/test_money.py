"""Money is exact, whatever way a producer writes it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic_core import PydanticCustomError

from schemas.money import EXPONENTS, from_minor, plain, revenue, to_money


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param("49.90", "49.90", id="text keeps its places"),
        pytest.param(49.9, "49.9", id="float is its shortest text"),
        pytest.param(1234567, "1234567", id="integer"),
        pytest.param("-12.5", "-12.5", id="negative"),
        pytest.param("007.50", "7.50", id="leading zeros"),
        pytest.param("0000000000000000001", "1", id="many leading zeros"),
        pytest.param("-0.00", "0.00", id="no negative zero"),
        pytest.param(-0.0, "0.0", id="no negative zero from a float"),
        pytest.param("49.9000000", "49.9000", id="zeros past the fourth place"),
        pytest.param("999999999999.9999", "999999999999.9999", id="largest"),
        pytest.param(Decimal("1E+3"), "1000", id="decimal with an exponent"),
        pytest.param(0.0001, "0.0001", id="smallest float"),
        pytest.param(123456789012.12, "123456789012.12", id="large float"),
    ],
)
def test_amounts_become_plain_decimal_text(sent: object, expected: str) -> None:
    assert expected == plain(to_money(sent))


@pytest.mark.parametrize(
    ("sent", "rule"),
    [
        pytest.param(0.1 + 0.2, "at most 4 decimal places", id="0.1 + 0.2"),
        pytest.param("1.00001", "at most 4 decimal places", id="five places"),
        pytest.param(1e-5, "at most 4 decimal places", id="small float"),
        pytest.param("1000000000000", "finite and smaller than 1000000000000", id="text too large"),
        pytest.param(10**12, "finite and smaller than 1000000000000", id="integer too large"),
        pytest.param(-1e12, "finite and smaller than 1000000000000", id="float too small"),
        pytest.param(float("nan"), "finite and smaller than 1000000000000", id="NaN"),
        pytest.param(float("inf"), "finite and smaller than 1000000000000", id="infinity"),
        pytest.param(Decimal("NaN"), "finite and smaller than 1000000000000", id="decimal NaN"),
        pytest.param("NaN", "plain decimal number", id="NaN as text"),
        pytest.param("1e3", "plain decimal number", id="exponent"),
        pytest.param("1,50", "plain decimal number", id="decimal comma"),
        pytest.param("€ 5", "plain decimal number", id="currency sign"),
        pytest.param(" 5", "plain decimal number", id="blank"),
        pytest.param("", "plain decimal number", id="empty"),
        pytest.param("+5", "plain decimal number", id="plus sign"),
        pytest.param("٥", "plain decimal number", id="other digits"),
        pytest.param("5.", "plain decimal number", id="no places"),
        pytest.param("9" * 5000, "plain decimal number", id="thousands of digits"),
        pytest.param(True, "an amount of money", id="boolean"),
        pytest.param({"amount": 5}, "an amount of money", id="object"),
    ],
)
def test_what_is_no_amount_is_refused_with_the_rule(sent: object, rule: str) -> None:
    with pytest.raises(PydanticCustomError, match=rule):
        to_money(sent)


@pytest.mark.parametrize(
    ("minor", "currency", "expected"),
    [
        (4990, "EUR", "49.90"),
        (4990, "JPY", "4990"),
        (4990, "KWD", "4.990"),
        (4990, "CLF", "0.4990"),
        (4990, "ZZZ", "49.90"),
        (-5, "USD", "-0.05"),
        (0, "USD", "0.00"),
    ],
)
def test_minor_units_follow_the_currency(minor: int, currency: str, expected: str) -> None:
    assert expected == plain(from_minor(minor, currency))


@pytest.mark.parametrize("minor", [49.9, "4990", True, None, 10**14], ids=repr)
def test_minor_units_are_whole_numbers_of_a_usual_size(minor: object) -> None:
    with pytest.raises(PydanticCustomError):
        from_minor(minor, "EUR")


def test_only_currencies_that_differ_from_two_places_are_listed() -> None:
    assert {0, 3, 4} == set(EXPONENTS.values())


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        pytest.param({"revenue": "10.00", "total": "12.50"}, Decimal("10.00"), id="revenue first"),
        pytest.param({"total": "12.50"}, Decimal("12.50"), id="else the total"),
        pytest.param({"revenue": "0", "total": "12.50"}, Decimal(0), id="nothing is an amount too"),
        pytest.param({"total": "17 of 20"}, None, id="a custom event's total may be anything"),
        pytest.param({"total": [1]}, None, id="a list is no amount"),
        pytest.param({}, None, id="neither"),
        pytest.param(None, None, id="no properties"),
    ],
)
def test_revenue_is_revenue_else_total(properties: dict[str, object] | None, expected: Decimal | None) -> None:
    assert expected == revenue(properties)

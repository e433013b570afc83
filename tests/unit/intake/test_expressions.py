"""Expressions of mappings: the functions beside JMESPath's, the bounds, and errors of definitions."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.intake.expressions import MAX_EXPRESSION_CHARS, Expression, ExpressionError


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("lower(a)", {"a": "Ada@Shop.Example"}, "ada@shop.example"),
        ("upper(a)", {"a": "eur"}, "EUR"),
        ("trim(a)", {"a": " x\n"}, "x"),
        ("lower(a)", {}, None),
        ("split(a, ', ')", {"a": "vip, new"}, ["vip", "new"]),
        ("split(a, ',')", {"a": None}, None),
        ("replace(a, 'whatsapp:', '')", {"a": "whatsapp:+15551234567"}, "+15551234567"),
        ("before(a, '.')", {"a": "14c5d75ce93.dfd.64b469"}, "14c5d75ce93"),
        ("before(a, '.')", {"a": "whole"}, "whole"),
        ("after(a, ':')", {"a": "key:a:b"}, "a:b"),
        ("after(a, ':')", {"a": "none"}, None),
        ("items(a)[0]", {"a": {"k": 1}}, ["k", 1]),
        ("parse_json(a).b", {"a": '{"b": [1]}'}, [1]),
        ("add(a, `0.1`, '0.2')", {"a": None}, "0.3"),
        ("add(a, b)", {}, None),
        ("total(lines[].tax)", {"lines": [{"tax": "0.10"}, {"tax": 0.2}, {"tax": None}, {}]}, "0.30"),
        ("total(lines[].tax)", {"lines": []}, None),
        ("total(lines[].tax)", {}, None),
        ("subtract(total, tax, shipping)", {"total": "254.98", "tax": 16.99}, "237.99"),
        ("subtract(total, tax)", {"tax": "1"}, None),
        ("multiply(price, quantity)", {"price": "19.99", "quantity": 3}, "59.97"),
        ("divide('10', a)", {"a": 3}, "3.3333"),
        ("divide('10', a)", {"a": 0}, None),
        ("sha256(a)", {"a": "abc"}, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("join(':', ['order', to_string(id)])", {"id": 450789469}, "order:450789469"),
        ('_headers."x-shopify-topic"', {"_headers": {"x-shopify-topic": "orders/create"}}, "orders/create"),
    ],
)  # fmt: skip
def test_an_expression_gives(text: str, value: Any, expected: Any) -> None:
    assert expected == Expression(text)(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.", "'a.' is no JMESPath at character 3: a path is a.b, a text 'so', a number `5`, "
         'a name with a hyphen "a-b"'),
        ("", "'' is no JMESPath"),
        ("x-shopify-topic == 'a'", "is no JMESPath at character 2"),
        ("lowr(a)", "there is no function lowr(); did you mean lower()?"),
        ("a[?sqrt(b)]", "there is no function sqrt()"),
        ("lower(a, b)", "lower() takes 1 arguments, and has 2"),
        ("subtract(a)", "subtract() takes at least 2 arguments, and has 1"),
        ("a" * (MAX_EXPRESSION_CHARS + 1), "should have at most 2,000 characters"),
        (f"{'!' * 60}a", "nested at most 40 levels deep"),
        (f"[{','.join('a' * 400)}]", "has 401 parts: an expression should have at most 300"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_expression_is_an_error_that_says_what_is_right(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as error:
        Expression(text)

    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("text", "value", "problem"),
    [
        ("lower(a)", {"a": 5}, "lower() takes string, null, and is given number"),
        ("a > b", {"a": 1, "b": "c"}, "types that do not fit together"),
        ("parse_json(a)", {"a": "{"}, "is given a text that is no JSON"),
        ("add(a)", {"a": "12,50"}, "no decimal number"),
        ("multiply(a, a)", {"a": "9" * 99}, "too large or too exact"),
        ("add(a)", {"a": "1e-999999"}, "too large or too exact"),
        ("|".join(["[@, @][]"] * 30), 1, "a list of more than 50,000 elements"),
        ("|".join(["join('', [@, @])"] * 30), "aa", "a text of more than 1,000,000 characters"),
        ("[].[a, b, c][]|[].[@, @][]", [[{}] * 50_000] * 1, "more than"),
        ("[*].a[*].b[*].c", [{"a": [{"b": [{"c": 1}] * 100}] * 100}] * 100, "it takes more than 500,000 steps"),
    ],
)
def test_what_cannot_be_evaluated_says_why_and_shows_no_value(text: str, value: Any, problem: str) -> None:
    with pytest.raises(ExpressionError) as error:
        Expression(text)(value)

    assert problem in str(error.value)


def test_the_names_that_an_expression_reads_are_known() -> None:
    expression = Expression("_headers.\"x-topic\" == 'a' && lines[?price > `5`].id && _query.shop")

    assert {("_headers", "x-topic"), ("lines",), ("price",), ("id",), ("_query", "shop")} == expression.fields


@pytest.mark.parametrize(
    ("value", "expected"), [(None, False), ("", False), ([], False), (False, False), (0, True), ("no", True)]
)
def test_a_condition_holds_as_jmespath_says(value: Any, expected: bool) -> None:
    assert expected is Expression("a").holds({"a": value})

"""Conditions of YAML files: which are valid, and the texts of errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.operations.definition_files import DefinitionError, load
from schemas.segments.conditions import Condition, given_comparisons
from schemas.segments.definitions import SegmentDefinitions
from tests.support.definition_places import without_columns

SEGMENT = """\
segments:
  - name: test
    description: A test.
    when:
      all:
        - {good}
        - {tested}
"""


def loaded(text: str, tmp_path: Path) -> SegmentDefinitions:
    path = tmp_path / "test.yaml"
    path.write_text(text, "utf-8")
    return load(path, SegmentDefinitions)


INVALID = {
    "a misspelt operator": (
        "{performd: Order Completed}",
        "7: segments.0.when.all.1: should have exactly one of all, any, not, ",
    ),
    "two operators": (
        "{performed: Order Completed, segment: vip}",
        "7: segments.0.when.all.1: should have exactly one of all, any, not, ",
    ),
    "a key of another operator": (
        "{segment: vip, within: 7d}",
        "7: segments.0.when.all.1: `within` does not go with `segment`, which takes nothing else",
    ),
    "a number for a duration": (
        "{performed: Order Completed, within: 7}",
        "7: segments.0.when.all.1.within: should be a duration such as 30m, 12h, 7d or 2w",
    ),
    "a duration in words": (
        "{performed: Order Completed, within: a week}",
        "7: segments.0.when.all.1.within: should be a duration such as 30m, 12h, 7d or 2w",
    ),
    "a misspelt attribute": (
        "{attribute: orders.cuont, gte: 3}",
        "7: segments.0.when.all.1: there is no attribute 'orders.cuont': did you mean orders.count?",
    ),
    "a comparison that does not fit": (
        "{attribute: orders.count, within: 7d}",
        "7: segments.0.when.all.1: `within` does not go with orders.count, a number: use eq, ne, in, ",
    ),
    "an attribute without a comparison": (
        "{attribute: orders.count}",
        "7: segments.0.when.all.1: say what orders.count should be: eq, ne, in, ",
    ),
    "a channel that sends nothing": (
        "{can_reach: emial}",
        "7: segments.0.when.all.1: no messages are sent on 'emial': did you mean email?",
    ),
    "a filter on now": (
        "{performed: Order Completed, where: {properties.at: {within: 7d}}}",
        "7: segments.0.when.all.1.where.properties.at: `within` compares with now, but a filter is about one event",
    ),
    "a path that is none": (
        "{performed: Order Completed, where: {price: 3}}",
        "7: segments.0.when.all.1.where.price",
    ),
    "an aggregate of nothing": (
        "{aggregate: sum, event: Order Completed, gte: 3}",
        "7: segments.0.when.all.1: say what to take the sum `of`, such as properties.price",
    ),
    "an empty list": ("{all: []}", "7: segments.0.when.all.1.all: "),
    "exactly and at least": (
        "{performed: Order Completed, exactly: 2, at_least: 1}",
        "7: segments.0.when.all.1: `exactly` does not go with `at_least` and `at_most`",
    ),
    "a list of products that is none": (
        "{product: basket, in_stock: true}",
        "7: segments.0.when.all.1: there is no list of products 'basket': use viewed, cart, wishlist",
    ),
    "a product of which nothing is said": (
        "{product: cart, within: 7d}",
        "7: segments.0.when.all.1: say what the product should be, such as `in_stock: true` or `cheaper: true`",
    ),
    "not cheaper, by ten percent": (
        "{product: viewed, cheaper: false, cheaper_by: 10}",
        "7: segments.0.when.all.1: `cheaper: false` does not go with `cheaper_by`",
    ),
    "a price without its currency": (
        "{product: viewed, price_below: 20}",
        "7: segments.0.when.all.1: a price needs its currency, such as `price_below: 20` with `currency: EUR`",
    ),
    "a currency without a price": (
        "{product: viewed, in_stock: true, currency: EUR}",
        "7: segments.0.when.all.1: a price needs its currency, such as `price_below: 20` with `currency: EUR`",
    ),
    "a price between nothing": (
        "{product: viewed, price_from: 20, price_below: 20, currency: EUR}",
        "7: segments.0.when.all.1: `price_from` should be below `price_below`",
    ),
    "a price for nothing": (
        "{product: viewed, price_below: 0, currency: EUR}",
        "7: segments.0.when.all.1.price_below: ",
    ),
    "cheaper by all of it": ("{product: viewed, cheaper_by: 100}", "7: segments.0.when.all.1.cheaper_by: "),
    "a price in no currency": (
        "{product: viewed, lt: 50}",
        "7: segments.0.when.all.1: `lt` does not go with `product`, which takes within, in_stock, cheaper, cheaper_by,"
        " price_below, price_from, currency",
    ),
    "a text where a condition should be": (
        "vip",
        "7: segments.0.when.all.1: should be a condition, such as `performed: Order Completed`",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("written", "message"), INVALID.values(), ids=INVALID)
def test_an_error_names_file_line_path_and_what_was_expected(written: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError) as raised:
        loaded(SEGMENT.format(good="{segment: vip}", tested=written), tmp_path)

    expected = f"{tmp_path / 'test.yaml'}:{message}"

    assert without_columns(str(raised.value)).startswith(expected)
    assert "\n" not in str(raised.value)


VALID: dict[str, dict[str, Any]] = {
    "a date": {"attribute": "orders.last", "after": "2026-11-01"},
    "a time": {"attribute": "orders.last", "before": "2026-11-01T08:00:00+01:00"},
    "a list for one of": {"performed": "Order Completed", "where": {"channel": ["web", "app"]}},
    "an event with a dot in its name": {"attribute": "events.Shop 2.0 Opened.count", "gte": 1},
    "a part of a trait": {"attribute": "traits.address.city", "eq": "Lyon"},
    "any channel": {"can_reach": ["email", "sms"]},
    "a product in the cart that is sold out": {"product": "cart", "in_stock": False},
    "a watched product that is cheaper": {"product": ["viewed", "wishlist"], "cheaper_by": 12.5, "within": "30d"},
    "a product of a price": {"product": "cart", "price_from": 5, "price_below": 19.99, "currency": "eur"},
    "a refusal": {"consent": "channels.email", "granted": False},
}


@pytest.mark.parametrize("written", VALID.values(), ids=VALID)
def test_a_condition_is_valid(written: dict[str, Any]) -> None:
    condition = Condition.model_validate(written)

    assert next(iter(written)) == condition.operator


def test_a_plain_value_stands_for_equal_and_a_list_for_one_of() -> None:
    condition = Condition.model_validate(
        {"performed": "Order Completed", "where": {"channel": "web", "properties.coupon": ["A", "B"]}}
    )

    assert {"channel": {"eq": "web"}, "properties.coupon": {"in": ("A", "B")}} == {
        path: given_comparisons(comparison) for path, comparison in condition.where.items()
    }


def _defined(**segments: dict[str, Any]) -> list[tuple[str, str]]:
    return SegmentDefinitions.model_validate(
        {"segments": [{"name": name, "description": "-", "when": when} for name, when in segments.items()]}
    ).problems()


def test_a_segment_that_is_defined_by_itself_is_an_error() -> None:
    problems = _defined(a={"segment": "b"}, b={"not": {"segment": "c"}}, c={"all": [{"segment": "a"}]})

    assert ("a", "is defined by itself: a → b → c → a") == problems[0]
    assert {"a", "b", "c"} == {name for name, _ in problems}


def test_an_unknown_segment_and_an_unknown_computed_trait_are_named() -> None:
    problems = _defined(a={"any": [{"segment": "nobody"}, {"attribute": "computed.nothing", "gte": 1}]})

    assert [
        ("a", "there is no segment 'nobody' (known: a)"),
        ("a", "there is no computed trait 'nothing' (known: none)"),
    ] == problems


def test_a_channel_without_addresses_is_named_unless_the_policy_has_it() -> None:
    definitions = SegmentDefinitions.model_validate(
        {"segments": [{"name": "a", "description": "-", "when": {"can_reach": ["email", "viber"]}}]}
    )

    [(name, problem)] = definitions.problems()
    assert "a" == name
    assert problem.startswith("no messages are sent on 'viber': use email, sms, ")
    assert [] == definitions.problems(["email", "viber"])


def test_two_segments_of_one_name_are_an_error() -> None:
    one = {"name": "a", "description": "-", "when": {"stage": "new"}}

    assert [("a", "the name is taken")] == SegmentDefinitions.model_validate({"segments": [one, one]}).problems()

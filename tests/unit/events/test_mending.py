"""What breaks a rule but has one meaning is mended and noted; what could mean two things stays an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from processors.intake.decode import decode
from schemas.events.mending import MAX_NOTES
from schemas.events.touchpoint import EVENT_NAMES, read, read_exact
from schemas.outcomes import Reject
from schemas.time import parse_time, text_of_time
from tests.support.builders import touchpoint


def sale(**properties: Any) -> dict[str, Any]:
    return touchpoint("Order Completed", properties={"order_id": "o", "currency": "EUR", **properties})


def notes(event: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(note["field"], note["rule"], note["count"]) for note in event.get("context", {}).get("mended", ())]


def refused_types(event: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        read(event)
    return [(".".join(map(str, error["loc"])), error["type"]) for error in caught.value.errors()]


def read_json(event: Any) -> Any:
    """What the stage `identify` makes of an event that a producer writes with escapes."""
    return decode(json.dumps(event).encode(), channels=frozenset({"web"}), max_bytes=65_536)


def test_an_order_whose_amounts_are_sums_of_floats_is_stored_with_the_decimals_that_were_meant() -> None:
    product = {"product_id": "P-1", "price": 19.990000000000002, "quantity": 3}
    event = read(sale(revenue=59.97000000000001, tax=11.394300000000001, products=[product, product]))

    assert ("59.97", "11.3943") == (event["properties"]["revenue"], event["properties"]["tax"])
    assert ["19.99", "19.99"] == [line["price"] for line in event["properties"]["products"]]
    assert {
        ("properties.revenue", "float_sum", 1),
        ("properties.tax", "float_sum", 1),
        ("properties.products.price", "float_sum", 2),
    } == set(notes(event))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (836.9999999999998, "837"),
        (0.1 + 0.2, "0.3"),
        (183.60000000000002, "183.6"),
        (5.989999999999995, "5.99"),
        (-49.900000000000006, "-49.9"),
        (99.99999999999999, "100"),
        (1234567.8900000001, "1234567.89"),
        (0.1 + 0.2 - 0.3, "0"),
        (-(0.1 + 0.2 - 0.3), "0"),
    ],
)
@pytest.mark.parametrize(("name", "field"), [("Order Refunded", "total"), ("Cart Viewed", "value"), ("Own", "revenue")])
def test_the_noise_of_binary_sums_is_no_amount(name: str, field: str, sent: float, expected: str) -> None:
    event = read(touchpoint(name, properties={"order_id": "o", field: sent}))

    assert expected == event["properties"][field]
    assert [(f"properties.{field}", "float_sum", 1)] == notes(event)


@pytest.mark.parametrize("sent", [9.98765, "59.97000000000001", "836.9999999999998", 1e-5, 0.00015, 1e13, 1.00001])
def test_an_amount_with_five_places_of_its_own_or_written_as_text_is_refused(sent: object) -> None:
    assert [("properties.revenue", "money")] == refused_types(sale(revenue=sent))


@pytest.mark.parametrize(
    ("currency", "sent", "expected"),
    [
        ("JPY", "49.99", "50"), ("JPY", 49.99, "50"), ("jpy", 4999.5, "5000"), ("KRW", "-0.4", "0"), ("CLP", 2.5, "2"),
        ("VND", "-1250.75", "-1251"),
    ],
)  # fmt: skip
def test_nobody_pays_part_of_a_coin_that_a_currency_has_not(currency: str, sent: object, expected: str) -> None:
    lines = [{"product_id": "screw", "price": "0.25", "quantity": 400}]
    event = read(sale(currency=currency, revenue=sent, shipping=sent, products=lines))

    assert [expected] * 2 == [event["properties"][name] for name in ("revenue", "shipping")]
    assert "0.25" == event["properties"]["products"][0]["price"]
    assert {(f"properties.{name}", "whole_currency", 1) for name in ("revenue", "shipping")} == set(notes(event))
    assert event == read(event)


@pytest.mark.parametrize(
    ("currency", "sent", "expected"),
    [
        ("JPY", "4999", "4999"), ("JPY", "4999.00", "4999.00"), ("JPY", 4999.0, "4999.0"),
        ("EUR", "11.3943", "11.3943"),
        ("KWD", "1.234", "1.234"), ("USD", 0.0625, "0.0625"), ("XXX", "0.5", "0.5"),
    ],
)  # fmt: skip
def test_other_amounts_are_kept_as_they_are(currency: str, sent: object, expected: str) -> None:
    event = read(sale(currency=currency, revenue=sent))

    assert (expected, []) == (event["properties"]["revenue"], notes(event))


@pytest.mark.parametrize(("sent", "expected"), [(19.989999999999998, "20"), (59.000000000000007, "59")])
def test_a_sum_of_floats_is_read_before_it_is_rounded(sent: float, expected: str) -> None:
    assert expected == read(sale(currency="JPY", revenue=sent))["properties"]["revenue"]


@pytest.mark.parametrize(("sent", "expected"), [("     12.00", "12.00"), ("12.00 \r\n", "12.00"), ("\t-0.50", "-0.50")])
def test_a_number_in_a_field_of_fixed_width_is_that_number(sent: str, expected: str) -> None:
    event = read(sale(revenue=sent, products=[{"product_id": "p", "quantity": "  3 "}]))

    assert (expected, 3) == (event["properties"]["revenue"], event["properties"]["products"][0]["quantity"])
    assert [("properties.revenue", "blanks", 1)] == notes(event)


@pytest.mark.parametrize("sent", ["12 00", "1 2", "- 5", "12.00 EUR", "+5", "1,5"])
def test_blanks_and_signs_within_a_number_are_not_guessed(sent: str) -> None:
    assert [("properties.revenue", "money")] == refused_types(sale(revenue=sent))


@pytest.mark.parametrize("sent", [5.5, 4990.0000000001, "٤٩٩٠"])
def test_minor_units_are_never_mended(sent: object) -> None:
    with pytest.raises(ValidationError):
        read(sale(revenue_minor=sent))


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        pytest.param({"properties": {"revenue": "١٢٫٥٠"}}, "properties.revenue", "12.50", id="Arabic amount"),
        pytest.param({"properties": {"revenue": "１２"}}, "properties.revenue", "12", id="fullwidth amount"),
        pytest.param({"properties": {"step": "३"}}, "properties.step", 3, id="Devanagari integer"),
        pytest.param(
            {"occurred_at": "٢٠٢٦-١١-٢٢T٠٩:٥٨:٠٠.٠٠٠Z"}, "occurred_at", "2026-11-22T09:58:00.000Z", id="Arabic time"
        ),
        pytest.param(
            {"occurred_at": "۲۰۲۶-۱۱-۲۲T۰۹:۵۸:۰۰+03:30"}, "occurred_at", "2026-11-22T06:28:00.000Z", id="Persian time"
        ),
    ],
)
def test_decimal_digits_of_any_script_are_digits(fields: dict[str, Any], field: str, expected: object) -> None:
    event = read(touchpoint("Checkout Step Viewed", **fields))
    found: Any = event
    for step in field.split("."):
        found = found[step]

    assert (expected, [(field, "digits", 1)]) == (found, notes(event))


@pytest.mark.parametrize("sent", ["²0", "Ⅻ", "一二", "1٫5٫0", "١٢,٥", "½"])
def test_other_signs_for_numbers_are_refused(sent: str) -> None:
    assert [("properties.revenue", "money")] == refused_types(sale(revenue=sent))


@pytest.mark.parametrize("sent", ["二〇二六-11-22T09:58:00Z", "٢٠٢٦-١١-٢٢T٢٥:٥٨:٠٠Z", "٢٠٢٦-١١-٢٢"])
def test_a_time_in_any_digits_that_is_no_time_is_refused(sent: str) -> None:
    assert [("occurred_at", "time")] == refused_types(touchpoint(occurred_at=sent))


def test_the_times_of_sdk_calls_may_be_in_any_digits() -> None:
    assert "2026-11-22T09:58:00.000Z" == text_of_time(parse_time("٢٠٢٦-١١-٢٢T٠٩:٥٨:٠٠.٠٠٠Z"))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (sale(order_id=632910392.0), "632910392"),
        (sale(order_id=-7.0), "-7"),
        (sale(order_id=2.0**53 - 1), "9007199254740991"),
    ],
)
def test_a_whole_number_as_a_double_is_an_id(event: dict[str, Any], expected: str) -> None:
    written = read(event)

    assert expected == written["properties"]["order_id"]
    assert [("properties.order_id", "whole_number", 1)] == notes(written)


@pytest.mark.parametrize("sent", [632910392.5, 2.0**53, 1e300, True, "x" * 201, ["o"]])
def test_what_is_no_whole_number_is_no_id(sent: object) -> None:
    assert [("properties.order_id", "text")] == refused_types(sale(order_id=sent))


def test_identifiers_may_be_whole_numbers_as_doubles_in_both_ways_to_write_them() -> None:
    short = read(touchpoint(identifiers={"user_id": 7.0, "card": [8.0, "9", 10]}))
    long = read(touchpoint(identifiers=[{"type": "user_id", "value": 7.0}]))

    assert ["7", "8", "9", "10"] == [one["value"] for one in short["identifiers"]]
    assert ["7"] == [one["value"] for one in long["identifiers"]]
    assert [("identifiers.user_id", "whole_number", 1), ("identifiers.card", "whole_number", 1)] == notes(short)


@pytest.mark.parametrize("value", [7.5, [7.0, 7.5], True, 2.0**60])
def test_a_fraction_identifies_nobody(value: object) -> None:
    assert [("identifiers", "identifier")] == refused_types(touchpoint(identifiers={"user_id": value}))


@pytest.mark.parametrize(
    ("properties", "kept"),
    [
        pytest.param({"currency": ""}, {}, id="currency"),
        pytest.param({"currency": " "}, {}, id="blank currency"),
        pytest.param({"discount": "", "coupon": ""}, {"coupon": ""}, id="amount"),
        pytest.param({"products": ""}, {}, id="products"),
        pytest.param({"products": [{"sku": "a", "price": "", "position": ""}]}, {"sku": "a"}, id="in a product"),
        pytest.param({"tax_minor": "", "currency": "EUR"}, {"currency": "EUR"}, id="minor units"),
    ],
)
def test_an_empty_text_where_no_text_can_stand_is_not_given(properties: dict[str, Any], kept: dict[str, Any]) -> None:
    written = read(touchpoint("Order Completed", properties={"order_id": "o", **properties}))
    found = written["properties"]

    assert (
        {"quantity": 1, **kept} == found["products"][0] if found.get("products") else {"order_id": "o", **kept} == found
    )
    assert {"empty"} == {rule for _, rule, _ in notes(written)}


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"properties": []}, "properties"),
        ({"traits": []}, "traits"),
        ({"campaign": []}, "campaign"),
        ({"context": {"device": []}}, "context.device"),
    ],
)
def test_an_empty_list_where_an_object_belongs_is_not_given(part: dict[str, Any], field: str) -> None:
    written = read(touchpoint("Seen", **part))

    assert [(field, "empty", 1)] == notes(written)


@pytest.mark.parametrize("part", [{"properties": ["a"]}, {"traits": [[]]}, {"context": [0]}, {"consent": []}])
def test_a_list_of_something_is_no_object(part: dict[str, Any]) -> None:
    assert ["dict_type"] == [kind for _, kind in refused_types(touchpoint("Seen", **part))]


@pytest.mark.parametrize(
    ("event", "error"),
    [
        pytest.param(sale(order_id=""), ("properties.order_id", "text"), id="order_id"),
        pytest.param(touchpoint(event_id=""), ("event_id", "string_too_short"), id="event_id"),
        pytest.param(touchpoint(event=" "), ("event", "string_pattern_mismatch"), id="event"),
        pytest.param(touchpoint(occurred_at=""), ("occurred_at", "time"), id="occurred_at"),
        pytest.param(touchpoint(userId=""), ("userId", "extra_forbidden"), id="unknown field"),
        pytest.param(touchpoint(consent={"marketing": ""}), ("consent.marketing", "bool_type"), id="an answer"),
        pytest.param(
            sale(currency="", revenue_minor=5), ("properties", "missing_currency"), id="minor units of nothing"
        ),
        pytest.param(
            touchpoint("Price Changed", properties={"product_id": "p", "price": ""}),
            ("properties.price", "missing"),
            id="an amount that the event needs",
        ),
    ],
)
def test_an_empty_text_where_something_must_be_is_refused(event: dict[str, Any], error: tuple[str, str]) -> None:
    assert [error] == refused_types(event)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"identifiers": [{"type": "user_id", "value": None}]}, id="identifier's value"),
        pytest.param({"identifiers": [None]}, id="identifier"),
        pytest.param({"identifiers": [{"type": None, "value": None}]}, id="all of an identifier"),
        pytest.param({"identifiers": [], "consent": {"channels": {"email": None}}}, id="an answer"),
        pytest.param({"identifiers": [], "properties": {"products": [None]}}, id="a product"),
    ],
)
def test_null_is_not_given_anywhere(fields: dict[str, Any]) -> None:
    written = read(touchpoint("Cart Viewed", **fields))

    assert ([], []) == (written["identifiers"], notes(written))
    assert not written.get("consent", {}).get("channels")
    assert not written.get("properties", {}).get("products")


def test_a_null_among_identifiers_costs_no_other_one() -> None:
    listed = [{"type": "user_id", "value": None}, {"type": "email", "value": "a@b.example", "verified": None}, None]

    assert ["a@b.example"] == [one["value"] for one in read(touchpoint(identifiers=listed))["identifiers"]]


def test_an_identifier_without_a_value_or_a_type_is_refused() -> None:
    assert [("identifiers.0.value", "missing")] == refused_types(touchpoint(identifiers=[{"type": "email"}]))
    assert [("identifiers.0.type", "missing")] == refused_types(touchpoint(identifiers=[{"type": None, "value": "x"}]))


def test_nul_and_half_surrogate_pairs_are_taken_out_of_free_text() -> None:
    event = sale(affiliation="Shop\0\0", note=["a\0b", {"deep": "c\0"}], currency="EUR\0", store_id="S-4\0\0")
    written = read_json({**event, "traits": {"first_name": "ADA\0\0\0", "last_name": "Love\ud83d", "nick": "\\u0000"}})
    properties = written["properties"]

    assert ("Shop", ["a\ufffdb", {"deep": "c"}]) == (properties["affiliation"], properties["note"])
    assert ("EUR", "S-4") == (properties["currency"], properties["store_id"])
    assert {"first_name": "ADA", "last_name": "Love\ufffd", "nick": "\\u0000"} == written["traits"]
    assert ("traits.last_name", "surrogate", 1) in notes(written)
    assert ("traits.first_name", "nul", 1) in notes(written)


def test_a_text_of_nothing_but_nul_is_an_empty_one() -> None:
    assert {"order_id": "o", "affiliation": ""} == read(sale(currency="\0\0\0", affiliation="\0"))["properties"]


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(touchpoint(event_id="a\0"), id="event_id"),
        pytest.param(touchpoint(source="shop\0"), id="source"),
        pytest.param(touchpoint(identifiers={"user_id": "u\0"}), id="identifier"),
        pytest.param(touchpoint(identifiers=[{"type": "email", "value": "a\0@b.example"}]), id="identifier in a list"),
        pytest.param(touchpoint(identifiers={"user_id": "u\ud83d"}), id="half a pair in an identifier"),
        pytest.param(touchpoint(traits={"email": "ann@shop.example\0"}), id="address among the traits"),
        pytest.param(sale(order_id="a\0b"), id="within an id"),
        pytest.param(sale(order_id="a\ud83d"), id="half a pair in an id"),
        pytest.param(sale(**{"a\0": 1}), id="key"),
    ],
)
def test_what_names_a_person_or_a_thing_is_never_changed(event: dict[str, Any]) -> None:
    assert isinstance(read_json(event), Reject)
    assert ["bounds"] == [kind for _, kind in refused_types(event)]


def test_whole_pairs_and_replacement_characters_are_no_mistakes() -> None:
    written = read_json(sale(note="\U0001f600 \ufffd"))

    assert ("\U0001f600 \ufffd", []) == (written["properties"]["note"], notes(written))


def test_several_kinds_are_mended_in_one_event_and_its_other_errors_stay() -> None:
    several = sale(revenue=0.1 + 0.2, currency="", order_id=5.0, affiliation="x\0")
    several |= {"identifiers": {"user_id": 7.0}}

    assert {"float_sum", "empty", "whole_number", "nul"} == {rule for _, rule, _ in notes(read(several))}
    assert ("event_id", "string_too_short") in refused_types({**several, "event_id": ""})


def test_a_mended_event_is_canonical_and_its_notes_stay() -> None:
    written = read(sale(revenue=0.1 + 0.2))

    assert written == read(written) == read_exact(written)


def test_notes_follow_those_that_an_event_brings_and_are_bounded() -> None:
    brought = [{"field": "properties.tax", "rule": "own", "count": 1}]
    again = read({**sale(revenue=0.1 + 0.2), "context": {"mended": brought}})
    odd = read({**sale(revenue=0.1 + 0.2), "context": {"mended": "yes"}})
    many = read(sale(**{f"note{number}": "\0" for number in range(MAX_NOTES + 10)}))

    assert [("properties.tax", "own", 1), ("properties.revenue", "float_sum", 1)] == notes(again)
    assert [("properties.revenue", "float_sum", 1)] == notes(odd)
    assert MAX_NOTES == len(notes(many))


def test_a_valid_event_has_no_notes() -> None:
    assert "context" not in read(sale(revenue=59.97))


def lines(count: int, keys: int) -> list[dict[str, Any]]:
    return [{"product_id": f"p{line}", **{f"k{key}": 1 for key in range(keys - 1)}} for line in range(count)]


@pytest.mark.parametrize(("count", "keys"), [(120, 10), (500, 3), (500, 20)])
def test_an_order_of_many_lines_is_stored_whole(count: int, keys: int) -> None:
    event = sale(products=lines(count, keys), revenue="120.00")
    written = decode(json.dumps(event).encode(), channels=frozenset({"web"}), max_bytes=900_000)

    assert not isinstance(written, Reject), written
    assert [f"p{line}" for line in range(count)] == [line["product_id"] for line in written["properties"]["products"]]
    assert [] == notes(written)


@pytest.mark.parametrize(
    ("count", "keys", "kept"),
    [
        pytest.param(501, 3, 500, id="one line too many"),
        pytest.param(2000, 1, 500, id="many lines too many"),
        pytest.param(500, 30, 370, id="too many keys"),
        pytest.param(600, 40, 280, id="both"),
    ],
)
def test_of_an_order_over_a_bound_the_last_lines_are_cut_and_the_head_is_kept(count: int, keys: int, kept: int) -> None:
    written = read(sale(order_id="B-1", revenue="120.00", products=lines(count, keys)))
    properties = written["properties"]
    cut = count - len(properties["products"])

    assert ("B-1", "120.00", 1) == (properties["order_id"], properties["revenue"], len(written["identifiers"]))
    assert [("properties.products", "lines_cut", cut)] == notes(written)
    assert kept == pytest.approx(len(properties["products"]), abs=2)
    assert written == read(written)


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param({str(number): 1 for number in range(12_000)}, id="keys beside the products"),
        pytest.param({"products": [{str(number): 1 for number in range(12_000)}]}, id="one line alone is too much"),
        pytest.param({"products": {str(number): 1 for number in range(12_000)}}, id="products that are no list"),
    ],
)
def test_too_many_keys_elsewhere_are_refused(properties: dict[str, Any]) -> None:
    assert ["too_many_keys"] == [kind for _, kind in refused_types(sale(**{"products": lines(2, 3), **properties}))]


def test_too_many_identifiers_are_refused_since_none_of_them_is_a_detail() -> None:
    many = {"email": [f"{number}@b.example" for number in range(51)]}

    assert [("identifiers", "too_long")] == refused_types(touchpoint(identifiers=many))


@pytest.mark.parametrize("name", ["order completed", " Order Completed ", "ORDER\u00a0COMPLETED", "Order  completed"])
def test_a_known_event_in_other_case_or_with_other_blanks_is_that_event(name: str) -> None:
    event = read({**sale(revenue="10"), "event": name})

    assert ("Order Completed", [("event", "event_name", 1)]) == (event["event"], notes(event))
    assert event == read(event)


@pytest.mark.parametrize("name", ["order_completed", "OrderCompleted", "Order Complete", "Bestellung", " x"])
def test_an_event_of_the_retailers_own_keeps_its_name(name: str) -> None:
    event = read({**sale(revenue="10"), "event": name})

    assert (name, []) == (event["event"], notes(event))


def test_a_respelled_event_obeys_the_rules_of_the_known_one_and_its_values_are_mended() -> None:
    assert ("properties.price", "missing") in refused_types(touchpoint("price changed", properties={"product_id": "p"}))
    event = read({**sale(revenue=0.1 + 0.2), "event": "order completed"})

    assert {("event", "event_name", 1), ("properties.revenue", "float_sum", 1)} == set(notes(event))


def test_names_of_known_events_differ_in_more_than_case() -> None:
    assert len(EVENT_NAMES) == len({name.casefold() for name in EVENT_NAMES})
    assert all(name == " ".join(name.split()) for name in EVENT_NAMES)


@pytest.mark.parametrize(
    ("field", "event"),
    [
        ("identifiers.user_id", touchpoint(identifiers={"user_id": 2**64 + 1})),
        ("properties.order_id", touchpoint("Order Completed", properties={"order_id": 2**64 + 1, "revenue": "1"})),
        ("event_id", touchpoint(event_id=2**64 + 1)),
    ],
)
def test_a_number_that_json_can_not_hold_exactly_is_no_id(field: str, event: dict[str, Any]) -> None:
    rejected = read_json(event)

    assert isinstance(rejected, Reject)
    assert field == rejected.field

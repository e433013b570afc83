"""Laws of reading events: no input breaks it, and writing what was read changes nothing."""

from __future__ import annotations

import json
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from processors.intake.collect import Collect
from processors.intake.decode import decode
from processors.intake.segment_calls import Arrival
from processors.intake.validation_mark import ValidationMark
from schemas.dead_letters import Reason
from schemas.events import limits as bounds
from schemas.events.properties import Product, Properties, money_fields
from schemas.events.touchpoint import EVENT_NAMES, PROPERTIES, Event, adapter, read, read_exact
from schemas.intake.sources import Source
from schemas.money import plain, to_money, to_money_text
from schemas.outcomes import Reject
from schemas.time import parse_text, parse_time, text_of_time
from tests.support.builders import touchpoint

CHANNELS = frozenset({"web", "store"})
ALL = adapter()
MARK = ValidationMark(b"secret")
COLLECT = Collect(channels=CHANNELS, max_event_bytes=65_536, key=lambda event: b"", topic_prefix="", mark=MARK)
SHAPE_OF: dict[str, Any] = {name: shape for shape, names in PROPERTIES.items() for name in names}
FIELDS = sorted({field for shape in PROPERTIES for field in shape.__annotations__})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)
lone = st.text(st.characters(categories=["Cs", "N", "Cc"]), max_size=5)
storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
free = st.recursive(
    st.none() | st.booleans() | numbers | storable,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(storable, inner, max_size=3),
    max_leaves=8,
)

amounts = (
    st.decimals(-999_999, 999_999, places=2).map(str)
    | st.integers(-(10**9), 10**9)
    | st.integers(-(10**6), 10**6).map(lambda cents: cents / 100)
)
products = st.fixed_dictionaries(
    {},
    optional={
        "product_id": storable | st.integers(0, 2**60),
        "price": amounts,
        "price_minor": st.integers(-(10**9), 10**9),
        "currency": st.sampled_from(["EUR", "jpy", "KWD"]),
        "quantity": st.integers(1, 99),
        "note": free,
    },
).map(lambda product: {name: product[name] for name in product if name != "price" or "price_minor" not in product})
properties = st.fixed_dictionaries(
    {
        "order_id": st.text(string.ascii_letters, min_size=1),
        "product_id": st.integers(1, 2**63),
        "price": amounts,
        "quantity": st.integers(1, 9),
        "till_id": st.text(string.ascii_letters, min_size=1),
        "business_day": st.just("2026-11-29"),
        "events": st.integers(0, 9),
    },
    optional={
        "currency": st.sampled_from(["EUR", "usd", "JPY", "KWD"]),
        "revenue": amounts,
        "note": free,
    },
)
identifiers = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["user_id", "email", "card"]), "value": storable | st.integers(0, 2**63)},
        optional={"verified": st.booleans()},
    ),
    max_size=4,
) | st.dictionaries(
    st.sampled_from(["user_id", "email", "phone"]), st.none() | storable | st.lists(storable, max_size=2)
)
zones = st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.integers(2 * 10**11, 4_133_890_800 * 10**6).flatmap(
    lambda microseconds: zones.map(lambda zone: (EPOCH + timedelta(microseconds=microseconds)).astimezone(zone))
)
events = st.fixed_dictionaries(
    {
        "event_id": st.text(string.ascii_letters, min_size=1, max_size=100),
        "event": st.sampled_from(sorted(EVENT_NAMES)) | st.text(string.ascii_letters, min_size=1, max_size=20),
        "channel": st.sampled_from(sorted(CHANNELS)),
        "occurred_at": times.map(datetime.isoformat),
        "properties": st.builds(
            lambda shape, items: {**shape, "currency": shape.get("currency", "EUR"), "products": items},
            properties,
            st.lists(products, max_size=3),
        ),
    },
    optional={
        "identifiers": st.none() | identifiers,
        "source": storable,
        "traits": st.dictionaries(storable, free, max_size=3),
        "campaign": st.dictionaries(st.sampled_from(["source", "name", "other"]), st.none() | storable, max_size=3),
        "context": st.fixed_dictionaries({}, optional={"page": st.none() | st.just({"url": "x"}), "ip": storable}),
        "consent": st.dictionaries(st.sampled_from(["marketing", "analytics"]), st.none() | st.booleans()),
        "received_at": free,
    },
)


@pytest.fixture(scope="module", autouse=True)
def _made() -> None:
    """A shape's validator is made at its first event: not within the time that an example may take."""
    for name in (*EVENT_NAMES, "Custom"):
        outcome_of_reading(touchpoint(name))


def outcome_of(value: bytes) -> Event | Reject:
    return decode(value, channels=CHANNELS, max_bytes=2000)


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: b'{"event_id":"e","event":' + tail))
def test_any_bytes_give_an_outcome(value: bytes) -> None:
    assert isinstance(outcome_of(value), dict | Reject)


@given(values)
def test_any_json_gives_an_outcome_that_says_which_field(value: Any) -> None:
    outcome = outcome_of(orjson.dumps(value))

    assert isinstance(outcome, Reject)
    assert outcome.message.isprintable()


@given(events, st.lists(st.sampled_from(["event_id", "event", "properties", "identifiers", "consent", "x"])), values)
def test_a_valid_event_with_any_field_replaced_gives_an_outcome(event: Any, fields: list[str], value: Any) -> None:
    for field in fields:
        event[field] = value

    outcome = outcome_of(orjson.dumps(event))

    assert isinstance(outcome, dict) or outcome.message.isprintable()


@given(events)
def test_a_valid_event_is_accepted_and_reading_what_was_written_changes_nothing(event: Any) -> None:
    value = orjson.dumps(event)
    written = decode(value, channels=CHANNELS, max_bytes=len(value))

    assert isinstance(written, dict), written
    assert written == read(event)
    assert written == orjson.loads(orjson.dumps(written))
    assert written == read(written)


@given(events)
def test_what_the_collector_publishes_is_read_alike_with_its_mark_and_without(event: Any) -> None:
    arrival = Arrival(datetime(2026, 11, 22, tzinfo=UTC), None, "r-1")
    [record] = COLLECT.touchpoints("till", Source(channel="web"), [event], [arrival]).outgoing
    validated = decode(record.value, channels=CHANNELS, max_bytes=65_536)

    assert read({**event, "source": "till"}) == validated
    if record.headers:
        assert MARK.verify(record.value, record.headers)
        assert orjson.loads(record.value) == validated


def outcome_of_the_union(event: Any) -> Any:
    """What the discriminated union gives; its errors name the alternative first."""
    try:
        bounds.check(event)
    except bounds.OutOfBoundsError:
        return outcome_of_reading(event)
    try:
        return ALL.validate_python(event)
    except ValidationError as error:
        return [{**found, "loc": found["loc"][1:]} for found in error.errors(include_url=False)]


@given(events, st.lists(st.sampled_from(["event_id", "event", "properties", "identifiers", "consent", "x"])), values)
def test_what_is_mended_is_canonical_and_what_is_valid_is_not_mended(event: Any, fields: list[str], value: Any) -> None:
    for field in fields:
        event[field] = value
    before = repr(event)
    try:
        written = read(event)
    except ValidationError:
        return

    assert before == repr(event)
    assert written == read_exact(written)
    if "mended" not in written.get("context", {}):
        assert written == read(event)


@given(
    st.sampled_from(sorted(EVENT_NAMES)), st.dictionaries(st.sampled_from(FIELDS), texts | numbers | lone, max_size=4)
)
def test_mended_properties_are_canonical(name: str, properties: dict[str, Any]) -> None:
    outcome = outcome_of(json.dumps(touchpoint(name, properties={**properties, "note": "\0a\ud83d"})).encode())

    if isinstance(outcome, dict):
        assert outcome["context"]["mended"]
        assert outcome == read_exact(orjson.loads(orjson.dumps(outcome)))
    else:
        assert outcome.message.isprintable()


def outcome_of_reading(event: Any, raw: bytes | None = None) -> Any:
    try:
        return read_exact(event, raw)
    except ValidationError as error:
        return error.errors(include_url=False)


@given(events, st.lists(st.sampled_from(["event_id", "event", "properties", "identifiers", "consent", "x"])), values)
def test_reading_with_the_bytes_and_without_and_by_the_union_is_the_same_also_in_what_is_refused(
    event: Any, fields: list[str], value: Any
) -> None:
    for field in fields:
        event[field] = value
    expected = repr(outcome_of_the_union(event))

    assert expected == repr(outcome_of_reading(event)) == repr(outcome_of_reading(event, orjson.dumps(event)))


@pytest.mark.parametrize("name", sorted(EVENT_NAMES))
@pytest.mark.parametrize("properties", [{}, {"properties": {}}, {"properties": None}], ids=["absent", "empty", "null"])
def test_absent_properties_have_the_defaults_of_their_shape(name: str, properties: dict[str, Any]) -> None:
    event = {"event_id": "e", "event": name, "channel": "web", "occurred_at": "2026-11-22T10:15:30Z", **properties}
    outcome = outcome_of_reading(event, orjson.dumps(event))
    shape = SHAPE_OF[name]

    assert repr(outcome_of_the_union(event)) == repr(outcome)
    if needed := shape.__required_keys__:
        missing = [(*part, field) for part in [("properties",)] for field in shape.__annotations__ if field in needed]
        assert (missing if properties == {"properties": {}} else [("properties",)]) == [
            found["loc"] for found in outcome
        ]
    else:
        defaults = {"quantity": 1} if Product.__annotations__.keys() <= shape.__annotations__.keys() else {}
        assert defaults == outcome.get("properties", {})


@given(st.sampled_from(sorted(EVENT_NAMES)), st.dictionaries(st.sampled_from(FIELDS), values | amounts, max_size=4))
def test_every_field_of_every_event_is_read_alike_with_the_bytes_and_without(
    name: str, properties: dict[str, Any]
) -> None:
    event = touchpoint(name, properties=properties)
    expected = repr(outcome_of_the_union(event))

    assert expected == repr(outcome_of_reading(event)) == repr(outcome_of_reading(event, orjson.dumps(event)))


@pytest.mark.parametrize("name", ["revenue_minor", r"revenue\u005fminor", r"revenue_\u006dinor"])
def test_minor_units_are_found_however_their_name_is_spelt(name: str) -> None:
    event = orjson.dumps(touchpoint("Custom", properties={"currency": "EUR", "revenue": 4990}))
    spelt = event.replace(b'"revenue"', f'"{name}"'.encode())
    outcome = outcome_of(spelt)

    assert isinstance(outcome, dict)
    assert {"currency": "EUR", "revenue": "49.90"} == outcome["properties"]


def test_events_that_lack_a_list_do_not_share_one() -> None:
    first, second = (read(touchpoint(identifiers=None)) for _ in range(2))
    first["identifiers"].append("changed")

    assert [] == second["identifiers"]


@given(events)
def test_no_amount_of_money_is_written_as_a_float(event: Any) -> None:
    written = read(event)["properties"]
    money = money_fields(SHAPE_OF.get(event["event"], Properties))

    assert {str} >= {type(written[name]) for name in money if name in written}


@given(events, free)
def test_the_shapes_by_name_and_the_discriminated_union_say_the_same(event: Any, value: Any) -> None:
    event["properties"]["quantity"] = value

    assert result(read_exact, event) == result(ALL.validate_python, event)


@settings(max_examples=300)
@given(values)
def test_bytes_that_surely_are_within_bounds_pass_the_walk(value: Any) -> None:
    raw = orjson.dumps(value)
    try:
        bounds.check(orjson.loads(raw))
    except bounds.OutOfBoundsError:
        assert not bounds.fits_by_size(raw)


@given(st.integers(0, 40), st.integers(0, 60))
def test_depth_is_bounded_exactly(depth: int, padding: int) -> None:
    nested: Any = "x" * padding
    for _ in range(depth):
        nested = [nested]
    outcome = outcome_of(orjson.dumps(touchpoint("Custom", properties={"a": nested})))

    assert (depth + 2 > bounds.MAX_DEPTH) == (isinstance(outcome, Reject) and outcome.reason == Reason.TOO_DEEP)


def result(read: Any, event: Any) -> Any:
    try:
        return read(event)
    except ValidationError as error:
        return [found["type"] for found in error.errors()]


offsets = st.sampled_from(["Z", "z", "+00:00", "-00:00", "+0000", "+01:00", "-14:00", "", "+00:00Z"])
spelt_times = st.builds(
    lambda time, separator, digits, offset: f"{time:%Y-%m-%d}{separator}{time:%H:%M:%S}{digits}{offset}",
    st.datetimes(datetime(1969, 12, 30), datetime(2101, 1, 3)),  # noqa: DTZ001
    st.sampled_from("Tt _"),
    st.just("") | st.text("0123456789", min_size=1, max_size=13).map(lambda digits: f".{digits}"),
    offsets,
)


@given(spelt_times | spelt_times.map(lambda text: text.replace("-28", "-31").replace(":59", ":60").replace(":2", ":9")))
def test_a_time_is_written_as_it_was_read(value: str) -> None:
    assert outcome_or_rule(parse_text, value) == outcome_or_rule(lambda text: text_of_time(parse_time(text)), value)


@given(amounts | values)
def test_an_amount_is_written_as_it_was_read(value: Any) -> None:
    assert outcome_or_rule(to_money_text, value) == outcome_or_rule(lambda amount: plain(to_money(amount)), value)


def outcome_or_rule(read: Any, value: Any) -> Any:
    try:
        return read(value)
    except PydanticCustomError as error:
        return error.message()

"""Laws of reading events: no input breaks it, and writing what was read changes nothing."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from processors.intake.collect import Collect
from processors.intake.decode import decode
from processors.intake.segment_calls import Arrival
from processors.intake.validation_mark import ValidationMark
from schemas.dead_letters import Reason
from schemas.events import limits as bounds
from schemas.events.touchpoint import EVENT_NAMES, MODELS, Event, adapter, canonical, parse, read
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from tests.support.builders import touchpoint

CHANNELS = frozenset({"web", "store"})
ALL = adapter()
MARK = ValidationMark(b"secret")
COLLECT = Collect(channels=CHANNELS, max_event_bytes=65_536, key=lambda event: b"", topic_prefix="", mark=MARK)
SHAPES: Any = [model.model_fields["properties"].annotation for model in MODELS.values()]
FIELDS = sorted({field for shape in SHAPES for field in shape.model_fields})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)
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
    assert written == canonical(parse(event))
    assert written == orjson.loads(orjson.dumps(written))
    assert written == canonical(parse(written))


@given(events)
def test_what_the_collector_publishes_is_read_alike_with_its_mark_and_without(event: Any) -> None:
    arrival = Arrival(datetime(2026, 11, 22, tzinfo=UTC), None, "r-1")
    [record] = COLLECT.touchpoints("till", Source(channel="web"), [event], [arrival]).outgoing
    validated = decode(record.value, channels=CHANNELS, max_bytes=65_536)

    assert canonical(parse({**event, "source": "till"})) == validated
    if record.headers:
        assert MARK.verify(record.value, record.headers)
        assert orjson.loads(record.value) == validated


def outcome_in_two_steps(event: Any) -> Any:
    try:
        return canonical(parse(event))
    except ValidationError as error:
        return error.errors(include_url=False)


def outcome_at_once(event: Any, raw: bytes | None = None) -> Any:
    try:
        return read(event, raw)
    except ValidationError as error:
        return error.errors(include_url=False)


@given(events, st.lists(st.sampled_from(["event_id", "event", "properties", "identifiers", "consent", "x"])), values)
def test_reading_at_once_is_parsing_and_writing_also_in_what_is_refused(
    event: Any, fields: list[str], value: Any
) -> None:
    for field in fields:
        event[field] = value
    expected = outcome_in_two_steps(event)

    assert repr(expected) == repr(outcome_at_once(event)) == repr(outcome_at_once(event, orjson.dumps(event)))


@pytest.mark.parametrize("name", sorted(EVENT_NAMES))
@pytest.mark.parametrize("properties", [{}, {"properties": {}}, {"properties": None}], ids=["absent", "empty", "null"])
def test_reading_at_once_fills_in_what_the_model_fills_in(name: str, properties: dict[str, Any]) -> None:
    event = {"event_id": "e", "event": name, "channel": "web", "occurred_at": "2026-11-22T10:15:30Z", **properties}

    assert repr(outcome_in_two_steps(event)) == repr(outcome_at_once(event, orjson.dumps(event)))


@given(st.sampled_from(sorted(EVENT_NAMES)), st.dictionaries(st.sampled_from(FIELDS), values | amounts, max_size=4))
def test_reading_at_once_knows_every_field_of_every_event(name: str, properties: dict[str, Any]) -> None:
    event = touchpoint(name, properties=properties)
    expected = repr(outcome_in_two_steps(event))

    assert expected == repr(outcome_at_once(event)) == repr(outcome_at_once(event, orjson.dumps(event)))


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
    read = parse(event)
    written = canonical(read)["properties"]

    assert {str} >= {type(written[name]) for name in read.properties.money_fields if name in written}


@given(events, free)
def test_the_models_by_name_and_the_discriminated_union_say_the_same(event: Any, value: Any) -> None:
    event["properties"]["quantity"] = value

    assert result(parse, event) == result(ALL.validate_python, event)


@settings(max_examples=300)
@given(values)
def test_bytes_that_surely_are_within_bounds_pass_the_walk(value: Any) -> None:
    raw = orjson.dumps(value)
    try:
        bounds.check(orjson.loads(raw))
    except bounds.OutOfBoundsError:
        assert not bounds.surely_within(raw)


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

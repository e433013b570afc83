"""Law of the fast path: what it returns is what the shapes return, and it takes most of what is sent."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deploy.demo.simulator import Options, Simulation
from schemas.events.envelope import Campaign, Context, Page
from schemas.events.fast_path import FastPath
from schemas.events.mending import in_whole_currency, with_unknown_currencies
from schemas.events.properties import Product
from schemas.events.touchpoint import EVENT_NAMES, PROPERTIES, SHAPES, CustomTouchpoint, Event, read, read_exact
from tests.support.builders import touchpoint

PATHS = {shape: FastPath(shape) for shape in (*SHAPES.values(), CustomTouchpoint)}
FIELDS = {name: [*shape.__annotations__] for shape, names in PROPERTIES.items() for name in names}

amounts = st.sampled_from(["49.90", "0", "-1.50", "007", "1.23456", "9.90\n", "1e3", 49, 49.9, "9" * 13])
texts = st.sampled_from(
    ["", "a", " ", "\u00a0", "\x1c", "ä" * 100, "x" * 101, "x" * 501, "a\nb", "hash\\u0000", "null"]
)
codes = st.sampled_from(["EUR", "eur", "JPY", "EUR\n", "€", "EURO", "KWD", "XYZ", "USDT"])
numbers = st.sampled_from([0, 1, -1, 1.0, 0.375, 1_000_000_001, 2**63, 1e300, True, False, "5", "1.5"])
parts: st.SearchStrategy[Any] = st.sampled_from(
    [{}, {"a": None}, {"a": {"b": None}}, {"name": ""}, [], [{}], [{"quantity": 2}], None]
)
anything = amounts | texts | codes | numbers | parts
times = st.sampled_from(
    [
        "2026-11-22T10:15:30.123Z", "2026-11-22T10:15:30.123z", "2026-11-22t10:15:30.123Z", "2026-11-22 10:15:30.123Z",
        "2026-11-22T10:15:30Z", "2026-11-22T10:15:30.1234Z", "2026-11-22T10:15:30.12+00:00", "2026-11-22T10:15:30,123Z",
        "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00.000Z", "2099-12-31T23:59:59.999Z", "2100-01-01T00:00:00.000Z",
        "2026-02-30T10:15:30.123Z", "2026-11-22T24:00:00.000Z", "2026-11-22T10:15:60.000Z", "2026-11-22T10:15:30.12٣Z",
        "2026-326T10:15:30.123456Z", "2026-W47-7T10:15:30.1234Z", "+026-11-22T10:15:30.123Z", 1_800_000_000, None,
        "2026-11-22T12:15:30.123+02:00", "2026-11-22T10:15:30-11:30", "1970-01-01T00:30:00+01:00",
        "2100-12-31T23:30:00-01:00", "2026-11-22T10:15:30.123456+00:00", "2026-11-22T10:15:30.123+24:00",
    ]
)  # fmt: skip


def some_of(fields: list[str], usual: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(
        st.sampled_from([*fields, "own", "revenue_minor", "received_at"]), usual | anything, max_size=4
    )


def events_named(name: str) -> st.SearchStrategy[dict[str, Any]]:
    products = st.lists(some_of([*Product.__annotations__, "price_minor"], texts | amounts), max_size=3)
    return st.fixed_dictionaries(
        {
            "event_id": st.just("e-1") | texts,
            "event": st.just(name) | texts,
            "channel": st.just("web") | texts,
            "occurred_at": st.just("2026-11-22T10:15:30.123Z") | times,
        },
        optional={
            "source": st.just("shop") | texts,
            "identifiers": st.lists(
                st.fixed_dictionaries(
                    {
                        "type": st.sampled_from(["email", "a" * 51, "Email", "email\n"]) | texts,
                        "value": texts | numbers,
                    },
                    optional={"verified": st.sampled_from([True, False, 1, None]), "own": texts},
                ),
                max_size=3,
            )
            | st.dictionaries(
                st.sampled_from(["user_id", "Email", "email\n", ""]), texts | numbers | st.just(["7", "8"])
            ),
            "campaign": some_of([*Campaign.__annotations__], texts),
            "context": some_of([*Context.__annotations__], texts)
            | st.fixed_dictionaries({"page": some_of([*Page.__annotations__], texts)}),
            "properties": some_of(FIELDS.get(name, ["products"]), texts | amounts | codes)
            | st.builds(lambda more, found: {**more, "products": found}, some_of(["currency"], codes), products),
            "traits": st.dictionaries(texts, anything, max_size=2),
            "consent": st.dictionaries(
                st.sampled_from(["marketing", "analytics", "channels", "own"]),
                st.booleans() | st.dictionaries(st.just("email") | texts, st.booleans() | numbers) | anything,
            ),
            "received_at": anything,
            "own": anything,
        },
    )


events = st.sampled_from([*sorted(EVENT_NAMES), "Fitting Room Booked"]).flatmap(events_named)


def outcome_of_shapes(event: Event, raw: bytes) -> bytes | None:
    try:
        written = with_unknown_currencies(in_whole_currency(read_exact(event, raw)))
    except ValidationError:
        return None
    return orjson.dumps(written, option=orjson.OPT_SORT_KEYS)


def outcome_of_fast_path(event: Event, raw: bytes) -> bytes | None:
    written = PATHS[SHAPES.get(event["event"], CustomTouchpoint)](event, raw)
    return None if written is None else orjson.dumps(written, option=orjson.OPT_SORT_KEYS)


@given(events)
def test_what_the_fast_path_takes_the_shapes_write_alike(event: Event) -> None:
    raw = orjson.dumps(event)
    fast = outcome_of_fast_path(event, raw)

    assert fast is None or outcome_of_shapes(event, raw) == fast
    assert orjson.dumps(event) == raw


@pytest.mark.parametrize("escaped", [rb"revenue\u005fminor", rb"\u0072evenue_minor", b"revenue_minor"])
def test_minor_units_are_left_to_the_shapes_however_their_name_is_spelt(escaped: bytes) -> None:
    raw = orjson.dumps(touchpoint("Custom", properties={"currency": "EUR", "revenue": 4990}))
    raw = raw.replace(b'"revenue"', b'"%b"' % escaped)

    assert outcome_of_fast_path(orjson.loads(raw), raw) is None
    assert {"currency": "EUR", "revenue": "49.90"} == read(orjson.loads(raw), raw)["properties"]


@pytest.mark.parametrize("name", [*sorted(EVENT_NAMES), "Custom"])
def test_a_plain_event_of_every_shape_is_taken(name: str) -> None:
    needed = {"order_id": "o1", "product_id": "p1", "price": "9.90", "till_id": "t1", "business_day": "2026-11-20"}
    about = {**needed, "quantity": 2, "events": 3, "currency": "EUR", "revenue": "9.90", "own": {"a": [1, None]}}
    event = touchpoint(name, occurred_at="2026-11-22T10:15:30.123Z", properties=about, source="shop")
    raw = orjson.dumps(event)
    expected = outcome_of_shapes(event, raw)

    assert expected is not None
    assert expected == outcome_of_fast_path(event, raw)


@pytest.mark.parametrize(
    "changed",
    [
        {"occurred_at": "2026-11-22T12:15:30.123+02:00"},
        {"occurred_at": "2026-11-22T10:15:30Z"},
        {"occurred_at": "2026-11-22T10:15:30.123456Z"},
        {"identifiers": []},
        {"identifiers": {}},
        {"source": ""},
    ],
    ids=str,
)
def test_what_tills_and_servers_usually_send_is_taken(changed: dict[str, Any]) -> None:
    event = {**touchpoint("Store Visited", occurred_at="2026-11-22T10:15:30.123Z", source="till-1"), **changed}
    raw = orjson.dumps(event)
    expected = outcome_of_shapes(event, raw)

    assert expected is not None
    assert expected == outcome_of_fast_path(event, raw)


def test_nearly_all_simulated_events_take_the_fast_path() -> None:
    lines = [*itertools.islice(Simulation(Options(people=200, seed=7)).lines(), 2_000)]
    events = [(event, line) for line in lines if isinstance(event := _parsed(line), dict) and "event" in event]
    taken = [(event, line) for event, line in events if outcome_of_fast_path(event, line) is not None]

    assert len(taken) > 0.9 * len(events)
    assert all(outcome_of_shapes(event, line) == outcome_of_fast_path(event, line) for event, line in taken)


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None

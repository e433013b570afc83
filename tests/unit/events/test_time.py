"""The forms of a time, and that one module alone turns one into another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.time import (
    is_of_form,
    lenient_time,
    ms_of_text,
    ms_of_time,
    parse_text,
    parse_time,
    readable_text,
    text_of_ms,
    text_of_time,
    time_of_ms,
    utc,
)

ROOT = Path(__file__).parents[3]
BERLIN = ZoneInfo("Europe/Berlin")
TEXT, MS = "2026-11-22T10:15:30.123Z", 1_795_342_530_123
TIME = datetime(2026, 11, 22, 10, 15, 30, 123_000, UTC)
IN_RANGE = st.integers(0, ms_of_text("2100-12-31T23:59:59.999Z"))


def test_the_three_forms_of_a_time_are_one_time() -> None:
    assert text_of_ms(MS) == text_of_time(TIME) == TEXT
    assert ms_of_text(TEXT) == ms_of_time(TIME) == MS
    assert time_of_ms(MS) == parse_time(TEXT) == TIME


@given(IN_RANGE)
def test_every_form_leads_back_to_the_same_milliseconds(ms: int) -> None:
    text = text_of_ms(ms)
    assert ms_of_text(text) == ms
    assert ms_of_time(time_of_ms(ms, BERLIN)) == ms
    assert text_of_time(time_of_ms(ms, BERLIN)) == text
    assert parse_text(text) == text
    assert parse_time(text) == time_of_ms(ms)


@given(IN_RANGE, IN_RANGE)
def test_texts_sort_in_the_order_of_their_times(one: int, other: int) -> None:
    assert (one < other) == (text_of_ms(one) < text_of_ms(other))


@pytest.mark.parametrize(
    "written", ["2026-11-22T11:15:30.123+01:00", "2026-11-22t10:15:30.123z", "2026-11-22 10:15:30.1239Z"]
)
def test_a_text_of_another_offset_is_written_in_utc_with_milliseconds(written: str) -> None:
    assert parse_text(written) == TEXT


def test_a_time_without_a_zone_is_in_utc_as_a_column_of_clickhouse_is() -> None:
    assert text_of_time(TIME.replace(tzinfo=None)) == TEXT
    assert utc(TIME.replace(tzinfo=None)) == utc(TIME.astimezone(BERLIN)) == TIME


def test_a_lenient_text_takes_the_given_zone_or_is_refused() -> None:
    assert lenient_time("2026-11-22T11:15:30.123", BERLIN) == TIME
    assert lenient_time("2026-11-22T11:15:30.123+01:00", None) == TIME
    assert lenient_time("2026-11-22", BERLIN) == datetime(2026, 11, 22, tzinfo=BERLIN)
    with pytest.raises(ValueError, match="no offset"):
        lenient_time("2026-11-22T11:15:30", None)


def test_people_read_a_time_in_its_own_zone_to_the_second() -> None:
    assert readable_text(TIME.astimezone(BERLIN) + timedelta(milliseconds=1)) == "2026-11-22 11:15:30"


def test_a_text_is_of_a_form_or_not() -> None:
    assert (True, False) == (is_of_form("22.11.2026", "%d.%m.%Y"), is_of_form("22.13.2026", "%d.%m.%Y"))
    assert (True, False) == (is_of_form("2026-11-22T11:15:30Z"), is_of_form("22.11.2026"))


CONVERSIONS = frozenset({"fromtimestamp", "utcfromtimestamp", "strftime", "strptime", "timestamp"})

MILLISECONDS_OF_KAFKA = "message.timestamp"
"""A message of confluent-kafka answers a kind and milliseconds: nothing is converted."""


def _conversions(tree: ast.AST) -> Iterator[str]:
    """Calls that turn a time into text or a number, or back; `date.fromisoformat` and `.isoformat()` of days may."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, of = node.func.attr, ast.unparse(node.func.value)
        if f"{of}.{name}" == MILLISECONDS_OF_KAFKA:
            continue
        if name in CONVERSIONS or (name == "fromisoformat" and of == "datetime"):
            yield f"line {node.lineno}: {of}.{name}"
        if name == "isoformat" and any("milliseconds" in ast.unparse(one) for one in (*node.args, *node.keywords)):
            yield f"line {node.lineno}: {of}.{name}"


COPIED = ROOT / "deploy" / "clients" / "till.py"
"""Runs where nothing of ours is installed."""


def test_no_other_module_of_the_product_reads_or_writes_times() -> None:
    files = [path for layer in ("schemas", "processors", "sinks", "deploy") for path in (ROOT / layer).rglob("*.py")]
    assert len(files) > 200
    found = {
        str(path.relative_to(ROOT)): conversions
        for path in files
        if path not in (ROOT / "schemas" / "time.py", COPIED)
        and (conversions := [*_conversions(ast.parse(path.read_text()))])
    }
    assert found == {}

"""Ids, clocks and texts as devices send them: resent, set to no date, in another calendar, padded with NUL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.field_events import Field, Inputs

pytestmark = pytest.mark.e2e

INPUTS = Inputs()

# A till and a telephone system that both count from 1; and one that uses a number again for something else.
INPUTS.event("""
{"event_id": "17", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-20T10:00:00Z", "identifiers": {"loyalty_id": "L-1"},
 "properties": {"order_id": "T-17", "revenue": "20.00", "currency": "EUR"}}
{"event_id": "17", "event": "Call Ended", "channel": "call_center", "source": "pbx",
 "occurred_at": "2026-11-20T12:00:00Z", "identifiers": {"phone": "+4915112345678"}, "properties": {"duration_s": 90}}
{"event_id": "17", "event": "Call Ended", "channel": "call_center", "source": "pbx",
 "occurred_at": "2026-11-20T12:00:00Z", "identifiers": {"phone": "+4915112345678"}, "properties": {"duration_s": 90}}
{"event_id": "17", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-20T11:00:00Z", "identifiers": {"loyalty_id": "L-1"},
 "properties": {"order_id": "T-18", "revenue": "21.00", "currency": "EUR"}}
""")


# A phone is off for 20 days after an answer was lost: it sends again, and its corrected time is on another day.
def resent(key: str, seconds_from_midnight: float, anonymous_id: str = "ph-1") -> dict[str, Any]:
    """A call that comes out `seconds_from_midnight` after a midnight, by the error of the phone's clock."""
    arrival = datetime.now(UTC)
    midnight = arrival.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=20)
    timestamp = datetime(2026, 10, 31, 23, 59, 59, 800_000, UTC)
    sent_at = timestamp + (arrival - midnight) - timedelta(seconds=seconds_from_midnight)
    call = {
        "type": "track", "event": "Application Opened", "anonymousId": anonymous_id, "messageId": key,
        "timestamp": timestamp.isoformat(),
    }  # fmt: skip
    return {"batch": [call], "sentAt": sent_at.isoformat()}


INPUTS.dated_call("phone", lambda: resent("q-1", -600))
INPUTS.dated_call("phone", lambda: resent("q-1", +600), late=True)
INPUTS.dated_call("phone", lambda: resent("q-2", +600, "ph-2"), late=True)
_SALE = {
    "event_id": "q-3", "event": "Order Completed", "channel": "store", "source": "pos",
    "occurred_at": "2026-10-31T23:59:59Z", "identifiers": {"loyalty_id": "L-q3"},
    "properties": {"order_id": "Q-3", "revenue": "5.00", "currency": "EUR"},
}  # fmt: skip
INPUTS.records.append(_SALE)
INPUTS.late_records.append({**_SALE, "occurred_at": "2026-11-01T00:00:01Z"})

# Digits and calendars of a phone's locale. Each of the first three happened 115 s before it was sent.
CLOCKS = ("ar-1", "th-1", "jp-1")
INPUTS.call(
    "phone",
    """
{"batch": [{"type": "track", "event": "Product Added", "userId": "c-1", "messageId": "ar-1",
 "timestamp": "٢٠٢٦-١١-٢٢T٠٩:٥٨:٠٠.٠٠٠Z", "properties": {"product_id": "P-1"}}], "sentAt": "٢٠٢٦-١١-٢٢T٠٩:٥٩:٥٥.٠٠٠Z"}
{"batch": [{"type": "track", "event": "Product Added", "userId": "c-2", "messageId": "th-1",
 "timestamp": "2569-11-22T09:58:00.000Z", "properties": {"product_id": "P-1"}}], "sentAt": "2569-11-22T09:59:55.000Z"}
{"batch": [{"type": "track", "event": "Product Added", "userId": "c-3", "messageId": "jp-1",
 "timestamp": "0008-11-22T09:58:00.000Z", "properties": {"product_id": "P-1"}}], "sentAt": "0008-11-22T09:59:55.000Z"}
{"type": "track", "event": "Product Added", "userId": "c-3b", "messageId": "th-2",
 "timestamp": "2569-11-22T09:58:00.000Z", "properties": {"product_id": "P-1"}}
{"type": "track", "event": "Product Added", "userId": "c-3c", "messageId": "no-time",
 "timestamp": "yesterday", "properties": {"product_id": "P-1"}}
""",
)

# A clock that stood at 1970 when it happened and was right when it was sent; and old orders that are meant.
INPUTS.call(
    "phone",
    """
{"batch": [{"type": "track", "event": "Order Completed", "userId": "c-4", "messageId": "zz-1",
 "timestamp": "1970-01-01T00:05:00Z", "properties": {"order_id": "Z-1", "revenue": 30, "currency": "EUR"}}],
 "sentAt": "2026-11-22T09:59:59Z"}
{"batch": [{"type": "track", "event": "Order Completed", "userId": "c-4b", "messageId": "zz-2",
 "timestamp": "2015-03-01T00:00:00Z", "properties": {"order_id": "Z-2", "revenue": 31, "currency": "EUR"}}],
 "sentAt": "2026-11-22T09:59:59Z"}
""",
)
INPUTS.add_call(
    "server", "/v1/touchpoints",
    {"batch": [{
        "event_id": "old-1", "event": "Order Completed", "channel": "store", "source": "server",
        "occurred_at": "1996-05-01T10:00:00Z", "identifiers": {"user_id": "c-4c"},
        "properties": {"order_id": "Z-3", "revenue": "32.00", "currency": "EUR"},
    }]},
)  # fmt: skip

# Fields of an old till are padded with NUL; a name is cut inside an emoji; a text that only looks like an escape.
INPUTS.event(r"""
{"event_id": "nul-1", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-07T10:00:00Z", "identifiers": {"loyalty_id": "L-9"},
 "traits": {"first_name": "ADA\u0000\u0000\u0000"},
 "properties": {"order_id": "N-1", "revenue": "12.00", "currency": "EUR", "affiliation": "Shop\u0000\u0000"}}
{"event_id": "nul-2", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-07T10:00:00Z", "identifiers": {"loyalty_id": "L-10"},
 "traits": {"first_name": "A\u0000DA", "city": "literal \\u0000"},
 "properties": {"order_id": "N-2", "revenue": "12.00", "currency": "EUR"}}
{"event_id": "nul-3", "event": "Order Completed", "channel": "store", "source": "pos",
 "occurred_at": "2026-11-07T10:00:00Z", "identifiers": {"loyalty_id": "L-11", "email": "ada\u0000@nul.example"},
 "properties": {"order_id": "N-3", "revenue": "12.00", "currency": "EUR"}}
""")
INPUTS.call(
    "server",
    r"""
{"type": "identify", "userId": "c-25", "messageId": "half-2", "traits": {"first_name": "Ada \ud83d"}}
{"type": "track", "event": "Order Completed", "userId": "c-25", "messageId": "half-1",
 "timestamp": "2026-11-07T10:00:00Z",
 "properties": {"order_id": "N-4", "revenue": 12, "currency": "EUR", "affiliation": "Shop \ud83d"}}
""",
)


def test_an_id_belongs_to_its_source(field: Field) -> None:
    stored = field.rows("SELECT source, event FROM v_touchpoints WHERE event_id = '17' ORDER BY source")
    dropped = field.rows("SELECT source, reason FROM dropped_touchpoints FINAL WHERE event_id = '17' ORDER BY source")

    assert [("pbx", "Call Ended"), ("pos", "Order Completed")] == stored
    assert [("pbx", "duplicate"), ("pos", "conflict")] == dropped
    assert ["17"] == field.events_of("phone:+4915112345678")
    assert [(20.0, 20.0, "EUR")] == field.conversion("T-17")
    assert [] == field.conversion("T-18")


@pytest.mark.parametrize("key", ["q-1", "q-3"])
def test_what_is_resent_after_its_mark_has_expired_is_one_event(field: Field, key: str) -> None:
    event = field.event(key)  # there is one row

    assert 23 == event["occurred_at"].hour, "the time of the first delivery stays"
    assert [(True,)] == field.rows("SELECT count() = uniqExact(source, event_id) FROM v_touchpoints")


def test_an_order_that_is_resent_weeks_later_is_one_order(field: Field) -> None:
    assert [(5.0, 5.0, "EUR")] == field.conversion("Q-3")
    assert (1, {"EUR": "5.00"}) == (field.profile("loyalty_id:L-q3")["orders"]["count"], field.net("loyalty_id:L-q3"))


def test_another_phones_event_of_that_night_is_an_event_of_its_own(field: Field) -> None:
    assert ["q-2"] == field.events_of("anonymous_id:ph-2")


@pytest.mark.parametrize("key", CLOCKS)
def test_digits_and_calendars_of_a_locale_are_read(field: Field, key: str) -> None:
    event = field.event(key, "phone")

    assert 114 <= (event["received_at"] - event["occurred_at"]).total_seconds() <= 120
    assert event["context"]["original_timestamp"][-13:-5] in ("09:58:00", "٠٩:٥٨:٠٠")
    assert "time_doubtful" not in event["context"]


@pytest.mark.parametrize("key", ["th-2", "no-time", "zz-1", "zz-2"])
def test_a_time_that_nothing_vouches_for_is_the_arrivals_and_marked(field: Field, key: str) -> None:
    event = field.event(key, "phone")

    assert abs((event["received_at"] - event["occurred_at"]).total_seconds()) < 10
    assert event["context"]["time_doubtful"]
    assert event["context"]["original_timestamp"] in (
        "2569-11-22T09:58:00.000Z", "yesterday", "1970-01-01T00:05:00Z", "2015-03-01T00:00:00Z",
    )  # fmt: skip


def test_an_order_of_doubtful_time_counts_and_starts_nothing(field: Field) -> None:
    profile = field.profile("user_id:c-4")

    assert [(30.0, 30.0, "EUR")] == field.conversion("Z-1")
    assert "30.00" == profile["orders"]["by_currency"]["EUR"]["net"]
    assert profile["first_seen"] is None
    assert [(0,)] == field.rows(
        "SELECT count() FROM v_touchpoints WHERE occurred_at < '1990-01-01' OR toYear(occurred_at) > 2100"
    )
    assert [] == field.rows("SELECT cohort FROM v_cohorts WHERE cohort < '1990-01-01'")


def test_an_old_order_that_is_imported_keeps_its_day(field: Field) -> None:
    assert [("1996-05-01", 32.0)] == [
        (str(day), revenue)
        for day, revenue in field.rows(
            "SELECT first_order, revenue FROM v_ltv WHERE profile_id = {who:UUID}", who=field.person("user_id:c-4c")
        )
    ]
    assert "1996-05-01T10:00:00.000Z" == field.profile("user_id:c-4c")["first_seen"]


def test_padding_is_cut_and_what_cannot_be_read_is_replaced(field: Field) -> None:
    names = {
        who: field.profile(who)["traits"]["first_name"] for who in ("loyalty_id:L-9", "loyalty_id:L-10", "user_id:c-25")
    }

    assert {"loyalty_id:L-9": "ADA", "loyalty_id:L-10": "A\ufffdDA", "user_id:c-25": "Ada \ufffd"} == names
    assert "Shop" == field.event("nul-1")["properties"]["affiliation"]
    assert r"literal \u0000" == field.profile("loyalty_id:L-10")["traits"]["city"]
    assert [("properties.affiliation", "nul"), ("traits.first_name", "nul")] == field.mended("nul-1")
    assert ("properties.affiliation", "surrogate") in field.mended("half-1")
    assert [[(12.0, 12.0, "EUR")]] * 3 == [field.conversion(order) for order in ("N-1", "N-2", "N-4")]


def test_a_nul_in_an_identifier_is_refused_by_name(field: Field) -> None:
    ((_, path, message),) = field.dead_letters("nul-3")

    assert path.startswith("identifiers")
    assert "NUL" in message
    assert [] == field.conversion("N-3")


def test_nothing_is_lost_or_invented(field: Field) -> None:
    assert [(0,)] == field.rows("SELECT sum(difference) FROM v_accounting")
    assert [(0,)] == field.rows("SELECT sum(alert) FROM v_reconciliation")
    assert [(0,)] == field.rows("SELECT count() FROM v_missing_offsets")

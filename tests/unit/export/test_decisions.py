"""What a destination is still to learn of a conversion, by the ledger and by what is known of the person now."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from processors.export.decisions import Decision, Person, decide
from schemas.durations import DAY_MS
from schemas.export.destinations import Destination
from schemas.export.exports import Click, Conversion, ExportEntry

NOW = 1_760_000_000_000
DAY = DAY_MS
SECTIONS: dict[str, Any] = {
    "meta": {"pixel_id": "1"},
    "google": {"customer_id": "1", "service_account_file": "/k.json"},
    "tiktok": {"pixel_code": "C4"},
    "microsoft": {"tag_id": "1"},
    "webhook": {"url": "https://partner.example"},
    "topic": {"topic": "exports"},
}
AGREED: dict[str, Any] = {"purposes": {"marketing": [True, 1]}}
KNOWN: dict[str, Any] = {"addresses": {"email": {"ann@shop.example": [1, False, 0, False]}}, "consent": AGREED}
ORDER = Conversion(
    "1001", "purchase", "p1", NOW - DAY, Decimal(100), Decimal(0), "EUR", "web", "de", "1001", "e1", "shop"
)


def destination(through: str = "meta", **other: Any) -> Destination:
    rule = {
        "goal": "purchase",
        "event": "7" if through == "google" else "Purchase",
        "value": other.pop("value", "revenue"),
    }
    return Destination.model_validate(
        {"destination": "d", "description": "d", "through": through, "conversions": [rule]}
        | {through: SECTIONS[through]}
        | other
    )


def person(document: dict[str, Any] | None = None, *clicks: Click, **predicted: Any) -> Person:
    return Person(KNOWN if document is None else document, clicks, **predicted)


def entry(decisions: list[Decision]) -> ExportEntry:
    [one] = decisions
    return one.entry


def sent(decisions: list[Decision]) -> ExportEntry:
    found = entry(decisions)
    assert found.state == "sent"
    return found


def test_a_conversion_is_sent_once_however_often_it_comes_up() -> None:
    first = sent(decide(destination(), ORDER, (), person(), NOW))
    again = decide(destination(), ORDER, [first], person(), NOW + 1)

    assert ("1001", Decimal(100), "EUR", ("email",), 1) == (
        first.event_id, first.value, first.currency, first.match_keys, first.attempt,
    )  # fmt: skip
    assert [] == again


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        pytest.param("no_consent", {"document": KNOWN | {"consent": {}}}, id="no answer is no yes"),
        pytest.param(
            "no_consent", {"document": KNOWN | {"consent": AGREED | {"channels": {"ads": [False, 2, True]}}}},
            id="an objection to advertising outweighs the yes to marketing",
        ),
        pytest.param("no_consent", {"to": {"consent": ["profiling"]}}, id="a purpose of the destination's own"),
        pytest.param("no_match_keys", {"document": {"consent": AGREED}}, id="nothing to recognise the person by"),
        pytest.param("no_person", {"order": {"profile_id": ""}}, id="nobody is known"),
        pytest.param("too_old", {"order": {"converted_ms": NOW - 8 * DAY}}, id="older than Meta takes"),
        pytest.param("too_old", {"to": {"max_age": "1h"}}, id="older than the file says"),
        pytest.param("refunded", {"order": {"refunded": Decimal(100)}}, id="given back before it left"),
        pytest.param("no_value", {"order": {"currency": ""}}, id="an amount of no currency"),
        pytest.param("no_value", {"to": {"value": "predicted"}}, id="no prediction of the person"),
    ],
)  # fmt: skip
def test_what_is_withheld_has_its_reason(reason: str, changes: dict[str, Any]) -> None:
    order = ORDER._replace(**changes.get("order", {}))
    [decision] = decide(destination(**changes.get("to", {})), order, (), person(changes.get("document")), NOW)

    assert (reason, "withheld", 0, None) == (
        decision.entry.reason, decision.entry.state, decision.entry.attempt, decision.item,
    )  # fmt: skip


def test_what_was_withheld_is_sent_once_the_reason_is_gone() -> None:
    withheld = entry(decide(destination(), ORDER, (), person({"consent": AGREED}), NOW))

    assert "sent" == entry(decide(destination(), ORDER, [withheld], person(), NOW)).state


def test_a_conversion_of_a_store_may_be_older() -> None:
    order = ORDER._replace(channel="store", converted_ms=NOW - 60 * DAY)

    assert "sent" == entry(decide(destination(), order, (), person(), NOW)).state


@pytest.mark.parametrize("field", ["channels", "markets"])
def test_what_is_not_meant_for_a_destination_has_no_row(field: str) -> None:
    elsewhere: dict[str, Any] = {field: ["other"]}

    assert [] == decide(destination(**elsewhere), ORDER, (), person(), NOW)


def test_nothing_is_written_of_somebody_who_was_erased() -> None:
    assert [] == decide(destination(), ORDER, (), Person(None), NOW)


@pytest.mark.parametrize("through", ["google", "webhook", "topic"])
def test_a_refund_restates_the_value_once_and_the_rest_retracts_it(through: str) -> None:
    to = destination(through)
    first = sent(decide(to, ORDER, (), person(), NOW))
    part = ORDER._replace(refunded=Decimal(30))
    one = sent(decide(to, part, [first], person(), NOW))
    again = decide(to, part, [first, one], person(), NOW)
    two = sent(decide(to, part._replace(refunded=Decimal(100)), [first, one], person(), NOW))

    assert [] == again
    assert [("value", 1, Decimal(70), "1001"), ("value", 2, Decimal(0), "1001")] == [
        (each.kind, each.number, each.value, each.adjusts) for each in (one, two)
    ]
    assert 3 == len({first.event_id, one.event_id, two.event_id})


@pytest.mark.parametrize("through", ["meta", "tiktok", "microsoft"])
def test_where_values_cannot_be_changed_a_refund_is_an_event_of_what_was_given_back(through: str) -> None:
    to = destination(through)
    first = sent(decide(to, ORDER, (), person(), NOW))
    part = ORDER._replace(refunded=Decimal(30))
    [one] = decide(to, part, [first], person(), NOW)
    [two] = decide(to, part._replace(refunded=Decimal(100)), [first, one.entry], person(), NOW)

    bodies = [one.item.body if one.item else {}, two.item.body if two.item else {}]
    values = [next(iter(v["value"] for v in body.values() if isinstance(v, dict) and "value" in v)) for body in bodies]
    assert [30.0, 70.0] == values
    assert [Decimal(70), Decimal(0)] == [one.entry.value, two.entry.value]
    assert [] == decide(destination(through, value="none"), part, [first], person(), NOW)


def test_a_refund_of_a_conversion_that_never_left_is_no_export() -> None:
    withheld = entry(decide(destination(), ORDER, (), person({"consent": {}}), NOW))
    refused = withheld._replace(state="refused", reason="refused")
    part = ORDER._replace(refunded=Decimal(30))

    assert ["conversion"] == [one.entry.kind for one in decide(destination(), part, [withheld], person(), NOW)]
    assert [] == decide(destination(), part, [refused], person(), NOW)


def test_consent_that_was_withdrawn_holds_back_the_refund_until_it_is_given_again() -> None:
    to, part = destination("google"), ORDER._replace(refunded=Decimal(30))
    first = sent(decide(to, ORDER, (), person(), NOW))
    held = entry(decide(to, part, [first], person(KNOWN | {"consent": {}}), NOW))
    later = entry(decide(to, part, [first, held], person(), NOW))

    assert ("withheld", "no_consent", 1) == (held.state, held.reason, held.number)
    assert ("sent", 1, held.event_id) == (later.state, later.number, later.event_id)


def test_a_merge_that_makes_the_person_better_known_is_told_once() -> None:
    to, click = destination("webhook"), Click("fbclid", "F", NOW - 2 * DAY)
    first = sent(decide(to, ORDER, (), person(), NOW))
    match = sent(decide(to, ORDER, [first], person(None, click), NOW))

    assert ("match", "1001", ("email", "fbclid")) == (match.kind, match.adjusts, match.match_keys)
    assert [] == decide(to, ORDER, [first, match], person(None, click), NOW)


@pytest.mark.parametrize(
    ("through", "adjusts"),
    [("meta", True), ("tiktok", True), ("microsoft", True), ("google", False)],
)
def test_a_network_without_adjustments_has_one_row_that_says_so(through: str, adjusts: bool) -> None:
    to = destination(through)
    phone = KNOWN | {"addresses": KNOWN["addresses"] | {"phone": {"+4930123456": [1, False, 0, False]}}}
    first = sent(decide(to, ORDER, (), person(), NOW))
    match = entry(decide(to, ORDER, [first], person(phone), NOW, adjusts=adjusts))

    assert ("match", "withheld", "not_adjustable") == (match.kind, match.state, match.reason)
    assert [] == decide(to, ORDER, [first, match], person(phone), NOW, adjusts=adjusts)


def test_what_the_network_was_not_ready_for_is_sent_again_under_the_same_name() -> None:
    to, part = destination("google"), ORDER._replace(refunded=Decimal(30))
    first = sent(decide(to, ORDER, (), person(), NOW))
    early = sent(decide(to, part, [first], person(), NOW))._replace(state="withheld", reason="not_yet")
    later = sent(decide(to, part, [first, early], person(), NOW))

    assert (early.event_id, early.attempt + 1) == (later.event_id, later.attempt)


@pytest.mark.parametrize(
    ("basis", "value", "currency"),
    [
        ("revenue", Decimal(100), "EUR"),
        ("margin", Decimal(40), "EUR"),
        ("predicted", Decimal(250), "USD"),
        ("none", None, ""),
    ],
)
def test_the_value_is_what_the_file_says(basis: str, value: Decimal | None, currency: str) -> None:
    order = ORDER._replace(margin_rate=Decimal("0.4"))
    known = person(predicted=Decimal(250), predicted_currency="USD")
    found = sent(decide(destination(value=basis), order, (), known, NOW))

    assert (value, currency) == (found.value, found.currency)


def test_only_clicks_before_the_conversion_and_within_the_lookback_count() -> None:
    at = ORDER.converted_ms
    clicks = [
        Click("fbclid", "too early", at - 29 * DAY), Click("fbclid", "first", at - 9 * DAY),
        Click("fbclid", "last", at - 3 * DAY), Click("fbclid", "after", at + DAY), Click("gclid", "other", at - DAY),
    ]  # fmt: skip
    [decision] = decide(destination(), ORDER, (), person(None, *clicks), NOW)

    assert decision.item is not None
    assert f"fb.1.{at - 3 * DAY}.last" == decision.item.body["user_data"]["fbc"]
    assert ("email", "fbclid") == decision.entry.match_keys

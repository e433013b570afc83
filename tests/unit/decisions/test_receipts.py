"""What becomes of a message: reports commit and release, teach, and write further rows."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from processors.decisions.resolver import MessageResolver
from schemas.decisions.decision import Decision
from schemas.decisions.policy import CapRule, ChannelRule
from schemas.durations import DAY_MS, HOUR_MS
from schemas.profiles.person import Person
from tests.support.messages import NOON, Note, person, receipt, request, resolver

ONE_A_DAY = (CapRule(limit=1, within=DAY_MS),)


def _sent(note: Note | None = None) -> tuple[MessageResolver, Person, Decision]:
    engine, somebody = resolver(caps=ONE_A_DAY, quiet_hours={}), person()
    return engine, somebody, engine.decide(somebody, request(note=note), NOON)


@pytest.mark.parametrize(
    ("report", "outcome"),
    [
        (None, "suppressed"),
        ("Email Sent", "suppressed"),
        ("Email Delivered", "suppressed"),
        ("Email Opened", "suppressed"),
        ("Email Link Clicked", "suppressed"),
        ("Email Unsubscribed", "suppressed"),
        ("Email Failed", "sent"),
        ("Email Bounced", "sent"),
    ],
)
def test_a_message_counts_until_it_is_reported_as_failed(report: str | None, outcome: str) -> None:
    engine, somebody, first = _sent()
    if report:
        engine.on_event(somebody, receipt(report, first), NOON + HOUR_MS)

    assert outcome == engine.decide(somebody, request("r2"), NOON + 2 * HOUR_MS).outcome


def test_a_failure_writes_a_row_of_its_own_that_says_why() -> None:
    engine, somebody, first = _sent()
    report = receipt("Email Bounced", first, bounce_type="hard", reason="no such user")
    rows = engine.on_event(somebody, report, NOON + HOUR_MS)

    assert ["Not delivered: the e-mail bounced (hard): no such user."] == [row["reason"] for row in rows]
    assert ("failed", "delivery", "email", report["event_id"]) == tuple(
        rows[0][name] for name in ("outcome", "gate", "channel", "event_id")
    )
    assert set(first.row) == set(rows[0])
    assert first.row["idempotency_key"] == rows[0]["idempotency_key"]
    assert first.row["decision_id"] != rows[0]["decision_id"]
    assert "2026-11-03T13:00:00.000Z" == rows[0]["decided_at"]


def test_a_failure_that_is_told_twice_is_one_row() -> None:
    engine, somebody, first = _sent()
    rows = [engine.on_event(somebody, receipt(name, first), NOON) for name in ("Email Failed", "Email Bounced")]

    assert [1, 0] == [len(each) for each in rows]


def test_a_failure_of_what_has_arrived_is_not_believed() -> None:
    engine, somebody, first = _sent()
    engine.on_event(somebody, receipt("Email Delivered", first), NOON)

    assert [] == engine.on_event(somebody, receipt("Email Failed", first), NOON)
    assert [] == engine.on_event(somebody, receipt("Email Bounced", first, bounce_type="soft"), NOON)


@pytest.mark.parametrize("bounce", [{}, {"bounce_type": "hard"}, {"bounce_type": "Undetermined"}, {"code": "5.7.1"}])
def test_a_bounce_of_what_was_delivered_is_a_bounce(bounce: dict[str, Any]) -> None:
    engine, somebody, first = _sent()
    engine.on_event(somebody, receipt("Email Delivered", first), NOON)
    rows = engine.on_event(somebody, receipt("Email Bounced", first, **bounce), NOON + HOUR_MS)

    assert ["failed"] == [row["outcome"] for row in rows]
    assert [] == engine.on_event(somebody, receipt("Email Bounced", first, **bounce), NOON + HOUR_MS)
    assert [0, 0] == somebody.state["sends"]["learned"]["email"]
    assert "sent" == engine.decide(somebody, request("r2"), NOON + 2 * HOUR_MS).outcome


@pytest.mark.parametrize(
    ("bounce_type", "outcome"), [("AutoResponder", "suppressed"), ("SpamComplaint", "suppressed"), ("hard", "sent")]
)
def test_a_bounce_that_is_none_releases_nothing(bounce_type: str, outcome: str) -> None:
    engine, somebody, first = _sent()
    engine.on_event(somebody, receipt("Email Bounced", first, bounce_type=bounce_type), NOON)

    assert outcome == engine.decide(somebody, request("r2"), NOON + 2 * HOUR_MS).outcome


@pytest.mark.parametrize(
    ("third", "counted"),
    [
        (("Email Link Clicked", {}), [0]),
        (("Email Opened", {}), [0]),
        (("Email Bounced", {"bounce_type": "SpamComplaint"}), [0]),
        (("Email Failed", {}), []),
        (("Email Bounced", {"bounce_type": "soft"}), []),
        (("Email Bounced", {"bounce_type": "AutoResponder"}), []),
    ],
)
def test_reports_may_come_in_any_order(third: tuple[str, dict[str, Any]], counted: list[int]) -> None:
    states = []
    for order in permutations((("Email Delivered", {}), ("Email Bounced", {"bounce_type": "hard"}), third)):
        engine, somebody, first = _sent()
        for name, properties in order:
            engine.on_event(somebody, receipt(name, first, **properties), NOON)
        states.append(somebody.state)

    assert all(states[0] == state for state in states)
    assert counted == [sent[3] for sent in states[0].get("caps", {}).values()]


@pytest.mark.parametrize(
    ("reports", "learned"),
    [
        ((), [1, 0]),
        (("Email Delivered",), [1, 0]),
        (("Email Delivered", "Email Opened"), [1, 0]),
        (("Email Link Clicked",), [1, 1]),
        (("Email Link Clicked", "Email Link Clicked", "Email Replied"), [1, 1]),
        (("Email Bounced",), [0, 0]),
    ],
)
def test_a_message_teaches_once_whether_its_channel_is_answered(reports: tuple[str, ...], learned: list[int]) -> None:
    engine, somebody, first = _sent()
    for name in reports:
        engine.on_event(somebody, receipt(name, first), NOON)

    assert learned == somebody.state["sends"]["learned"]["email"]


def test_messages_of_other_systems_teach_too() -> None:
    somebody = person()
    for name in ("Push Delivered", "Push Delivered", "Push Link Clicked"):
        event = {"event_id": name, "event": name, "channel": "web_push", "occurred_at": "2026-11-03T12:00:00.000Z"}
        resolver().on_event(somebody, event, NOON)

    assert {"web_push": [2, 1]} == somebody.state["sends"]["learned"]


def test_reports_of_a_channel_without_events_of_its_own_begin_with_its_name() -> None:
    engine = resolver(channels={"direct_mail": ChannelRule(address=None)}, quiet_hours={}, caps=ONE_A_DAY)
    somebody = person(agrees=("direct_mail",))
    first = engine.decide(somebody, request(note=Note(channels=("direct_mail",))), NOON)
    rows = engine.on_event(somebody, receipt("Direct Mail Failed", first), NOON)

    assert ["Not delivered: the direct mail message could not be delivered."] == [row["reason"] for row in rows]


@pytest.mark.parametrize("event", ["Push Failed", "Web Push Failed"])
def test_reports_of_a_channel_with_events_of_its_own_may_begin_with_its_name_too(event: str) -> None:
    somebody, engine = person(agrees=("web_push",)), resolver(quiet_hours={})
    first = engine.decide(somebody, request(note=Note(channels=("web_push",))), NOON)
    rows = engine.on_event(somebody, {**receipt(event, first), "channel": "web_push"}, NOON)

    assert ["failed"] == [row["outcome"] for row in rows]


@pytest.mark.parametrize(
    "event",
    [{"event": "Page Viewed"}, {"event": "Email Sent"}, {"event": "Our Own Event"}, {"event": "Email Opened"}],
    ids=lambda event: str(event["event"]),
)
def test_other_events_leave_no_trace(event: dict[str, Any]) -> None:
    somebody = person()
    rows = resolver().on_event(
        somebody, {"event_id": "e", "channel": "web", "occurred_at": "2026-11-03T12:00:00.000Z", **event}, NOON
    )

    assert ([], {}) == (rows, somebody.state)


def test_a_message_that_should_not_have_gone_out_is_regretted_once() -> None:
    engine, somebody, first = _sent()
    key = first.row["idempotency_key"]
    rows = [engine.regret(somebody, key, "the order had been placed before", NOON + HOUR_MS, "e9") for _ in range(2)]

    assert rows[0] is not None
    assert rows[1] is None
    assert ("regretted", "late_event", "e9", "Regretted: the order had been placed before.") == tuple(
        rows[0][name] for name in ("outcome", "gate", "event_id", "reason")
    )
    assert 3 == len({first.row["decision_id"], rows[0]["decision_id"], key})


@pytest.mark.parametrize("failed", [True, False], ids=["that has failed", "that was never sent"])
def test_nobody_regrets_a_message(failed: bool) -> None:
    engine, somebody, first = _sent()
    if failed:
        engine.on_event(somebody, receipt("Email Failed", first), NOON)
    key = first.row["idempotency_key"] if failed else "unknown"

    assert engine.regret(somebody, key, "the order had been placed before", NOON) is None

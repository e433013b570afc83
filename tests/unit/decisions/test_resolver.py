"""The resolver: the gates in order, one row a decision, what is remembered of it."""

from __future__ import annotations

from typing import Any

import pytest

from processors.decisions.ledger import idempotency_key
from processors.decisions.resolver import MessageResolver
from processors.decisions.sends import LOG_KEPT, PENDING_KEPT
from schemas.decisions.decision import Decision
from schemas.decisions.policy import CapRule, HoldoutRules, ReceiptRules, TransactionalRules
from schemas.durations import DAY_MS, HOUR_MS, SECOND_MS
from schemas.territory import Territory
from tests.support.messages import NOON, Note, ms, person, request, resolver

GATES = [
    "transactional",
    "consent",
    "suppression",
    "holdout",
    "channel",
    "quiet_hours",
    "send_time",
    "caps",
    "priority",
    "expiry",
]
ROW = {
    "decision_id", "decided_at", "profile_id", "journey", "journey_version", "run_id", "step", "message", "channel",
    "purpose", "tags", "campaign", "outcome", "gate", "reason", "until", "idempotency_key", "variant", "holdout",
    "propensity", "gates", "event_id",
}  # fmt: skip


def _sent(engine: MessageResolver, somebody: Any, run_id: str, now_ms: int = NOON, **fields: Any) -> Decision:
    return engine.decide(somebody, request(run_id, requested_ms=now_ms, **fields), now_ms)


def test_a_message_that_passes_every_gate_is_sent_and_its_row_shows_them_all() -> None:
    decision = _sent(resolver(), person(), "r1", trigger_event_id="e1", variant="b")

    assert ("sent", "", None) == (decision.outcome, decision.row["gate"], decision.until_ms)
    assert GATES == [gate["gate"] for gate in decision.row["gates"]]
    assert ROW == set(decision.row)
    assert ("e1", "b", "carts") == (decision.row["event_id"], decision.row["variant"], decision.row["campaign"])


def test_the_order_to_deliver_says_what_where_and_until_when() -> None:
    somebody = person(traits={"language": ["de-AT", 1]})
    decision = _sent(resolver(), somebody, "r1", context={"cart": {"id": "c1"}}, variant="b")

    assert decision.action == {
        "idempotency_key": idempotency_key("cart", "v1", "r1", "0"),
        "decision_id": decision.row["decision_id"],
        "profile_id": "p1",
        "journey": "cart",
        "run_id": "r1",
        "step": "0",
        "channel": "email",
        "address": {"type": "email", "value": "ann@example.com"},
        "template": "cart-reminder",
        "purpose": "marketing",
        "language": "de-AT",
        "context": {"cart": {"id": "c1"}},
        "tags": [],
        "campaign": {"name": "carts"},
        "variant": "b",
        "expires_at": "2026-11-06T12:00:00.000Z",
        "identifiers": [{"type": "email", "value": "ann@example.com"}],
    }


EVENING = ms("2026-11-03T22:00+01:00")
FULL = {"caps": (CapRule(limit=0, within=DAY_MS),)}


@pytest.mark.parametrize(
    "first",
    ["consent", "suppression", "holdout", "channel", "quiet_hours", "send_time", "caps", "priority", "expiry", ""],
)
def test_the_first_gate_in_order_decides_when_every_later_one_would_stop_the_message_too(first: str) -> None:
    open_gates = GATES[1 : GATES.index(first)] if first else GATES[1:]
    shut = [gate for gate in GATES[1:] if gate not in open_gates and gate != "holdout"]
    note = Note(channels=("sms",), best_within_ms=4 * DAY_MS if "send_time" in shut else None, priority=10)
    waiting = {"pending": {"other": [EVENING + HOUR_MS, 90]}} if "priority" in shut else {}
    somebody = person(
        purposes={"marketing": "consent" not in shut},
        traits={"suppressed": ["suppression" in shut, 1]},
        addresses={} if "channel" in shut else {"phone": "+491"},
        state={"sends": {**waiting, "hours": {"20": 99}}},
    )
    engine = resolver(
        holdout=HoldoutRules(share=1 if first == "holdout" else 0),
        caps=FULL["caps"] if "caps" in shut else (),
        **({} if "quiet_hours" in shut else {"quiet_hours": {}}),
    )
    expires = EVENING if "expiry" in shut and not {"quiet_hours", "send_time", "priority"} & set(shut) else None
    decision = engine.decide(somebody, request(note=note, requested_ms=EVENING, expires_ms=expires), EVENING)

    assert ("channel" if first == "holdout" else first) == decision.row["gate"]
    assert ("global" if first == "holdout" else "") == decision.row["holdout"]


def test_a_transactional_message_passes_the_gates_that_the_policy_names() -> None:
    note = Note(channels=("sms",), purpose="transactional", transactional=True, best_within_ms=DAY_MS)
    decision = resolver(holdout=HoldoutRules(share=1), **FULL).decide(
        person(consent={}), request(note=note, requested_ms=EVENING), EVENING
    )
    bypassed = [gate["gate"] for gate in decision.row["gates"] if gate["input"] == {"bypassed": "transactional"}]

    assert "sent" == decision.outcome
    assert ["consent", "holdout", "quiet_hours", "send_time", "caps", "priority"] == bypassed
    assert "Sent by SMS: it belongs to a service." == decision.row["reason"]


def test_a_policy_may_let_transactional_messages_wait_for_the_morning() -> None:
    rules = TransactionalRules(bypass=frozenset({"consent"}))
    note = Note(channels=("sms",), purpose="transactional", transactional=True)
    decision = resolver(transactional=rules).decide(person(), request(note=note, requested_ms=EVENING), EVENING)

    assert "quiet_hours" == decision.row["gate"]


@pytest.mark.parametrize(("counted", "outcome"), [(False, "sent"), (True, "suppressed")])
def test_transactional_messages_use_up_caps_only_where_the_policy_says_so(counted: bool, outcome: str) -> None:
    engine = resolver(caps=(CapRule(limit=1, within=DAY_MS),), transactional=TransactionalRules(counted=counted))
    somebody = person()
    _sent(engine, somebody, "r1", note=Note(purpose="transactional", transactional=True))

    assert outcome == _sent(engine, somebody, "r2").outcome


def test_a_fourth_e_mail_in_seven_days_is_not_sent_and_the_row_says_when_one_is_possible() -> None:
    engine, somebody = resolver(), person()
    for day in range(3):
        assert "sent" == _sent(engine, somebody, f"r{day}", NOON + day * DAY_MS).outcome
    decision = _sent(engine, somebody, "r3", NOON + 3 * DAY_MS)

    assert ("suppressed", "caps", None) == (decision.outcome, decision.row["gate"], decision.row["until"])
    assert (
        "Not sent: 3 of 3 e-mails allowed in 7 days were already sent; the next is possible after Tue 13:00."
        == decision.row["reason"]
    )
    assert [3, 3] == decision.row["gates"][-1]["input"]["email, 7 days"]
    assert "2026-11-10T12:00:00.000Z" == decision.row["gates"][-1]["input"]["possible_at"]


def test_a_rolling_window_opens_again_to_the_millisecond() -> None:
    engine = resolver(caps=(CapRule(limit=1, within=DAY_MS),))
    somebody = person()
    _sent(engine, somebody, "r1")

    assert "suppressed" == _sent(engine, somebody, "r2", NOON + DAY_MS - 1).outcome
    assert "sent" == _sent(engine, somebody, "r3", NOON + DAY_MS).outcome


def test_a_calendar_day_ends_at_midnight_where_the_person_is() -> None:
    engine = resolver(caps=(CapRule(limit=1, calendar="day"),))
    somebody = person(timezone="America/New_York")
    _sent(engine, somebody, "r1", ms("2026-11-03T23:00-05:00"))

    assert "suppressed" == _sent(engine, somebody, "r2", ms("2026-11-03T23:59-05:00")).outcome
    assert "sent" == _sent(engine, somebody, "r3", ms("2026-11-04T00:00-05:00")).outcome


def test_a_calendar_day_has_25_hours_when_the_clocks_go_back() -> None:
    engine = resolver(caps=(CapRule(limit=1, calendar="day"),))
    somebody = person()
    _sent(engine, somebody, "r1", ms("2026-10-25T00:00+02:00"))
    decision = _sent(engine, somebody, "r2", ms("2026-10-25T23:30+01:00"))

    assert "2026-10-25T23:00:00.000Z" == decision.row["gates"][-1]["input"]["possible_at"]


@pytest.mark.parametrize(
    ("rule", "other", "outcome"),
    [
        pytest.param({"channel": "email"}, {"channels": ("web_push",)}, "sent", id="another channel is free"),
        pytest.param({}, {"channels": ("web_push",)}, "suppressed", id="a cap on all channels"),
        pytest.param({"tag": "promotion"}, {"tags": ("news",)}, "sent", id="another tag is free"),
        pytest.param({"tag": "promotion"}, {"tags": ("news", "promotion")}, "suppressed", id="the tag is full"),
    ],
)
def test_a_cap_counts_what_it_is_about(rule: dict[str, Any], other: dict[str, Any], outcome: str) -> None:
    engine = resolver(caps=(CapRule(limit=1, within=DAY_MS, **rule),))
    somebody = person()
    _sent(engine, somebody, "r1", note=Note(tags=("promotion",)))

    assert outcome == _sent(engine, somebody, "r2", note=Note(**other)).outcome


def test_a_message_over_its_cap_may_wait_until_it_is_possible() -> None:
    engine = resolver(
        caps=(CapRule(limit=1, within=DAY_MS), CapRule(limit=1, within=2 * DAY_MS)), when_capped="postpone"
    )
    somebody = person()
    _sent(engine, somebody, "r1")
    decision = _sent(engine, somebody, "r2", NOON + HOUR_MS)

    assert ("postponed", NOON + 2 * DAY_MS) == (decision.outcome, decision.until_ms)
    again = engine.decide(somebody, request("r2", requested_ms=NOON + HOUR_MS, attempt=1), NOON + 2 * DAY_MS)
    assert "sent" == again.outcome


def test_a_cap_of_none_forbids_and_offers_no_time() -> None:
    decision = _sent(
        resolver(caps=(CapRule(limit=0, channel="email", within=DAY_MS),), when_capped="postpone"), person(), "r1"
    )

    assert ("suppressed", "Not sent: no e-mails allowed in 1 day.") == (decision.outcome, decision.row["reason"])


def test_a_less_important_message_waits_for_a_more_important_one() -> None:
    engine, somebody = resolver(caps=(CapRule(limit=1, within=DAY_MS),)), person()
    early = ms("2026-11-04T08:00+01:00")
    high = engine.decide(
        somebody, request("high", note=Note(channels=("sms",), priority=90), requested_ms=early), early
    )
    low = engine.decide(somebody, request("low", note=Note(priority=10), requested_ms=early), early)

    assert high.until_ms == ms("2026-11-04T09:00+01:00")
    assert ("postponed", "priority", high.until_ms + SECOND_MS) == (low.outcome, low.row["gate"], low.until_ms)
    again = request("high", note=Note(channels=("sms",), priority=90), requested_ms=early, attempt=1)
    assert "sent" == engine.decide(somebody, again, high.until_ms).outcome
    later = request("low", note=Note(priority=10), requested_ms=early, attempt=1)
    assert "caps" == engine.decide(somebody, later, high.until_ms + SECOND_MS).row["gate"]


@pytest.mark.parametrize(
    ("until", "priority"),
    [(5 * HOUR_MS, 90), (HOUR_MS, 50), (-1, 90)],
    ids=["it is too far ahead", "it is no more important", "it has been given up"],
)
def test_a_message_does_not_wait_for_another_when(until: int, priority: int) -> None:
    somebody = person(state={"sends": {"pending": {"other": [NOON + until, priority]}}})

    assert "sent" == _sent(resolver(), somebody, "r1").outcome


def test_nothing_waits_for_a_message_whose_run_has_ended() -> None:
    engine, somebody = resolver(), person()
    high = engine.decide(
        somebody, request("high", note=Note(channels=("sms",), priority=90), requested_ms=EVENING), EVENING
    )
    engine.withdraw(somebody, high.row["idempotency_key"])

    assert {} == somebody.state.get("sends", {}).get("pending", {})


@pytest.mark.parametrize(
    ("note", "fields"),
    [
        pytest.param({"expires_after_ms": HOUR_MS}, {}, id="the message's own"),
        pytest.param({}, {"expires_ms": NOON + HOUR_MS}, id="the journey's"),
    ],
)
def test_a_message_is_not_sent_once_it_has_expired(note: dict[str, Any], fields: dict[str, Any]) -> None:
    asked = request(note=Note(**note), **fields)

    assert "sent" == resolver().decide(person(), asked, NOON + HOUR_MS - 1).outcome
    late = resolver().decide(person(), asked, NOON + HOUR_MS)
    assert ("suppressed", "expiry") == (late.outcome, late.row["gate"])
    assert "Not sent: it was worth sending only until Tue 14:00." == late.row["reason"]


def test_a_message_that_would_have_to_wait_until_it_has_expired_is_not_sent() -> None:
    asked = request(note=Note(channels=("sms",)), requested_ms=EVENING, expires_ms=EVENING + HOUR_MS)
    decision = resolver().decide(person(), asked, EVENING)

    assert ("suppressed", "expiry", None) == (decision.outcome, decision.row["gate"], decision.until_ms)
    assert ["quiet_hours", "expiry"] == [gate["gate"] for gate in decision.row["gates"] if not gate["passed"]]
    assert "next at Wed 09:00; but it is worth sending only until Tue 23:00." in decision.row["reason"]


def test_each_attempt_has_a_row_of_its_own_and_one_key() -> None:
    engine, note = resolver(), Note(channels=("sms",))
    first = engine.decide(person(), request(note=note, requested_ms=EVENING), EVENING)
    second = engine.decide(person(), request(note=note, requested_ms=EVENING, attempt=1), EVENING)

    assert first.row["decision_id"] != second.row["decision_id"]
    assert first.row["idempotency_key"] == second.row["idempotency_key"]


@pytest.mark.parametrize("field", ["journey", "journey_version", "run_id", "step"])
def test_the_key_of_a_message_is_made_of_journey_version_run_and_step(field: str) -> None:
    one, other = request()._asdict(), {**request()._asdict(), field: "another"}
    engine = resolver()
    keys = {engine.decide(person(), type(request())(**fields), NOON).row["idempotency_key"] for fields in (one, other)}

    assert 2 == len(keys)


def test_a_message_that_has_gone_out_is_not_sent_again_under_the_same_key() -> None:
    engine, somebody = resolver(), person()
    first = _sent(engine, somebody, "r1")
    second = _sent(engine, somebody, "r1")

    assert ("sent", "suppressed") == (first.outcome, second.outcome)
    assert second.action is None
    assert first.row["decision_id"] != second.row["decision_id"]


def test_a_replay_gives_the_same_rows_and_the_same_state() -> None:
    def replay() -> tuple[list[Decision], dict[str, Any]]:
        engine, somebody = resolver(holdout=HoldoutRules(share=0.3)), person()
        note = Note(channels=("email", "web_push", "sms"), choose="next_best")
        return [_sent(engine, somebody, f"r{n}", NOON + n * HOUR_MS, note=note) for n in range(40)], somebody.state

    assert replay() == replay()


def test_a_person_who_was_never_written_to_has_no_state() -> None:
    somebody = person(consent={})
    _sent(resolver(), somebody, "r1")

    assert {} == somebody.state


def test_what_no_window_reaches_any_more_is_forgotten() -> None:
    engine, somebody = resolver(), person()
    for number in range(200):
        _sent(engine, somebody, f"r{number}", NOON + number * DAY_MS)
    engine.expire(somebody, NOON + 199 * DAY_MS)

    assert 31 >= len(somebody.state["caps"])
    assert 31 >= len(somebody.state["sends"]["log"])
    engine.expire(somebody, NOON + 300 * DAY_MS)
    assert {"learned"} == set(somebody.state["sends"])
    assert "caps" not in somebody.state


def test_messages_that_count_for_no_cap_are_remembered_only_so_many() -> None:
    engine, somebody = resolver(), person()
    for number in range(LOG_KEPT + 20):
        _sent(engine, somebody, f"r{number}", NOON + number, note=Note(purpose="transactional", transactional=True))
    engine.expire(somebody, NOON + DAY_MS)
    kept = {sent[4] for sent in somebody.state["sends"]["log"].values()}

    assert {f"r{number}" for number in range(20, LOG_KEPT + 20)} == kept


def test_so_many_messages_wait_at_most() -> None:
    engine, somebody = resolver(), person()
    for number in range(PENDING_KEPT + 20):
        engine.decide(somebody, request(f"r{number}", note=Note(channels=("sms",)), requested_ms=EVENING), EVENING)

    assert PENDING_KEPT == len(somebody.state["sends"]["pending"])


def test_a_message_that_nobody_reports_on_counts_unless_the_policy_says_otherwise() -> None:
    one = (CapRule(limit=1, within=7 * DAY_MS),)
    for without, outcome in (("commit", "suppressed"), ("release", "sent")):
        rules = ReceiptRules.model_validate({"within": "1d", "without": without})
        engine, somebody = resolver(caps=one, receipts=rules), person()
        _sent(engine, somebody, "r1")
        assert (NOON + DAY_MS if without == "release" else None) == engine.due(somebody)
        assert "suppressed" == _sent(engine, somebody, "r2", NOON + DAY_MS - 1).outcome
        assert outcome == _sent(engine, somebody, "r3", NOON + DAY_MS).outcome


def test_a_time_zone_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="Mars"):
        Territory.of("Mars/Olympus")

"""On which channel: reachable ones only, as declared, as preferred, or the one that promises most."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any

import pytest

from processors.decisions.gates.channel import address_of
from schemas.decisions.policy import ChannelRule, ChoiceRules, MessagePolicy, Prior
from schemas.durations import DAY_MS
from tests.support.messages import NOON, Note, person, request, resolver

TWO = ("email", "web_push")


def _channels(**changes: Any) -> dict[str, ChannelRule]:
    known = MessagePolicy().channels
    return {**known, **{name: known[name].model_copy(update=change) for name, change in changes.items()}}


def test_the_first_declared_channel_that_reaches_the_person_is_taken() -> None:
    note = Note(channels=("whatsapp", "sms", "email"))
    decision = resolver().decide(person(addresses={"phone": "+491", "email": "a@b.c"}), request(note=note), NOON)

    assert ("sms", 1.0) == (decision.row["channel"], decision.row["propensity"])
    assert {"whatsapp": "no address"} == decision.row["gates"][4]["input"]["unreachable"]


def test_a_message_without_channels_may_take_any_of_the_policy() -> None:
    decision = resolver().decide(person(addresses={"phone": "+491"}), request(note=Note(channels=())), NOON)

    assert "sms" == decision.row["channel"]


@pytest.mark.parametrize(
    ("preferred", "expected"),
    [("web_push", "web_push"), ("telegram", "email"), (None, "email")],
    ids=["the preferred one", "one that does not reach them", "none is known"],
)
def test_the_preferred_channel_is_taken_if_it_reaches_the_person(preferred: str | None, expected: str) -> None:
    traits = {"preferred_channel": [preferred, 1]} if preferred else {}
    decision = resolver().decide(person(traits=traits), request(note=Note(channels=TWO, choose="preferred")), NOON)

    assert expected == decision.row["channel"]


def test_a_person_whom_no_channel_reaches_is_told_of() -> None:
    decision = resolver().decide(person(addresses={}), request(note=Note(channels=TWO)), NOON)

    assert ("suppressed", "channel", None) == (decision.outcome, decision.row["gate"], decision.row["propensity"])
    assert (
        "Not sent: there is no address to send it to (e-mail: none is known, web push: none is known)."
        == decision.row["reason"]
    )


OLD, NEW = NOON - 300 * DAY_MS, NOON - DAY_MS


@pytest.mark.parametrize(
    ("rule", "addresses", "expected"),
    [
        pytest.param({}, {}, "no address", id="none"),
        pytest.param({}, {"a": [OLD, True, 0, False], "b": [NEW, False, 0, False]}, "a", id="verified before new"),
        pytest.param({}, {"a": [OLD, False, 0, False], "b": [NEW, False, 0, False]}, "b", id="new before old"),
        pytest.param({}, {"a": [NEW, True, 0, False], "b": [NEW, True, 0, False]}, "b", id="by name of equals"),
        pytest.param({}, {"a": [NEW, True, 9, True], "b": [OLD, False, 0, False]}, "b", id="not one that bounces"),
        pytest.param({}, {"a": [NEW, True, 9, True]}, "bounced", id="all bounce"),
        pytest.param({"verified_only": True}, {"a": [NEW, False, 0, False]}, "not verified", id="none verified"),
        pytest.param({"fresh_for": 270 * DAY_MS}, {"a": [OLD, True, 0, False]}, "stale", id="not seen for long"),
    ],
)
def test_the_address_is_the_best_that_still_reaches_the_person(
    rule: dict[str, Any], addresses: dict[str, Any], expected: str
) -> None:
    found = address_of({"addresses": {"email": addresses}}, ChannelRule(address="email", **rule), NOON, bounced=True)

    assert expected == (found if isinstance(found, str) else found["value"])


def test_a_second_kind_of_address_serves_when_there_is_none_of_the_first() -> None:
    engine = resolver(channels=_channels(sms={"also": ("whatsapp_id",)}))
    decision = engine.decide(person(addresses={"whatsapp_id": "491"}), request(note=Note(channels=("sms",))), NOON)

    assert decision.action is not None
    assert {"type": "whatsapp_id", "value": "491"} == decision.action["address"]


def test_a_channel_without_addresses_reaches_everybody() -> None:
    engine = resolver(channels={"web": ChannelRule(address=None)}, quiet_hours={}, caps=())
    decision = engine.decide(person(agrees=("web",)), request(note=Note(channels=("web",))), NOON)

    assert decision.action is not None
    assert decision.action["address"] is None
    assert ["email", "phone", "push_token", "whatsapp_id"] == [one["type"] for one in decision.action["identifiers"]]


def _chosen(state: dict[str, Any], **policy: Any) -> Counter[str]:
    engine, note = resolver(**policy), Note(channels=TWO, choose="next_best")
    return Counter(
        engine.decide(
            person(segments=("vip",), state={"sends": {"learned": deepcopy(state)}}),
            request(f"r{number}", note=note),
            NOON,
        ).row["channel"]
        for number in range(600)
    )


def test_the_channel_on_which_a_person_clicks_is_chosen_most_but_not_always() -> None:
    chosen = _chosen({"email": [40, 1], "web_push": [40, 6]})

    assert 0.85 < chosen["web_push"] / 600 < 1


def test_without_experience_the_expectation_of_the_segment_decides() -> None:
    rules = _channels(web_push={"segments": {"vip": Prior(rate=0.5, strength=100)}})

    assert 600 == _chosen({}, channels=rules)["web_push"]


def test_a_cost_that_a_click_does_not_earn_keeps_a_channel_out() -> None:
    rules = _channels(web_push={"cost": 1.0})

    assert 600 == _chosen({"web_push": [40, 6]}, channels=rules)["email"]


def test_a_margin_that_makes_a_click_precious_makes_up_for_the_cost() -> None:
    rules = _channels(web_push={"cost": 1.0})
    chosen = _chosen({"web_push": [200, 100]}, channels=rules, choice=ChoiceRules(margin=100))

    assert 600 == chosen["web_push"]


def test_the_logged_propensity_is_the_share_in_which_the_channel_is_chosen() -> None:
    state = {"email": [30, 2], "web_push": [30, 3]}
    engine, note = resolver(), Note(channels=TWO, choose="next_best")
    rows = [
        engine.decide(person(state={"sends": {"learned": deepcopy(state)}}), request(f"r{number}", note=note), NOON).row
        for number in range(1000)
    ]
    share = sum(row["channel"] == "email" for row in rows) / len(rows)
    logged = {row["channel"]: row["propensity"] for row in rows}

    # Standard deviation 0.016.
    assert logged["email"] == pytest.approx(share, abs=0.06)
    assert 1.0 == pytest.approx(sum(logged.values()))


def test_a_replay_draws_the_same_channel() -> None:
    note = Note(channels=("email", "web_push", "sms", "whatsapp"), choose="next_best")
    first, second = (
        [resolver().decide(person(), request(f"r{number}", note=note), NOON) for number in range(50)] for _ in range(2)
    )

    assert first == second
    assert 1 < len({decision.row["channel"] for decision in first})


def test_only_so_many_of_a_persons_messages_weigh_in() -> None:
    note = Note(channels=TWO, choose="next_best")
    somebody = person(state={"sends": {"learned": {"email": [10_000, 1000]}}})
    row = resolver().decide(somebody, request(note=note), NOON).row

    score = row["gates"][4]["input"]["scores"]["email"]

    # 200 messages with 20 clicks, and the expectation: 30 with 0.9.
    assert (20.9, 209.1) == (score["alpha"], score["beta"])

"""Consent, suppression, holdout: who may be written to."""

from __future__ import annotations

from typing import Any

import pytest

from processors.segments import reachability
from schemas.decisions.decision import Decision
from schemas.decisions.policy import ConsentRules, HoldoutRules, OptOutRegime, SuppressionRules
from schemas.events.bounces import TRANSIENT_BOUNCES_IN_A_ROW
from tests.support.messages import NOON, Note, ms, person, request, resolver


def _decide(document: dict[str, Any], note: Note | None = None, **policy: Any) -> Decision:
    return resolver(**policy).decide(person(**document), request(note=note), NOON)


def _consent(purpose: bool | None, email: bool | None, **further: Any) -> dict[str, Any]:
    return {
        "consent": {
            "purposes": {} if purpose is None else {"marketing": [purpose, 1]},
            "channels": {} if email is None else {"email": [email, 1, True]},
        },
        **further,
    }


@pytest.mark.parametrize(
    ("purpose", "email", "outcome"),
    [
        (True, True, "sent"),
        (True, False, "suppressed"),
        (True, None, "suppressed"),
        (False, True, "suppressed"),
        (None, True, "suppressed"),
        (None, None, "suppressed"),
    ],
)
def test_a_message_needs_a_yes_to_its_purpose_and_to_its_channel(
    purpose: bool | None, email: bool | None, outcome: str
) -> None:
    decision = _decide(_consent(purpose, email))

    assert (outcome, "" if outcome == "sent" else "consent") == (decision.outcome, decision.row["gate"])


def test_a_person_of_whom_nothing_is_known_has_not_agreed() -> None:
    decision = _decide({"consent": {}})

    assert "Not sent: the person has not agreed to marketing." == decision.row["reason"]


@pytest.mark.parametrize(
    ("regime", "purpose", "email", "country", "outcome"),
    [
        pytest.param(OptOutRegime(), None, None, "US", "sent", id="everywhere"),
        pytest.param(OptOutRegime(), False, None, "US", "suppressed", id="but a no to the purpose is a no"),
        pytest.param(OptOutRegime(), True, False, "US", "suppressed", id="and so is a no to the channel"),
        pytest.param(OptOutRegime(countries=frozenset({"US"})), None, None, "us", "sent", id="in the country"),
        pytest.param(OptOutRegime(countries=frozenset({"US"})), None, None, "DE", "suppressed", id="not in another"),
        pytest.param(OptOutRegime(countries=frozenset({"US"})), None, None, None, "suppressed", id="nor nowhere"),
        pytest.param(OptOutRegime(channels=frozenset({"sms"})), True, None, "US", "suppressed", id="another channel"),
        pytest.param(OptOutRegime(unknown=frozenset({"channel"})), True, None, "US", "sent", id="the channel's answer"),
        pytest.param(
            OptOutRegime(unknown=frozenset({"channel"})), None, None, "US", "suppressed", id="not the purpose's"
        ),
    ],
)
def test_an_opt_out_regime_takes_a_missing_answer_for_a_yes(
    regime: OptOutRegime, purpose: bool | None, email: bool | None, country: str | None, outcome: str
) -> None:
    known = {"known": {"country": [country, 1]}} if country else {}
    decision = _decide(_consent(purpose, email, **known), consent=ConsentRules(opt_out=(regime,)))

    assert outcome == decision.outcome


def test_a_refused_channel_leaves_the_others() -> None:
    decision = _decide({"agrees": ("sms",)}, Note(channels=("email", "sms")))

    assert ("sent", "sms") == (decision.outcome, decision.row["channel"])
    assert {"email": None, "sms": True} == decision.row["gates"][1]["input"]["channels"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param(_consent(False, True), "has said no to marketing.", id="to the purpose"),
        pytest.param(_consent(True, False), "has said no to marketing by e-mail.", id="to the channel"),
        pytest.param(_consent(True, None), "has not agreed to marketing by e-mail.", id="unknown"),
    ],
)
def test_the_reason_names_what_was_refused(document: dict[str, Any], said: str) -> None:
    assert f"Not sent: the person {said}" == _decide(document).row["reason"]


@pytest.mark.parametrize(
    ("topics", "outcome"),
    [({"promotion": [False, 1]}, "suppressed"), ({"promotion": [True, 1]}, "sent"), ({"cart": [False, 1]}, "sent")],
    ids=["no", "yes", "no to another"],
)
def test_a_message_about_a_topic_that_was_refused_is_not_sent(topics: dict[str, Any], outcome: str) -> None:
    document = _consent(True, True)
    document["consent"]["topics"] = topics

    decision = _decide(document, Note(tags=("promotion",)))

    assert outcome == decision.outcome
    assert (outcome == "suppressed") == ("wants nothing about promotion" in decision.row["reason"])


COMPLAINED = {"messages": {"email": {"complained": [1, 50]}}}
BOUNCED = {"ann@example.com": [NOON, True, 5, True]}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param({"gone": True}, "erased", id="erased"),
        pytest.param({"traits": {"suppressed": [True, 1]}}, "suppression list (suppressed)", id="a trait"),
        pytest.param({"traits": {"do_not_contact": ["yes", 1]}}, "(do_not_contact)", id="a trait as text"),
        pytest.param({"segments": ("staff",)}, "suppressed segment staff", id="a segment"),
        pytest.param(COMPLAINED, "earlier message as spam by e-mail", id="a complaint"),
    ],
)
def test_a_suppressed_person_gets_nothing(document: dict[str, Any], said: str) -> None:
    decision = _decide(document, suppression=SuppressionRules(segments=("staff",)))

    assert ("suppressed", "suppression") == (decision.outcome, decision.row["gate"])
    assert said in decision.row["reason"]


def test_a_person_whose_every_address_bounces_is_suppressed() -> None:
    somebody = person()
    somebody.document["addresses"]["email"] = dict(BOUNCED)
    decision = resolver().decide(somebody, request(), NOON)

    assert "suppression" == decision.row["gate"]
    assert "Not sent: every known address bounces by e-mail." == decision.row["reason"]


@pytest.mark.parametrize(
    ("delivered", "outcome"), [(0, "suppressed"), (1, "sent"), (TRANSIENT_BOUNCES_IN_A_ROW, "sent")]
)
def test_an_address_that_only_bounces_transiently_is_given_up(delivered: int, outcome: str) -> None:
    somebody = person()
    somebody.document["addresses"]["email"] = {"a@example.com": [1, False, delivered, False]}
    somebody.document["soft_bounces"] = {"email": {"a@example.com": list(range(1, TRANSIENT_BOUNCES_IN_A_ROW + 1))}}
    decision = resolver().decide(somebody, request(), NOON)

    assert outcome == decision.outcome
    if outcome == "suppressed":
        assert "Not sent: every known address bounces by e-mail." == decision.row["reason"]
    assert (outcome == "sent") is reachability.can_reach(somebody.document, "email")
    assert reachability.addresses(somebody.document, "email") == (["a@example.com"] if outcome == "sent" else [])


def test_a_bounced_address_leaves_the_others() -> None:
    somebody = person()
    somebody.document["addresses"]["email"] = {**BOUNCED, "other@example.com": [1, False, 0, False]}
    decision = resolver().decide(somebody, request(), NOON)

    assert decision.action is not None
    assert {"type": "email", "value": "other@example.com"} == decision.action["address"]


@pytest.mark.parametrize("value", [None, False, "", "no", "false", 0])
def test_a_suppression_trait_that_says_no_suppresses_nobody(value: object) -> None:
    assert "sent" == _decide({"traits": {"suppressed": [value, 1]}}).outcome


def test_agreeing_anew_after_a_complaint_lifts_it() -> None:
    later = {"consent": {"purposes": {"marketing": [True, 1]}, "channels": {"email": [True, 60, True]}}}

    assert "sent" == _decide({**COMPLAINED, **later}).outcome


def test_a_transactional_message_needs_no_consent_but_stops_at_suppression() -> None:
    note = Note(purpose="transactional", transactional=True)

    assert "sent" == _decide({"consent": {}}, note).outcome
    assert "suppression" == _decide({**COMPLAINED, "consent": {}}, note).row["gate"]


def test_the_global_control_group_has_its_share_of_people() -> None:
    held = _held_out(HoldoutRules(share=0.05), 10_000)

    # 500 expected, standard deviation 22.
    assert 410 < len(held) < 590


def test_the_control_group_is_the_same_whenever_it_is_asked_within_a_quarter() -> None:
    rules = HoldoutRules(share=0.5)

    assert _held_out(rules, 500) == _held_out(rules, 500, ms("2026-12-31T23:59:59"))


def test_other_people_take_their_turn_in_the_next_quarter() -> None:
    rules = HoldoutRules(share=0.5)
    now, then = _held_out(rules, 1000), _held_out(rules, 1000, ms("2027-01-01T00:00"))

    # Independent: half of those held out now are held out then, standard deviation 11 of 500.
    assert 0.4 < len(now & then) / len(now) < 0.6


def test_a_control_group_may_stay_for_ever() -> None:
    rules = HoldoutRules(share=0.5, renew="never")

    assert _held_out(rules, 500) == _held_out(rules, 500, ms("2030-01-01T00:00"))


def test_a_journey_holds_out_people_of_its_own() -> None:
    engine = resolver()
    groups = {
        journey: {
            number
            for number in range(2000)
            if engine.decide(person(f"p{number}"), request(journey=journey, holdout_share=0.25), NOON).row["holdout"]
            == "journey"
        }
        for journey in ("cart", "welcome")
    }

    # 500 expected, standard deviation 19; a quarter of them in the other group too.
    assert all(420 < len(group) < 580 for group in groups.values())
    assert 80 < len(groups["cart"] & groups["welcome"]) < 175


def test_a_ghost_says_which_channel_it_would_have_been() -> None:
    decision = _decide({}, holdout=HoldoutRules(share=1))

    assert ("ghost", "holdout", "email", "global") == (
        decision.outcome,
        decision.row["gate"],
        decision.row["channel"],
        decision.row["holdout"],
    )
    assert decision.action is None
    assert (
        "Not sent: the person is in the control group of all messages; it would have gone out now by e-mail."
        == decision.row["reason"]
    )


def test_a_ghost_uses_up_nothing() -> None:
    somebody = person()
    resolver(holdout=HoldoutRules(share=1)).decide(somebody, request(), NOON)

    assert {} == somebody.state


def test_a_person_who_could_not_be_reached_is_no_ghost() -> None:
    decision = _decide({"addresses": {}}, holdout=HoldoutRules(share=1))

    assert ("suppressed", "channel", "global") == (decision.outcome, decision.row["gate"], decision.row["holdout"])


def test_a_ghost_waits_for_the_end_of_quiet_hours_as_the_message_would() -> None:
    decision = resolver(holdout=HoldoutRules(share=1)).decide(
        person(), request(note=Note(channels=("sms",))), ms("2026-11-03T22:00+01:00")
    )

    assert ("postponed", "quiet_hours") == (decision.outcome, decision.row["gate"])


def _held_out(rules: HoldoutRules, people: int, now_ms: int = NOON) -> set[int]:
    engine = resolver(holdout=rules)
    asked = request(requested_ms=now_ms)
    decisions = {number: engine.decide(person(f"p{number}"), asked, now_ms) for number in range(people)}
    return {number for number, decision in decisions.items() if decision.row["holdout"] == "global"}

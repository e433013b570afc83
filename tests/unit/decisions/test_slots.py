"""Slots: the candidates in order, the gates of messages, caps, control groups, and the row of each request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.operations.engines import lint_journeys, load_definitions, load_slots
from deploy.settings import Settings
from processors.decisions.explain import story as explained
from schemas.decisions.policy import HoldoutRules, MessagePolicy, SlotRules
from schemas.decisions.slots import Slot
from tests.support.slots import Visitor, slot
from tests.support.stories import NO_HOLDOUT, Story, shipped_segments

CART = """
candidates:
  - {name: cart, if: {attribute: cart.lines, gte: 1}, message: cart-reminder}
  - {name: news, message: season-news, tags: [promotion], campaign: news}
"""


def visitor(text: str = CART, *, policy: MessagePolicy | None = None, **fields: Any) -> Visitor:
    story = Story(segments=shipped_segments(), **fields).at("10:00")
    return Visitor(story, slot(text), policy=policy)


def test_the_first_candidate_that_is_for_the_person_is_shown_and_the_row_says_why_others_are_not() -> None:
    somebody = visitor()

    found = somebody.look()

    said = {name: found.row[name] for name in ("outcome", "journey", "step", "message", "channel", "campaign")}
    assert said == {
        "outcome": "sent", "journey": "banner", "step": "news", "message": "season-news", "channel": "web",
        "campaign": "news",
    }  # fmt: skip
    assert {"cart": "the person is not in its audience"} == found.row["gates"][0]["input"]
    somebody.story.event("Product Added", product_id="lamp")
    assert "cart" == somebody.sees()


def test_the_same_request_has_the_same_id_and_another_one_or_another_person_one_of_its_own() -> None:
    ann, ben = visitor(), visitor(profile_id="p2")
    asked = ((ann, "r1"), (ann, "r1"), (ann, "r2"), (ben, "r1"))

    rows = [who.look(request=request).row for who, request in asked]

    assert rows[0]["decision_id"] == rows[1]["decision_id"]
    assert 3 == len({row["decision_id"] for row in rows})
    assert 3 == len({row["idempotency_key"] for row in rows})
    assert [True, False] == [rows[0]["run_id"] == row["run_id"] for row in (rows[2], rows[3])]


def test_a_no_counts_and_no_answer_is_a_yes_unless_the_policy_asks() -> None:
    asking = MessagePolicy(holdout=NO_HOLDOUT, slots=SlotRules(consent="asked"))
    unasked: dict[str, Any] = {"agrees": None}

    assert "news" == visitor(**unasked).sees()
    assert "fallback: consent" == visitor(policy=asking, **unasked).sees()
    assert "fallback: consent" == visitor(agrees=False).sees()


def test_who_is_suppressed_sees_the_fallback_and_why_is_readable() -> None:
    row = visitor(traits={"do_not_contact": True}).look().row

    assert ("suppressed", "suppression") == (row["outcome"], row["gate"])
    assert any("suppression list" in line for line in explained([row], []))


def test_who_is_held_out_leaves_a_ghost_where_others_see_something_and_nothing_where_they_do_not() -> None:
    everybody = MessagePolicy(holdout=HoldoutRules(share=1))
    somebody = visitor(CART.replace("  - {name: news", "  - {name: news, if: {segment: vip}"), policy=everybody)

    assert "fallback: audience" == somebody.sees()
    somebody.story.event("Product Added", product_id="lamp")
    found = somebody.look()
    assert ("ghost", "holdout", "cart", None) == (found.row["outcome"], found.reason, found.row["step"], found.shown)
    assert "Not shown: the person is in the control group of all messages." == found.row["reason"]


def test_a_candidate_at_its_cap_makes_room_for_the_next_until_the_window_is_over() -> None:
    text = CART.replace("tags: [promotion]", "caps: [{limit: 2, within: 1d}]")
    somebody = visitor(text + "  - {name: returns, message: returns, purpose: transactional}\n")

    assert ["news", "news", "returns"] == [somebody.sees() for _ in range(3)]
    assert "2 of 2" in somebody.look().row["gates"][0]["input"]["news"]
    somebody.story.after("1d")
    assert "news" == somebody.sees()


def test_messages_with_a_tag_use_up_the_caps_by_tag_of_slots_and_others_do_not() -> None:
    somebody = visitor()
    now = somebody.story.now
    somebody.story.person.state["caps"] = {f"m{n}": [now, "email", ["promotion"], 0] for n in range(2)}

    assert "fallback: caps" == somebody.sees()
    somebody.story.person.state["caps"] = {f"m{n}": [now, "email", [], 0] for n in range(9)}
    assert "news" == somebody.sees()


def test_a_decision_changes_nothing_of_the_person() -> None:
    somebody = visitor()
    somebody.look()
    before = repr(somebody.story.person.state)
    somebody.look()

    assert before == repr(somebody.story.person.state)


def test_a_candidate_is_shown_in_its_time_on_the_clock_of_the_person() -> None:
    text = "candidates: [{name: sale, message: sale, from: 2026-11-03 00:00, until: 2026-11-04 00:00}]"
    berlin = visitor(text)

    assert "fallback: audience" == berlin.sees()
    assert "sale" == (berlin.story.at("day 2 00:00"), berlin.sees())[1]
    assert "fallback: audience" == (berlin.story.at("day 2 23:30"), berlin.sees())[1]


def test_the_best_is_chosen_by_the_score_and_what_is_not_known_has_a_value_of_its_own() -> None:
    text = """
    choose: best
    candidates:
      - {name: plain, message: a, score: 10}
      - {name: points, message: b, score: {attribute: loyalty.balance, times: 0.1, else: 1}}
    """
    somebody = visitor(text)

    assert "plain" == somebody.sees()
    somebody.story.event("Loyalty Points Earned", "loyalty", points=200)
    assert "points" == somebody.sees()


def test_a_candidate_without_its_values_makes_room_for_the_next() -> None:
    somebody = visitor()
    found = somebody.look(without={"news": "template season-news: coupon is not known"})

    assert ("audience", "Not shown: no candidate is for the person now.") == (found.reason, found.row["reason"])
    assert "coupon is not known" in found.row["gates"][0]["input"]["news"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("candidates: [{name: a}]", "it shows nothing", id="a candidate without anything"),
        pytest.param("candidates: [{name: a, message: b}, {name: a, message: c}]", "two candidates", id="a name twice"),
        pytest.param(
            "{candidates: [{name: a, message: b}], fallback: {de: {text: x}}}", "default language", id="no default"
        ),
        pytest.param(
            "{candidates: [{name: a, message: b}], fallback: {en: {text: 'Hi {{ profile.x }}'}}}", "shown as it is",
            id="a fallback that asks for a value",
        ),
        pytest.param("candidates: [{name: a, offer: b, coupon: c}]", "coupon of its messages", id="two coupons"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        slot(text)


def test_an_equal_slot_has_an_equal_version() -> None:
    assert slot(CART).version == slot(CART, description="Otherwise.").version != slot(CART, holdout=0.5).version
    assert isinstance(slot(CART), Slot)


def test_every_mistake_has_its_place_and_the_nearest_name(tmp_path: Path) -> None:
    text = """
name: cart_abandonment
description: A test.
channel: stor
candidates:
  - {name: a, if: {segment: vipp}, message: cart-remindr}
  - {name: b, offer: season_new}
  - {name: c, message: birthday}
  - {name: d, message: cart-reminder, score: {attribute: loyalty.balanc}}
"""
    (tmp_path / "a.yaml").write_text(text)
    slots, files = load_slots([tmp_path / "a.yaml"])
    findings = lint_journeys(replace(load_definitions(Settings()), slots=slots, slot_files=files))

    said = {one.path: (one.line, one.message) for one in findings if one.file.startswith(str(tmp_path))}
    assert {
        "name": 2, "channel": 4, "candidates.0.if": 6, "candidates.0.message": 6, "candidates.1.offer": 7,
        "candidates.2.message": 8, "candidates.3": 9, "candidates.3.message": 9, "candidates.3.score": 9,
        "candidates.3.score.attribute": 9,
    } == {path: line for path, (line, _) in said.items()}  # fmt: skip
    assert "did you mean vip?" in said["candidates.0.if"][1]
    assert "did you mean 'cart-reminder'?" in said["candidates.0.message"][1]
    assert "did you mean 'season_news'?" in said["candidates.1.offer"][1]

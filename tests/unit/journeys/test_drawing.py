"""The picture of a journey as text."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from processors.journeys.compiled import CompiledJourney
from processors.journeys.drawing import tree
from schemas.journeys.definitions import Journey
from tests.support.stories import journey, shipped_journeys


def test_a_journey_is_drawn_with_its_branches_and_the_runs_at_each_step() -> None:
    drawn = tree(
        journey("""
            entry: {event: [Signed Up, Account Created]}
            re_entry: once
            exit_when: [{segment: vip}]
            goals: [{name: order, event: Order Completed, within: 3d}]
            holdout: 0.1
            steps:
              - {message: hello, channel: email}
              - wait_for: {event: Order Completed, key: cart_id}
                timeout: 1d
                then: [{exit: bought}]
              - {id: last, message: offer, channels: [sms, app_push]}
        """),
        {"2": 1200, "last": 3},
    )

    assert [
        "enter   Signed Up or Account Created, once in a life",
        "├─ 1  message hello by e-mail",
        "├─ 2  wait for Order Completed, each cart_id, at most 1 day   [1,200 here]",
        "│  ├─ then",
        "│  │  └─ 2.then.1  exit: bought",
        "│  └─ else: go on",
        "└─ last  message offer by SMS or app push   [3 here]",
        "leave   enters segment vip",
        "goal    order: Order Completed within 3 days",
        "holdout 10% of people get none of its messages",
    ] == drawn


@pytest.mark.parametrize("one", shipped_journeys().values(), ids=list(shipped_journeys()))
def test_every_step_of_a_shipped_journey_is_in_its_picture_by_its_id(one: Journey) -> None:
    drawn = {part for line in tree(one) for part in line.split()}

    assert set() == CompiledJourney(one, ZoneInfo("UTC")).steps.keys() - drawn

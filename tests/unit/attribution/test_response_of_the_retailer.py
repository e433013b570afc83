"""Response curves find what the next unit of spend brings at the simulated retailer, of whom the truth is known."""

from __future__ import annotations

from datetime import date
from functools import cache
from random import Random

import pytest

from deploy.demo.simulator.advertising import EFFECT, SEARCH
from deploy.demo.simulator.world import World
from processors.attribution import response
from schemas.durations import DAY_MS

PEOPLE, VISITS, BASKET = 1_500, 0.3, 80.0
"""People, their visits a day, and what an order is worth."""
DAYS, MEAN = 210, 250.0
CLICK = SEARCH[0].click_micros / 1e6


def revenue(spend: list[float], seed: int) -> list[float]:
    """Spend so much each day on clicks of random people; return what they buy, on that day and later ones.

    Desire, its decay and the odds of buying are those of the simulated retailer.
    """
    world, draw, found = World(seed, PEOPLE, 1, date(2026, 9, 1), 0.0, "r"), Random(seed), []
    for day, budget in enumerate(spend):
        ms, orders = day * DAY_MS, 0
        for _ in range(round(budget / CLICK)):
            world.apply_touch(draw.choice(world.people), ms, SEARCH[0].channel)
        for person in world.people:
            if draw.random() < VISITS and world.buys(person, ms):
                world.reduce_desire(person, ms)
                orders += 1
        found.append(orders * BASKET)
    return found


@cache
def true_marginal() -> float:
    """Measure what a unit more a day brings a day, by the same retailer with a fifth less and a fifth more spend."""
    low, high = (sum(revenue([MEAN * share] * 400, 7)[50:]) / 350 for share in (0.8, 1.2))
    return (high - low) / (0.4 * MEAN)


def weekly_spend(seed: int) -> list[float]:
    """Return a budget that is changed each week, independently of demand."""
    draw = Random(seed)
    weeks = [draw.uniform(0.2, 1.8) * MEAN for _ in range(DAYS // 7)]
    return [weeks[day // 7] * draw.uniform(0.9, 1.1) for day in range(DAYS)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_marginal_revenue_is_the_true_one_with_the_effect_of_later_days(seed: int) -> None:
    spend = weekly_spend(seed)

    curve = response.fit(SEARCH[0].channel, spend, revenue(spend, seed))

    assert curve is not None
    assert ("", True) == (curve.warning, EFFECT[SEARCH[0].channel] > 0 and curve.half_life_days > 0)
    assert true_marginal() == pytest.approx(curve.marginal, rel=0.15)
    assert curve.marginal_low < true_marginal() < curve.marginal_high


def test_a_channel_without_an_effect_is_said_to_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EFFECT, SEARCH[0].channel, 0.0)
    spend = weekly_spend(4)

    curve = response.fit(SEARCH[0].channel, spend, revenue(spend, 4))

    assert curve is not None
    assert "the effect of spend cannot be distinguished from chance" == curve.warning

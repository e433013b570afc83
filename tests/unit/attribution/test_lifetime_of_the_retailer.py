"""Lifetime value at the simulated retailer, of whom the truth is known, beside an old sample of another shop."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from random import Random

import pytest

from deploy.demo.simulator import Options, Simulation
from processors.attribution.lifetime import Lifetime, Order, Validation, fit

SEEDS = [1, 2, 3]
SEASON, DAYS, HELD_OUT = date(2026, 9, 1), 60, 14


@cache
def season(seed: int) -> list[Order]:
    """Return what the people of the retailer buy."""
    simulation = Simulation(Options(people=1_500, seed=seed, days=DAYS, start=SEASON))
    for _ in simulation.lines():
        pass
    return [Order(f"p{who}", day, revenue) for who, day, revenue in simulation.purchases()]


def old_sample() -> list[Order]:
    """Return customers of two years before; most of them ordered once, and none came back after that summer."""
    rng, found = Random(7), []
    for number in range(330):
        for _ in range(1 + (rng.random() < 0.25)):
            day = date(2024, 1, 21) + timedelta(days=rng.randrange(150))
            found.append(Order(f"old{number}", day, rng.uniform(20, 80)))
    return found


@cache
def fitted(seed: int, held_out: int = HELD_OUT) -> Lifetime:
    pytest.importorskip("clvkit")
    last = SEASON + timedelta(days=DAYS - 1)
    return fit([*old_sample(), *season(seed)], last, horizon_days=30, holdout_days=held_out)


@pytest.mark.parametrize("held_out", [HELD_OUT, 21])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_orders_of_held_out_days_are_predicted_and_better_than_by_going_on_as_before(
    seed: int, held_out: int
) -> None:
    found = fitted(seed, held_out).validation

    assert "" == found.objection
    assert found.predicted == pytest.approx(found.orders, rel=0.33)
    assert found.mean_squared_error < 0.8 * found.naive_squared_error


def test_over_several_seeds_predictions_are_too_high_as_often_as_too_low() -> None:
    found = [fitted(seed, held_out).validation for seed in SEEDS for held_out in (HELD_OUT, 21)]

    assert sum(one.predicted for one in found) == pytest.approx(sum(one.orders for one in found), rel=0.12)
    assert sum(one.predicted_revenue for one in found) == pytest.approx(sum(one.revenue for one in found), rel=0.25)


def test_predictions_rise_with_the_orders_that_came() -> None:
    tenths = [fitted(seed).validation.deciles for seed in SEEDS]
    below, above = ([sum(one[number].orders for one in tenths) for number in half] for half in (range(5), range(5, 10)))
    top = sum(one[9].orders for one in tenths)

    assert sum(above) > 2 * sum(below)
    assert top > sum(above) / 5
    assert sum(one[9].predicted_orders for one in tenths) == pytest.approx(top, rel=0.4)


@pytest.mark.parametrize("seed", SEEDS)
def test_customers_of_the_old_sample_are_lost_and_make_nobody_else_look_lost(seed: int) -> None:
    found = fitted(seed)
    alive = {
        is_old: [one.probability_alive for one in found.forecasts if one.profile_id.startswith("old") is is_old]
        for is_old in (True, False)
    }

    assert "330 customers who came before 2026-09-01 are a population of their own" in found.notes
    assert {"r", "r before 2026-09-01"} <= found.parameters.keys()
    assert max(alive[True]) < 0.05
    assert sum(alive[False]) / len(alive[False]) > 0.7


def test_a_forecast_of_a_shop_that_has_closed_meanwhile_is_refused() -> None:
    pytest.importorskip("clvkit")

    found = fit(season(1), SEASON + timedelta(days=DAYS + 30), holdout_days=45).validation

    assert "the number of orders predicted is too far from that which came" == found.objection


@pytest.mark.parametrize(
    ("validation", "objection"),
    [
        pytest.param(Validation(), "", id="nothing was held out"),
        pytest.param(Validation(14, 100, 125, 0, 0, 0.9, 1.0), "", id="better, and a quarter too high"),
        pytest.param(Validation(14, 100, 60, 0, 0, 0.9, 1.0), "the number", id="better for each, and 40 % too low"),
        pytest.param(Validation(14, 9, 15, 0, 0, 0.9, 1.0), "", id="few orders: as far off as chance"),
        pytest.param(Validation(14, 100, 100, 0, 0, 1.0, 1.0), "its error", id="no better than no model"),
        pytest.param(Validation(14, 0, 40, 0, 0, 0.1, 1.0), "the number", id="many predicted, and none came"),
        pytest.param(Validation(14, 0, 1, 0, 0, 0.1, 0.0), "", id="nothing came, and next to nothing was predicted"),
    ],
)
def test_a_forecast_is_refused_where_it_is_far_off_or_no_better_than_no_model(
    validation: Validation, objection: str
) -> None:
    assert validation.objection.startswith(objection)
    assert bool(objection) is bool(validation.objection)

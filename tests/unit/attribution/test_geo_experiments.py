"""Geo experiments find the true effect of a campaign in areas that share a season and differ in size and noise."""

from __future__ import annotations

import numpy as np
import pytest

from processors.attribution.geo_experiments import GeoEffect, measure, plan
from tests.benchmarks.incrementality import trials

AREAS = ("Berlin", "Hamburg", "Köln", "Leipzig", "München", "Nürnberg", "Rostock", "Ulm")
RAN_IN = ("Berlin", "Köln")
BEFORE, CAMPAIGN = 84, 28


def orders(seed: int, effect: float = 0.0) -> tuple[dict[str, list[float]], float]:
    """Orders a day by area, and how many of them a campaign in Berlin and Köln brings, which adds the share `effect`.

    Two seasons that areas share in parts, weekdays, noise that lasts for days, and chance.
    """
    draw = np.random.default_rng(seed)
    days, caused, found = np.arange(BEFORE + CAMPAIGN), 0.0, {}
    weekday = 1 + 0.25 * (days % 7 >= 5)
    wave = 1 + 0.3 * np.sin(2 * np.pi * (days + draw.uniform(0, 90)) / 90)
    drift = 1 + np.cumsum(draw.normal(0, 0.01, len(days)))
    for area in AREAS:
        level, part = draw.uniform(40, 400), draw.uniform(0.2, 0.8)
        noise = np.zeros(len(days))
        for day in days[1:]:
            noise[day] = 0.4 * noise[day - 1] + draw.normal(0, 0.05)
        mean = np.maximum(level * weekday * (part * wave + (1 - part) * drift) * (1 + noise), 0)
        if area in RAN_IN:
            caused += effect * float(mean[BEFORE:].sum())
            mean[BEFORE:] *= 1 + effect
        found[area] = [float(value) for value in draw.spawn(1)[0].poisson(mean)]
    return found, caused


def measured(seed: int, effect: float = 0.0) -> GeoEffect:
    found = measure(orders(seed, effect)[0], RAN_IN, CAMPAIGN)
    assert isinstance(found, GeoEffect)
    return found


@pytest.mark.parametrize("effect", [0.0, 0.12])
def test_the_true_effect_is_in_the_interval_for_at_least_ninety_of_a_hundred_seeds(effect: float) -> None:
    truths = [orders(seed, effect)[1] for seed in range(100)]
    found = [measured(seed, effect) for seed in range(100)]

    assert sum(one.low <= true <= one.high for one, true in zip(found, truths, strict=True)) >= 90
    assert abs(sum(one.incremental for one in found) - sum(truths)) < 0.02 * sum(one.actual for one in found)


def test_an_effect_is_found_and_its_absence_too() -> None:
    assert sum(measured(seed, 0.3).low > 0 for seed in range(40)) >= 36
    assert sum(measured(seed).significant for seed in range(40)) <= 4


def test_an_area_that_follows_another_exactly_has_what_that_one_had() -> None:
    control = [100.0 + 10 * (day % 7) for day in range(56)]
    treated = [2 * value for value in control[:42]] + [2 * value + 30 for value in control[42:]]

    found = measure({"A": treated, "B": control, "C": [50.0 - day % 5 for day in range(56)]}, {"A"}, 14)

    assert isinstance(found, GeoEffect)
    assert found.incremental == pytest.approx(14 * 30, abs=1)
    assert found.actual - found.expected == pytest.approx(found.incremental)
    assert found.low == pytest.approx(14 * 30, abs=1) == found.high
    assert {"B": pytest.approx(1.0, abs=0.01)} == {area: share for area, share in found.weights.items() if share > 0.01}
    assert found.p_value < 0.05


def test_the_size_of_the_areas_that_are_compared_does_not_matter() -> None:
    small = orders(5, 0.1)[0]
    large = {area: [1024 * value for value in days] if area == "Hamburg" else days for area, days in small.items()}

    assert measure(small, {"Berlin"}, CAMPAIGN) == measure(large, {"Berlin"}, CAMPAIGN)


@pytest.mark.parametrize(
    ("series", "treated", "days", "reason"),
    [
        pytest.param({"A": [1.0] * 60, "B": [1.0] * 60}, (), 14, "name at least one area", id="no area"),
        pytest.param({"A": [1.0] * 60, "B": [1.0] * 60}, ("Z",), 14, "Z: no such area; there are A, B", id="unknown"),
        pytest.param({"A": [1.0] * 60}, ("A",), 14, "ran everywhere", id="nothing to compare"),
        pytest.param({"A": [1.0] * 60, "B": [1.0] * 59}, ("A",), 14, "different numbers of days: 59, 60", id="ragged"),
        pytest.param({"A": [1.0] * 30, "B": [1.0] * 30}, ("A",), 14, "16 days before", id="short"),
        pytest.param({"A": [1.0] * 60, "B": [1.0] * 60}, ("A",), 0, "at least one day", id="no day"),
        pytest.param({"A": [0.0] * 60, "B": [1.0] * 60}, ("A",), 14, "nothing happened in A", id="empty area"),
        pytest.param({"A": [1.0] * 60, "B": [0.0] * 60}, ("A",), 14, "in the other areas", id="empty comparison"),
    ],
)
def test_what_cannot_be_measured_is_said(
    series: dict[str, list[float]], treated: tuple[str, ...], days: int, reason: str
) -> None:
    found = measure(series, treated, days)

    assert isinstance(found, str)
    assert reason in found


@pytest.mark.parametrize(
    ("series", "days", "reason"),
    [
        pytest.param({}, 14, "no two areas to compare: something happened in none", id="no area"),
        pytest.param({"A": [1.0] * 60, "B": [0.0] * 60}, 14, "something happened in A", id="one area"),
        pytest.param({"A": [1.0] * 60, "B": [1.0] * 60}, 0, "at least one day", id="no day"),
        pytest.param({"A": [1.0] * 30, "B": [1.0] * 30}, 14, "16 days before", id="short"),
    ],
)
def test_what_cannot_be_planned_is_said(series: dict[str, list[float]], days: int, reason: str) -> None:
    found = plan(series, days)

    assert isinstance(found, str)
    assert reason in found


def test_a_comparison_that_never_followed_is_warned_of() -> None:
    draw = np.random.default_rng(3)
    noise = {area: draw.exponential(10, 84).tolist() for area in "ABC"}

    found = measure(noise, {"A"}, 14)

    assert isinstance(found, GeoEffect)
    assert "followed poorly" in found.warning


def test_the_plan_prefers_areas_whose_experiment_finds_less() -> None:
    plans = plan(orders(2)[0], CAMPAIGN, areas=2)

    assert isinstance(plans, list)
    assert sorted(plans, key=lambda one: one.detectable) == plans
    assert {1, 2} == {len(one.areas) for one in plans}
    assert all(0 < one.share < 1 and one.placebos >= 4 for one in plans)


def test_an_effect_of_the_planned_size_is_found_in_about_eighty_of_a_hundred_experiments() -> None:
    found = 0
    for seed in range(15):
        past = {area: days[:BEFORE] for area, days in orders(seed)[0].items()}
        plans = plan(past, CAMPAIGN)
        assert isinstance(plans, list)
        detectable = next(one.detectable for one in plans if one.areas == ("Berlin",))
        outcome = measure(orders(seed, detectable)[0], {"Berlin"}, CAMPAIGN)
        found += isinstance(outcome, GeoEffect) and outcome.low > 0

    assert 9 <= found


def test_what_channels_cause_at_the_simulated_retailer_is_found_by_switching_them_off_in_some_areas() -> None:
    found = trials(range(10), ("Paid Search", "Direct"))

    assert all(sum(one.holds for one in done) >= 8 for done in found.values())
    assert sum(one.found.high < 0 for one in found["Paid Search"]) >= 8
    assert sum(one.found.significant for one in found["Direct"]) <= 2

"""Best frequency, response to spend and lifetime value recover the parameters of generated data."""

from __future__ import annotations

from datetime import date, timedelta
from math import isfinite, log1p
from random import Random

import pytest

from processors.attribution import lifetime, response
from processors.attribution.frequency import WeekCounts, best_frequency
from processors.attribution.lifetime import MIN_REPEAT_CUSTOMERS, DegenerateFitError, Order, TooFewCustomersError, fit


def weeks(
    messages: int, revenue: float, *, groups: int = 20, person_weeks: int = 50, unsubscribes: int = 0
) -> list[WeekCounts]:
    """Return equal cells for all groups of people."""
    return [
        WeekCounts(messages, group, 10, person_weeks, 0, 0, revenue * person_weeks, 0, unsubscribes)
        for group in range(groups)
    ]


class TestFrequency:
    def test_the_number_with_the_highest_value_is_best(self) -> None:
        found = best_frequency([*weeks(0, 1.0), *weeks(1, 3.0), *weeks(2, 2.0)])

        assert (1, 1, 1, 1.0) == (found.messages, found.low, found.high, found.certainty)
        assert [(0, 1.0), (1, 3.0), (2, 2.0)] == [(rate.messages, rate.value) for rate in found.curve]

    def test_unsubscriptions_have_a_cost(self) -> None:
        tiring = [*weeks(1, 3.0), *weeks(2, 4.0, unsubscribes=5)]

        assert (2, 1) == (best_frequency(tiring).messages, best_frequency(tiring, unsubscribe_cost=20).messages)

    def test_a_number_with_few_weeks_cannot_win(self) -> None:
        found = best_frequency([*weeks(1, 3.0), *weeks(5, 99.0, groups=1, person_weeks=3)])

        assert (1, False) == (found.messages, found.curve[1].counts)

    def test_too_few_weeks_have_no_best_number(self) -> None:
        assert None is best_frequency(weeks(1, 3.0, groups=1, person_weeks=3)).messages

    def test_a_value_from_a_few_people_has_a_wide_interval(self) -> None:
        rng = Random(3)
        lucky = [one._replace(revenue=rng.choice([0.0, 0.0, 0.0, 800.0])) for one in weeks(2, 0.0)]

        found = best_frequency([*weeks(1, 3.0), *lucky])

        rate = found.curve[1]
        assert rate.low < 3.0 < rate.high
        assert (1, 2) == (found.low, found.high)
        assert 0.5 < found.certainty < 1.0

    def test_the_same_seed_gives_the_same_answer(self) -> None:
        cells = [*weeks(1, 3.0), *weeks(2, 3.1)]

        assert best_frequency(cells, seed=7) == best_frequency(cells, seed=7)


class TestResponse:
    def spend(self) -> list[float]:
        rng = Random(1)
        return [rng.uniform(0, 200) for _ in range(120)]

    def test_the_curve_of_generated_data_is_recovered(self) -> None:
        spend = self.spend()

        curve = response.fit("Paid Search", spend, [20 + 300 * log1p(one / 80) for one in spend])

        assert curve is not None
        true_slope = 300 / (80 + curve.spend)
        assert true_slope == pytest.approx(curve.marginal, rel=0.05)
        assert curve.marginal_low <= curve.marginal <= curve.marginal_high
        assert ("", True) == (curve.warning, curve.r_squared > 0.99)

    def test_spend_without_effect_has_a_warning(self) -> None:
        rng = Random(2)

        curve = response.fit("TV", self.spend(), [100 + rng.gauss(0, 30) for _ in range(120)])

        assert curve is not None
        assert "the effect of spend cannot be distinguished from chance" == curve.warning

    def test_few_days_have_a_warning(self) -> None:
        curve = response.fit("TV", [1.0, 2.0, 3.0], [1.0, 2.0, 3.0])

        assert curve is not None
        assert "3 days, at least 28 are needed" == curve.warning

    def test_a_channel_that_costs_nothing_has_no_curve(self) -> None:
        assert None is response.fit("Direct", [0.0, 0.0], [5.0, 6.0])

    def test_the_best_split_brings_the_same_at_every_margin(self) -> None:
        curves = [
            response.Curve(name, 120, 100.0, 0.0, scale, bend, 0.0, 1.0, 0, 0, 0, "")
            for name, scale, bend in (("A", 300.0, 80.0), ("B", 200.0, 40.0), ("C", 100.0, 60.0))
        ]

        split = response.allocate(curves, 300.0)

        slopes = [curve.slope(split[curve.channel]) for curve in curves]
        assert 300.0 == pytest.approx(sum(split.values()))
        assert slopes == pytest.approx([slopes[0]] * 3, rel=0.02)
        assert response.expected_revenue(curves, split) >= response.expected_revenue(curves, {})

    def test_no_channel_gets_more_than_twice_its_mean(self) -> None:
        only = response.Curve("A", 120, 100.0, 0.0, 300.0, 80.0, 0.0, 1.0, 0, 0, 0, "")

        assert 200.0 == pytest.approx(response.allocate([only], 1000.0)["A"])


class TestLifetime:
    def orders(self, people: int, days: int = 240) -> list[Order]:
        """Return orders at a rate of each person; half of the people stop for good at some time."""
        rng = Random(5)
        found = []
        for number in range(people):
            rate = rng.gammavariate(2.0, 0.01)
            day = rng.uniform(0, days / 2)
            stops = rng.uniform(0, 3 * days) if number % 2 else float("inf")
            while day < min(days, stops):
                found.append(Order(f"p{number}", date(2026, 1, 1) + timedelta(days=int(day)), rng.uniform(20, 80)))
                day += rng.expovariate(rate) + 1
        return found

    def test_orders_of_held_out_days_are_predicted(self) -> None:
        pytest.importorskip("clvkit")

        found = fit(self.orders(400), date(2026, 8, 29), horizon_days=60, holdout_days=60)

        assert len({one.profile_id for one in found.forecasts}) == len(found.forecasts) <= 400
        assert 60 == found.validation.days
        assert found.validation.predicted == pytest.approx(found.validation.orders, rel=0.2)
        assert all(0 <= one.probability_alive <= 1 and one.orders >= 0 for one in found.forecasts)
        assert all(20 < one.order_value < 80 for one in found.forecasts)

    def test_predictions_of_held_out_days_are_calibrated_by_tenths_of_the_customers(self) -> None:
        pytest.importorskip("clvkit")

        validation = fit(self.orders(400), date(2026, 8, 29), horizon_days=60, holdout_days=60).validation

        tenths = validation.deciles
        assert [*range(1, 11)] == [one.decile for one in tenths]
        assert validation.orders == sum(one.orders for one in tenths)
        assert validation.predicted == pytest.approx(sum(one.predicted_orders for one in tenths))
        rates = [one.predicted_orders / one.people for one in tenths]
        assert rates == sorted(rates)
        assert tenths[9].orders > 3 * tenths[0].orders
        assert validation.predicted_revenue == pytest.approx(validation.revenue, rel=0.2)
        assert validation.mean_absolute_error < validation.naive_absolute_error

    @pytest.mark.parametrize("unit", [1e6, 1e-4])
    def test_the_unit_of_amounts_does_not_matter(self, unit: float) -> None:
        pytest.importorskip("clvkit")
        orders = self.orders(200)
        scaled = [one._replace(revenue=one.revenue * unit) for one in orders]

        found = [sum(one.revenue for one in fit(these, date(2026, 8, 29)).forecasts) for these in (orders, scaled)]

        assert found[0] * unit == pytest.approx(found[1], rel=0.02)

    def test_several_populations_have_the_amounts_of_their_own(self) -> None:
        pytest.importorskip("clvkit")
        rng, orders = Random(3), []
        for kind, pause, low in (("household", 15, 20), ("builder", 150, 20_000)):
            for number in range(150):
                day = rng.uniform(0, 100)
                while day < 240:
                    at = date(2026, 1, 1) + timedelta(days=int(day))
                    orders.append(Order(f"{kind}{number}", at, rng.uniform(low, 2 * low)))
                    day += rng.expovariate(1 / pause) + 1

        found = fit(orders, date(2026, 8, 29))

        assert "MBG/NBD and log-normal amounts" == found.model
        for kind, low in (("household", 20), ("builder", 20_000)):
            worths = [one.order_value for one in found.forecasts if one.profile_id.startswith(kind)]
            assert all(0.8 * low < worth < 2.2 * low for worth in worths)
        assert 1 / 3 < found.validation.predicted_revenue / found.validation.revenue < 3

    def autumn_beside_an_old_sample(self) -> list[Order]:
        """Return one order each of customers of 2024, and customers of autumn 2026 who all buy at one rate."""
        rng = Random(7)
        found = [
            Order(f"old{number}", date(2024, 1, 21) + timedelta(days=rng.randrange(60)), rng.uniform(20, 80))
            for number in range(330)
        ]
        for number in range(700):
            day = rng.uniform(0, 55)
            while day < 60:
                found.append(Order(f"new{number}", date(2026, 9, 1) + timedelta(days=int(day)), rng.uniform(20, 80)))
                if rng.random() < 0.35:
                    break
                day += rng.expovariate(1 / 25) + 1
        return found

    @pytest.mark.parametrize("until", [date(2026, 10, 31), date(2026, 11, 29), date(2026, 12, 29)])
    def test_an_old_sample_beside_a_short_season_has_finite_forecasts(self, until: date) -> None:
        pytest.importorskip("clvkit")

        found = fit(self.autumn_beside_an_old_sample(), until)

        assert all(isfinite(number) for one in found.forecasts for number in (*one[1:], one.revenue))
        assert 0 < found.parameters["r"] < 1_000
        assert all(one.probability_alive < 0.01 for one in found.forecasts if one.profile_id.startswith("old"))
        assert found.validation.orders > 50  # of the season, of which a fit without it would know nothing

    def test_customers_who_are_all_alike_have_finite_forecasts(self) -> None:
        pytest.importorskip("clvkit")
        alike = [
            Order(f"p{number}", date(2026, 1, 1) + timedelta(days=14 * order + number % 14), 50.0)
            for number in range(80)
            for order in range(6)
        ]

        found = fit(alike, date(2026, 4, 1), horizon_days=28)

        assert all(1.0 < one.orders < 3.0 for one in found.forecasts)
        assert all(one.order_value == pytest.approx(50.0, rel=0.01) for one in found.forecasts)

    def test_forecasts_that_are_not_finite_are_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("clvkit")
        monkeypatch.setattr(lifetime, "_column", lambda found: found.to_pandas().iloc[:, 0] * float("nan"))

        with pytest.raises(DegenerateFitError, match="customers have no finite forecast"):
            fit(self.orders(400), date(2026, 8, 29))

    def test_too_few_repeat_customers_are_an_error(self) -> None:
        pytest.importorskip("clvkit")

        with pytest.raises(TooFewCustomersError, match=f"at least {MIN_REPEAT_CUSTOMERS} are needed"):
            fit(self.orders(10), date(2026, 8, 29))

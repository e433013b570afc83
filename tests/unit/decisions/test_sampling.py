"""Chance from a hash: uniform, repeatable, and the Beta distribution right to its moments."""

from __future__ import annotations

import pytest

from processors.decisions.sampling import DRAWS, beta_quantiles, index, shuffled, uniform


def test_draws_of_many_people_are_uniform() -> None:
    tenths = [0] * 10
    for number in range(10_000):
        tenths[int(uniform("salt", f"person-{number}") * 10)] += 1

    # 1000 expected in each, standard deviation 30.
    assert all(850 < count < 1150 for count in tenths)


def test_the_same_parts_draw_the_same_and_boundaries_between_parts_count() -> None:
    assert uniform("ab", "c") == uniform("ab", "c")
    assert uniform("ab", "c") != uniform("a", "bc")


def test_an_index_stays_below_its_size_and_reaches_every_value() -> None:
    assert set(range(7)) == {index(7, str(number)) for number in range(500)}


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [(1.0, 1.0), (0.9, 29.1), (3.9, 46.1), (0.3, 29.7), (0.5, 0.5), (50.0, 1000.0), (3000.0, 2.0), (5.0, 2.0)],
)
def test_the_quantiles_of_a_beta_distribution_have_its_mean_and_variance(alpha: float, beta: float) -> None:
    drawn = beta_quantiles(alpha, beta)
    mean = sum(drawn) / DRAWS
    variance = sum((value - mean) ** 2 for value in drawn) / DRAWS
    whole = alpha + beta

    assert DRAWS == len(drawn)
    assert list(drawn) == sorted(drawn)
    assert alpha / whole == pytest.approx(mean, rel=0.01)
    # Slices stand for their middles, so a little of the tails is missing.
    assert alpha * beta / (whole**2 * (whole + 1)) == pytest.approx(variance, rel=0.025)


@pytest.mark.parametrize(
    ("alpha", "beta", "share", "quantile"),
    [
        # x ** a for b = 1 and 1 - (1 - x) ** b for a = 1 are the distributions themselves.
        pytest.param(2.0, 1.0, 0.25, 0.5, id="square"),
        pytest.param(1.0, 3.0, 0.875, 0.5, id="one minus a cube"),
        pytest.param(0.5, 0.5, 1 / 3, 0.25, id="arcsine"),
        pytest.param(2.0, 2.0, 0.5, 0.5, id="symmetric"),
    ],
)
def test_the_quantiles_of_a_beta_distribution_are_where_its_formula_puts_them(
    alpha: float, beta: float, share: float, quantile: float
) -> None:
    drawn = beta_quantiles(alpha, beta)
    below = sum(value <= quantile for value in drawn) / DRAWS

    assert share == pytest.approx(below, abs=1 / DRAWS)


def test_each_name_has_an_order_of_its_own() -> None:
    assert set(range(DRAWS)) == set(shuffled("email"))
    assert shuffled("email") != shuffled("sms")


def test_orders_of_two_names_do_not_go_together() -> None:
    one, other = shuffled("email"), shuffled("sms")
    middle = (DRAWS - 1) / 2
    covariance = sum((a - middle) * (b - middle) for a, b in zip(one, other, strict=True)) / DRAWS

    # Correlation; of independent orders it has standard deviation 1 / 16.
    assert 0 == pytest.approx(covariance / ((DRAWS**2 - 1) / 12), abs=0.2)

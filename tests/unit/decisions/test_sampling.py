"""Chance from a hash: uniform, repeatable, and the Beta distribution right to its moments."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from math import comb, fsum

import pytest

from processors.decisions.sampling import DRAWS, beta_slice_means, index, shuffled, uniform


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
    drawn = beta_slice_means(alpha, beta)
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
    drawn = beta_slice_means(alpha, beta)
    below = sum(value <= quantile for value in drawn) / DRAWS

    assert share == pytest.approx(below, abs=1 / DRAWS)


@pytest.mark.parametrize("alpha", [0.3, 0.9, 1.0, 2.0, 7.5, 60.0])
def test_the_slices_of_a_beta_distribution_with_a_closed_form_are_exact(alpha: float) -> None:
    # F(x) = x ** alpha for beta = 1, so the mean below the quantile of a share is share ** (1 + 1 / alpha), scaled.
    below = [alpha / (alpha + 1) * (draw / DRAWS) ** (1 + 1 / alpha) for draw in range(DRAWS + 1)]
    means = [DRAWS * (high - low) for low, high in pairwise(below)]

    assert means == pytest.approx(beta_slice_means(alpha, 1.0), abs=2e-12)
    # Less exact: close to 1 a quantile has few digits left for its distance from 1.
    assert [1 - mean for mean in reversed(means)] == pytest.approx(beta_slice_means(1.0, alpha), abs=2e-9)


@pytest.mark.parametrize(
    ("alpha", "beta"), [(0.3, 29.7), (0.5, 0.5), (2, 3), (4, 46), (60, 100), (3000, 2), (0.001, 9)]
)
def test_the_slices_of_a_beta_distribution_have_its_very_mean(alpha: float, beta: float) -> None:
    assert alpha / (alpha + beta) == pytest.approx(fsum(beta_slice_means(alpha, beta)) / DRAWS, rel=1e-9)


@pytest.mark.parametrize(("alpha", "beta"), [(2, 3), (1, 29), (4, 46), (12, 9), (50, 100)])
def test_each_slice_of_a_beta_distribution_lies_between_its_quantiles(alpha: int, beta: int) -> None:
    # A Beta distribution with whole parameters is the tail of a binomial one.
    trials = alpha + beta - 1
    for draw, x in enumerate(beta_slice_means(alpha, beta)):
        share = fsum(comb(trials, hits) * x**hits * (1 - x) ** (trials - hits) for hits in range(alpha, trials + 1))
        assert draw / DRAWS < share < (draw + 1) / DRAWS


@pytest.mark.parametrize(
    ("alpha", "beta", "medians"),
    [
        # Medians of slices 0, 12, 128, 243 and 255, by the trapezoidal rule on 512 points.
        (0.9, 29.1, (3.2173441e-05, 0.001169581788, 0.020446378255, 0.092783195676, 0.186932523263)),
        (3.9, 46.1, (0.01013385336, 0.026930029396, 0.07258176316, 0.148656502313, 0.223858746562)),
        (5.0, 2.0, (0.208227061479, 0.415730554048, 0.736397328689, 0.937991701304, 0.988417733905)),
        (50.0, 1000.0, (0.030769651954, 0.037259199354, 0.047364058633, 0.05898141165, 0.068662874391)),
    ],
)
def test_the_slices_of_a_beta_distribution_are_near_the_medians_of_numerical_integration(
    alpha: float, beta: float, medians: tuple[float, ...]
) -> None:
    drawn = beta_slice_means(alpha, beta)

    assert medians[1:4] == pytest.approx([drawn[draw] for draw in (12, 128, 243)], rel=0.005)
    # In the outermost slices the mean is further from the median.
    assert medians[0] == pytest.approx(drawn[0], rel=0.06)
    assert medians[4] == pytest.approx(drawn[255], rel=0.06)


def test_slices_keep_twelve_digits_and_are_plain_numbers() -> None:
    drawn = beta_slice_means(0.0005, 10_004.9995)

    assert [round(value, 12) for value in drawn] == list(drawn) == sorted(drawn)
    assert {float} == set(map(type, drawn))


def test_scipy_is_imported_only_by_what_needs_it() -> None:
    program = "import sys, processors.agents, processors.attribution.experiments; print('scipy' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert "False\n" == printed


def test_each_name_has_an_order_of_its_own() -> None:
    assert set(range(DRAWS)) == set(shuffled("email"))
    assert shuffled("email") != shuffled("sms")


def test_orders_of_two_names_do_not_go_together() -> None:
    one, other = shuffled("email"), shuffled("sms")
    middle = (DRAWS - 1) / 2
    covariance = sum((a - middle) * (b - middle) for a, b in zip(one, other, strict=True)) / DRAWS

    # Correlation; of independent orders it has standard deviation 1 / 16.
    assert 0 == pytest.approx(covariance / ((DRAWS**2 - 1) / 12), abs=0.2)

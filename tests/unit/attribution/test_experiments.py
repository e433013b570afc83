"""Lift and sample ratio, against values published or known in closed form."""

from __future__ import annotations

from math import erfc, exp, lgamma, log, sqrt

import pytest

from processors.attribution.experiments import Group, SampleRatio, chi_square_tail, lift, sample_ratio, wilson


@pytest.mark.parametrize(
    ("treated", "control", "low", "high"),
    [
        # Newcombe 1998, table II, method 10.
        pytest.param(Group(70, 56), Group(80, 48), 0.0524, 0.3339, id="56/70 and 48/80"),
        pytest.param(Group(10, 9), Group(10, 3), 0.1705, 0.8090, id="9/10 and 3/10"),
        pytest.param(Group(7, 6), Group(7, 2), 0.0582, 0.8062, id="6/7 and 2/7"),
        pytest.param(Group(56, 5), Group(29, 0), -0.0381, 0.1926, id="5/56 and 0/29"),
        pytest.param(Group(10, 0), Group(20, 0), -0.1611, 0.2775, id="nobody in either"),
        pytest.param(Group(10, 10), Group(20, 0), 0.6791, 1.0, id="everybody and nobody"),
    ],
)
def test_the_interval_of_a_difference_is_newcombes(treated: Group, control: Group, low: float, high: float) -> None:
    found = lift(treated, control)

    assert found is not None
    assert pytest.approx((low, high), abs=5e-5) == (found.low, found.high)


def test_lift_is_the_difference_of_the_rates() -> None:
    found = lift(Group(1000, 60), Group(500, 20))

    assert found is not None
    assert pytest.approx(0.02) == found.difference
    assert pytest.approx(0.5) == found.relative
    assert pytest.approx(20) == found.incremental
    assert not found.significant


def test_a_clear_lift_is_significant_and_swapping_the_groups_mirrors_it() -> None:
    one, other = lift(Group(1000, 300), Group(1000, 100)), lift(Group(1000, 100), Group(1000, 300))

    assert one is not None
    assert other is not None
    assert one.significant
    assert other.significant
    assert pytest.approx((-other.high, -other.low)) == (one.low, one.high)


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    narrow, wide = wilson(Group(100, 10), 0.9), wilson(Group(100, 10), 0.99)

    assert wide[0] < narrow[0] < 0.1 < narrow[1] < wide[1]


def test_the_wilson_interval_is_the_published_one() -> None:
    low, high = wilson(Group(29, 0))  # Newcombe 1998, part one: 0/29

    assert 0.0 == low
    assert pytest.approx(0.1170, abs=5e-5) == high


@pytest.mark.parametrize(("treated", "control"), [(Group(0, 0), Group(5, 1)), (Group(5, 1), Group(0, 0))])
def test_an_empty_group_has_no_lift(treated: Group, control: Group) -> None:
    assert lift(treated, control) is None


def test_without_conversions_among_those_held_out_there_is_no_relative_lift() -> None:
    found = lift(Group(10, 1), Group(10, 0))

    assert found is not None
    assert found.relative is None


def test_more_conversions_than_people_are_an_error() -> None:
    with pytest.raises(ValueError, match="6 of 5"):
        lift(Group(5, 6), Group(5, 1))


@pytest.mark.parametrize(
    ("statistic", "degrees", "tail"),
    [
        (3.841459, 1, 0.05),
        (5.991465, 2, 0.05),
        (7.814728, 3, 0.05),
        (18.307038, 10, 0.05),
        (124.342113, 100, 0.05),
        (6.634897, 1, 0.01),
        (0.0, 3, 1.0),
        (2.0, 2, 0.36787944),  # exp(-1)
    ],
)
def test_the_tail_of_chi_square_is_that_of_the_tables(statistic: float, degrees: int, tail: float) -> None:
    assert tail == pytest.approx(chi_square_tail(statistic, degrees), abs=1e-7)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 10, 21, 40, 99, 100])
@pytest.mark.parametrize("statistic", [1e-9, 0.01, 0.5, 1.0, 3.0, 7.5, 20.0, 40.5, 100.0, 150.0, 400.0])
def test_the_tail_of_chi_square_is_that_of_its_recurrence(statistic: float, degrees: int) -> None:
    # Q(a + 1, x) = Q(a, x) + x ** a * exp(-x) / gamma(a + 1): Abramowitz and Stegun, 6.5.21, with a = degrees / 2.
    shape, x = (0.5, statistic / 2) if degrees % 2 else (1.0, statistic / 2)
    tail = erfc(sqrt(x)) if degrees % 2 else exp(-x)
    while shape < degrees / 2:
        tail += exp(shape * log(x) - x - lgamma(shape + 1))
        shape += 1

    assert tail == pytest.approx(chi_square_tail(statistic, degrees), rel=1e-11)


def test_an_even_split_is_no_mismatch() -> None:
    found = sample_ratio({"a": 5050, "b": 4950}, {"a": 0.5, "b": 0.5})

    assert SampleRatio(pytest.approx(1.0), 1, pytest.approx(0.3173, abs=1e-4), False) == found  # type: ignore[arg-type]


def test_a_split_that_loses_people_of_one_arm_is_a_mismatch() -> None:
    found = sample_ratio({"a": 5000, "b": 4600}, {"a": 1, "b": 1})

    assert found is not None
    assert found.mismatch


def test_an_arm_without_people_is_tested_too() -> None:
    found = sample_ratio({"a": 50}, {"a": 1, "b": 1})

    assert found is not None
    assert pytest.approx(50.0) == found.chi_square


@pytest.mark.parametrize(
    ("observed", "shares", "said"),
    [
        ({"c": 1}, {"a": 1.0, "b": 1.0}, "no share is known of c"),
        ({"a": 1}, {"a": 1.0, "b": 0.0}, "above zero"),
    ],
    ids=["people in an unknown arm", "an arm without a share"],
)
def test_an_impossible_split_is_an_error(observed: dict[str, int], shares: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sample_ratio(observed, shares)


def test_one_arm_or_no_people_are_no_split() -> None:
    assert sample_ratio({"a": 10}, {"a": 1}) is None
    assert sample_ratio({}, {"a": 1, "b": 1}) is None

"""Winners of experiments: equal variants have none however often one looks, and a true effect is found."""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from processors.attribution.experiments import Group, lift
from processors.attribution.winners import ALPHA, MIN_PEOPLE, Outcomes, at_any_time, at_horizon, judge

Numbers = NDArray[np.float64]
RUNS, PEOPLE, STEP = 300, 8_000, 80


def share(variant: str, people: int, positive: int) -> Outcomes:
    return Outcomes(variant, people, positive, positive, positive)


def looks(outcomes: Numbers, name: str) -> list[Outcomes]:
    """Return what is known after every `STEP` people."""
    sums = [np.cumsum(of)[STEP - 1 :: STEP].tolist() for of in (outcomes, outcomes * outcomes, outcomes != 0)]
    return [Outcomes(name, STEP * number, *seen) for number, seen in enumerate(zip(*sums, strict=True), 1)]


def first_winner(a: Numbers, b: Numbers) -> tuple[str | None, int]:
    """Look after every `STEP` people of each variant; return the first winner and the people of each by then."""
    for one, other in zip(looks(a, "a"), looks(b, "b"), strict=True):
        if winner := judge([one, other], "a").winner:
            return winner, one.people
    return None, len(a)


def rate(share: float) -> Callable[[np.random.Generator], Numbers]:
    return lambda rng: (rng.random(PEOPLE) < share).astype(float)


def baskets(rng: np.random.Generator) -> Numbers:
    """Revenue of people of whom one in ten buys, with a long tail of amounts."""
    return (rng.random(PEOPLE) < 0.1) * rng.lognormal(3.5, 1.0, PEOPLE)


@pytest.mark.parametrize("drawn", [rate(0.02), rate(0.2), baskets], ids=["2 % order", "20 % order", "revenue"])
def test_equal_variants_have_a_winner_at_most_as_often_as_alpha_under_continuous_looking(
    drawn: Callable[[np.random.Generator], Numbers],
) -> None:
    rng = np.random.default_rng(13)

    false_winners = sum(first_winner(drawn(rng), drawn(rng))[0] is not None for _ in range(RUNS))

    assert false_winners / RUNS <= ALPHA


def test_ordinary_intervals_would_not_keep_alpha_under_continuous_looking() -> None:
    rng = np.random.default_rng(13)

    false_winners = sum(
        any(
            judge([one, other], "a", fixed=True).winner
            for one, other in zip(looks(rate(0.2)(rng), "a"), looks(rate(0.2)(rng), "b"), strict=True)
        )
        for _ in range(50)
    )

    assert false_winners / 50 > 3 * ALPHA


def test_a_true_effect_is_found_before_all_people_are_in() -> None:
    rng = np.random.default_rng(5)

    winners = [first_winner(rate(0.10)(rng), rate(0.13)(rng)) for _ in range(60)]

    assert 54 <= sum(winner == "b" for winner, _ in winners)
    assert 0 == sum(winner == "a" for winner, _ in winners)
    assert np.median([people for _, people in winners]) < 0.75 * PEOPLE


def test_a_variant_that_harms_leaves_the_control() -> None:
    assert "a" == judge([share("a", 20_000, 2_600), share("b", 20_000, 2_000)], "a").winner


def test_the_p_value_is_that_of_the_formula() -> None:
    found = at_any_time(share("b", 10_000, 1_300), share("a", 10_000, 1_200))

    variance = (10_000 * 0.13 * 0.87 + 10_000 * 0.12 * 0.88) / 9_999 / 10_000
    ratio = 0.05**2 * 5_000
    likelihood = np.exp(0.01**2 / variance * ratio / (2 * (1 + ratio))) / sqrt(1 + ratio)
    assert found.p_value == pytest.approx(min(1, 1 / likelihood))
    assert found.high == pytest.approx(
        0.01 + sqrt(variance * (1 + ratio) / ratio * (log(1 + ratio) + 2 * log(1 / 0.05)))
    )


@pytest.mark.parametrize("positive", [1_201, 1_300, 1_330, 1_360, 1_400, 1_700])
def test_the_interval_excludes_zero_exactly_if_the_p_value_is_below_alpha(positive: int) -> None:
    found = at_any_time(share("b", 10_000, positive), share("a", 10_000, 1_200))

    assert found.p_value is not None
    assert (found.p_value < ALPHA) == found.better


def test_a_share_at_the_horizon_has_the_interval_of_a_lift() -> None:
    found = at_horizon(share("b", 400, 60), share("a", 380, 31))

    expected = lift(Group(400, 60), Group(380, 31))
    assert expected is not None
    assert (expected.low, expected.high) == pytest.approx((found.low, found.high))


def test_several_variants_are_tested_at_a_part_of_alpha_each() -> None:
    few = [share("a", 1_000, 100), share("b", 1_000, 131)]
    many = [*few, *(share(f"c{number}", 1_000, 100) for number in range(8))]

    assert ("b", None) == tuple(judge(one, "a", fixed=True).winner for one in (few, many))


@pytest.mark.parametrize(
    ("variants", "options", "said"),
    [
        ([share("a", MIN_PEOPLE - 1, 0), share("b", MIN_PEOPLE - 1, 90)], {}, "too few"),
        ([share("a", 9_000, 0), share("b", 9_000, 20)], {}, "too few"),
        ([share("a", 0, 0), share("b", 0, 0)], {"fixed": True}, "too few"),
        ([share("a", 1_000, 100), share("b", 1_000, 104)], {}, "no difference has been found yet"),
        ([share("a", 1_000, 100), share("b", 1_000, 104)], {"fixed": True}, "may as well be equal"),
        ([share("a", 9_000, 100), share("b", 3_000, 900)], {"mismatch": True}, "look for a fault"),
        ([share("a", 9_000, 100)], {}, "too few"),
    ],
)
def test_without_evidence_there_is_no_winner(variants: list[Outcomes], options: dict[str, bool], said: str) -> None:
    verdict = judge(variants, "a", **options)

    assert (None, True) == (verdict.winner, said in verdict.reason)


def test_a_control_that_is_no_variant_is_an_error() -> None:
    with pytest.raises(ValueError, match="no variant 'plain'"):
        judge([share("a", 10, 1)], "plain")

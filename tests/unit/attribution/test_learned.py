"""Learned models: floating point equals exact fractions, and both keep the laws of the models."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import numpy as np
import pytest

from processors.attribution import paths as attribution_paths
from processors.attribution.learned import LEARNED_MODELS, OPTIONAL_MODELS, Share, TooManyKeysError, shares
from processors.attribution.paths import Chain, Paths, paths_of
from processors.attribution.rules import UNATTRIBUTED
from tests.oracles.attribution_exact import (
    Path,
    markov_effects,
    pathwise,
    shao_li,
    shapley,
    shapley_rate_subset,
)

TEXTBOOK = [Path(tuple("ABC"), Fraction(1), Fraction(10)), Path(("A",), Fraction(0), nulls=Fraction(1)),
            Path(tuple("BC"), Fraction(0), nulls=Fraction(1))]  # fmt: skip
"""Three journeys, one of which sold: P(conversion) = 1/3."""


def path(channels: str, conversions: int = 0, nulls: int = 0, revenue: int = 0) -> Path:
    return Path(tuple(channels), Fraction(conversions), Fraction(revenue), Fraction(nulls))


def compact(paths: list[Path]) -> Paths:
    return paths_of(
        (one.channels, float(one.conversions), float(one.revenue), float(one.revenue) ** 2, float(one.nulls))
        for one in paths
    )


def random_paths(seed: int, channels: str = "ABCDE", count: int = 40) -> list[Path]:
    random = Random(seed)
    names = ["".join(random.choice(channels) for _ in range(random.randrange(0, 7))) for _ in range(count)]
    sold = [random.randrange(0, 4) for _ in names]
    return [
        path(name, many, random.randrange(0, 6), many * random.randrange(0, 200))
        for name, many in zip(names, sold, strict=True)
    ]


def by_key(rows: list[Share], model: str) -> dict[str, Share]:
    return {row.key: row for row in rows if row.model == model}


class TestTheTextbook:
    def test_removal_effects(self) -> None:
        effects = markov_effects(TEXTBOOK, 1)

        # Without A only BC's start is left: 1/3 x P(C | B) x P(sold | C) = 1/6 of journeys, half of 1/3.
        assert {"A": Fraction(1, 2), "B": Fraction(1), "C": Fraction(1)} == effects

    def test_credits_are_the_effects_shared(self) -> None:
        rows = by_key(shares(compact(TEXTBOOK), ["markov_1"]), "markov_1")

        assert {"A": 0.2, "B": 0.4, "C": 0.4} == pytest.approx({key: row.conversions for key, row in rows.items()})
        assert {"A": 2.0, "B": 4.0, "C": 4.0} == pytest.approx({key: row.revenue for key, row in rows.items()})


@pytest.mark.parametrize("dense", [True, False], ids=["inverted", "followed"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_chain_of_any_order_is_solved_exactly(
    seed: int, order: int, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("MAX_DENSE_STATES", "MAX_DENSE_STATES_LONG_PATHS"):
        monkeypatch.setattr(attribution_paths, limit, 10_000 if dense else 0)
    paths = random_paths(seed)

    rows = by_key(shares(compact(paths), [f"markov_{order}"]), f"markov_{order}")

    exact = {channel: float(effect) for channel, effect in markov_effects(paths, order).items()}
    assert exact == pytest.approx({key: rows[key].removal_effect for key in exact}, abs=1e-11)


@pytest.mark.parametrize("seed", range(4))
def test_shapley_values_and_shao_li_equal_exact_fractions(seed: int) -> None:
    paths = random_paths(seed)
    touched = [one for one in paths if one.channels]
    sold = float(sum(one.conversions for one in touched))
    rows = shares(compact(paths), ["shapley", "shapley_rate_subset", "shao_li", "markov_1_pathwise"])

    for model, exact in (("shapley", shapley(paths)), ("markov_1_pathwise", pathwise(paths))):
        found = {row.key: (row.conversions, row.revenue) for row in by_key(rows, model).values()}
        for key, (conversions, revenue) in exact.items():
            assert (float(conversions), float(revenue)) == pytest.approx(found[key], abs=1e-9)
    for model, values in (("shapley_rate_subset", shapley_rate_subset(paths)), ("shao_li", shao_li(paths))):
        raw = {key: float(value) for key, value in values.items()}
        assert raw == pytest.approx({key: by_key(rows, model)[key].removal_effect for key in raw}, abs=1e-9)
        credited = {key: value / sum(raw.values()) * sold for key, value in raw.items()}
        assert credited == pytest.approx({key: by_key(rows, model)[key].conversions for key in raw}, abs=1e-9)


@pytest.mark.parametrize("model", [*LEARNED_MODELS, *OPTIONAL_MODELS])
def test_no_conversion_and_no_revenue_is_lost(model: str) -> None:
    paths = random_paths(9)

    rows = shares(compact(paths), [model])

    assert float(sum(one.conversions for one in paths)) == pytest.approx(sum(row.conversions for row in rows))
    assert float(sum(one.revenue for one in paths)) == pytest.approx(sum(row.revenue for row in rows))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_conversion_rate_of_the_chain_is_that_of_the_journeys(order: int) -> None:
    paths = [*random_paths(3), path("Z", 0, 0)]
    everywhere = [one._replace(channels=("*", *one.channels)) for one in paths if one.channels]

    # Without a key that every journey has, nothing is left: its effect is P / P = 1 only if P is what it should be.
    effect = markov_effects(everywhere, 1)["*"]

    assert 1 == effect
    table = compact(paths)
    chain = Chain(table, order)
    sold, journeys = (
        chain.conversion_rate(table.conversions, table.nulls),
        sum(one.conversions + one.nulls for one in paths if one.channels),
    )
    assert float(sum(one.conversions for one in paths if one.channels) / journeys) == pytest.approx(sold, abs=1e-12)


def test_a_touch_that_repeats_itself_changes_no_effect_of_order_one() -> None:
    once = [path("ABA", 2, 1), path("BC", 1, 3), path("CA", 0, 2)]
    again = [path("AAABBA", 2, 1), path("BCC", 1, 3), path("CCCA", 0, 2)]

    assert markov_effects(once, 1) == markov_effects(again, 1)


def test_a_channel_of_null_journeys_alone_has_no_effect() -> None:
    rows = by_key(shares(compact([path("AB", 2), path("N", 0, 5)]), list(LEARNED_MODELS)), "markov_1")

    assert (0.0, 0.0) == (rows["N"].removal_effect, rows["N"].conversions)


@pytest.mark.parametrize("model", [*LEARNED_MODELS, *OPTIONAL_MODELS])
@pytest.mark.parametrize(
    "paths",
    [[path("AB", 0, 3), path("B", 0, 1)], [path("", 3, 0)], []],
    ids=["nobody bought", "nobody came", "nothing"],
)
def test_without_conversions_of_touched_journeys_every_credit_is_zero(model: str, paths: list[Path]) -> None:
    rows = [row for row in shares(compact(paths), [model], replicates=3) if row.key != UNATTRIBUTED]

    assert [(0.0, 0.0, 0.0)] * len(rows) == [(row.share, row.conversions, row.revenue) for row in rows]


def test_names_are_opaque() -> None:
    odd = ["(null)", "a > b", "", "(start)", "(conversion)"]
    plain = dict(zip(odd, "ABCDE", strict=True))
    paths = [Path((odd[n], odd[(n + m) % 5]), Fraction(n), nulls=Fraction(m)) for n in range(5) for m in range(1, 4)]
    renamed = [one._replace(channels=tuple(plain[name] for name in one.channels)) for one in paths]

    rows, same = shares(compact(paths), LEARNED_MODELS), shares(compact(renamed), LEARNED_MODELS)

    assert {(row.model, plain[row.key]): row.conversions for row in rows} == {
        (row.model, row.key): row.conversions for row in same
    }


def test_shapley_rate_subset_with_too_many_keys_is_an_error() -> None:
    wide = compact([Path((str(key),), Fraction(1)) for key in range(21)])

    with pytest.raises(TooManyKeysError, match="at most 20 keys, here are 21"):
        shares(wide, ["shapley_rate_subset"])


class TestIntervals:
    def test_the_same_seed_gives_the_same_interval(self) -> None:
        table = compact(random_paths(1))

        assert shares(table, LEARNED_MODELS, replicates=20, seed=5) == shares(
            table, LEARNED_MODELS, replicates=20, seed=5
        )

    def test_an_interval_holds_its_share_and_narrows_with_data(self) -> None:
        few = random_paths(1)
        many = [one._replace(conversions=100 * one.conversions, nulls=100 * one.nulls) for one in few]

        wide, narrow = (
            by_key(shares(compact(paths), ["markov_1"], replicates=100, seed=1), "markov_1") for paths in (few, many)
        )

        for key in "ABCDE":
            ends = [(row.share_low or 0, row.share_high or 0) for row in (wide[key], narrow[key])]
            assert ends[0][0] < wide[key].share < ends[0][1]
            assert 0.05 < (ends[1][1] - ends[1][0]) / (ends[0][1] - ends[0][0]) < 0.2  # 1 / sqrt(100)

    def test_intervals_of_a_share_cover_what_generated_the_journeys(self) -> None:
        """Nineteen of twenty, more or less: journeys are drawn from a known world, again and again."""
        world = {"AB": 0.2, "BC": 0.1, "C": 0.3, "A": 0.4}
        truth = by_key(shares(compact([path(name, round(1000 * p), 3000) for name, p in world.items()]), ["shapley"]),
                       "shapley")["B"].share  # fmt: skip
        random = np.random.default_rng(0)
        covered = 0
        for seed in range(60):
            drawn = random.multinomial(300, list(world.values()))
            paths = [path(name, int(count), 900) for name, count in zip(world, drawn, strict=True)]
            row = by_key(shares(compact(paths), ["shapley"], replicates=80, seed=seed), "shapley")["B"]
            covered += (row.share_low or 0) <= truth <= (row.share_high or 0)

        assert 50 <= covered <= 60

"""Other packages' results, where their definition is ours: `pip install -e ".[peers]"`, else these tests are skipped.

ChannelAttribution simulates its Markov models. By default it stops at 5 % noise and cuts journeys longer than the
longest seen, so it is asked for more, and compared within half a per cent of all conversions.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from processors.attribution.learned import shares
from processors.attribution.paths import paths_of
from processors.attribution.rules import Journey, channel_totals

CHANNELS = ["Email", "Paid Search", "Display", "Affiliates", "Referral"]
RULES = ("first_touch", "last_touch", "linear")


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are not ours
        yield


def journeys(seed: int = 4) -> list[tuple[list[str], int, float, int]]:
    """Distinct paths with conversions, revenue and null journeys."""
    random = Random(seed)
    found = {tuple(random.choices(CHANNELS, [5, 4, 3, 2, 1], k=random.randrange(1, 7))) for _ in range(250)}
    return [
        (list(path), sold := random.randrange(0, 4), sold * random.random() * 90, random.randrange(0, 6))
        for path in sorted(found)
    ]


def ours(model: str) -> dict[str, float]:
    table = paths_of((path, float(sold), worth, 0.0, float(nulls)) for path, sold, worth, nulls in journeys())
    if model in RULES:
        whole = ((Journey(tuple(path)), float(sold), worth) for path, sold, worth, _ in journeys())
        return {channel: count for (_, channel), (count, _) in channel_totals(whole, [model]).items()}
    return {row.key: row.conversions for row in shares(table, [model])}


def table() -> Any:
    pandas = pytest.importorskip("pandas")
    rows = [(" > ".join(path), sold, worth, nulls) for path, sold, worth, nulls in journeys()]
    return pandas.DataFrame(rows, columns=["path", "sold", "worth", "nulls"])


@pytest.mark.parametrize("model", RULES)
def test_rule_models_are_those_of_channelattribution(model: str) -> None:
    theirs = pytest.importorskip("ChannelAttribution").heuristic_models(
        table(), "path", "sold", var_value="worth", sep=">", flg_pro=False
    )

    column = {"linear": "linear_touch_conversions"}.get(model, f"{model}_conversions")
    found = {name: count for name, count in zip(theirs.channel_name, theirs[column], strict=True) if count}
    assert ours(model) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_markov_models_are_what_channelattribution_simulates(order: int) -> None:
    theirs = pytest.importorskip("ChannelAttribution").markov_model(
        table(), "path", "sold", var_null="nulls", order=order, nsim_start=1e6, max_step=1000, conv_par=0.005, sep=">",
        verbose=False, flg_pro=False,
    )  # fmt: skip

    theirs = theirs["result"] if isinstance(theirs, dict) else theirs
    found = dict(zip(theirs.channel_name, theirs.total_conversions, strict=True))
    sold = sum(sold for _, sold, _, _ in journeys())
    assert ours(f"markov_{order}") == pytest.approx(found, abs=0.005 * sold)


def test_shapley_values_are_those_of_shapley_attribution() -> None:
    package = pytest.importorskip("shapley_attribution")
    each = [path for path, sold, _, _ in journeys() for _ in range(sold)]

    model = package.SimplifiedShapleyAttribution(normalize=False).fit(each)

    assert ours("shapley") == pytest.approx(dict(model.get_attribution()), abs=1e-6)


def test_removal_effects_are_those_of_marketing_attribution_models() -> None:
    models, polars = pytest.importorskip("mam.models"), pytest.importorskip("polars")
    rows = [(path, True, float(sold)) for path, sold, _, _ in journeys()]
    rows += [(path, False, float(nulls)) for path, _, _, nulls in journeys()]
    frame = polars.DataFrame(rows, schema=["channels", "has_conversion", "weight"], orient="row")
    chain = models.MarkovModel()

    chain._compute_markov(frame)

    table_of_ours = paths_of((path, float(sold), worth, 0.0, float(nulls)) for path, sold, worth, nulls in journeys())
    found = {row.key: row.removal_effect for row in shares(table_of_ours, ["markov_1"])}
    assert found == pytest.approx(chain.removal_effect_df["removal_effect"].to_dict(), abs=1e-9)

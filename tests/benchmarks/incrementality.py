"""What channels really cause at the simulated retailer, what geo experiments find of it, and what models credit.

`python -m tests.benchmarks.incrementality` needs no server. For each seed and channel, the channel is switched off for
four weeks in four of twelve areas, `throughline experiments geo` measures what is missing, and the truth is the
difference to the same weeks with the channel on. The models credit the orders of these weeks by the touches of thirty
days; the truth beside them is how many of the orders there would not be without the channel in that time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from processors.attribution.geo_experiments import GeoEffect, measure
from processors.attribution.learned import shares
from processors.attribution.paths import paths_of
from processors.attribution.rules import Conversion, Touch, channel_totals, journey_of, journeys, null_journeys
from tests.oracles.retailer_areas import AREAS, TOUCHES_A_DAY, Retailer

BEFORE_DAYS, CAMPAIGN_DAYS, LOOKBACK_DAYS = 280, 28, 30
OFF_IN = AREAS[::3]
RULES = ("first_touch", "last_touch", "last_non_direct", "linear", "time_decay", "position_based")
LEARNED = ("markov_1", "shapley")
_START = datetime(2026, 1, 1, tzinfo=UTC)


class Trial(NamedTuple):
    """One experiment: what it found, and the orders that were really lost (a negative number)."""

    found: GeoEffect
    true: float

    @property
    def holds(self) -> bool:
        """Whether the truth is in the interval."""
        return self.found.low <= self.true <= self.found.high


def trials(seeds: Iterable[int], channels: Iterable[str] = tuple(TOUCHES_A_DAY)) -> dict[str, list[Trial]]:
    """Switch each channel off in some areas, for each seed."""
    wanted = tuple(channels)
    done: dict[str, list[Trial]] = {channel: [] for channel in wanted}
    for seed in seeds:
        past = Retailer(seed).run(LOOKBACK_DAYS).forget().run(BEFORE_DAYS)
        past.touches.clear()  # each copy would have them
        on = deepcopy(past).run(CAMPAIGN_DAYS)
        for channel in wanted:
            off = deepcopy(past).run(CAMPAIGN_DAYS, channel, OFF_IN)
            found = measure(off.orders, OFF_IN, CAMPAIGN_DAYS)
            assert isinstance(found, GeoEffect), found
            true = sum(sum(off.orders[area]) - sum(on.orders[area]) for area in OFF_IN)
            done[channel].append(Trial(found, true))
    return done


def credited_shares(seed: int) -> dict[str, dict[str, float]]:
    """Return the share of four weeks' orders by model and channel; the model `caused` is the truth."""
    past = Retailer(seed).run(LOOKBACK_DAYS).forget()
    on = deepcopy(past).run(LOOKBACK_DAYS + CAMPAIGN_DAYS)
    orders = _orders(on)
    found: dict[str, dict[str, float]] = {"caused": {}}
    for channel in TOUCHES_A_DAY:
        off = deepcopy(past).run(LOOKBACK_DAYS + CAMPAIGN_DAYS, channel)
        found["caused"][channel] = 1 - len(_orders(off)) / len(orders)
    touches = [
        Touch(f"{number}", f"{person}", _START + timedelta(days=day), channel)
        for number, (day, person, channel) in enumerate(on.touches)
    ]
    led_to = journeys(touches, orders)
    by_id = {order.conversion_id: order for order in orders}
    paths = [(journey_of(by_id[key[1]], path), 1.0, 0.0) for key, path in led_to.items()]
    for (model, channel), (number, _) in channel_totals(paths, RULES).items():
        found.setdefault(model, {})[channel] = number / len(orders)
    nulls = null_journeys(touches, {order.person for order in orders if order.person})
    rows = [(journey.channels, 1.0, 0.0, 0.0, 0.0) for journey, _, _ in paths]
    rows += [(tuple(touch.channel for touch in path), 0.0, 0.0, 0.0, 1.0) for path in nulls.values()]
    for one in shares(paths_of(rows), LEARNED):
        found.setdefault(one.model, {})[one.key] = one.conversions / len(orders)
    return found


def _orders(retailer: Retailer) -> list[Conversion]:
    first = retailer.day - CAMPAIGN_DAYS
    return [
        Conversion(f"{number}", "purchase", f"{person}", _START + timedelta(days=day), Decimal(0))
        for number, (day, person) in enumerate(retailer.buyers)
        if day >= first
    ]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="experiments for each channel")
    seeds = parser.parse_args().seeds
    found, table = trials(range(seeds)), Table(title=f"{seeds} geo experiments for each channel, switched off")
    for heading in ("channel", "orders really lost", "found", "margin", "truth in interval", "effect shown"):
        table.add_column(heading, justify="left" if heading == "channel" else "right")
    for channel, done in found.items():
        table.add_row(channel, *_summary(done))
    credited = credited_shares(1)
    models = Table(title="share of orders: what each channel caused, and what models credit")
    for heading in ("channel", *credited):
        models.add_column(heading, justify="left" if heading == "channel" else "right")
    for channel in (*TOUCHES_A_DAY, "(unattributed)"):
        models.add_row(channel, *(f"{credited[model].get(channel, 0):.1%}" for model in credited))
    models.add_row("mean error", *(f"{_error(credited, model):.1%}" for model in credited))
    for printed in (table, models):
        Console(width=160).print(printed)


def _summary(done: list[Trial]) -> tuple[str, ...]:
    count = len(done)
    return (
        f"{-sum(one.true for one in done) / count:,.0f}",
        f"{-sum(one.found.incremental for one in done) / count:,.0f}",
        f"± {sum(one.found.high - one.found.low for one in done) / count / 2:,.0f}",
        f"{sum(one.holds for one in done)} of {count}",
        f"{sum(one.found.high < 0 for one in done)} of {count}",
    )


def _error(credited: dict[str, dict[str, float]], model: str) -> float:
    """Return how far a model's shares are from what the channels caused, in the mean of the channels."""
    return sum(abs(credited[model].get(channel, 0.0) - credited["caused"][channel]) for channel in TOUCHES_A_DAY) / len(
        TOUCHES_A_DAY
    )


if __name__ == "__main__":
    main()

"""Attribution reports of rule models and learned models, from ClickHouse or from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from deploy.operations.importers.journeys import PathRow
from processors.attribution.learned import LEARNED_MODELS, MIN_RELIABLE_JOURNEYS, OPTIONAL_MODELS, Share, shares
from processors.attribution.paths import Paths, paths_of
from processors.attribution.rules import (
    MODELS,
    UNATTRIBUTED,
    Conversion,
    Journey,
    ModelParameters,
    Touch,
    channel_totals,
    journey_of,
    journeys,
    null_journeys,
    with_milestones,
)
from sinks.clickhouse.attribution import LearnedRow, path_counts
from sinks.clickhouse.reports import AttributionOptions, AttributionReport, AttributionRow, attribution, attribution_row
from sinks.clickhouse.spend import spend_of_markets

NOT_ADDITIVE = ("participation",)


class ModelSelection(NamedTuple):
    """Names of rule models and of learned models."""

    rules: tuple[str, ...]
    learned: tuple[str, ...]


class UnknownModelError(ValueError):
    """No model has that name; the message lists all names."""


def select_models(names: str) -> ModelSelection:
    """Parse `all` or a comma-separated list of model names.

    Raises:
        UnknownModelError: A name is not that of a model.
    """
    listed = [name.strip() for name in names.split(",") if name.strip()]
    if listed == ["all"]:
        return ModelSelection(tuple(MODELS), LEARNED_MODELS)
    known = (*MODELS, *LEARNED_MODELS, *OPTIONAL_MODELS)
    unknown = [name for name in listed if name not in known]
    if unknown or not listed:
        raise UnknownModelError(f"{', '.join(unknown) or 'nothing'}: expected all or some of {', '.join(known)}")
    return ModelSelection(
        tuple(name for name in listed if name in MODELS), tuple(name for name in listed if name not in MODELS)
    )


def report(
    client: Any, options: AttributionOptions, models: ModelSelection, *, replicates: int = 0, seed: int = 0
) -> AttributionReport:
    """Report the conversions in the database by all selected models.

    Args:
        client: ClickHouse client.
        options: Period, goal and filters; `options.models` is ignored.
        models: The models.
        replicates: Bootstrap replicates for the intervals of learned models; 0: no intervals.
        seed: Seed of the bootstrap.
    """
    # At least one rule model, whose rows have the totals and the spend of each key.
    options = replace(options, models=models.rules or ("linear",))
    found = attribution(client, options)
    if options.markets and options.by != "product":
        found = _with_spend(found, options, *spend_of_markets(client, options))
    if not models.learned:
        return found
    spend = {row.key: row.spend for row in found.rows}
    learned = shares(database_paths(client, options), models.learned, replicates=replicates, seed=seed)
    rows = [] if not models.rules else found.rows
    return replace(found, rows=[*rows, *_rows(learned, spend, found.margin)])


def _with_spend(
    found: AttributionReport, options: AttributionOptions, spend: dict[str, Decimal], of_no_market: Decimal
) -> AttributionReport:
    """Return a report of markets with their spend; keys with spend and without credit have a row too."""
    credited = {(row.model, row.key): row for row in found.rows}
    rows = []
    for model in options.models:
        keys = dict.fromkeys([*(key for one, key in credited if one == model), *sorted(spend)])
        for key in keys:
            row, cost = credited.get((model, key)), spend.get(key, Decimal(0))
            credit = (row.conversions, row.revenue, row.new_customers) if row else (0.0, 0.0, 0.0)
            net_revenue = row.net_revenue if row else 0.0
            rows.append(attribution_row(model, key, *credit, cost, margin=found.margin, net_revenue=net_revenue))
    return replace(found, rows=rows, spend=sum(spend.values(), Decimal(0)), spend_of_no_market=of_no_market)


def database_paths(client: Any, options: AttributionOptions) -> Paths:
    """Read all journeys from the database."""
    return paths_of(
        (path, conversions, float(revenue), squares, nulls)
        for path, conversions, revenue, squares, nulls in path_counts(client, options)
    )


def learned_rows(found: Sequence[Share]) -> list[LearnedRow]:
    """Return credits as rows of the table `attribution_models`."""
    return [
        LearnedRow(
            row.model, row.key, row.removal_effect, row.share, row.conversions, row.revenue, row.share_low,
            row.share_high, row.revenue_low, row.revenue_high, round(row.journeys),
        )
        for row in found
    ]  # fmt: skip


def unreliable_keys(found: Sequence[Share]) -> list[str]:
    """Return the keys with too few converting journeys for a reliable credit."""
    return sorted({row.key for row in found if 0 < row.journeys < MIN_RELIABLE_JOURNEYS and row.key != UNATTRIBUTED})


def report_of_paths(
    rows: Sequence[PathRow],
    models: ModelSelection,
    parameters: ModelParameters,
    *,
    collapse: bool = False,
    replicates: int = 0,
    seed: int = 0,
) -> AttributionReport:
    """Report a file of paths; without times there is no `time_decay`."""
    paths = [row._replace(channels=_collapsed(row.channels)) for row in rows] if collapse else list(rows)
    rules = [model for model in models.rules if model != "time_decay"]
    totals = channel_totals(
        ((Journey(row.channels), float(row.conversions), float(row.revenue)) for row in paths), rules, parameters
    )
    table = paths_of(
        (row.channels, float(row.conversions), float(row.revenue), _squares(row), float(row.nulls)) for row in paths
    )
    conversions, revenue = sum(row.conversions for row in paths), sum((row.revenue for row in paths), Decimal(0))
    return _file_report(totals, table, models.learned, (float(conversions), revenue), replicates, seed)


def report_of_events(
    touches: Sequence[Touch],
    conversions: Sequence[Conversion],
    options: AttributionOptions,
    models: ModelSelection,
    parameters: ModelParameters,
    *,
    replicates: int = 0,
    seed: int = 0,
) -> AttributionReport:
    """Report a file of events, with the same numbers as the database."""
    known = {(one.conversion_type, one.conversion_id): one for one in reversed(conversions)}
    of_goal = [one for one in with_milestones(known.values(), options.milestone or "signup")
               if options.goal in ("all", one.conversion_type)]  # fmt: skip
    lookback = timedelta(days=options.lookback_days)
    found = journeys(
        touches, of_goal, lookback=lookback, scope=options.scope, repeats=options.repeats, contacts=options.contacts,
        only=options.only, without=options.without,
    )  # fmt: skip
    wanted = [one for one in of_goal if options.start <= one.converted_at < options.stop]
    seen = [(journey_of(one, found[one.conversion_type, one.conversion_id]), one.revenue) for one in wanted]
    used = [one for one in touches if _is_used(one, options) and one.touched_at < options.stop]
    nulls = null_journeys(used, {one.person or "" for one in of_goal}, lookback=lookback)
    null_paths = [
        tuple(touch.channel for touch in path) for path in nulls.values() if path[-1].touched_at >= options.start
    ]
    if options.repeats == "collapse":
        null_paths = [_collapsed(path) for path in null_paths]
    totals = channel_totals(((journey, 1.0, float(revenue)) for journey, revenue in seen), models.rules, parameters)
    table = paths_of(
        [(journey.channels, 1.0, float(revenue), float(revenue) ** 2, 0.0) for journey, revenue in seen]
        + [(path, 0.0, 0.0, 0.0, 1.0) for path in null_paths]
    )
    whole = float(len(seen)), sum((revenue for _, revenue in seen), Decimal(0))
    return _file_report(totals, table, models.learned, whole, replicates, seed)


def _file_report(
    totals: dict[tuple[str, str], tuple[float, float]],
    table: Paths,
    learned: tuple[str, ...],
    whole: tuple[float, Decimal],
    replicates: int,
    seed: int,
) -> AttributionReport:
    rules = [
        attribution_row(model, key, conversions, revenue, None, None, margin=1.0)
        for (model, key), (conversions, revenue) in totals.items()
    ]
    order = {model: place for place, model in enumerate(MODELS)}
    rules.sort(key=lambda row: (order[row.model], -row.conversions, row.key))
    rows = [*rules, *_rows(shares(table, learned, replicates=replicates, seed=seed), {}, 1.0)]
    return AttributionReport(rows, whole[0], whole[1], None, (), NOT_ADDITIVE)


def _rows(found: Sequence[Share], spend: dict[str, Decimal | None], margin: float) -> list[AttributionRow]:
    """Return rows of a report of learned models; keys with spend and without credit have a row too."""
    rows = [
        attribution_row(
            row.model, row.key, row.conversions, row.revenue, None, spend.get(row.key, Decimal(0) if spend else None),
            margin=margin, share_low=row.share_low, share_high=row.share_high,
            revenue_low=row.revenue_low, revenue_high=row.revenue_high,
        )
        for row in found
    ]  # fmt: skip
    credited = {(row.model, row.key) for row in rows}
    for model in dict.fromkeys(row.model for row in rows):
        rows.extend(
            attribution_row(model, key, 0.0, 0.0, None, cost, margin=margin)
            for key, cost in spend.items()
            if cost and (model, key) not in credited
        )
    order = {model: place for place, model in enumerate(dict.fromkeys(row.model for row in rows))}
    return sorted(rows, key=lambda row: order[row.model])


def _collapsed(channels: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for place, name in enumerate(channels) if place == 0 or name != channels[place - 1])


def _is_used(touch: Touch, options: AttributionOptions) -> bool:
    return (
        (options.contacts == "all" or touch.view == (options.contacts == "views"))
        and (not options.only or touch.channel in options.only)
        and touch.channel not in options.without
    )


def _squares(row: PathRow) -> float:
    """Return the sum of squared revenues of a path, of which only the sum is known: all are taken as equal."""
    return float(row.revenue**2 / row.conversions) if row.conversions else 0.0

"""The commands `experiments geo` and `experiments geo-plan`: what a campaign brought in the areas where it ran."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from deploy.cli.arguments import DAY_FORMATS, AsJson
from deploy.cli.attribution_models import Goal
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.stores import clickhouse
from sinks.clickhouse.behaviour import Area, Outcome

if TYPE_CHECKING:
    from processors.attribution.geo_experiments import GeoEffect

Treated = Annotated[list[str], typer.Option("--area", help="An area where it ran; may be repeated.")]
By = Annotated[Area, typer.Option(help="What an area is: the country, the market or the store of a conversion.")]
Metric = Annotated[Outcome, typer.Option(help="What is counted; revenue is net of refunds, first are new customers.")]
Before = Annotated[int, typer.Option(min=21, help="How many days before to learn from.")]
_LISTED = 20


def register(experiments: typer.Typer) -> None:
    """Add the commands to `throughline experiments`."""
    experiments.command("geo")(experiments_geo)
    experiments.command("geo-plan")(experiments_geo_plan)


def experiments_geo(
    area: Treated,
    first: Annotated[datetime, typer.Option("--from", formats=DAY_FORMATS, help="First day of the campaign.")],
    last: Annotated[datetime, typer.Option("--to", formats=DAY_FORMATS, help="Its last day.")],
    by: By = "country",
    metric: Metric = "revenue",
    goal: Goal = "",
    before: Before = 84,
    spend: Annotated[float | None, typer.Option(help="What it cost in these areas, for the return on it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a campaign brought in the areas where it ran, by a mean of the others that followed them before.

    Where people cannot be drawn into groups, as on television or on search, areas can. A campaign that was switched
    off in some areas is measured alike: what it brings is then missing, and the effect negative. The areas must not
    have been chosen by how they were doing, and people should not buy in another one.
    """
    from processors.attribution.geo_experiments import measure

    start, end = first.date(), _over(last)
    if end < start:
        raise typer.BadParameter(f"{end} is before {start}", param_hint="--to")
    series = _outcomes(by, metric, start - timedelta(days=before), end, goal)
    found = measure(series, dict.fromkeys(area), (end - start).days + 1)
    if isinstance(found, str):
        fail(found)
    returned = found.incremental / spend if spend else None
    if as_json:
        print_json(
            {
                "areas": area, "by": by, "metric": metric, "from": start, "to": end, "days_before": before,
                **found._asdict(), "significant": found.significant, "spend": spend, "return_on_spend": returned,
            }
        )  # fmt: skip
        return
    _print(found, metric, spend)


def experiments_geo_plan(
    days: Annotated[int, typer.Option(min=1, help="How many days the campaign will run.")] = 28,
    areas: Annotated[int, typer.Option(min=1, help="Greatest number of areas where it may run.")] = 1,
    by: By = "country",
    metric: Metric = "revenue",
    goal: Goal = "",
    before: Annotated[int, typer.Option(min=28, help="How many days of the past to learn from.")] = 168,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=DAY_FORMATS, help="Last day of that past; else yesterday.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show in which areas an experiment would find the smallest effect, by experiments in the past without a campaign.

    Choose among the first by lot, or by what it costs to run there; an area that is doing unusually well or badly just
    now is a bad choice.
    """
    from processors.attribution.geo_experiments import plan

    end = _over(until) if until else _today() - timedelta(days=1)
    found = plan(_outcomes(by, metric, end - timedelta(days=before - 1), end, goal), days, areas)
    if isinstance(found, str):
        fail(found)
    if as_json:
        print_json([one._asdict() for one in found])
        return
    print_table(
        ("areas", f"share of {metric}", "effect found in 80 of 100", "daily error", "past experiments"),
        [
            (", ".join(one.areas), f"{one.share:.1%}", f"{one.detectable:.1%}", f"{one.error:.1%}", str(one.placebos))
            for one in found[:_LISTED]
        ],
        text_columns=1,
    )
    typer.echo(f"{days} days, learned from {before} days until {end}", err=True)


def _today() -> date:
    from deploy.settings import settings

    return datetime.now(ZoneInfo(settings().timezone)).date()


def _over(last: datetime) -> date:
    """Return the day if it is over: what is still to come would count as lost."""
    day, today = last.date(), _today()
    if day >= today:
        raise typer.BadParameter(
            f"{day} is not over yet: the last whole day is {today - timedelta(days=1)}", param_hint="--to"
        )
    return day


def _outcomes(by: Area, metric: Outcome, first: date, last: date, goal: str) -> dict[str, list[float]]:
    from sinks.clickhouse.behaviour import outcomes_by_area

    with clickhouse() as client:
        return outcomes_by_area(client, by, metric, first, last, goal)


def _print(found: GeoEffect, metric: Outcome, spend: float | None) -> None:
    relative = "" if found.relative is None else f", {found.relative:+.1%}"
    compared = ", ".join(f"{area} {share:.0%}" for area, share in list(found.weights.items())[:_LISTED])
    rows: list[tuple[Any, ...]] = [
        ("with the campaign", f"{found.actual:,.2f}"),
        ("without it, expected", f"{found.expected:,.2f}"),
        ("brought by it", f"{found.incremental:,.2f} ({found.low:,.2f} to {found.high:,.2f}){relative}"),
        ("p-value", f"{found.p_value:.3f}"),
        ("daily error before", f"{found.error:.1%}"),
        ("compared with", compared),
    ]
    if spend:
        rows.insert(
            3,
            (
                "for each unit of spend",
                f"{found.incremental / spend:,.2f} ({found.low / spend:,.2f} to {found.high / spend:,.2f})",
            ),
        )
    print_table((metric, ""), rows, text_columns=2)
    if found.warning:
        typer.echo(f"warning: {found.warning}", err=True)
    if not found.significant:
        typer.echo(
            "The interval of 95 % includes 0: no effect is shown, which does not show that there is none.", err=True
        )

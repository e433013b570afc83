"""The command group `ltv`: customer lifetime value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.output import fail, print_json
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    lifetime = typer.Typer(help="What customers will bring.", no_args_is_help=True)
    lifetime.callback()(_group)
    lifetime.command("fit")(ltv_fit)
    app.add_typer(lifetime, name="ltv")


def _group() -> None:
    """Make typer treat this single command as a command group."""


def ltv_fit(
    horizon_days: Annotated[int, typer.Option(min=7, max=3650, help="Days to look ahead.")] = 90,
    holdout_days: Annotated[
        int | None, typer.Option(min=0, help="Days at the end that the fit is tested on; 0: none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit how often customers will buy again and for how much, and store the prediction of each person: v_ltv.

    Needs the extra: pip install 'throughline[ltv]'. Prints the error of a fit without the last days on those days.
    """
    from processors.attribution.lifetime import MODEL, DegenerateFitError, Order, TooFewCustomersError, fit
    from sinks.clickhouse.behaviour import customer_orders, last_day, store_ltv

    with clickhouse() as client:
        orders = [Order(*row) for row in customer_orders(client)]
        until = last_day(client)
        if until is None:
            fail("there are no events yet")
        try:
            found = fit(orders, until, horizon_days=horizon_days, holdout_days=holdout_days)
        except (TooFewCustomersError, DegenerateFitError) as error:
            fail(str(error))
        except ModuleNotFoundError as error:
            fail(f"{error.name} is not installed: pip install 'throughline[ltv]'")
        validation = found.validation
        run = {
            "fitted_at": datetime.now(UTC), "model": MODEL, "observed_until": until, "horizon_days": horizon_days,
            "customers": len(found.forecasts), "parameters": found.parameters, "holdout_days": validation.days,
            "holdout_orders": validation.orders, "predicted_orders": validation.predicted,
            "mean_absolute_error": validation.mean_absolute_error,
            "naive_absolute_error": validation.naive_absolute_error,
        }  # fmt: skip
        run_id = store_ltv(client, run, ((*one, one.revenue) for one in found.forecasts))
    revenue = sum(one.revenue for one in found.forecasts)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        print_json({"run_id": run_id, **run, "revenue": revenue})
        return
    typer.echo(f"{len(found.forecasts):,} customers, {revenue:,.2f} expected within {horizon_days} days (run {run_id})")
    if validation.days:
        off = validation.predicted / validation.orders - 1 if validation.orders else 0.0
        typer.echo(
            f"validated on the last {validation.days} days: {validation.predicted:,.1f} orders predicted,"
            f" {validation.orders:,} came ({off:+.1%}); mean absolute error a customer"
            f" {validation.mean_absolute_error:.3f}, and {validation.naive_absolute_error:.3f} if every customer had"
            " gone on as before"
        )
    else:
        typer.echo("not validated: the history is too short to hold days back")

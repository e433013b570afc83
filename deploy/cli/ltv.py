"""The command group `ltv`: customer lifetime value."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli.arguments import AsJson, Markets
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    lifetime = typer.Typer(help="What customers will bring.", no_args_is_help=True)
    lifetime.command("fit")(ltv_fit)
    lifetime.command("card")(ltv_card)
    app.add_typer(lifetime, name="ltv")


def ltv_fit(
    horizon_days: Annotated[int, typer.Option(min=7, max=3650, help="Days to look ahead.")] = 90,
    holdout_days: Annotated[
        int | None, typer.Option(min=0, help="Days at the end that the fit is tested on; 0: none.")
    ] = None,
    market: Markets = None,
    as_json: AsJson = False,
) -> None:
    """Fit how often customers will buy again and for how much, and store the prediction of each person: v_scores.

    Needs the extra: pip install 'throughline[ltv]'. Its error is that of a fit without the last days on those days:
    `throughline ltv card`. A fit that is no better there than no model, or far off, is not used: exit code 1.
    """
    from deploy.operations.predictions import NotFittedError, fit_and_store

    if market:
        raise typer.BadParameter(
            "the fit is of all customers: leave it out, and ask v_ltv, which has the market of each",
            param_hint="--market",
        )
    with clickhouse() as client:
        try:
            found = fit_and_store(client, horizon_days=horizon_days, holdout_days=holdout_days)
        except NotFittedError as error:
            fail(str(error))
    run = found.run
    for note in run["notes"]:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        print_json({"run_id": found.run_id, **run, "revenue": found.revenue, "objection": found.objection})
        if found.objection:
            raise typer.Exit(1)
        return
    typer.echo(
        f"{run['customers']:,} customers, {found.revenue:,.2f} expected within {horizon_days} days (run {found.run_id})"
    )
    typer.echo(_judgement(run))
    if found.objection:
        fail(f"not used: {found.objection}. The predictions of the fit before it stay; `ltv card` shows this one")


def ltv_card(as_json: AsJson = False) -> None:
    """Show the model card of the newest fit: data, period, parameters, error on held-out days, calibration, and age."""
    from sinks.clickhouse.predictions import newest_fit

    with clickhouse() as client:
        card = newest_fit(client)
    if card is None:
        fail("there is no fit yet: `throughline ltv fit` makes one")
    if as_json:
        print_json(card)
        return
    print(f"{card['model']}, run {card['run_id']}, fitted {card['fitted_at']:%Y-%m-%d %H:%M} UTC"
          f" ({card['age_hours']:,.1f} hours ago)")  # fmt: skip
    print(f"data: {card['orders']:,} orders of {card['customers']:,} customers, {card['observed_from']} to"
          f" {card['observed_until']}; {card['left_out']:,} orders without revenue were left out")  # fmt: skip
    print(f"looks ahead {card['horizon_days']} days")
    print("parameters: " + ", ".join(f"{name} {value:,.4g}" for name, value in card["parameters"].items()))
    print(_judgement(card))
    if card["objection"]:
        print(f"not used: {card['objection']}")
    for note in card["notes"]:
        print(f"note: {note}")
    if card["calibration"]:
        print_table(
            ("tenth", "customers", "orders predicted", "orders", "revenue predicted", "revenue"),
            [
                (
                    f"{row['decile']}", f"{row['people']:,}", f"{row['predicted_orders']:,.1f}", f"{row['orders']:,}",
                    f"{row['predicted_revenue']:,.2f}", f"{row['revenue']:,.2f}",
                )
                for row in card["calibration"]
            ],
            title="Days held out, by tenths of the customers; 1: fewest predicted orders",
        )  # fmt: skip


def _judgement(run: dict[str, Any]) -> str:
    if not run["holdout_days"]:
        return "not validated: the history is too short to hold days back"
    orders, predicted = run["holdout_orders"], run["predicted_orders"]
    if not orders and not predicted:
        return (
            f"not validated: the last {run['holdout_days']} days have no order of an earlier customer: --holdout-days"
        )
    off = f" ({predicted / orders - 1:+.1%})" if orders else ""
    error, naive = run["mean_squared_error"], run["naive_squared_error"]
    compared = "better" if error < naive else "not better"
    judged = (
        f"; mean squared error a customer {error:.3f}, {compared} than {naive:.3f} if every customer had gone on as"
        " before"
        if error or naive  # a fit of an older version has neither
        else ""
    )
    return (
        f"validated on the last {run['holdout_days']} days: {predicted:,.1f} orders predicted, {orders:,.0f} came{off};"
        f" revenue {run['predicted_revenue']:,.2f} predicted, {run['holdout_revenue']:,.2f} came{judged}"
    )

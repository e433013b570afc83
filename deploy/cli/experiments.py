"""The command group `experiments`: what variants of journeys brought, which one has won, and its roll-out."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import geo_experiments
from deploy.cli.arguments import AsJson
from deploy.cli.output import fail, print_json, print_table, write_text
from deploy.cli.stores import clickhouse

if TYPE_CHECKING:
    from processors.attribution.winners import Verdict
    from sinks.clickhouse.experiments import Experiment

Name = Annotated[str, typer.Argument(metavar="JOURNEY", help="Name of the journey.")]
Version = Annotated[str, typer.Option(help="A version of the journey; else the one of the latest draw.")]
_METRICS = {"ordered": "order rate", "clicked": "click rate", "goal": "rate of the goal", "revenue": "revenue a person"}


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    experiments = typer.Typer(help="Experiments: variants of journeys, and the winners.", no_args_is_help=True)
    experiments.command("list")(experiments_list)
    experiments.command("show")(experiments_show)
    experiments.command("roll-out")(experiments_roll_out)
    geo_experiments.register(experiments)
    app.add_typer(experiments, name="experiments")


def experiments_list(as_json: AsJson = False) -> None:
    """List all experiments, the latest first: journey, version, split, variants, people, and the winner."""
    from sinks.clickhouse.experiments import read_experiments

    with clickhouse() as client:
        found = [_described(one) for one in read_experiments(client)]
    if as_json:
        print_json(found)
        return
    print_table(
        ("journey", "split", "variants", "result", "version", "started", "people"),
        [
            (
                one["journey"], one["step"], ", ".join(variant["variant"] for variant in one["variants"]),
                one["winner"] or one["reason"], one["version"], f"{one['started']:%Y-%m-%d}",
                f"{sum(variant['assigned'] for variant in one['variants']):,}",
            )
            for one in found
        ],
        text_columns=4,
    )  # fmt: skip
    typer.echo(f"{len(found)} experiments", err=True)


def experiments_show(name: Name, version: Version = "", as_json: AsJson = False) -> None:
    """Show the variants of a journey: sent, clicked, ordered, revenue, difference to the control, and the winner.

    Everybody who was drawn counts, whether a message was sent or not. If the journey declares a horizon, the winner is
    decided once, when it is over; else by a sequential test, which stays valid however often you look.
    """
    found = [_described(one) for one in _experiments(name, version)]
    if as_json:
        print_json(found)
        return
    for one in found:
        _print(one)


def experiments_roll_out(
    name: Name,
    variant: Annotated[str, typer.Option(help="The variant to keep; else the winner.")] = "",
    step: Annotated[
        str, typer.Option(help="The split, as `experiments show` names it; else all that have a winner.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the new version here; else show the change.")
    ] = None,
) -> None:
    """Write the next version of a journey, which draws the winner for everybody; without --out show its change.

    The file in force is left alone unless --out names it. Runs under way keep the version that they entered with.
    """
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.engines import load_definitions
    from deploy.operations.roll_out import RollOutError, with_winners
    from deploy.settings import settings

    found = [_described(one) for one in _experiments(name, "")]
    splits = [one for one in found if one["step"] != "holdout" and step in ("", one["step"])]
    if variant:
        splits = [one for one in splits if any(variant == known["variant"] for known in one["variants"])]
        winners = {one["step"]: variant for one in splits}
    else:
        winners = {one["step"]: one["winner"] for one in splits if one["winner"]}
    if not winners:
        reasons = [f"{one['step']}: {one['reason']}" for one in splits] or [f"no split of it has a variant {variant!r}"]
        fail(f"nothing of {name} to roll out; " + "; ".join(reasons) + ". --variant chooses one all the same")
    if variant and len(winners) > 1:
        fail(f"{variant!r} is a variant of the steps {', '.join(winners)}: choose one of them with --step")
    try:
        definitions = load_definitions(settings())
        if (file := definitions.files.get(name)) is None:
            fail(f"there is no journey {name!r} in {settings().definitions_dir}")
        text = with_winners(file, winners, settings().timezone)
    except (DefinitionError, RollOutError) as error:
        fail(str(error))
    if out is None:
        before = file.read_text("utf-8").splitlines(keepends=True)
        print("".join(difflib.unified_diff(before, text.splitlines(keepends=True), str(file), "new version")), end="")
        typer.echo(
            f"`throughline experiments roll-out {name} --out {file}` writes it, `throughline journeys publish {name}`"
            " puts it in force",
            err=True,
        )
        return
    write_text(text, out)
    kept = ", ".join(f"{won} at step {at}" for at, won in winners.items())
    typer.echo(
        f"{out} draws {kept} for everybody; in {settings().definitions_dir}, `throughline journeys publish {name}` puts"
        " it in force",
        err=True,
    )


def _experiments(name: str, version: str) -> list[Experiment]:
    """Read the experiments of one version of a journey, or end the command."""
    from sinks.clickhouse.experiments import read_experiments

    with clickhouse() as client:
        found = read_experiments(client, name)
    if not found:
        fail(f"nobody was drawn into a variant of {name!r} yet: `throughline experiments list` shows all experiments")
    chosen = version or found[0].version
    of_version = [one for one in found if one.version == chosen]
    if not of_version:
        known = ", ".join(dict.fromkeys(one.version for one in found))
        fail(f"{name} has no experiment of version {chosen!r}; there are {known}")
    return sorted(of_version, key=lambda one: one.step)


def _described(one: Experiment) -> dict[str, Any]:
    """Return an experiment with its comparisons and its winner, as `--json` prints it."""
    from schemas.time import time_of_ms

    started = time_of_ms(one.started_ms)
    decided_at = None if one.horizon_ms is None else started + timedelta(milliseconds=one.horizon_ms)
    verdict = _verdict(one, decided_at)
    return {
        "journey": one.journey, "version": one.version, "step": one.step, "metric": one.metric, "control": one.control,
        "window_days": one.window_ms / 86_400_000, "started": started, "decided_at": decided_at,
        "method": "sequential" if decided_at is None else "fixed horizon", "sample_ratio_p": one.sample_ratio_p,
        "sample_ratio_mismatch": one.mismatch, "winner": verdict.winner, "reason": verdict.reason,
        "comparisons": [compared._asdict() for compared in verdict.comparisons], "variants": one.variants,
    }  # fmt: skip


def _verdict(one: Experiment, decided_at: datetime | None) -> Verdict:
    from processors.attribution.winners import Outcomes, Verdict, judge

    if len(one.variants) < 2:
        return Verdict([], None, f"everybody was drawn into {one.variants[0]['variant']}: there is nothing to compare")
    if decided_at is not None and decided_at > datetime.now(UTC):
        return Verdict([], None, f"it is decided on {decided_at:%Y-%m-%d}, and not before")
    outcomes = [Outcomes(*variant) for variant in one.outcomes]
    if one.control not in [variant.variant for variant in outcomes]:
        outcomes.append(Outcomes(one.control, 0, 0.0, 0.0, 0))
    return judge(
        outcomes, one.control, share=one.metric != "revenue", fixed=decided_at is not None, mismatch=one.mismatch
    )


def _print(one: dict[str, Any]) -> None:
    print(f"{one['journey']}, version {one['version']}, split {one['step']}: since {one['started']:%Y-%m-%d}")
    print_table(
        ("variant", "people", "crossed", "sent", "delivered", "clicked", "ordered", "revenue", "order rate", "95 %"),
        [
            (
                f"{row['variant']} (control)" if row["is_control"] else row["variant"], f"{row['assigned']:,}",
                f"{row['crossed']:,}", f"{row['sent']:,}", f"{row['delivered']:,}", f"{row['clicked']:,}",
                f"{row['ordered']:,}", f"{row['revenue']:,.2f}", _percent(row["order_rate"]),
                f"{_percent(row['order_rate_low'])} to {_percent(row['order_rate_high'])}",
            )
            for row in one["variants"]
        ],
        text_columns=1,
    )  # fmt: skip
    shown = f"{{:+,.{2 if one['metric'] == 'revenue' else 4}f}}"
    for compared in one["comparisons"]:
        interval = (
            f", {shown.format(compared['low'])} to {shown.format(compared['high'])}, p = {compared['p_value']:.3g}"
            if compared["low"] is not None
            else ""
        )
        print(
            f"{compared['variant']} against {one['control']}, {_METRICS[one['metric']]} within"
            f" {one['window_days']:g} days: {shown.format(compared['difference'])}{interval}"
        )
    if one["sample_ratio_p"] is not None:
        print(
            f"split as declared: p = {one['sample_ratio_p']:.3g}{' (mismatch)' if one['sample_ratio_mismatch'] else ''}"
        )
    print(f"winner ({one['method']}): {one['winner'] or 'none'}, {one['reason']}\n")


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.2%}"

"""Commands of the group `attribution` about stored credits: refresh them, check them, compare two versions."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson, By
from deploy.cli.attribution_models import print_comparison
from deploy.cli.stores import clickhouse


def refresh(
    days: Annotated[float, typer.Option(min=0, help="Only conversions of the last so many days; 0: all.")] = 0,
    anew: Annotated[bool, typer.Option("--anew", help="Sum every day again, also where nothing changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Refresh the stored credits: v_attribution_stored, v_attribution_stored_by_day.

    Late touches, merges, splits, refunds and withdrawn consent change credits of the past; only conversions whose
    credits changed get a new version.
    """
    from schemas.time import clock_ms, time_of_ms
    from sinks.clickhouse.attribution import refresh as refresh_credits
    from sinks.clickhouse.reports import FIRST, LAST

    version = clock_ms()
    start = time_of_ms(version) - timedelta(days=days) if days else FIRST
    with clickhouse() as client:
        changed = refresh_credits(client, version, start, LAST, anew=anew)
    if as_json:
        print(json.dumps({"version": version, "changed": changed}))
    else:
        print(f"version {version}: credits of {changed:,} conversions changed")


def check(as_json: AsJson = False) -> None:
    """Compare orders, conversions and credits, and stored credits with live ones; exit code 1 if they differ.

    Warns of order ids that two people have in two stores.
    """
    from sinks.clickhouse.attribution import check as compare
    from sinks.clickhouse.attribution import settled

    with clickhouse() as client:
        found = compare(client)
        until = settled(client)
    if as_json:
        print(json.dumps({**asdict(found), "settled": asdict(until)}, indent=2, default=str))
    else:
        for row in found.alerts:
            typer.echo(
                f"{row.day} {row.conversion_type or '(no conversion)'} {row.model}: {row.orders:,} orders,"
                f" {row.conversions:,} conversions, {row.credits:,.6f} credited; {row.revenue:,.2f} revenue,"
                f" {row.credited_revenue:,.2f} credited",
                err=True,
            )
        for warning in found.warnings:
            typer.echo(f"warning: {warning}", err=True)
        print(f"{found.days:,} days of a goal and model compared, {len(found.alerts):,} do not add up")
        if found.version:
            print(f"{found.conversions:,} conversions, {found.outdated:,} stored otherwise than they are now")
            if found.days_off:
                print(f"{found.days_off:,} days added up wrongly: `throughline attribution refresh --anew`")
        else:
            print("nothing is stored yet: `throughline attribution refresh`")
        print(f"credits of conversions before {until.settled_until:%Y-%m-%d %H:%M} UTC are settled")
    if found.alerts or found.outdated or found.days_off:
        raise typer.Exit(1)


def changes(
    from_version: Annotated[int | None, typer.Option(min=0, help="The earlier version; else the one before.")] = None,
    to_version: Annotated[int | None, typer.Option(min=0, help="The later version; else the last.")] = None,
    by: By = "channel",
    model: Annotated[str, typer.Option(help="A model, or all.")] = "linear",
    as_json: AsJson = False,
) -> None:
    """Show what refreshes changed: stored credits at one version and at a later one."""
    from sinks.clickhouse.attribution import changes as compare
    from sinks.clickhouse.attribution import versions

    with clickhouse() as client:
        known = [version for version, _ in versions(client)]
        after = next(iter(known), 0) if to_version is None else to_version
        before = next((one for one in known if one < after), 0) if from_version is None else from_version
        rows = [row for row in compare(client, before, after, by) if model in ("all", row.model)]
    if as_json:
        found = {"from": before, "to": after, "changes": [asdict(row) for row in rows]}
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    print_comparison(
        f"{model}: version {before} to {after}",
        (by, "conversions", "then", "revenue", "then"),
        [
            (row.key if model != "all" else f"{row.model} {row.key}", f"{row.conversions_before:,.2f}",
             f"{row.conversions_after:,.2f}", f"{row.revenue_before:,.2f}", f"{row.revenue_after:,.2f}")
            for row in rows
        ],
    )  # fmt: skip

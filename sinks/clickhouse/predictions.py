"""Predictions of people: the orders that models are fitted to, their fits with the model card, and runs of scoring.

Every function takes a clickhouse-connect client that is connected to the product's database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from hashlib import blake2b
from typing import Any, NamedTuple

from sinks.clickhouse.client import without_deduplication

LTV_COLUMNS = ("run_id", "profile_id", "probability_alive", "orders", "order_value", "revenue")
CALIBRATION_COLUMNS = ("run_id", "decile", "people", "predicted_orders", "orders", "predicted_revenue", "revenue")


def customer_orders(client: Any) -> list[tuple[str, date, float]]:
    """List the orders of known people: profile id, day, revenue after refunds in the currency of reports."""
    rows = client.query("SELECT toString(profile_id), day, revenue FROM customer_orders").result_rows
    return [(profile_id, day, revenue) for profile_id, day, revenue in rows]


def last_day(client: Any) -> date | None:
    """Return the last day with an event, in the time zone of reports; None without events."""
    day: date | None = client.query(
        """
        WITH (SELECT timezone FROM v_attribution_settings) AS zone
        SELECT if(count() = 0, NULL, toDate(toTimeZone(max(occurred_at), assumeNotNull(zone)))) FROM touchpoints
        """
    ).first_row[0]
    return day


def store_ltv(
    client: Any,
    run: Mapping[str, Any],
    expected: Iterable[tuple[str, float, float, float, float]],
    deciles: Sequence[tuple[Any, ...]] = (),
    *,
    objection: str = "",
) -> str:
    """Store a fit of the lifetime value: its predictions first, so that the views never see half a run.

    Args:
        client: A client.
        run: Columns of `ltv_runs` but `run_id`; `fitted_at` a datetime, `parameters` a mapping.
        expected: For each person the columns of `ltv_predictions` but `run_id`.
        deciles: The columns of `ltv_calibration` but `run_id`.
        objection: Why the fit is not used, so that the one before it stays in use; empty: it is used.

    Returns:
        The run's id: fitting the same to the same orders gives the same id.
    """
    people = sorted(expected)
    described = {name: value for name, value in run.items() if name != "fitted_at"}
    run_id = blake2b(repr((sorted(described.items(), key=str), people)).encode(), digest_size=8).hexdigest()
    client.insert(
        "ltv_predictions",
        [[run_id, *row] for row in people],
        column_names=list(LTV_COLUMNS),
        settings=without_deduplication(),
    )
    if deciles:
        client.insert(
            "ltv_calibration",
            [[run_id, *row] for row in deciles],
            column_names=list(CALIBRATION_COLUMNS),
            settings=without_deduplication(),
        )
    columns = {**run, "run_id": run_id, "parameters": json.dumps(run["parameters"])}
    if objection:
        columns["objection"] = objection
    client.insert(
        "ltv_refused_runs" if objection else "ltv_runs",
        [list(columns.values())],
        column_names=list(columns),
        settings=without_deduplication(),
    )
    return run_id


def newest_fit(client: Any) -> dict[str, Any] | None:
    """Return the newest row of `v_ltv_runs` with its `age_hours`, and its `calibration` by decile; None without one."""
    runs = list(
        client.query(
            "SELECT *, dateDiff('second', fitted_at, now64(3)) / 3600 AS age_hours"
            " FROM v_ltv_runs ORDER BY fitted_at DESC LIMIT 1"
        ).named_results()
    )
    if not runs:
        return None
    found: dict[str, Any] = {**runs[0], "parameters": json.loads(runs[0]["parameters"])}
    deciles = client.query(
        "SELECT * EXCEPT run_id FROM v_ltv_calibration WHERE run_id = {run:String} ORDER BY decile",
        parameters={"run": found["run_id"]},
    ).named_results()
    return {**found, "calibration": list(deciles)}


class FitState(NamedTuple):
    """How far the predictions are.

    Attributes:
        fitted_ms: When the newest fit was stored, in ms; None: there is none.
        is_scored: Whether the fit in use was written into profiles; True where none is in use.
        is_used: Whether the newest fit is the one in use.
    """

    fitted_ms: int | None
    is_scored: bool
    is_used: bool = True


def fit_state(client: Any) -> FitState:
    """Return when the newest fit was stored, whether it is in use, and whether that in use is in the profiles."""
    used_ms, refused_ms, is_scored = client.query(
        """
        SELECT toUnixTimestamp64Milli(maxOrNull(fitted_at)),
            (SELECT toUnixTimestamp64Milli(maxOrNull(fitted_at)) FROM ltv_refused_runs),
            argMax(run_id, fitted_at) IN (SELECT run_id FROM score_runs)
        FROM ltv_runs
        """
    ).first_row
    fitted_ms = max((at for at in (used_ms, refused_ms) if at is not None), default=None)
    is_scored = bool(is_scored) or (used_ms is None and refused_ms is not None)
    return FitState(fitted_ms, is_scored, fitted_ms == used_ms)


def store_score_run(client: Any, run: Mapping[str, Any]) -> None:
    """Store that predictions were written into profiles.

    Args:
        client: A client.
        run: Columns of `score_runs`; `scored_at` a datetime.
    """
    client.insert("score_runs", [list(run.values())], column_names=list(run), settings=without_deduplication())


def newest_run(client: Any) -> str:
    """Return the id of the newest fit; empty without one."""
    return str(client.query("SELECT argMax(run_id, fitted_at) FROM ltv_runs").first_row[0])

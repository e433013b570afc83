"""Predicts what customers will bring: fits the models to stored orders, and stores predictions and model card."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.connections.clickhouse import clickhouse_client

if TYPE_CHECKING:
    from deploy.settings import Settings

_TIMEOUT_S = 3


class Predictions(NamedTuple):
    """How far the predictions of a deployment are.

    Attributes:
        found: In a sentence.
        hint: What to do; empty when nothing is to be done.
    """

    found: str
    hint: str


class NotFittedError(RuntimeError):
    """There is no fit: no orders, too few, such that nothing fits them, or the library is missing."""


class StoredFit(NamedTuple):
    """A stored fit.

    Attributes:
        run_id: Its name.
        run: Its columns of `ltv_runs`.
        revenue: Revenue expected of all customers within the horizon.
        objection: Why it is not used; empty: it is.
    """

    run_id: str
    run: dict[str, Any]
    revenue: float
    objection: str = ""


def fit_and_store(client: Any, *, horizon_days: int = 90, holdout_days: int | None = None) -> StoredFit:
    """Fit the lifetime value to all orders, and store the predictions of each person with the model card.

    A fit that did no better on held-out days than no model, or was far off there, is not used: its card is stored, and
    the predictions of the last one that was used stay.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        horizon_days: Days of the forecast.
        holdout_days: Days at the end that the fit is tested on; None: those of the last quarter of the orders.

    Raises:
        NotFittedError: Nothing was stored; the message says why.
    """
    from processors.attribution.lifetime import DegenerateFitError, Order, TooFewCustomersError, fit
    from sinks.clickhouse.predictions import customer_orders, last_day, store_ltv

    orders = [Order(*row) for row in customer_orders(client)]
    until = last_day(client)
    if until is None:
        raise NotFittedError("there are no events yet")
    try:
        found = fit(orders, until, horizon_days=horizon_days, holdout_days=holdout_days)
    except (TooFewCustomersError, DegenerateFitError) as error:
        raise NotFittedError(str(error)) from error
    except ModuleNotFoundError as error:
        raise NotFittedError(f"{error.name} is not installed: pip install 'throughline[ltv]'") from error
    validation = found.validation
    run = {
        "fitted_at": datetime.now(UTC), "model": found.model, "observed_from": found.since, "observed_until": until,
        "horizon_days": horizon_days, "customers": len(found.forecasts), "orders": found.orders,
        "left_out": found.left_out, "parameters": found.parameters, "holdout_days": validation.days,
        "holdout_orders": validation.orders, "predicted_orders": validation.predicted,
        "holdout_revenue": validation.revenue, "predicted_revenue": validation.predicted_revenue,
        "mean_absolute_error": validation.mean_absolute_error,
        "naive_absolute_error": validation.naive_absolute_error,
        "mean_squared_error": validation.mean_squared_error, "naive_squared_error": validation.naive_squared_error,
        "notes": list(found.notes),
    }  # fmt: skip
    objection = validation.objection
    expected = ((*one, one.revenue) for one in found.forecasts)
    run_id = store_ltv(client, run, () if objection else expected, validation.deciles, objection=objection)
    return StoredFit(run_id, run, sum(one.revenue for one in found.forecasts), objection)


def can_fit() -> bool:
    """Return whether the library of the models is installed."""
    return find_spec("clvkit") is not None


def examine_predictions(settings: Settings, now_ms: int) -> Predictions | None:
    """Say how old the predictions are, and what is missing; None: ClickHouse does not answer, or has no tables.

    Args:
        settings: Of the deployment.
        now_ms: The time.
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from sinks.clickhouse.client import StoreDown
    from sinks.clickhouse.predictions import FitState, fit_state

    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # None says enough
    try:
        client = clickhouse_client(settings, timeout_s=_TIMEOUT_S)
        try:
            state: FitState = fit_state(client)
        finally:
            client.close()
    except (StoreDown, ClickHouseError):
        return None
    return describe(state.fitted_ms, state.is_scored, now_ms, period_of(settings), is_used=state.is_used)


def period_of(settings: Settings) -> int | None:
    """Return how old predictions may become, in ms; None: nothing makes new ones by itself."""
    from schemas.durations import prediction_period_ms

    return prediction_period_ms(settings.scores_every) if settings.scores_every else None


def describe(
    fitted_ms: int | None, is_scored: bool, now_ms: int, period: int | None, *, is_used: bool = True
) -> Predictions:
    """Say how old predictions are.

    Args:
        fitted_ms: When the newest fit was stored; None: there is none.
        is_scored: Whether it was written into the profiles.
        now_ms: The time.
        period: How old a fit may become, in ms; None: as old as it likes.
        is_used: Whether the newest fit is used, and not the one before it.
    """
    from schemas.durations import HOUR_MS

    if fitted_ms is None:
        return Predictions("none yet", "`throughline ltv fit`, then `throughline segments score`")
    hours = max(0, now_ms - fitted_ms) / HOUR_MS
    age = f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 60:.0f} minutes"
    if not is_used:
        return Predictions(f"the newest fit, {age} ago, is not used", "`throughline ltv card` says why")
    found = f"fitted {age} ago, {'and' if is_scored else 'not'} written into the profiles"
    if not is_scored:
        return Predictions(found, "`throughline segments score`")
    late = period is not None and now_ms - fitted_ms > 2 * period
    return Predictions(found, "`throughline segments score --every 24h` makes new ones" if late else "")


def pause_ms(fitted_ms: int | None, period_ms: int, now_ms: int) -> int:
    """Return after how many milliseconds the next fit is due; 0: now. A fit of another process counts.

    Args:
        fitted_ms: When the newest fit was stored; None: there is none.
        period_ms: How old it may become.
        now_ms: The time.
    """
    return 0 if fitted_ms is None else max(0, min(fitted_ms + period_ms - now_ms, period_ms))

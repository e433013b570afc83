"""Predicts what customers will bring: fits the models to stored orders, and stores predictions and model card."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple


class NotFittedError(RuntimeError):
    """There is no fit: no orders, too few, such that nothing fits them, or the library is missing."""


class StoredFit(NamedTuple):
    """A stored fit.

    Attributes:
        run_id: Its name.
        run: Its columns of `ltv_runs`.
        revenue: Revenue expected of all customers within the horizon.
    """

    run_id: str
    run: dict[str, Any]
    revenue: float


def fit_and_store(client: Any, *, horizon_days: int = 90, holdout_days: int | None = None) -> StoredFit:
    """Fit the lifetime value to all orders, and store the predictions of each person with the model card.

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
        "naive_absolute_error": validation.naive_absolute_error, "notes": list(found.notes),
    }  # fmt: skip
    run_id = store_ltv(client, run, ((*one, one.revenue) for one in found.forecasts), validation.deciles)
    return StoredFit(run_id, run, sum(one.revenue for one in found.forecasts))


def pause_ms(fitted_ms: int | None, period_ms: int, now_ms: int) -> int:
    """Return after how many milliseconds the next fit is due; 0: now. A fit of another process counts.

    Args:
        fitted_ms: When the newest fit was stored; None: there is none.
        period_ms: How old it may become.
        now_ms: The time.
    """
    return 0 if fitted_ms is None else max(0, min(fitted_ms + period_ms - now_ms, period_ms))

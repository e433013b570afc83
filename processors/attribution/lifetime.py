"""What customers will bring: how often they will buy again and for how much.

Purchases follow the MBG/NBD model (Batislam, Denizel and Filiztekin 2007): customers buy at a rate of their own, until
after some purchase they stop for good. Where a fit finds nobody who stops, its limit is used, the NBD model: with a
dropout a / (a + b) near 0 the formula of the former is numerically void. Amounts follow the Gamma-Gamma model (Fader
and Hardie 2013). The fits are the library clvkit's. How far they can be trusted is measured, not assumed: a second fit
that does not see the last days predicts them.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

LEAST_REPEATERS = 30
"""Customers who came back: fewer say nothing about coming back."""

MODEL = "MBG/NBD and Gamma-Gamma"
_NOBODY_STOPS = 1e-6  # chance of stopping after a purchase
_DAYS = 7  # the models count in weeks, orders of one day are one


class Order(NamedTuple):
    """One order: who, when, how much after refunds."""

    profile_id: str
    day: date
    revenue: float


class Expected(NamedTuple):
    """What one customer is expected to do within the horizon."""

    profile_id: str
    probability_alive: float
    orders: float
    order_value: float

    @property
    def revenue(self) -> float:
        """What they are expected to bring."""
        return self.orders * self.order_value


class Judged(NamedTuple):
    """How a fit that had not seen the last days did on them, for the customers known before.

    Attributes:
        days: Days that were held back; 0: the history is too short.
        orders: Days with an order that these customers had in them.
        predicted: What was predicted.
        mean_absolute_error: Mean distance of the two for a customer.
        naive_absolute_error: The same for the rule: everybody goes on as before.
    """

    days: int = 0
    orders: float = 0.0
    predicted: float = 0.0
    mean_absolute_error: float = 0.0
    naive_absolute_error: float = 0.0


class Lifetime(NamedTuple):
    """A fit.

    Attributes:
        expected: One for each customer.
        parameters: Of both models.
        judged: By days that were held back.
        notes: What the library says against its assumptions, such as that heavy buyers spend more.
    """

    expected: list[Expected]
    parameters: dict[str, float]
    judged: Judged
    notes: tuple[str, ...]


class TooFewError(ValueError):
    """There are not enough customers who came back."""


def fit(orders: Sequence[Order], until: date, *, horizon_days: int = 90, holdout_days: int | None = None) -> Lifetime:
    """Fit both models, and judge a second fit by the last days.

    Args:
        orders: All orders of known people; those that were given back wholly are left out.
        until: The last day that is known.
        horizon_days: Days to look ahead.
        holdout_days: Days to hold back; a quarter of the history, at most the horizon, when left out.

    Raises:
        TooFewError: Fewer than `LEAST_REPEATERS` customers ordered on two days.
    """
    orders = [order for order in orders if order.revenue > 0]
    first = min((order.day for order in orders), default=until)
    if holdout_days is None:
        holdout_days = min(horizon_days, (until - first).days // 4)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        base = _base(orders, until)
        flow, money = _models(base)
        judged = _judge(orders, until, holdout_days)
        purchases, alive = _purchases(flow, base, horizon_days / _DAYS)
        value = _column(money.predict())
    expected = [
        Expected(str(profile_id), float(alive[profile_id]), float(purchases[profile_id]), float(value[profile_id]))
        for profile_id in purchases.index
    ]
    parameters = {name: float(number) for model in (flow, money) for name, number in model.params_.items()}
    notes = tuple(
        dict.fromkeys(str(one.message).split("\n")[0] for one in raised if one.category is not RuntimeWarning)
    )
    return Lifetime(expected, parameters, judged, notes)


def _judge(orders: Sequence[Order], until: date, days: int) -> Judged:
    end = until - timedelta(days=days)
    known = [order for order in orders if order.day <= end]
    if days < _DAYS or not known:
        return Judged()
    try:
        base = _base(known, end)
        flow, _ = _models(base)
    except TooFewError:
        return Judged()
    predicted, _ = _purchases(flow, base, days / _DAYS)
    later = {(order.profile_id, order.day) for order in orders if order.day > end}
    seen = dict.fromkeys(map(str, predicted.index), 0)
    for profile_id, _day in later:
        if profile_id in seen:
            seen[profile_id] += 1
    history = base.to_pandas()
    rates = (history["frequency"] / history["T"].where(history["T"] > 0)).fillna(0.0) * days / _DAYS
    errors = [abs(float(predicted[key]) - seen[str(key)]) for key in predicted.index]
    naive = [abs(float(rates[key]) - seen[str(key)]) for key in predicted.index]
    return Judged(days, sum(seen.values()), float(predicted.sum()), sum(errors) / len(errors), sum(naive) / len(naive))


def _base(orders: Sequence[Order], until: date) -> Any:
    from clvkit import CustomerBase

    pandas: Any = importlib.import_module("pandas")  # without types of its own
    table = pandas.DataFrame(
        {
            "customer_id": [order.profile_id for order in orders],
            "date": pandas.to_datetime([order.day for order in orders]),
            "amount": [order.revenue for order in orders],
        }
    )
    return CustomerBase.from_transactions(table, time_unit="W", collapse="D", observation_period_end=until.isoformat())


def _models(base: Any) -> tuple[Any, Any]:
    from clvkit import MBGNBD, GammaGamma

    repeaters = int((base.to_pandas()["frequency"] > 0).sum())
    if repeaters < LEAST_REPEATERS:
        raise TooFewError(f"{repeaters} customers ordered on two days, at least {LEAST_REPEATERS} are needed")
    return MBGNBD().fit(base), GammaGamma().fit(base)


def _purchases(flow: Any, base: Any, weeks: float) -> tuple[Any, Any]:
    """Purchases expected within some weeks, and the probability to be alive, by customer."""
    if flow.params_["a"] / (flow.params_["a"] + flow.params_["b"]) > _NOBODY_STOPS:
        return _column(flow.predict(weeks)), _column(flow.probability_alive())
    history = base.to_pandas()
    rate = (flow.params_["r"] + history["frequency"]) / (flow.params_["alpha"] + history["T"])
    return rate * weeks, rate * 0 + 1


def _column(prediction: Any) -> Any:
    return prediction.to_pandas().iloc[:, 0]

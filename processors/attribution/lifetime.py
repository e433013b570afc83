"""Customer lifetime value: how often customers will buy again and for how much.

Purchases follow the MBG/NBD model (Batislam, Denizel and Filiztekin, "Empirical validation and comparison of models for
customer base analysis", International Journal of Research in Marketing 24, 2007): a customer buys at a constant rate of
their own, until they stop for good after some purchase. If a fit finds no dropout, its limit is used, the NBD model
(Ehrenberg 1959): with a dropout probability a / (a + b) near 0 the formula of MBG/NBD loses all digits. Amounts follow
the Gamma-Gamma model (Fader and Hardie, "The Gamma-Gamma Model of Monetary Value", 2013). The library clvkit does the
fits. Their error is measured: a second fit, on the history without its last days, predicts those days.

Where customers are of several populations, such as households and builders, the Gamma-Gamma fit may have a shape `q` of
1 or less, with which a customer without a repeat order has an infinite mean, or shapes without limit. Then amounts are
log-normal: the logarithms of a customer's orders scatter around a mean of the customer, and these means around that of
all. The variances are those of an analysis of variance (Searle, Casella and McCulloch, Variance Components, 1992,
section 3.6), the means a customer's posterior ones. It is finite for any amounts and does not depend on their unit.

Where customers buy at nearly one rate, or hardly any stops, the likelihood of MBG/NBD is flat along an endless ridge:
`r` and `alpha`, or `a` and `b`, grow together until no digit is left. So each parameter has a weak prior, a log-normal
distribution around 1 with `_PRIOR_SD` (a penalised likelihood, as Gelman, Jakulin, Pittau and Su argue for in "A weakly
informative default prior distribution", Annals of Applied Statistics 2, 2008). What is still not finite is an error.

Customers who came before and after a long pause of the whole shop (an old sample beside a season, a change of shops)
are often of **several populations**, with one set of parameters for each: fitted together, those who never came back
make everybody look lost. Parameters by acquisition cohort are the usual remedy (Fader and Hardie, "Fitting Mixed Models
to Multi-Cohort Data", 2007).

A forecast is a mean, so its error is the **mean squared** one, which the mean minimises (Gneiting, "Making and
Evaluating Point Forecasts", JASA 106, 2011). The absolute error does not: where most customers do not buy in the days
held out, "nobody will" has the smallest.
"""

from __future__ import annotations

import importlib
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from math import exp, isfinite, log, sqrt
from typing import Any, NamedTuple

MIN_REPEAT_CUSTOMERS = 30
"""Minimum number of customers with a repeat purchase: the models cannot be fitted to fewer."""

PURCHASE_MODEL, AMOUNT_MODEL, LOG_NORMAL = "MBG/NBD", "Gamma-Gamma", "log-normal amounts"
DECILES = 10
PAUSE_DAYS = 60
"""Days without an order of anybody, after which new customers may be another population."""
_MIN_CUSTOMERS = 30
"""Fewest customers of a population."""
_MAX_BIAS, _SCATTER = 1 / 3, 3
"""Share of the orders by which their prediction may be off, or so many standard deviations of a Poisson number."""
_MIN_DROPOUT = 1e-6
"""Dropout probability after a purchase below which the NBD model is used."""
_MAX_SHAPE = 1e6
"""Shape `p` or `q` of the Gamma-Gamma model from which on its formula loses its digits, and another one is used."""
_PRIOR_SD = 2.5
"""Standard deviation of the logarithm of a parameter of MBG/NBD, a priori: 95 % are from 1/134 to 134."""
_DAYS = 7
"""Days of a time unit of the models, which is a week; orders of one day are one."""


class Order(NamedTuple):
    """One order: customer, day, and revenue after refunds."""

    profile_id: str
    day: date
    revenue: float


class CustomerForecast(NamedTuple):
    """Forecast for one customer within the horizon."""

    profile_id: str
    probability_alive: float
    orders: float
    order_value: float

    @property
    def revenue(self) -> float:
        """Expected revenue."""
        return self.orders * self.order_value


class Decile(NamedTuple):
    """Calibration of a tenth of the customers: the first has the fewest predicted orders.

    Attributes:
        decile: Its number, from 1 to 10.
        people: Number of customers.
        predicted_orders: Orders that were predicted for them.
        orders: Days with an order of them.
        predicted_revenue: Revenue that was predicted for them.
        revenue: Revenue of their orders.
    """

    decile: int
    people: int
    predicted_orders: float
    orders: int
    predicted_revenue: float
    revenue: float


class Validation(NamedTuple):
    """Validation on the last days, by a fit without them, of the customers known before.

    Attributes:
        days: Days that were held out; 0: the history is too short.
        orders: Days with an order of these customers in that time.
        predicted: Number that the fit predicted.
        mean_absolute_error: Mean absolute error for a customer.
        naive_absolute_error: The same, if every customer is predicted to keep their rate.
        mean_squared_error: Mean squared error for a customer.
        naive_squared_error: The same, if every customer is predicted to keep their rate.
        deciles: Prediction and outcome by tenths of the customers.
    """

    days: int = 0
    orders: float = 0.0
    predicted: float = 0.0
    mean_absolute_error: float = 0.0
    naive_absolute_error: float = 0.0
    mean_squared_error: float = 0.0
    naive_squared_error: float = 0.0
    deciles: tuple[Decile, ...] = ()

    @property
    def revenue(self) -> float:
        """Revenue of these customers in that time."""
        return sum(one.revenue for one in self.deciles)

    @property
    def predicted_revenue(self) -> float:
        """Revenue that was predicted."""
        return sum(one.predicted_revenue for one in self.deciles)

    @property
    def objection(self) -> str:
        """Why the forecasts should not be used; empty: nothing is known against them."""
        if not self.days:
            return ""
        off = abs(self.predicted - self.orders)
        if off > max(_MAX_BIAS * self.orders, _SCATTER * sqrt(max(self.orders, self.predicted))):
            return "the number of orders predicted is too far from that which came"
        if self.orders and self.mean_squared_error >= self.naive_squared_error:
            return "its error is not smaller than if every customer had gone on as before"
        return ""


class Lifetime(NamedTuple):
    """A fit.

    Attributes:
        forecasts: A forecast for each customer.
        parameters: Parameters of both models, by name; of an older population with ` before <day>`.
        validation: The validation on held-out days.
        model: Name of the models: amounts may be log-normal, also those of one population of several.
        orders: Number of orders that it was fitted to.
        since: Day of the first one.
        left_out: Orders without revenue, as after a full refund, which it was not fitted to.
        notes: Which populations there are, and warnings of the library about violated assumptions, such as that heavy
            buyers spend more.
    """

    forecasts: list[CustomerForecast]
    parameters: dict[str, float]
    validation: Validation
    model: str
    orders: int
    since: date
    left_out: int
    notes: tuple[str, ...]


class TooFewCustomersError(ValueError):
    """There are too few customers with a repeat purchase."""


class DegenerateFitError(ValueError):
    """No parameters, or no finite forecasts, fit the orders."""


def fit(orders: Sequence[Order], until: date, *, horizon_days: int = 90, holdout_days: int | None = None) -> Lifetime:
    """Fit both models, and validate a second fit on the last days.

    Args:
        orders: All orders of known people; orders without revenue, as after a full refund, are left out.
        until: The last day of the history.
        horizon_days: Days of the forecast.
        holdout_days: Days to hold out; if not given those of the last quarter of the orders, at most the horizon. A
            quarter of the time could have none, where a shop's history begins with an old and small sample.

    Raises:
        TooFewCustomersError: Fewer than `MIN_REPEAT_CUSTOMERS` customers ordered on two days.
        DegenerateFitError: A parameter or a forecast is not a finite number.
    """
    given, orders = len(orders), [order for order in orders if order.revenue > 0]
    first = min((order.day for order in orders), default=until)
    if holdout_days is None:
        days = sorted(order.day for order in orders)
        holdout_days = min(horizon_days, (until - days[len(days) * 3 // 4]).days) if days else 0
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        found = _forecast(orders, until, horizon_days)
        validation = _validate(orders, until, holdout_days)
    forecasts = [CustomerForecast(key, *numbers) for key, numbers in found.expected.items()]
    parameters = found.parameters
    unusable = sum(not all(isfinite(number) and number >= 0 for number in one[1:]) for one in forecasts)
    if unusable or not all(map(isfinite, parameters.values())):
        shown = ", ".join(f"{name}={number:.3g}" for name, number in parameters.items())
        raise DegenerateFitError(
            f"the fit is degenerate ({shown}): {unusable:,} of {len(forecasts):,} customers have no finite forecast."
            " Nothing was stored. Orders of a longer time, or of customers who differ more, are needed"
        )
    warned = [str(one.message).split("\n")[0] for one in raised if one.category is not RuntimeWarning]
    notes = tuple(dict.fromkeys([*found.notes, *warned]))
    model = f"{PURCHASE_MODEL} and {found.amount_model}"
    return Lifetime(forecasts, parameters, validation, model, len(orders), first, given - len(orders), notes)


class _Forecast(NamedTuple):
    """Of each customer: probability of being alive, orders expected, value of one; and their repeat orders a week."""

    expected: dict[str, tuple[float, float, float]]
    rates: dict[str, float]
    parameters: dict[str, float]
    amount_model: str
    notes: tuple[str, ...]


class _Population(NamedTuple):
    """Customers with one set of parameters."""

    orders: Sequence[Order]
    since: date
    base: Any
    model: Any


def _forecast(orders: Sequence[Order], until: date, days: int) -> _Forecast:
    """Fit each population, and predict its customers for some days.

    Raises:
        TooFewCustomersError, DegenerateFitError: As of `fit`.
    """
    expected: dict[str, tuple[float, float, float]] = {}
    rates: dict[str, float] = {}
    parameters: dict[str, float] = {}
    amount_models: dict[str, None] = {}
    base = _base(orders, until)
    populations = _populations(orders, until, base)
    everybody = _order_values(base, orders)
    notes = tuple(
        f"{one.base.to_pandas().shape[0]:,} customers who came before {following.since} are a population of their own"
        for one, following in pairwise(populations)
    )
    for one, following in zip(populations, [*populations[1:], None], strict=True):
        history = one.base.to_pandas()
        own = len(populations) > 1 and (history["frequency"] > 0).sum() >= MIN_REPEAT_CUSTOMERS
        amount_model, amounts, value = _order_values(one.base, one.orders) if own else everybody
        purchases, alive = _purchases(one.model, one.base, days / _DAYS)
        behind = f" before {following.since}" if following else ""
        fitted = {**one.model.params_, **amounts}
        parameters |= {f"{name}{behind}": float(number) for name, number in fitted.items()}
        amount_models[amount_model] = None
        weekly = (history["frequency"] / history["T"].where(history["T"] > 0)).fillna(0.0)
        for key in purchases.index:
            expected[str(key)] = float(alive[key]), float(purchases[key]), float(value[key])
            rates[str(key)] = float(weekly[key])
    return _Forecast(expected, rates, parameters, " or ".join(amount_models), notes)


def _populations(orders: Sequence[Order], until: date, everybody: Any) -> list[_Population]:
    """Fit the customers who came before and after each long pause of the shop by themselves; oldest first.

    Args:
        orders: All.
        until: The last day of the history.
        everybody: The customer base of all orders.

    Raises:
        TooFewCustomersError, DegenerateFitError: As of `fit`.
    """
    repeaters = int((everybody.to_pandas()["frequency"] > 0).sum())
    if repeaters < MIN_REPEAT_CUSTOMERS:
        raise TooFewCustomersError(
            f"{repeaters} customers ordered on two days, at least {MIN_REPEAT_CUSTOMERS} are needed"
        )
    parts = _divided(orders)
    bases = [everybody] if len(parts) == 1 else [_base(part, until) for _, part in parts]
    return [
        _Population(part, since, base, _purchase_model(base)) for (since, part), base in zip(parts, bases, strict=True)
    ]


def _divided(orders: Sequence[Order]) -> list[tuple[date, Sequence[Order]]]:
    """Divide orders by when their customers came: before or after a pause with enough of them on both sides."""
    first: dict[str, date] = {}
    for order in orders:
        first[order.profile_id] = min(order.day, first.get(order.profile_id, order.day))
    days = sorted({order.day for order in orders})
    cuts = [days[0]]
    for before, after in pairwise(days):
        arrived = sum(cuts[-1] <= day < after for day in first.values())
        to_come = sum(day >= after for day in first.values())
        if (after - before).days >= PAUSE_DAYS and min(arrived, to_come) >= _MIN_CUSTOMERS:
            cuts.append(after)
    return [
        (cut, [one for one in orders if cut <= first[one.profile_id] < following])
        for cut, following in zip(cuts, [*cuts[1:], date.max], strict=True)
    ]


def _validate(orders: Sequence[Order], until: date, days: int) -> Validation:
    end = until - timedelta(days=days)
    known = [order for order in orders if order.day <= end]
    if days < _DAYS or not known:
        return Validation()
    try:
        found = _forecast(known, end, days)
    except (TooFewCustomersError, DegenerateFitError):
        return Validation()
    predicted = {key: orders for key, (_, orders, _) in found.expected.items()}
    if not isfinite(sum(predicted.values())):
        return Validation()
    seen: dict[str, set[date]] = {key: set() for key in predicted}
    revenue = dict.fromkeys(seen, 0.0)
    for order in orders:
        if order.day > end and order.profile_id in seen:
            seen[order.profile_id].add(order.day)
            revenue[order.profile_id] += order.revenue
    errors = [number - len(seen[key]) for key, number in predicted.items()]
    naive = [found.rates[key] * days / _DAYS - len(days_of) for key, days_of in seen.items()]
    ranked = sorted((number, key, found.expected[key][2]) for key, number in predicted.items())
    tenths = [
        ranked[number * len(ranked) // DECILES : (number + 1) * len(ranked) // DECILES] for number in range(DECILES)
    ]
    deciles = tuple(
        Decile(
            number,
            len(tenth),
            sum(orders for orders, _, _ in tenth),
            sum(len(seen[key]) for _, key, _ in tenth),
            sum(orders * worth for orders, _, worth in tenth),
            sum(revenue[key] for _, key, _ in tenth),
        )
        for number, tenth in enumerate(tenths, 1)
    )
    return Validation(
        days,
        sum(map(len, seen.values())),
        sum(predicted.values()),
        sum(map(abs, errors)) / len(errors),
        sum(map(abs, naive)) / len(naive),
        sum(error**2 for error in errors) / len(errors),
        sum(error**2 for error in naive) / len(naive),
        deciles,
    )


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


def _purchase_model(base: Any) -> Any:
    from clvkit import MBGNBD

    class PenalisedMBGNBD(MBGNBD):
        @staticmethod
        def _minimize(objective: Any) -> Any:
            return MBGNBD._minimize(  # noqa: SLF001 - the one place where the library lets its search be changed
                lambda logs: objective(logs) + float(logs @ logs) / (2 * _PRIOR_SD**2)
            )

    try:
        return PenalisedMBGNBD().fit(base)
    except RuntimeError as error:  # the library's, where the search for parameters ends without any
        raise DegenerateFitError(f"the fit found no parameters, nothing was stored: {error}") from error


def _purchases(model: Any, base: Any, weeks: float) -> tuple[Any, Any]:
    """Return the purchases expected within some weeks and the probability of being alive, by customer."""
    if model.params_["a"] / (model.params_["a"] + model.params_["b"]) > _MIN_DROPOUT:
        return _column(model.predict(weeks)), _column(model.probability_alive())
    history = base.to_pandas()
    rate = (model.params_["r"] + history["frequency"]) / (model.params_["alpha"] + history["T"])
    return rate * weeks, rate * 0 + 1


def _order_values(base: Any, orders: Iterable[Order]) -> tuple[str, dict[str, float], Mapping[Any, float]]:
    """Fit the amounts; return the name of the model, its parameters, and the expected value of an order by customer.

    Where Gamma-Gamma has no finite mean or no finite shape, the amounts are log-normal.
    """
    from clvkit import GammaGamma

    try:
        model: Any = GammaGamma().fit(base)
    except RuntimeError:  # the library's, where the search for parameters ends without any
        return _log_normal_values(orders)
    degenerate = model.params_["q"] <= 1 or max(model.params_["p"], model.params_["q"]) >= _MAX_SHAPE
    values = _column(model.predict())
    if degenerate or not all(isfinite(value) and value >= 0 for value in values):
        return _log_normal_values(orders)
    return AMOUNT_MODEL, model.params_, values


def _log_normal_values(orders: Iterable[Order]) -> tuple[str, dict[str, float], dict[str, float]]:
    """Return the same by log-normal amounts, from all orders of a customer; those of one day are one."""
    days: dict[str, dict[date, float]] = defaultdict(lambda: defaultdict(float))
    for order in orders:
        days[order.profile_id][order.day] += order.revenue
    logs = {customer: [log(amount) for amount in amounts.values()] for customer, amounts in days.items()}
    means = {customer: sum(values) / len(values) for customer, values in logs.items()}
    number, groups = sum(map(len, logs.values())), len(logs)
    grand = sum(map(sum, logs.values())) / number
    scatter = sum((value - means[customer]) ** 2 for customer, values in logs.items() for value in values)
    within = scatter / (number - groups)  # customers with several orders are certain, see MIN_REPEAT_CUSTOMERS
    spread = sum(len(values) * (means[customer] - grand) ** 2 for customer, values in logs.items()) / (groups - 1)
    size = (number - sum(len(values) ** 2 for values in logs.values()) / number) / (groups - 1)
    between = max(0.0, (spread - within) / size)
    expected = {}
    for customer, values in logs.items():
        noise = within / len(values)
        weight = between / (between + noise) if between else 0.0
        mean, variance = grand + weight * (means[customer] - grand), weight * noise
        expected[customer] = exp(mean + (variance + within) / 2)
    return LOG_NORMAL, {"log_mean": grand, "log_between": between, "log_within": within}, expected


def _column(prediction: Any) -> Any:
    return prediction.to_pandas().iloc[:, 0]

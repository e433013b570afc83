"""Readers of attributes computed by rules with parameters: life cycle, RFM, preferences, affinities, local time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil, floor
from typing import Any

from processors.segments import purchase_attributes
from processors.segments.evaluation import EvaluationContext
from processors.segments.event_filters import Event, values_at
from processors.segments.profile_attributes import is_known
from processors.segments.reader import ANY_EVENT, Read, Reader
from processors.segments.series import Series, hours, key_of, values
from schemas.channels import ADDRESSED_CHANNELS
from schemas.durations import DAY_MS, HOUR_MS
from schemas.segments.definitions import Affinity, Engagement, Lifecycle, Rfm, SegmentDefinitions
from schemas.time import ms_of_time, stated_day

_HALF_HOUR_MS = HOUR_MS // 2
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_VIEWS = frozenset({"Product Viewed", "Product Clicked", "Product List Viewed"})
_CARTS = frozenset({"Product Added", "Wishlist Product Added to Cart"})
_SALES = frozenset({"Order Completed"})


def readers(definitions: SegmentDefinitions) -> dict[str, Reader]:
    """Return the readers of attributes with a fixed name."""
    return {
        "lifecycle.stage": _lifecycle(definitions.lifecycle),
        **_rfm(definitions.rfm),
        **_preferences(definitions.engagement),
        **_interests(definitions.affinity),
        **_local_time(),
        **_birthday(),
    }


def engagement_reader(channel: str, parameters: Engagement) -> Reader:
    """Return the reader of `engagement.<channel>`: the likelihood that a message is clicked or answered.

    It is the mean of a Beta posterior over the person's messages on the channel (Gelman et al., Bayesian Data
    Analysis, 3rd edition 2013, section 2.4).
    """

    def read(context: EvaluationContext) -> float:
        return likelihood(context.document.get("messages", {}).get(channel, {}), parameters)

    return Reader(read, frozenset({f"messages:{channel}"}))


def likelihood(steps: dict[str, list[int]], parameters: Engagement) -> float:
    """Return (engaged + prior clicks) / (sent + prior messages); at most as many are engaged as were sent."""
    sent = max(steps.get("sent", (0,))[0], steps.get("delivered", (0,))[0])
    engaged = min(sent, steps.get("clicked", (0,))[0] + steps.get("replied", (0,))[0])
    return round((engaged + parameters.prior_clicks) / (sent + parameters.prior_messages), 6)


def _lifecycle(rules: Lifecycle) -> Reader:
    def read(context: EvaluationContext) -> str | None:
        orders = context.document.get("orders", {})
        if not orders.get("count"):
            return "prospect" if is_known(context) else "visitor"
        if "last_at" not in orders:
            return None  # a customer, since a time that is not known
        age = context.now_ms - orders["last_at"]
        if age >= rules.at_risk:
            return "lapsed"
        if age >= rules.active:
            return "at_risk"
        if orders["count"] >= rules.loyal_orders:
            return "loyal"
        return "new" if orders["count"] == 1 and age < rules.new else "active"

    def change_times(context: EvaluationContext, thresholds: Sequence[float]) -> list[int]:
        last = context.document.get("orders", {}).get("last_at")
        return [] if last is None else [last + span for span in (rules.new, rules.active, rules.at_risk)]

    return Reader(read, frozenset({"orders", "addresses"}), change_times)


def _rfm(rules: Rfm) -> dict[str, Reader]:
    spans = [round(days * DAY_MS) for days in rules.recency_days]
    usual = [Decimal(repr(limit)) for limit in rules.monetary]
    money_by_currency = {
        code: [Decimal(repr(limit)) for limit in limits] for code, limits in rules.monetary_by_currency.items()
    }

    def recency(context: EvaluationContext) -> int | None:
        last = context.document.get("orders", {}).get("last_at")
        return None if last is None else 1 + sum(context.now_ms - last < span for span in spans)

    def frequency(context: EvaluationContext) -> int | None:
        count = context.document.get("orders", {}).get("count")
        return 1 + sum(count >= limit for limit in rules.frequency) if count else None

    def monetary(context: EvaluationContext) -> int | None:
        revenue = purchase_attributes.net(context)
        if revenue is None:
            return None
        limits = (
            money_by_currency.get(purchase_attributes.currency(context) or "", usual) if money_by_currency else usual
        )
        return 1 + sum(revenue >= limit for limit in limits)

    def scores(context: EvaluationContext) -> tuple[int, int, int] | None:
        one, two, three = recency(context), frequency(context), monetary(context)
        return None if one is None or two is None or three is None else (one, two, three)

    def name(context: EvaluationContext) -> str | None:
        if (found := scores(context)) is None:
            return None
        return next(
            one.name
            for one in rules.classes
            if all(
                low <= score <= high
                for score, (low, high) in zip(found, (one.recency, one.frequency, one.monetary), strict=True)
            )
        )

    def change_times(context: EvaluationContext, thresholds: Sequence[float]) -> list[int]:
        last = context.document.get("orders", {}).get("last_at")
        return [] if last is None else [last + span for span in spans]

    def score(context: EvaluationContext) -> str | None:
        return None if (found := scores(context)) is None else "".join(map(str, found))

    triggers = frozenset({"orders"})
    return {
        "rfm.recency": Reader(recency, triggers, change_times),
        "rfm.frequency": Reader(frequency, triggers),
        "rfm.monetary": Reader(monetary, triggers),
        "rfm.score": Reader(score, triggers, change_times),
        "rfm.class": Reader(name, triggers, change_times),
    }


def _preferences(parameters: Engagement) -> dict[str, Reader]:
    def channel(context: EvaluationContext) -> str | None:
        messages = context.document.get("messages", {})
        known = [name for name in ADDRESSED_CHANNELS if name in messages]
        return min(known, key=lambda name: (-likelihood(messages[name], parameters), name)) if known else None

    series = hours(key_of("h", "visits and clicks"), _is_visit)

    def hour(context: EvaluationContext) -> int | None:
        counts: list[int] | None = context.features.get(series.key)
        if not counts:
            return None
        local = context.local_time()
        # Without summer time: the counts mix the seasons, and the hour should not change twice a year.
        shift = ((local.utcoffset() or timedelta()) - (local.dst() or timedelta())) // timedelta(hours=1)
        return min(range(24), key=lambda hour: (-counts[(hour - shift) % 24], hour))

    return {
        "preferred.channel": Reader(channel, frozenset({"messages"})),
        "preferred.hour": Reader(hour, ANY_EVENT, series=(series,)),
    }


def _is_visit(event: Event) -> bool:
    return event["channel"] in ("web", "app") or event["event"].endswith("Clicked")


def _interests(parameters: Affinity) -> dict[str, Reader]:
    def discount(context: EvaluationContext) -> float:
        orders = context.document.get("orders", {})
        share = (orders.get("discounted", 0) + parameters.prior_discounted) / (
            orders.get("count", 0) + parameters.prior_orders
        )
        return float(round(share, 6))

    categories, brands = _interest("category", parameters), _interest("brand", parameters)
    triggers = frozenset(f"event:{name}" for name in categories.events)

    def leading(context: EvaluationContext) -> list[str] | None:
        weights = _weights(context, categories.key)
        return sorted(name for name, weight in weights.items() if 5 * weight > weights.total()) or None

    return {
        "affinity.discount": Reader(discount, frozenset({"orders"})),
        "affinity.categories": Reader(leading, triggers, series=(categories,)),
        "preferred.category": Reader(_strongest(categories.key), triggers, series=(categories,)),
        "preferred.brand": Reader(_strongest(brands.key), triggers, series=(brands,)),
    }


def interests(context: EvaluationContext, field: str, parameters: Affinity) -> dict[str, int]:
    """Return the weight of each category or brand in what a person has viewed, put into carts and bought.

    Args:
        context: The person; the series of `preferred.<field>` must be among the features.
        field: `category` or `brand`.
        parameters: The weights of a view, of a cart and of an order.
    """
    return dict(_weights(context, _interest(field, parameters).key))


def _interest(field: str, parameters: Affinity) -> Series:
    """Return a series of the categories or brands of a person's events, each with the weight of its event before it."""
    reads = [values_at(f"properties.{field}"), values_at(f"properties.products.{field}")]
    weights = {
        **dict.fromkeys(_VIEWS, parameters.viewed),
        **dict.fromkeys(_CARTS, parameters.carted),
        **dict.fromkeys(_SALES, parameters.bought),
    }

    def read(event: Event) -> list[str]:
        weight = weights[event["event"]]
        return [f"{weight} {value}" for one in reads for value in one(event) if isinstance(value, str)]

    return values(key_of("v", "interest", field, *weights.values()), frozenset(weights), None, read)


def _weights(context: EvaluationContext, key: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for _, value in context.features.get(key, ()):
        weight, _, name = value.partition(" ")
        found[name] += int(weight)
    return found


def _strongest(key: str) -> Read:
    def read(context: EvaluationContext) -> str | None:
        weights = _weights(context, key)
        return min(weights, key=lambda name: (-weights[name], name)) if weights else None

    return read


def _local_time() -> dict[str, Reader]:
    def half_hours(context: EvaluationContext, thresholds: Sequence[float]) -> list[int]:
        local = context.local_time()
        begun = context.now_ms - (local.minute * 60_000 + local.second * 1000 + local.microsecond // 1000)
        return [begun + step * _HALF_HOUR_MS for step in range(1, 51)]

    def next_days(context: EvaluationContext, thresholds: Sequence[float]) -> list[int]:
        return _midnights(context, range(1, 33))

    def months(context: EvaluationContext, thresholds: Sequence[float]) -> list[int]:
        today = context.local_time().date()
        firsts = [
            date(today.year + (today.month - 1 + step) // 12, (today.month - 1 + step) % 12 + 1, 1)
            for step in range(1, 14)
        ]
        return [_midnight(context, first) for first in firsts]

    return {
        "local.hour": Reader(lambda context: context.local_time().hour, ANY_EVENT, half_hours),
        "local.weekday": Reader(lambda context: _WEEKDAYS[context.local_time().weekday()], ANY_EVENT, next_days),
        "local.date": Reader(
            lambda context: context.local_time().date().isoformat(), ANY_EVENT, next_days, open_ended=True
        ),
        "local.month": Reader(lambda context: context.local_time().month, ANY_EVENT, months),
    }


def _birthday() -> dict[str, Reader]:
    def day(context: EvaluationContext) -> str | None:
        return f"{found[1]:02}-{found[2]:02}" if (found := _birth_date(context)) else None

    def until(context: EvaluationContext) -> int | None:
        if (found := _birth_date(context)) is None:
            return None
        today = context.local_time().date()
        return min((ahead - today).days for ahead in _birthdays(found, today) if ahead >= today)

    def change_times(context: EvaluationContext, thresholds: Sequence[float]) -> list[int]:
        if (found := _birth_date(context)) is None:
            return []
        today = context.local_time().date()
        days = [
            birthday - timedelta(days=back)
            for birthday in _birthdays(found, today)
            for limit in thresholds
            for back in (ceil(limit), floor(limit), ceil(limit) - 1)
        ]
        days += [birthday + timedelta(days=1) for birthday in _birthdays(found, today)]
        return [_midnight(context, one) for one in days]

    def age(context: EvaluationContext) -> int | None:
        if (found := _birth_date(context)) is None or not found[0]:
            return None
        today = context.local_time().date()
        return today.year - found[0] - (today < _birthday_in(found, today.year))

    def years(context: EvaluationContext, thresholds: Sequence[float]) -> list[int]:
        if (found := _birth_date(context)) is None or not found[0]:
            return []
        ages = {year for limit in thresholds for year in (ceil(limit), floor(limit) + 1) if 0 <= year <= 150}
        return [_midnight(context, _birthday_in(found, found[0] + year)) for year in ages]

    triggers = frozenset({"traits", "context"})
    return {
        "birthday": Reader(day, triggers),
        "birthday.days_until": Reader(until, triggers, change_times),
        "age": Reader(age, triggers, years),
    }


def _birth_date(context: EvaluationContext) -> tuple[int, int, int] | None:
    """Return year, month and day of the trait `birthday`; the year is 0 if the trait states none."""
    trait: Any = context.document.get("traits", {}).get("birthday")
    found = stated_day(trait[0], context.local_zone()) if trait else None
    return found and found[:3]


def _birthday_in(birth_date: tuple[int, int, int], year: int) -> date:
    """Return the birthday of a year; of people born on 29 February it is the 28th in other years."""
    _, month, day = birth_date
    try:
        return date(year, month, day)
    except ValueError:
        return date(year, month, 28)


def _birthdays(birth_date: tuple[int, int, int], today: date) -> list[date]:
    return [_birthday_in(birth_date, today.year + ahead) for ahead in range(3)]


def _midnight(context: EvaluationContext, day: date) -> int:
    return ms_of_time(datetime(day.year, day.month, day.day, tzinfo=context.local_zone()))


def _midnights(context: EvaluationContext, ahead: range) -> list[int]:
    today = context.local_time().date()
    return [_midnight(context, today + timedelta(days=days)) for days in ahead]

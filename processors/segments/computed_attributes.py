"""Attributes that are worked out by rules with parameters: life cycle, RFM, preferences, affinities, local time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil, floor
from typing import Any

from processors.segments import purchase_attributes as purchases
from processors.segments.evaluation import DAY_MS, Moment
from processors.segments.event_filters import Event, values_at
from processors.segments.profile_attributes import is_known
from processors.segments.reader import EVERYTHING, Read, Reader
from processors.segments.series import Series, hours, key_of, values
from schemas.segments.attributes import MESSAGE_CHANNELS
from schemas.segments.definitions import Affinity, Engagement, Lifecycle, Rfm, SegmentDefinitions

_HALF_HOUR_MS = 1_800_000
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_VIEWS = frozenset({"Product Viewed", "Product Clicked", "Product List Viewed"})
_CARTS = frozenset({"Product Added", "Wishlist Product Added to Cart"})
_SALES = frozenset({"Order Completed"})


def listed(definitions: SegmentDefinitions) -> dict[str, Reader]:
    """The readers of attributes with one name."""
    return {
        "lifecycle.stage": _lifecycle(definitions.lifecycle),
        **_rfm(definitions.rfm),
        **_preferences(definitions.engagement),
        **_interests(definitions.affinity),
        **_local(),
        **_birthday(),
    }


def engagement(channel: str, parameters: Engagement) -> Reader:
    """The likelihood that a message on a channel is clicked or answered: the mean of a beta posterior."""

    def read(moment: Moment) -> float:
        return likelihood(moment.document.get("messages", {}).get(channel, {}), parameters)

    return Reader(read, frozenset({f"messages:{channel}"}))


def likelihood(steps: dict[str, list[int]], parameters: Engagement) -> float:
    """(engaged + prior clicks) / (sent + prior messages); no more than every message sent counts as engaged."""
    sent = max(steps.get("sent", (0,))[0], steps.get("delivered", (0,))[0])
    engaged = min(sent, steps.get("clicked", (0,))[0] + steps.get("replied", (0,))[0])
    return round((engaged + parameters.prior_clicks) / (sent + parameters.prior_messages), 6)


def _lifecycle(rules: Lifecycle) -> Reader:
    def read(moment: Moment) -> str:
        orders = moment.document.get("orders", {})
        if not orders.get("count"):
            return "prospect" if is_known(moment) else "visitor"
        age = moment.now - orders["last_at"]
        if age >= rules.at_risk:
            return "lapsed"
        if age >= rules.active:
            return "at_risk"
        if orders["count"] >= rules.loyal_orders:
            return "loyal"
        return "new" if orders["count"] == 1 and age < rules.new else "active"

    def turns(moment: Moment, limits: Sequence[float]) -> list[int]:
        last = moment.document.get("orders", {}).get("last_at")
        return [] if last is None else [last + span for span in (rules.new, rules.active, rules.at_risk)]

    return Reader(read, frozenset({"orders", "addresses"}), turns)


def _rfm(rules: Rfm) -> dict[str, Reader]:
    spans = [round(days * DAY_MS) for days in rules.recency_days]
    money = [Decimal(repr(limit)) for limit in rules.monetary]

    def recency(moment: Moment) -> int | None:
        last = moment.document.get("orders", {}).get("last_at")
        return None if last is None else 1 + sum(moment.now - last < span for span in spans)

    def frequency(moment: Moment) -> int | None:
        count = moment.document.get("orders", {}).get("count")
        return 1 + sum(count >= limit for limit in rules.frequency) if count else None

    def monetary(moment: Moment) -> int | None:
        worth = purchases.net(moment)
        return None if worth is None else 1 + sum(worth >= limit for limit in money)

    def scores(moment: Moment) -> tuple[int, int, int] | None:
        one, two, three = recency(moment), frequency(moment), monetary(moment)
        return None if one is None or two is None or three is None else (one, two, three)

    def name(moment: Moment) -> str | None:
        if (found := scores(moment)) is None:
            return None
        return next(
            one.name
            for one in rules.classes
            if all(
                low <= score <= high
                for score, (low, high) in zip(found, (one.recency, one.frequency, one.monetary), strict=True)
            )
        )

    def turns(moment: Moment, limits: Sequence[float]) -> list[int]:
        last = moment.document.get("orders", {}).get("last_at")
        return [] if last is None else [last + span for span in spans]

    def score(moment: Moment) -> str | None:
        return None if (found := scores(moment)) is None else "".join(map(str, found))

    needs = frozenset({"orders"})
    return {
        "rfm.recency": Reader(recency, needs, turns),
        "rfm.frequency": Reader(frequency, needs),
        "rfm.monetary": Reader(monetary, needs),
        "rfm.score": Reader(score, needs, turns),
        "rfm.class": Reader(name, needs, turns),
    }


def _preferences(parameters: Engagement) -> dict[str, Reader]:
    def channel(moment: Moment) -> str | None:
        messages = moment.document.get("messages", {})
        known = [name for name in MESSAGE_CHANNELS if name in messages]
        return min(known, key=lambda name: (-likelihood(messages[name], parameters), name)) if known else None

    series = hours(key_of("h", "visits and clicks"), _is_visit)

    def hour(moment: Moment) -> int | None:
        counts: list[int] | None = moment.features.get(series.key)
        if not counts:
            return None
        local = moment.local()
        # Without summer time: the counts mix the seasons, and the answer should not change twice a year.
        shift = ((local.utcoffset() or timedelta()) - (local.dst() or timedelta())) // timedelta(hours=1)
        return min(range(24), key=lambda hour: (-counts[(hour - shift) % 24], hour))

    return {
        "preferred.channel": Reader(channel, frozenset({"messages"})),
        "preferred.hour": Reader(hour, EVERYTHING, series=(series,)),
    }


def _is_visit(event: Event) -> bool:
    return event["channel"] in ("web", "app") or event["event"].endswith("Clicked")


def _interests(parameters: Affinity) -> dict[str, Reader]:
    def discount(moment: Moment) -> float:
        orders = moment.document.get("orders", {})
        share = (orders.get("discounted", 0) + parameters.prior_discounted) / (
            orders.get("count", 0) + parameters.prior_orders
        )
        return float(round(share, 6))

    categories, brands = _interest("category", parameters), _interest("brand", parameters)
    needs = frozenset(f"event:{name}" for name in categories.events)

    def leading(moment: Moment) -> list[str] | None:
        weights = _weights(moment, categories.key)
        return sorted(name for name, weight in weights.items() if 5 * weight > weights.total()) or None

    return {
        "affinity.discount": Reader(discount, frozenset({"orders"})),
        "affinity.categories": Reader(leading, needs, series=(categories,)),
        "preferred.category": Reader(_strongest(categories.key), needs, series=(categories,)),
        "preferred.brand": Reader(_strongest(brands.key), needs, series=(brands,)),
    }


def _interest(field: str, parameters: Affinity) -> Series:
    """Keep what the products of a person's events are, with the weight of the event before it."""
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


def _weights(moment: Moment, key: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for _, value in moment.features.get(key, ()):
        weight, _, name = value.partition(" ")
        found[name] += int(weight)
    return found


def _strongest(key: str) -> Read:
    def read(moment: Moment) -> str | None:
        weights = _weights(moment, key)
        return min(weights, key=lambda name: (-weights[name], name)) if weights else None

    return read


def _local() -> dict[str, Reader]:
    def half_hours(moment: Moment, limits: Sequence[float]) -> list[int]:
        local = moment.local()
        begun = moment.now - (local.minute * 60_000 + local.second * 1000 + local.microsecond // 1000)
        return [begun + step * _HALF_HOUR_MS for step in range(1, 51)]

    def next_days(moment: Moment, limits: Sequence[float]) -> list[int]:
        return _midnights(moment, range(1, 33))

    def months(moment: Moment, limits: Sequence[float]) -> list[int]:
        today = moment.local().date()
        firsts = [
            date(today.year + (today.month - 1 + step) // 12, (today.month - 1 + step) % 12 + 1, 1)
            for step in range(1, 14)
        ]
        return [_midnight(moment, first) for first in firsts]

    return {
        "local.hour": Reader(lambda moment: moment.local().hour, EVERYTHING, half_hours),
        "local.weekday": Reader(lambda moment: _WEEKDAYS[moment.local().weekday()], EVERYTHING, next_days),
        "local.date": Reader(lambda moment: moment.local().date().isoformat(), EVERYTHING, next_days, endless=True),
        "local.month": Reader(lambda moment: moment.local().month, EVERYTHING, months),
    }


def _birthday() -> dict[str, Reader]:
    def day(moment: Moment) -> str | None:
        return f"{found[1]:02}-{found[2]:02}" if (found := _born(moment)) else None

    def until(moment: Moment) -> int | None:
        if (found := _born(moment)) is None:
            return None
        today = moment.local().date()
        return min((ahead - today).days for ahead in _birthdays(found, today) if ahead >= today)

    def turns(moment: Moment, limits: Sequence[float]) -> list[int]:
        if (found := _born(moment)) is None:
            return []
        today = moment.local().date()
        days = [
            birthday - timedelta(days=back)
            for birthday in _birthdays(found, today)
            for limit in limits
            for back in (ceil(limit), floor(limit), ceil(limit) - 1)
        ]
        days += [birthday + timedelta(days=1) for birthday in _birthdays(found, today)]
        return [_midnight(moment, one) for one in days]

    def age(moment: Moment) -> int | None:
        if (found := _born(moment)) is None or not found[0]:
            return None
        today = moment.local().date()
        return today.year - found[0] - (today < _on(found, today.year))

    def years(moment: Moment, limits: Sequence[float]) -> list[int]:
        if (found := _born(moment)) is None or not found[0]:
            return []
        ages = {year for limit in limits for year in (ceil(limit), floor(limit) + 1) if 0 <= year <= 150}
        return [_midnight(moment, _on(found, found[0] + year)) for year in ages]

    needs = frozenset({"traits", "context"})
    return {
        "birthday": Reader(day, needs),
        "birthday.days_until": Reader(until, needs, turns),
        "age": Reader(age, needs, years),
    }


def _born(moment: Moment) -> tuple[int, int, int] | None:
    """Read the trait `birthday`: a date, or `MM-DD` (year 0)."""
    trait: Any = moment.document.get("traits", {}).get("birthday")
    text = trait[0] if trait else None
    if type(text) is not str:
        return None
    text = text[:10].removeprefix("--")
    try:
        found = date.fromisoformat(text if len(text) == len("1990-03-31") else f"2000-{text}")
    except ValueError:
        return None
    return (found.year if len(text) == len("1990-03-31") else 0, found.month, found.day)


def _on(born: tuple[int, int, int], year: int) -> date:
    """The birthday of a year; who was born on 29 February celebrates on the 28th in other years."""
    _, month, day = born
    try:
        return date(year, month, day)
    except ValueError:
        return date(year, month, 28)


def _birthdays(born: tuple[int, int, int], today: date) -> list[date]:
    return [_on(born, today.year + ahead) for ahead in range(3)]


def _midnight(moment: Moment, day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=moment.local_zone()).timestamp() * 1000)


def _midnights(moment: Moment, ahead: range) -> list[int]:
    today = moment.local().date()
    return [_midnight(moment, today + timedelta(days=days)) for days in ahead]

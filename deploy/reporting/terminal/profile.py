"""The output of `throughline profile show`: a summary of one person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from deploy.reporting.terminal.text import plain

_EVENTS_SHOWN = 12
_ITEMS_SHOWN = 5


def show(person: dict[str, Any], console: Console) -> None:
    """Print a person.

    Args:
        person: The result of `deploy.operations.person_page`, and `identifiers`: number by type.
        console: Prints to this console.
    """
    console.print(Text(_headline(person), style="bold"))
    console.print(Text(_seen(person)))
    console.print(
        Group(*(_section(title, rows) for title, rows in _sections(person) if rows)),
    )


def _sections(person: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    summary = person["summary"]
    yield "Summary", _summary(summary, person)
    yield (
        "Reach",
        [
            (channel, "yes" if not why else "no: " + "; ".join(one.removeprefix("the person ") for one in why))
            for channel, why in summary["reach"].items()
        ],
    )
    yield "Segments", [(name, f"since {_date(since)}") for name, since in summary["segments"].items()]
    yield "Known by", [(kind, str(number)) for kind, number in person["identifiers"].items()]
    yield (
        "Addresses",
        [
            (
                kind,
                one["value"],
                ", ".join(word for word in ("verified", "bounced") if one[word]),
                _date(one["last_seen"]),
            )
            for kind, found in person["addresses"].items()
            for one in found
        ],
    )
    yield "Traits", [(name, str(value)) for name, value in {**person["traits"], **person["known"]}.items()]
    yield (
        "Channels",
        [
            (name, _times(one["times"]), f"{_date(one['first'])} to {_date(one['last'])}", one["last_event"])
            for name, one in person["channels"].items()
        ],
    )
    yield (
        "Events",
        [
            (name, _times(one["times"]), f"last {_day(one['last'])}")
            for name, one in list(person["events"].items())[:_EVENTS_SHOWN]
        ],
    )
    yield (
        "Touches",
        [
            (title, touch["channel"], " · ".join(touch["campaign"].values()), _day(touch["at"]))
            for title, touch in (("first", person["first_touch"]), ("last", person["last_touch"]))
            if touch
        ],
    )
    yield "Orders", _orders(person["orders"])
    yield (
        "Cart",
        [
            (line["product_id"], f"{line['quantity']} ×", f"{line['price']} {line['currency']}".strip(), line["name"])
            for line in person["cart"]
        ],
    )
    yield (
        "Products",
        [
            (title, ", ".join(_product(summary, one) for one in list(person[title])[:_ITEMS_SHOWN]))
            for title in ("viewed", "abandoned", "bought")
            if person[title]
        ],
    )
    yield (
        "Messages",
        [
            (channel, ", ".join(f"{step} {tally['times']:,}" for step, tally in steps.items()))
            for channel, steps in person["messages"].items()
        ],
    )
    yield (
        "Coupons",
        [
            (one["coupon"], f"{one['step']} {one['order_id']}".rstrip(), _day(one["at"]))
            for one in summary["coupons"][:_ITEMS_SHOWN]
        ],
    )
    yield (
        "Consent",
        [
            (name, "yes" if one["granted"] else "no", _day(one["at"]), kind)
            for kind, answers in (
                ("purpose", person["consent"]["purposes"]),
                ("topic", person["consent"]["topics"]),
                ("channel", person["consent"]["channels"]),
            )
            for name, one in answers.items()
        ],
    )
    yield "Stores", [(name, _day(at)) for name, at in list(person["stores"].items())[:_ITEMS_SHOWN]]
    yield "Not known now", [(line,) for line in summary["incomplete"]]


def _summary(summary: dict[str, Any], person: dict[str, Any]) -> list[tuple[str, ...]]:
    rfm, scores, affinity, preferred = summary["rfm"], summary["scores"], summary["affinity"], summary["preferred"]
    stage = (summary["lifecycle_stage"] or "").replace("_", " ")
    rows: list[tuple[str, ...]] = [("stage", stage), ("RFM", f"{rfm['class']} ({rfm['score']})" if rfm else "")]
    if person["orders"]:
        so_far = [f"{sums['net']} {currency}" for currency, sums in person["orders"]["by_currency"].items()]
        expected = scores.get("predicted_cltv")
        more = f"; expected {expected['value']:,.2f} more ({_date(expected['at'])})" if expected else ""
        rows.append(("lifetime value", f"{', '.join(so_far)} so far{more}" if so_far else ""))
    rows += [
        (name.replace("_", " "), f"{one['value']:,.4g} ({_date(one['at'])})")
        for name, one in scores.items()
        if name != "predicted_cltv"
    ]
    rows += [
        (title, ", ".join(f"{name} {share:.0%}" for name, share in affinity[title].items()))
        for title in ("categories", "brands")
    ]
    hour = preferred["hour"]
    rows.append(("channel", preferred["channel"] or ""))
    rows.append(("hour", "" if hour is None else f"{hour:02}:00 to {(hour + 1) % 24:02}:00, local"))
    rows.append(("points", _points(person["loyalty"]) if person["loyalty"] else ""))
    rows.append(("store", next(iter(person["stores"]), "")))
    return [row for row in rows if row[1]]


def _product(summary: dict[str, Any], product_id: str) -> str:
    name = summary["product_names"].get(product_id)
    return f"{name} ({product_id})" if name else product_id


def _orders(orders: dict[str, Any] | None) -> list[tuple[str, ...]]:
    if not orders or not orders["count"]:
        return []
    rows: list[tuple[str, ...]] = [
        (currency, _times(sums["count"], "order"), f"net {sums['net']}", f"average {sums['average']}")
        for currency, sums in orders["by_currency"].items()
    ]
    when = f"{_day(orders['first_at'])} to {_day(orders['last_at'])}" if orders["first_at"] else "not known"
    rows.append(("when", when))
    rows.append(("where", ", ".join(f"{channel} {number:,}" for channel, number in orders["channels"].items())))
    return rows


def _headline(person: dict[str, Any]) -> str:
    traits = person["traits"]
    parts = [traits.get(spelt) for spelt in ("first_name", "firstName", "last_name", "lastName")]
    name = traits.get("name") or " ".join(str(part) for part in parts if part)
    return " · ".join(filter(None, (plain(str(name)), person["profile_id"], _times(person["event_count"]))))


def _seen(person: dict[str, Any]) -> str:
    if not person["last_seen"]:
        return "no event yet"
    # Without a first time where no event has a time that can be believed.
    return f"{_day(person['first_seen']) if person['first_seen'] else '?'} to {_day(person['last_seen'])}"


def _section(title: str, rows: list[tuple[str, ...]]) -> Group:
    table = Table.grid(padding=(0, 2))
    for _ in range(max(map(len, rows))):
        table.add_column(overflow="fold")
    for row in rows:
        # Text, not str, as str would be parsed as markup.
        table.add_row(*(Text(plain(cell)) for cell in row))
    return Group(Text(f"\n{title}", style="bold cyan"), table)


def _times(number: int, what: str = "event") -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _day(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else ""


def _date(time: str | None) -> str:
    return time[:10] if time else ""


def _points(loyalty: dict[str, int]) -> str:
    missing = f" ({loyalty['overdrawn']:,} more were redeemed than were sent as earned)" if loyalty["overdrawn"] else ""
    return f"{loyalty['balance']:,}{missing}"

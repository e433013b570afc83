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
        person: The result of `processors.profiles.view.view`, and `identifiers`: number by type.
        console: Prints to this console.
    """
    console.print(Text(_headline(person), style="bold"))
    console.print(
        Group(*(_section(title, rows) for title, rows in _sections(person) if rows)),
    )


def _sections(person: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    yield "Known by", [(kind, str(number)) for kind, number in person["identifiers"].items()]
    yield (
        "Addresses",
        [
            (
                kind,
                one["value"],
                ", ".join(word for word in ("verified", "bounced") if one[word]),
                _day(one["last_seen"]),
            )
            for kind, found in person["addresses"].items()
            for one in found
        ],
    )
    yield "Traits", [(name, str(value)) for name, value in {**person["traits"], **person["known"]}.items()]
    yield (
        "Channels",
        [
            (name, _times(one["times"]), f"{_day(one['first'])} to {_day(one['last'])}", one["last_event"])
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
            (title, ", ".join(list(person[title])[:_ITEMS_SHOWN]))
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
    yield "Loyalty", [("points", _points(person["loyalty"]))] if person["loyalty"] else []
    yield (
        "Consent",
        [
            (name, "yes" if one["granted"] else "no", _day(one["at"]), kind)
            for kind, answers in (
                ("purpose", person["consent"]["purposes"]),
                ("channel", person["consent"]["channels"]),
            )
            for name, one in answers.items()
        ],
    )
    yield "Stores", [(name, _day(at)) for name, at in list(person["stores"].items())[:_ITEMS_SHOWN]]


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
    seen = "no event yet"
    if person["last_seen"]:  # without a first time where no event has a time that can be believed
        seen = f"{_day(person['first_seen']) if person['first_seen'] else '?'} to {_day(person['last_seen'])}"
    return " · ".join(filter(None, (plain(str(name)), person["profile_id"], _times(person["event_count"]), seen)))


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


def _points(loyalty: dict[str, int]) -> str:
    missing = f" ({loyalty['overdrawn']:,} more were redeemed than were sent as earned)" if loyalty["overdrawn"] else ""
    return f"{loyalty['balance']:,}{missing}"

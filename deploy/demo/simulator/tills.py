"""Tills without a network by day: they number receipts and events, and declare at night what the day was.

What they send is what `deploy/clients/till.py` sends. Each of these shops counts its receipts from 1001, so that two
shops have the same order numbers: their source has `orders: {by: store_id}`.
"""

from __future__ import annotations

from typing import Any

from deploy.demo.simulator.delivery import Outbox
from deploy.demo.simulator.retailer import CURRENCY, Store, money
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS

_FIRST_RECEIPT = 1001
_CLOSING_MS = 21 * HOUR_MS + 55 * MINUTE_MS
"""When the day is declared, after the last sale: 23:55 on the till's clock, two hours ahead of UTC."""


class Tills:
    """Receipts and business days of the shops that close their days."""

    def __init__(self) -> None:
        self._receipts: dict[str, int] = {}
        self._days: dict[int, dict[str, list[int]]] = {}

    def receipt(self, store: Store) -> str:
        """Return the number of a shop's next receipt."""
        number = self._receipts[store.store_id] = self._receipts.get(store.store_id, _FIRST_RECEIPT - 1) + 1
        return str(number)

    def counted(self, store: Store, day: int, business_day: str, cents: int) -> dict[str, Any]:
        """Count an event for the day's sum, and return its `properties.till`.

        Args:
            store: The shop.
            day: The day, counted from the start.
            business_day: Its date.
            cents: What the till took; negative: what it gave back.
        """
        amounts = self._days.setdefault(day, {}).setdefault(store.store_id, [])
        amounts.append(cents)
        return {"id": f"{store.store_id}-1", "day": business_day, "number": len(amounts), "amount": money(cents)}

    def close(self, outbox: Outbox, day: int, arrives: int) -> None:
        """Send the declaration of each shop that has sold something on a day."""
        for store_id, amounts in sorted(self._days.pop(day, {}).items()):
            ms = day * DAY_MS + _CLOSING_MS
            declared = {
                "till_id": f"{store_id}-1",
                "business_day": outbox.stamp(ms)[:10],
                "events": len(amounts),
                "amounts": [{"currency": CURRENCY, "amount": money(sum(amounts))}],
            }
            outbox.send(
                ms, "Till Closed", "store", "tills", [], arrives=arrives, properties=declared,
                context={"store_id": store_id},
            )  # fmt: skip

"""Writes the rules of RFM, which the view v_rfm applies as segments do."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Any

from schemas.durations import DAY_MS
from schemas.segments.definitions import Rfm
from sinks.clickhouse.client import without_deduplication

_COLUMNS = ["recency_ms", "frequency", "monetary", "monetary_by_currency", "classes"]
_STORED = Decimal("0.0001")


def publish_rfm(client: Any, rules: Rfm) -> bool:
    """Write the rules of RFM.

    Args:
        client: Of the deployment's database.
        rules: The rules that segments are evaluated with.

    Returns:
        Whether they were different before.
    """
    wanted = [
        [round(days * DAY_MS) for days in rules.recency_days],
        [float(orders) for orders in rules.frequency],
        [_amount(limit) for limit in rules.monetary],
        {code: [_amount(limit) for limit in limits] for code, limits in rules.monetary_by_currency.items()},
        [(one.name, list(one.recency), list(one.frequency), list(one.monetary)) for one in rules.classes],
    ]
    known = f"SELECT {', '.join(f'argMax({name}, changed_at)' for name in _COLUMNS)} FROM rfm_settings"  # noqa: S608
    found = list(client.query(known).first_row)
    if [*found[:4], [_class(one) for one in found[4]]] == wanted:
        return False
    client.insert("rfm_settings", [wanted], column_names=_COLUMNS, settings=without_deduplication())
    return True


def _amount(limit: float) -> Decimal:
    """Return a limit with as many places as amounts have; no amount lies between it and a finer one below it."""
    return Decimal(repr(limit)).quantize(_STORED, rounding=ROUND_CEILING)


def _class(found: Any) -> tuple[str, list[int], list[int], list[int]]:
    name, *scores = found.values() if isinstance(found, dict) else found
    return (name, *(list(one) for one in scores))

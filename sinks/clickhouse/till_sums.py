"""Reads how a till's business day is counted: as the till has declared it, and as it is stored."""

from __future__ import annotations

from typing import Any

_QUERY = """
    SELECT status, closed_at, currency, declared_events, stored_events, declared_amount, stored_amount, missing
    FROM v_till_sums
    WHERE source = {source:String} AND till_id = {till:String} AND business_day = {day:String}
    ORDER BY currency
"""
_SETTINGS = {"max_execution_time": 20}


def read_till_sum(client: Any, source: str, till: str, day: str) -> dict[str, Any]:
    """Return a day as JSON values.

    Args:
        client: A clickhouse-connect client of the database.
        source: The till's source.
        till: The till's name.
        day: The business day, `2026-11-20`.

    Returns:
        `status` (`open`: the till has not declared the day; `confirmed`; `contested`), `declared` and `stored`
        (`events`, and `amounts` by currency), `missing`: numbers of events that are not stored, as ranges.
    """
    rows = client.query(_QUERY, parameters={"source": source, "till": till, "day": day}, settings=_SETTINGS).result_rows
    answer: dict[str, Any] = {
        "till": till,
        "day": day,
        "status": "open",
        "declared": None,
        "stored": None,
        "missing": [],
    }
    if not rows:
        return answer
    status, closed_at, _, declared_events, stored_events, _, _, missing = rows[0]
    answer["status"] = status
    answer["missing"] = [[gap["first"], gap["last"]] for gap in missing]
    if closed_at is not None:
        answer["declared"] = _side(declared_events, [(row[2], row[5]) for row in rows])
    answer["stored"] = _side(stored_events, [(row[2], row[6]) for row in rows])
    return answer


def _side(events: int, amounts: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two places at least, as money is written; a currency without a sum is that of a day without events.
    named = {currency: format(amount, "f") for currency, amount in amounts if currency}
    return {"events": events, "amounts": named}

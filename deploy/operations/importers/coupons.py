"""Reads the codes of a coupon pool: a CSV file with the columns `code` and `expires_at`, or one code a line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time
from itertools import chain
from zoneinfo import ZoneInfo

from deploy.operations.importers.tables import TableError, rows, value
from schemas.coupons import MAX_CODE, CouponCode, comparable
from schemas.time import ms_of_time, parse_time

_RULE = f"expected a code of 1 to {MAX_CODE} characters without blanks, commas and quotes"
_DATE_RULE = "expected a date such as 2026-12-31 (to its end), or a time such as 2026-12-31T18:00:00+01:00"


def read_codes(lines: Iterable[str], zone: ZoneInfo, ends_ms: int | None = None) -> list[CouponCode]:
    """Read the codes of a file, all or none.

    Args:
        lines: The file. With a header it is CSV with the columns `code` and, where codes end at different times,
            `expires_at`; else each line is a code.
        zone: Time zone of the deployment, in which a day ends.
        ends_ms: The end of codes that have none of their own, milliseconds since 1970; None: they have none.

    Raises:
        TableError: A line is no code, or a code is there twice.
    """
    remaining = iter(lines)
    first = next(remaining, "").lstrip("\ufeff")
    is_table = first.split(",")[0].strip().strip('"').lower() == "code"
    if is_table:
        found = [
            (line, row["code"], row["expires_at"])
            for line, row in rows(chain([first.lower()], remaining), ["code"], ["expires_at"])
        ]
    else:
        listed = ((line, text.strip()) for line, text in enumerate(chain([first], remaining), 1))
        found = [(line, text, "") for line, text in listed if text]
    if not found:
        raise TableError(1, "", "there is no code in the file: write one a line")
    codes: list[CouponCode] = []
    known: dict[str, int] = {}
    for line, code, stated in found:
        if not 0 < len(code) <= MAX_CODE or not code.isprintable() or any(one in ' ,;"' for one in code):
            raise TableError(line, "code", f"{code[:MAX_CODE]!r}: {_RULE}")
        if (before := known.setdefault(comparable(code), line)) != line:
            raise TableError(line, "code", f"{code!r} is in line {before} already")
        own = value(line, "expires_at", stated, lambda text: end_of(text, zone), _DATE_RULE) if stated else ends_ms
        codes.append(CouponCode(code, own))
    return codes


def end_of(text: str, zone: ZoneInfo) -> int:
    """Read when a code ends, milliseconds since 1970: a day to its end in a time zone, or a time.

    Raises:
        ValueError: It is neither.
    """
    if len(text) == len("2026-12-31"):
        return ms_of_time(datetime.combine(date.fromisoformat(text), time(23, 59, 59, 999_000), zone))
    return ms_of_time(parse_time(text))

"""Writes the parameters of a query into its SQL, so that a reader can run it as it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

_PARAMETER = re.compile(r"\{(\w+):((?:[^{}'\"]|'[^']*')+)\}")


def written_sql(sql: str, parameters: Mapping[str, Any] | None = None) -> str:
    """Return SQL with its parameters, written `{name:Type}`, as literals.

    Args:
        sql: The query.
        parameters: Values by name.
    """
    values = parameters or {}
    return _PARAMETER.sub(lambda one: literal(values[one[1]], one[2]) if one[1] in values else one[0], sql.strip())


def literal(value: Any, type_: str = "") -> str:
    """Write a value as ClickHouse reads it.

    Args:
        value: Of a parameter.
        type_: ClickHouse's name of its type.
    """
    if isinstance(value, list | tuple | set | frozenset):
        return f"CAST([{', '.join(literal(one) for one in value)}], '{_quoted(type_ or 'Array(String)')}')"
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float | Decimal):
        return str(value)
    if isinstance(value, datetime):
        return f"toDateTime64('{value:%Y-%m-%d %H:%M:%S.%f}', 6, 'UTC')"
    if isinstance(value, date):
        return f"toDate('{value}')"
    text = f"'{_quoted(str(value))}'"
    return f"toUUID({text})" if isinstance(value, UUID) or type_ == "UUID" else text


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")

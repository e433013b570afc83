"""Writes the parts of the dbt package in `deploy/dbt` that follow from the database: sources, tests and exposures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from sinks.clickhouse.bounded_sql import HIDDEN_VIEWS
from sinks.clickhouse.tables import Question, Table

SOURCE = "throughline"
GRAINS: Mapping[str, Sequence[str]] = {
    "v_accounting": ("hour", "source"),
    "v_attribution_by_channel": ("day", "model", "key"),
    "v_cohorts": ("market", "cohort", "number"),
    "v_conversion_values": ("conversion_type", "conversion_id"),
    "v_conversions": ("conversion_type", "conversion_id"),
    "v_decisions": ("decision_id",),
    "v_event_volume": ("day", "event", "source"),
    "v_ltv": ("profile_id",),
    "v_products": ("product_id",),
    "v_reconciliation": ("day", "conversion_type", "model"),
    "v_rfm": ("profile_id",),
    "v_touchpoints": ("source", "event_id"),
}
"""What one row of a view is by its columns: the package tests that no two rows have the same."""
_WRITTEN = (
    "# Written by `throughline schema dbt` from the comments in `sinks/migrations`: change those, not this file.\n"
)
_VIEW = re.compile(r"\bv_\w+")


def sources(tables: Iterable[Table]) -> str:
    """Write the views as sources of dbt: their meaning, columns, types, and the tests of their grain."""
    views = [
        _source(one) for one in tables if one.name.startswith("v_") and one.columns and one.name not in HIDDEN_VIEWS
    ]
    source = {
        "name": SOURCE,
        "description": "History of a retailer's customers, with every person as known now.",
        "schema": "{{ var('throughline_database', 'throughline') }}",
        "tables": views,
    }
    return _text({"version": 2, "sources": [source]})


def exposures(tables: Iterable[Table], questions: Iterable[Question]) -> str:
    """Write the questions of analysts as exposures of dbt: each with the views that it depends on."""
    known = {one.name for one in tables if one.columns}
    found = [
        {
            "name": f"question_{one.name.removesuffix('.sql')}",
            "type": "analysis",
            "description": f"{one.question}\n\n{one.sql}\n",
            "owner": {"name": "Analysts"},
            "depends_on": [
                f"source('{SOURCE}', '{view}')" for view in sorted(set(_VIEW.findall(one.sql)) & known - HIDDEN_VIEWS)
            ],
        }
        for one in questions
    ]
    return _text({"version": 2, "exposures": found})


def _source(view: Table) -> dict[str, Any]:
    columns: list[dict[str, Any]] = [
        {"name": one.name, "description": one.comment, "data_type": one.type} for one in view.columns
    ]
    found: dict[str, Any] = {"name": view.name, "description": view.comment, "columns": columns}
    if view.name in GRAINS:
        found["data_tests"] = [{"unique_together": {"arguments": {"columns": list(GRAINS[view.name])}}}]
    return found


def _text(value: Any) -> str:
    return _WRITTEN + yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)

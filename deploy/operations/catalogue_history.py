"""Reads what was known of products over time, where a segment asks for it."""

from __future__ import annotations

from typing import Any

from processors.profiles.catalogue_history import NO_CATALOGUE, CatalogueHistory
from processors.segments.engine import SegmentEngine
from schemas.products import ABOUT_PRODUCTS
from sinks.clickhouse.history import read_events_named


def read_catalogue(tables: Any, engine: SegmentEngine) -> CatalogueHistory:
    """Return the history of the catalogue; an empty one where no condition of the segments is about it.

    Args:
        tables: A client of the deployment's database.
        engine: The segments.
    """
    return CatalogueHistory(read_events_named(tables, ABOUT_PRODUCTS)) if engine.reads_catalogue else NO_CATALOGUE

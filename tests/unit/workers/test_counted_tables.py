"""The tables whose rows are counted can do all that a stage asks of tables."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from deploy.workers.wiring import CountedTables
from processors.stream.ports import Tables
from sinks.clickhouse.client import ClickHouseSink


def test_everything_that_a_stage_asks_of_tables_is_passed_on() -> None:
    meter: Any = Mock()
    counted = CountedTables(Mock(spec=ClickHouseSink), meter)
    asked = {name for name in vars(Tables) if not name.startswith("_")}

    assert "note_source_starts" in asked
    assert set() == {name for name in asked if not callable(getattr(counted, name, None))}

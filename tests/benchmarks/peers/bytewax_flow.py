"""Bytewax: a dataflow that resolves in `flat_map_batch` and ends in a `DynamicSink`; run by `python -m bytewax.run`.

Offsets are in Bytewax's recovery partitions (`-r`), which it snapshots after the sink has written. The sink of
`bytewax-clickhouse` is of this form, but pins clickhouse-connect 0.7.16 and pyarrow 16.
"""

from __future__ import annotations

from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from tests.benchmarks.peers.job import BATCH, BOOTSTRAP, TOPIC, Stores, parse


class ClickHousePartition(StatelessSinkPartition[list[Any]]):
    """One worker's connection."""

    def __init__(self) -> None:
        self._stores = Stores()

    def write_batch(self, items: list[list[Any]]) -> None:
        """Insert a batch of rows."""
        self._stores.insert(items)


class ClickHouseSink(DynamicSink[list[Any]]):
    """Every worker writes what it has read."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> ClickHousePartition:
        """Connect, as a worker starts."""
        return ClickHousePartition()


flow = Dataflow("people")
records = kop.input("records", flow, brokers=[BOOTSTRAP], topics=[TOPIC], batch_size=BATCH)
op.raises("broker_errors", records.errs)
events = op.filter_map("validate", records.oks, lambda record: parse(record.value))
rows = op.flat_map_batch("resolve", events, Stores().resolve)
op.output("insert", rows, ClickHouseSink())

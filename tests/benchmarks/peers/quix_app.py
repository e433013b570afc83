"""Quix Streams: a `StreamingDataFrame` that ends in a `BatchingSink`, which a checkpoint flushes before it commits."""

from __future__ import annotations

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from tests.benchmarks.peers.job import BATCH, BOOTSTRAP, GROUP, SESSION_TIMEOUT_S, TOPIC, Stores, parse


class PeopleSink(BatchingSink):
    """Writes what a checkpoint has, partition by partition."""

    def setup(self) -> None:
        """Connect, as the application starts."""
        self._stores = Stores()

    def write(self, batch: SinkBatch) -> None:
        """Write the events of a partition since the last checkpoint."""
        for items in batch.iter_chunks(BATCH):
            self._stores.insert(self._stores.resolve([item.value for item in items]))


def main() -> None:
    """Run until SIGTERM."""
    app = Application(
        broker_address=BOOTSTRAP,
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        commit_every=4 * BATCH,
        auto_create_topics=False,
        consumer_extra_config={"session.timeout.ms": SESSION_TIMEOUT_S * 1000},
        loglevel="WARNING",
    )
    sdf = app.dataframe(app.topic(TOPIC, value_deserializer="bytes"))
    sdf = sdf.apply(parse).filter(lambda event: event is not None)
    sdf.sink(PeopleSink())
    app.run()


if __name__ == "__main__":
    main()

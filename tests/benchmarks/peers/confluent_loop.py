"""The floor: no framework, a loop over `Consumer.consume` that commits after both stores have answered."""

from __future__ import annotations

import signal

from confluent_kafka import Consumer, KafkaException

from tests.benchmarks.peers.job import BATCH, BOOTSTRAP, GROUP, SESSION_TIMEOUT_S, TOPIC, Stores, parse


def main() -> None:
    """Read, write, commit, until SIGTERM."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    stores = Stores()
    consumer = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": SESSION_TIMEOUT_S * 1000,
        }
    )
    consumer.subscribe([TOPIC])
    try:
        while not ended:
            messages = consumer.consume(num_messages=BATCH, timeout=0.5)
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
            if messages:
                events = [event for message in messages if (event := parse(message.value()))]
                stores.insert(stores.resolve(events))
                consumer.commit(asynchronous=False)
    finally:
        consumer.close()


if __name__ == "__main__":
    main()

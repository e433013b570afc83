"""Waits until Kafka answers, so that a worker that starts before its broker waits instead of ending.

After a reboot of a host, containers start in any order: Compose's `depends_on` counts for `up` alone.
"""

from __future__ import annotations

import logging
import time
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.settings import Settings

log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0


def wait_for_kafka(settings: Settings, *, pause_s: float = 1.0) -> None:
    """Return when a broker has answered; says each minute that it still waits.

    Args:
        settings: Where Kafka is.
        pause_s: Between two questions, seconds; each waits up to 5 s for its answer.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from deploy.connections.kafka import kafka_connection

    admin = AdminClient(kafka_connection(settings))
    said_at = 0.0
    for tries in count():
        try:
            admin.list_topics(timeout=_TIMEOUT_S)
        except KafkaException as error:
            if not said_at or time.monotonic() - said_at >= 60:
                log.warning("waiting for Kafka at %s: %s", settings.kafka_bootstrap, error.args[0].str())
                said_at = time.monotonic()
            time.sleep(pause_s)
        else:
            if tries:
                log.info("Kafka at %s answers", settings.kafka_bootstrap)
            return

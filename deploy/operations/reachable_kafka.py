"""Waits until Kafka answers and grants a role its rights: a worker that starts before them waits instead of ending.

After a reboot of a host, containers start in any order: Compose's `depends_on` counts for `up` alone. And a worker that
ended would be started again and again by what supervises it, and its log say less.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from deploy.connections.faults import kafka_reason
from deploy.operations.rights import missing_in_kafka, shown

if TYPE_CHECKING:
    from deploy.operations.permissions import Grantee
    from deploy.settings import Settings

log = logging.getLogger(__name__)


def wait_for_kafka(role: Grantee, settings: Settings, *, pause_s: float = 1.0) -> None:
    """Return when a broker has answered and the role lacks no right; until then says each minute what is wrong.

    Args:
        role: Of the worker.
        settings: Where Kafka is, and who asks.
        pause_s: Between two questions, seconds; each waits up to 5 s for its answer.
    """
    from confluent_kafka import KafkaException

    said: str | None = None
    said_at = 0.0
    while True:
        try:
            missing = missing_in_kafka(role, settings)
            if not missing:
                if said is not None:
                    log.info("Kafka at %s answers", settings.kafka_bootstrap)
                return
            advice = f"`throughline permissions --role {role}` prints all that it needs"
            reason = f"rights are missing, {shown(missing)}: {advice}"
        except KafkaException as error:
            reason = kafka_reason(settings, error)
        named = reason if "`throughline" in reason or "THROUGHLINE_" in reason else ""  # other texts come and go
        if named != said or time.monotonic() - said_at >= 60:
            log.warning("waiting for Kafka at %s: %s", settings.kafka_bootstrap, reason)
            said, said_at = named, time.monotonic()
        time.sleep(pause_s)

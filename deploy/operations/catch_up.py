"""Waits until workers have handled what is published at one moment, also while more and more is published."""

from __future__ import annotations

import time
from collections.abc import Callable

from deploy.operations.lag import LagReader, Role


def catch_up(
    reader: LagReader,
    role: Role,
    timeout_s: float,
    *,
    pause_s: float = 0.2,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Wait until the workers of a role have handled every record that is in their topics now.

    Args:
        reader: Open on the deployment.
        role: The workers' role.
        timeout_s: Longest wait, in seconds.
        pause_s: Time between two looks, in seconds.
        progress: Told how many of those records are still to be handled.

    Returns:
        How many of them were still to be handled when the time was over; 0: all are through.

    Raises:
        KafkaUnreachableError: The broker did not answer.
    """
    deadline = time.monotonic() + timeout_s
    lags = [lag for lag in reader.lags() if lag.role == role]
    goals = {(lag.topic, lag.partition): lag.end for lag in lags}
    while True:
        left = sum(max(0, goals.get((lag.topic, lag.partition), 0) - (lag.end - lag.records)) for lag in lags)
        progress(left)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(pause_s)
        lags = [lag for lag in reader.lags() if lag.role == role]

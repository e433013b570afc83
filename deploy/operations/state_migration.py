"""Migrates what Redis has of profiles to shards, while no worker runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deploy.connections.redis import redis_client
from schemas.time import clock_ms
from sinks.redis.migration import NotMigratedError, StateCounts, StateMigration

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.settings import Settings

_LEASE_S = 6.0
"""After so long the lease of a worker that has ended is gone."""


def migrate_state(settings: Settings, report: Callable[[str], None], *, dry_run: bool = False) -> StateCounts | None:
    """Move profiles into shards, if they are not there.

    Args:
        settings: Of the deployment.
        report: Takes lines about the progress.
        dry_run: Only count.

    Returns:
        What is in the shards now, or with `dry_run` what is not; None: there was nothing to do.

    Raises:
        NotMigratedError: Workers run, or the shards do not have what there was.
        redis.RedisError: Redis does not answer.
    """
    with redis_client(settings, timeout_s=60) as client:
        migration = StateMigration(client, settings.redis_namespace)
        if not migration.is_due():
            return None
        if dry_run:
            return migration.unsharded()
        if migration.running():
            report("waiting whether workers are gone")
            time.sleep(_LEASE_S)
        if running := migration.running():
            raise NotMigratedError(f"workers run: {', '.join(running)}. Stop all workers, and repeat the command")
        return migration.migrate(clock_ms(), report)

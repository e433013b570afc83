"""Judges which events are bots': a duty of the record workers, and the last step of `drain`."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.connections.clickhouse import clickhouse_client
from deploy.settings import Settings
from sinks.clickhouse.bots import judge_bots, judge_bots_near
from sinks.clickhouse.client import StoreDown

log = logging.getLogger(__name__)

EVERYTHING_EVERY = timedelta(days=1)
_IN_FLIGHT = timedelta(minutes=10)
"""A row is visible at most so long after the time at which it was stored."""


class BotJudge:
    """Judges what was stored since the last time; everything at the first time and once a day.

    Args:
        settings: Of the deployment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._judged_at: datetime | None = None
        self._everything_at: datetime | None = None

    async def judge(self) -> int | None:
        """Judge, in a thread.

        Returns:
            How many verdicts have changed; None when ClickHouse does not answer, and the next time makes up for it.
        """
        return await asyncio.to_thread(self._judge, datetime.now(UTC))

    def _judge(self, now: datetime) -> int | None:
        try:
            client = clickhouse_client(self._settings, timeout_s=60)
        except StoreDown as error:
            log.warning("bots are not judged: %s", error)
            return None
        try:
            if self._judged_at is None or self._everything_at is None or now - self._everything_at >= EVERYTHING_EVERY:
                changed = judge_bots(client)
                self._everything_at = now
            else:
                changed = judge_bots_near(client, self._judged_at - _IN_FLIGHT)
            self._judged_at = now
        except (ClickHouseError, OSError) as error:
            log.warning("bots are not judged: %s", str(error).partition("\n")[0])
            return None
        finally:
            client.close()
        return changed


def judge_all_bots(settings: Settings, *, timeout_s: float = 300) -> int:
    """Judge all events of a deployment now; returns how many verdicts have changed.

    Args:
        settings: Of the deployment.
        timeout_s: Longest wait for an answer, in seconds; at least one.

    Raises:
        StoreDown: ClickHouse does not answer.
        ClickHouseError: It does not answer in time.
    """
    client = clickhouse_client(settings, timeout_s=max(1, int(timeout_s)))
    try:
        return judge_bots(client)
    finally:
        client.close()

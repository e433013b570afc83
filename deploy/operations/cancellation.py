"""Ends the tasks of a service when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

AGAIN_S = 5.0
"""Longer than what a task does at its end takes: a second cancellation would break that off."""


async def cancel_all(tasks: Collection[asyncio.Task[Any]], again_s: float = AGAIN_S) -> None:
    """Cancel tasks and wait until all have ended, however; their errors are not raised.

    A task may lose a cancellation: before Python 3.12, `asyncio.wait_for`, with which redis-py sends commands, swallows
    one that comes in the moment in which it is done (python/cpython#86296). So it is cancelled until it has ended.

    Args:
        tasks: Any tasks, also such as have ended.
        again_s: After how many seconds those that have not ended are cancelled again.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        done, waiting = await asyncio.wait(waiting, timeout=again_s)
        for task in done:
            task.cancelled() or task.exception()  # else asyncio logs that nobody asked for it

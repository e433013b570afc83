"""Keeps the collector going at its limit of open files, each connection of a client being one.

Anybody can hold connections open. At the limit asyncio tries again every second, and reports each of its attempts with
a traceback: a thousand a round.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
from time import monotonic
from typing import Any

log = logging.getLogger(__name__)

OPEN_FILES = 65_536
"""Open files to ask for; Debian gives a process 1,024 unless it asks."""
REPORT_INTERVAL_S = 60.0

_NO_MORE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def raise_limit() -> int:
    """Raise the process's limit of open files as far as it may, to `OPEN_FILES`; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        wanted = OPEN_FILES if soft != resource.RLIM_INFINITY else soft
    else:
        wanted = max(soft, min(hard, OPEN_FILES))
    if wanted != soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft
    return wanted


class AcceptErrors:
    """An exception handler of an event loop that reports the limit of open files once a minute.

    Args:
        limit: The limit of open files, for the report.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reported_at: float | None = None

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an exception that nothing else has handled."""
        error = context.get("exception")
        # asyncio listens again a second after each attempt that failed, also where the collector has stopped meanwhile.
        if isinstance(error, ValueError) and "._start_serving(" in context.get("message", ""):
            return
        if not (isinstance(error, OSError) and error.errno in _NO_MORE):
            loop.default_exception_handler(context)
            return
        now = monotonic()
        if self._reported_at is None or now - self._reported_at >= REPORT_INTERVAL_S:
            self._reported_at = now
            log.warning("no new connection is accepted: %s; the limit of open files is %d", error.strerror, self._limit)

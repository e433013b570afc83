"""A child process that ends by itself and is started again and again, so that it takes memory while it works only."""

from __future__ import annotations

import time
from collections.abc import Callable

from deploy.local.process import ChildProcess


class Recurring:
    """Starts a child now and then, one at a time.

    Attributes:
        child: The process.
    """

    def __init__(
        self,
        child: ChildProcess,
        *,
        first_s: float,
        again_s: float,
        failed_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Plan the starts; nothing starts yet.

        Args:
            child: The process, not started.
            first_s: Seconds from now to the first start.
            again_s: Seconds from one start to the next.
            failed_s: The same, after it ended with an error.
            clock: Monotonic time in seconds.
        """
        self.child = child
        self._again_s, self._failed_s, self._clock = again_s, failed_s, clock
        self._started = clock()
        self._pause_s: float | None = first_s

    def tick(self) -> bool:
        """Start the child if it is due; return whether it was started."""
        if self.child.alive:
            return False
        pause_s = self._pause_s
        if pause_s is None:
            pause_s = self._failed_s if self.child.exit_code else self._again_s
        if self._clock() < self._started + pause_s:
            return False
        self._started, self._pause_s = self._clock(), None
        self.child.launch()
        return True

"""Restarts child processes that end, each after a pause that grows with the number of ends in a row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from deploy.local.process import ChildProcess

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
CALM_AFTER_S = 30.0  # a child that ran so long has recovered: the next pause is the first one again


def pause_s(failures: int) -> float:
    """Return the pause before a restart after that many ends in a row, in seconds: 0.5, 1, 2, … 15."""
    return min(FIRST_PAUSE_S * 2.0 ** (failures - 1), LONGEST_PAUSE_S)


@dataclass
class _Kept:
    child: ChildProcess
    revive: Callable[[], None]
    started_at: float
    restarts: int = 0
    failures: int = 0
    due_at: float | None = None


@dataclass
class Keeper:
    """Restarts child processes. Call `tick` a few times a second, from the thread that starts the children.

    Attributes:
        report: Called with a sentence for the log.
        clock: Monotonic time in seconds.
    """

    report: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, _Kept] = field(default_factory=dict)

    def keep(self, child: ChildProcess, revive: Callable[[], None] | None = None) -> None:
        """Add a child that has been launched.

        Args:
            child: The process.
            revive: Starts it again; `child.launch` by default. If the child does not run after it, it is called again
                after the next pause.
        """
        self._kept[child.name] = _Kept(child, revive or child.launch, started_at=self.clock())

    def restarts(self, name: str) -> int:
        """Return how often a child has been restarted."""
        return self._kept[name].restarts if name in self._kept else 0

    def tick(self) -> bool:
        """Restart the children whose pause is over; return whether the state of any child changed."""
        changed = [self._check(kept) for kept in self._kept.values()]
        return any(changed)

    def _check(self, kept: _Kept) -> bool:
        if kept.child.alive:
            if kept.due_at is not None:  # its owner has restarted it
                kept.due_at = None
            return False
        now = self.clock()
        if kept.due_at is None:
            kept.failures = 1 if now - kept.started_at > CALM_AFTER_S else kept.failures + 1
            pause = pause_s(kept.failures)
            kept.due_at = now + pause
            self.report(
                f"{kept.child.name} ended with exit code {kept.child.exit_code}; it starts again in {pause:g} s"
            )
            return True
        if now < kept.due_at:
            return False
        kept.due_at = None
        kept.started_at = now
        kept.restarts += 1
        kept.revive()
        return True

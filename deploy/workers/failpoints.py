"""Failpoints: `THROUGHLINE_CRASH_AT=stage:point:n` ends the process when it reaches that point for the n-th time.

Fault tests alone set it. A stage calls the function made here at its named points.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def make_failpoint(crash_at: str) -> Callable[[str], None]:
    """Make the function that a stage calls with the name of each failpoint.

    Args:
        crash_at: `stage:point:n`, or empty for a function that does nothing.

    Raises:
        ValueError: `crash_at` has another form.
    """
    if not crash_at:
        return _ignore
    name, _, count = crash_at.rpartition(":")
    if ":" not in name or not count.isdigit():
        raise ValueError(f"THROUGHLINE_CRASH_AT={crash_at!r}: expected stage:point:n, such as identify:resolved:3")
    left = int(count)

    def failpoint(reached: str) -> None:
        nonlocal left
        if reached == name:
            left -= 1
            if left <= 0:
                print(f"crashing at {crash_at}", file=sys.stderr, flush=True)
                os._exit(137)

    return failpoint


def _ignore(_reached: str) -> None:
    """The failpoint of a worker that is not to crash."""

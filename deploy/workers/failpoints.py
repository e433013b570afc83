"""Named crash points for fault tests: `THROUGHLINE_CRASH_AT=stage:point:n` ends the process at the n-th pass."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def crossing(crash_at: str) -> Callable[[str], None]:
    """Make the function that stages call at their named points.

    Args:
        crash_at: `stage:point:n`, or empty for a function that does nothing.

    Raises:
        ValueError: `crash_at` has another form.
    """
    if not crash_at:
        return _pass
    point, _, count = crash_at.rpartition(":")
    if ":" not in point or not count.isdigit():
        raise ValueError(f"THROUGHLINE_CRASH_AT={crash_at!r}: expected stage:point:n, such as identify:resolved:3")
    left = int(count)

    def cross(passed: str) -> None:
        nonlocal left
        if passed == point:
            left -= 1
            if left <= 0:
                print(f"crashing at {crash_at}", file=sys.stderr, flush=True)
                os._exit(137)

    return cross


def _pass(_point: str) -> None:
    """No fault test runs."""

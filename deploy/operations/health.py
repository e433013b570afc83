"""Health of a process, by the age of its heartbeat.

Container health checks start `throughline health` every few seconds in every container: neither this module nor
`deploy/cli/program.py` imports the other commands, whose libraries take half a second of CPU time.
"""

from __future__ import annotations

import sys
import time

from deploy.home import Home, home

HEALTHY_S = 30
"""A younger heartbeat counts as healthy."""


def print_health(role: str) -> int:
    """Print whether the process of a role, in this home, touched its heartbeat lately; returns the exit code."""
    try:
        age_s = time.time() - Home(home()).heartbeat(role).stat().st_mtime
    except FileNotFoundError:
        print(f"{role}: no heartbeat", file=sys.stderr)
        return 1
    if age_s > HEALTHY_S:
        print(f"{role}: last heartbeat {age_s:.0f} s ago", file=sys.stderr)
        return 1
    print(f"{role}: ok")
    return 0

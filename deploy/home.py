"""The home directory of a process, `THROUGHLINE_HOME`, with its logs and its heartbeat.

Of the standard library alone: health checks import it every few seconds (`deploy/operations/health.py`).
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return the home directory: heartbeats and logs, and the data of a local stack."""
    return Path(os.environ.get("THROUGHLINE_HOME") or ".throughline").absolute()


class Home:
    """The files that any process of a deployment keeps on its machine.

    Attributes:
        path: The directory, absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def logs(self) -> Path:
        """Return the directory of all logs."""
        return self.path / "logs"

    def log(self, name: str) -> Path:
        """Return the log file of one process."""
        return self.logs / f"{name}.log"

    def metrics(self, process: str) -> Path:
        """Return the file with the address at which a worker or the collector serves its metrics."""
        return self.path / "metrics" / process

    def heartbeat(self, role: str) -> Path:
        """Return the file that a worker or the collector touches while Kafka answers; `throughline health` reads it."""
        return self.path / "heartbeats" / role

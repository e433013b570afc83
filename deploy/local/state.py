"""What the local stack leaves on disk: `stack.json`, which says what runs where, and the lock that says whether."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LOCK_TRIES = 10


class AlreadyRunningError(RuntimeError):
    """Another supervisor holds the lock of this home."""


class Home:
    """The directory of one local stack (`THROUGHLINE_HOME`).

    Attributes:
        path: The directory, absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def logs(self) -> Path:
        """Where every process has its log."""
        return self.path / "logs"

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"

    def heartbeat(self, role: str) -> Path:
        """The file that the worker of a role touches while it polls Kafka."""
        return self.path / "heartbeats" / role

    def read(self) -> dict[str, Any] | None:
        """What runs, as the supervisor last wrote it; None when nothing runs."""
        if not self.running():
            return None
        try:
            found = json.loads(self._stack_file.read_text("utf-8"))
        except (OSError, ValueError):
            return None  # it is starting or stopping
        return found if isinstance(found, dict) else None

    def write(self, state: dict[str, Any]) -> None:
        """Replace `stack.json`; a reader sees the old or the new, never a part."""
        scratch = self.path / f"stack.json.{os.getpid()}"
        scratch.write_text(json.dumps(state, indent=2) + "\n", "utf-8")
        scratch.replace(self._stack_file)

    def forget(self) -> None:
        """Remove `stack.json`."""
        self._stack_file.unlink(missing_ok=True)

    def running(self) -> bool:
        """Tell whether a supervisor lives: the lock ends with its holder, while a pid may be somebody else's by now."""
        try:
            with self._lock_file.open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of this home.

        Raises:
            AlreadyRunningError: Another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self._lock_file.open("w") as lock:
            for tries_left in reversed(range(_LOCK_TRIES)):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:  # perhaps for a moment, by `running`
                    if not tries_left:
                        raise AlreadyRunningError(f"a stack already runs in {self.path}") from None
                    time.sleep(0.05)
            yield

    def wipe(self) -> None:
        """Remove all data, logs and marks of a stack that does not run."""
        for name in ("data", "logs", "heartbeats", "faust"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        self.forget()

    @property
    def _stack_file(self) -> Path:
        return self.path / "stack.json"

    @property
    def _lock_file(self) -> Path:
        return self.path / "stack.lock"

"""The state file of a local stack (`stack.json`: addresses, pids, versions) and the lock that its supervisor holds."""

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

from deploy.home import Home

_LOCK_TRIES = 10


class AlreadyRunningError(RuntimeError):
    """Another supervisor holds the lock of this home."""


class LocalHome(Home):
    """A home in which one local stack can run: adds the state file and the lock of its supervisor."""

    def read(self) -> dict[str, Any] | None:
        """Return the supervisor's last state file as JSON; None when no supervisor runs."""
        if not self.running():
            return None
        try:
            found = json.loads(self._stack_file.read_text("utf-8"))
        except (OSError, ValueError):
            return None  # the supervisor is starting or stopping
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
        """Return whether a supervisor runs, by its lock: the kernel frees a lock with its process, but reuses a pid."""
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
                except BlockingIOError:  # `running` of another process holds it for a moment
                    if not tries_left:
                        raise AlreadyRunningError(f"a stack already runs in {self.path}") from None
                    time.sleep(0.05)
            yield

    def wipe(self) -> None:
        """Remove the data, logs and heartbeats of a stack that does not run."""
        for name in ("data", "logs", "heartbeats", "faust"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        self.forget()

    @property
    def _stack_file(self) -> Path:
        return self.path / "stack.json"

    @property
    def _lock_file(self) -> Path:
        return self.path / "stack.lock"

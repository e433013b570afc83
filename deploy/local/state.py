"""The state file of a local stack (`stack.json`: addresses, pids, versions) and the lock that its supervisor holds."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
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
        """Replace `stack.json`, which its owner alone can read; a reader sees the old or the new, never a part."""
        scratch = self.path / f"stack.json.{os.getpid()}"
        _write_private(scratch, json.dumps(state, indent=2) + "\n")
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

    def secret(self) -> bytes:
        """Return the secret of this home, by whose lock's holder it is made once; it stays until `wipe`."""
        try:
            return self._secret_file.read_bytes()
        except FileNotFoundError:
            _write_private(self._secret_file, secrets.token_hex())
            return self._secret_file.read_bytes()

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
        """Remove the data, logs, heartbeats, ports and secret of a stack that does not run."""
        for name in ("data", "logs", "heartbeats", "faust"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        self._secret_file.unlink(missing_ok=True)
        (self.path / "ports.json").unlink(missing_ok=True)
        self.forget()

    @property
    def _stack_file(self) -> Path:
        return self.path / "stack.json"

    @property
    def _secret_file(self) -> Path:
        return self.path / "secret"

    @property
    def _lock_file(self) -> Path:
        return self.path / "stack.lock"


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)

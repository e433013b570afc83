"""A child process with a log file, which can be stopped, killed, paused and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import deploy
from deploy.local import child

ROOT = Path(deploy.__file__).resolve().parent.parent
_ROTATE_ABOVE_BYTES = 10 * 1024 * 1024


class ChildProcess:
    """One program, run as a child that dies with this process.

    The kernel ties a child's life to the *thread* that started it: call `launch` from one that lives as long as the
    child should, the main thread as a rule.

    Attributes:
        name: Its name in messages, and of its log file.
        command: Program and arguments.
        log: File that its standard output and error are appended to; None: it shares those of this process.
        directory: Its working directory.
        environment: Variables added to those of this process.
        listener: A listening socket of this process that it takes connections from, as one that systemd has passed:
            connections that come while it is started again wait in the socket's backlog.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path | None,
        directory: Path | None = None,
        environment: dict[str, str] | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.directory = directory
        self.environment = environment or {}
        self.listener = listener
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the last launch; None before the first."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """How the last launch ended: an exit code, or minus a signal; None while it runs and before the first."""
        return self._process.poll() if self._process else None

    @property
    def alive(self) -> bool:
        """Whether it runs now (a paused process does)."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it; returns before it is ready for use. Does nothing if it runs already."""
        if self.alive:
            return
        passed = [self.listener.fileno()] if self.listener else []
        with self._output() as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", child.__file__, str(os.getpid()), *map(str, passed), "--", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env={**python_environment(), **self.environment},
                pass_fds=passed,
                start_new_session=True,  # Ctrl-C reaches this process alone, which stops its children in order
            )

    def wait(self, timeout_s: float) -> int | None:
        """Return its exit code when it ends; None if it still runs after `timeout_s` seconds."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        return self.exit_code

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), paused or not; returns at once."""
        self._signal(signal.SIGTERM)
        self.resume()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End it: SIGTERM, then SIGKILL if it is still there after `timeout_s` seconds."""
        stop_all([self], timeout_s)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._signal(signal.SIGCONT)

    def last_log_lines(self, count: int = 15) -> str:
        """Return the end of the log, for error messages; empty when there is none."""
        return tail(self.log, count) if self.log else ""

    @contextmanager
    def _output(self) -> Iterator[IO[bytes] | None]:
        if self.log is None:
            yield None
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        rotate(self.log)
        with self.log.open("ab") as log:
            yield log

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


def stop_all(children: Iterable[ChildProcess], timeout_s: float) -> None:
    """End children together: SIGTERM to all, SIGKILL to those that are still there after `timeout_s` seconds."""
    children = list(children)
    for child_process in children:
        child_process.terminate()
    deadline = time.monotonic() + timeout_s
    for child_process in children:
        if child_process.alive and child_process.wait(max(0.0, deadline - time.monotonic())) is None:
            child_process.kill()


def python_environment() -> dict[str, str]:
    """This process's environment, in which `python -m deploy.…` works from any directory and prints at once."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def tail(log: Path, count: int = 15) -> str:
    """Return the last lines of a log; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 65_536))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-count:])


def rotate(log: Path, above_bytes: int = _ROTATE_ABOVE_BYTES) -> None:
    """Move `log` to `NAME.log.1`, over the previous one, if it is larger than `above_bytes`."""
    if log.exists() and log.stat().st_size > above_bytes:
        log.replace(log.with_name(log.name + ".1"))

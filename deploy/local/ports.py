"""Chooses free ports on loopback."""

from __future__ import annotations

import errno
import json
import random
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

LOOPBACK = "127.0.0.1"

# Below the range the kernel takes client ports from (Linux: 32768, macOS: 49152). A client that keeps trying to reach
# a stopped server on a port of that range can end up connected to itself, and the server cannot come back.
_FIRST, _LAST = 20_000, 32_000

_BACKLOG = 1024


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None, taken: Collection[int] = ()) -> int:
    """Return `preferred` if it is free, else any free port.

    Args:
        preferred: The port to try first.
        taken: Ports that are reserved for servers which do not listen yet.

    Raises:
        OSError: No free port was found.
    """
    if preferred is not None and preferred not in taken and is_free(preferred):
        return preferred
    for _ in range(1000):
        port = random.randrange(_FIRST, _LAST)
        if port not in taken and is_free(port):
            return port
    raise OSError(f"no free port between {_FIRST} and {_LAST} on {LOOPBACK}")


def listen(host: str, preferred: int) -> socket.socket:
    """Listen on `preferred` if it is free, else on any free port; the socket is the port's until it is closed.

    Raises:
        OSError: The host is no address of this machine, or no free port was found.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in range(1000):
        port = preferred if attempt == 0 else random.randrange(_FIRST, _LAST)
        try:
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise OSError(f"no free port between {_FIRST} and {_LAST} on {host}")


class PortMemory:
    """The ports of the last start of a stack, by name of the server, in a file.

    A stack that had to take other ports than the standard ones keeps them, so that the session of a client does not end
    up at another stack, which has the standard ports.

    Args:
        file: The file; it need not exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def preferred(self, name: str, standard: int) -> int:
        """Return the port of the last start, else `standard`."""
        port = self._read().get(name)
        return port if type(port) is int and 0 < port < 65_536 else standard

    def remember(self, ports: Mapping[str, int]) -> None:
        """Keep these ports; those of other names stay."""
        self._file.write_text(json.dumps({**self._read(), **ports}, indent=2) + "\n", "utf-8")

    def _read(self) -> dict[str, object]:
        try:
            found = json.loads(self._file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

"""The sockets that a server takes connections from: those it was started with, else one of its own.

systemd and the local supervisor hold the socket and pass it on (`sd_listen_fds(3)`): while the server is started
again, connections wait in the backlog instead of being refused, and nobody else gets the port.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from aiohttp import web

from deploy.settings import passed_descriptors

BACKLOG = 1024


def sites(runner: web.AppRunner, url: str) -> list[web.BaseSite]:
    """Return what a server listens at; nothing listens before each is started.

    Args:
        runner: Of the server.
        url: Its address, where no socket was passed.

    Raises:
        OSError: A descriptor that was passed is no listening socket of a stream.
    """
    passed = [_listener(descriptor) for descriptor in passed_descriptors()]
    if passed:
        return [web.SockSite(runner, listener, backlog=BACKLOG) for listener in passed]
    address = urlsplit(url)
    return [web.TCPSite(runner, address.hostname, address.port, backlog=BACKLOG)]


def _listener(descriptor: int) -> socket.socket:
    try:
        passed = socket.socket(fileno=descriptor)
        listens = passed.type == socket.SOCK_STREAM and passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        listens = 0
    if not listens:
        raise OSError(
            f"descriptor {descriptor} of LISTEN_FDS is no listening socket: "
            "write ListenStream= and Accept=no in the unit of the socket, or unset LISTEN_FDS"
        )
    return passed

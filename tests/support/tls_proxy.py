"""Gives a local server TLS: the packages that the local servers come from have none."""

from __future__ import annotations

import asyncio
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.ports import LOOPBACK


class TlsProxy:
    """Takes TLS connections on a port of its own and passes their bytes to a server on loopback; use it with `with`.

    Args:
        target: The server's port.
        certificate: Key and certificate, in one PEM file.
        clients: The CA certificate that signs those of clients, which then need one.

    Attributes:
        port: Its port.
    """

    def __init__(self, target: int, certificate: Path, clients: Path | None = None) -> None:
        self._target = target
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients)
        self._context.load_cert_chain(certificate)
        if clients is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async def end() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in self._open:  # those that wait for the other side to end TLS
                writer.transport.abort()
            await asyncio.sleep(0.01)  # in which the sockets are closed

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        self._loop.set_exception_handler(lambda _loop, _context: None)  # handshakes that clients break off
        return await asyncio.start_server(self._connection, LOOPBACK, 0, ssl=self._context)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind, ahead = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.close()
            return
        self._open |= {ahead, writer}
        await asyncio.gather(_pass(reader, ahead), _pass(behind, writer))


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    except (OSError, ssl.SSLError):
        pass
    finally:
        target.close()

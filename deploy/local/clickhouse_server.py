"""The ClickHouse server from the package `chdb-core`; `python -m deploy.local.clickhouse_server` runs it.

The package is made for embedding, but contains the whole server: HTTP, native TCP, users and grants. A private function
starts it, so its version is pinned and a test starts it. It runs in a process of its own, and its clients use HTTP. It
lacks Keeper (no `Replicated*` tables), users created by SQL, and dictionaries that refresh themselves.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.metadata
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

from deploy.local.ports import LOOPBACK, free_port
from deploy.local.server import Server

_CONFIG = Path(__file__).with_name("clickhouse-config.xml")
_USERS = Path(__file__).with_name("clickhouse-users.xml")
_QUERY_LOG = "<query_log><database>system</database><table>query_log</table></query_log>"
_STOP_PIPE = "stop.fifo"
# The last statement reads a pipe that is empty until this process closes it: then the server stops.
_SERVE = """
SYSTEM START LISTEN TCP;
SYSTEM START LISTEN HTTP;
SELECT count() FROM file('stop.fifo', 'LineAsString') FORMAT Null
"""
_STOP_WITHIN_S = 1.0


class ClickHouse(Server):
    """A ClickHouse server on loopback; starts in about half a second and needs some 300 MB.

    Users without a password: `default` with all rights, `analyst` with the right to read.

    Attributes:
        tcp_port: The port of the native protocol.
    """

    standard_port: ClassVar[int] = 8123
    standard_tcp_port: ClassVar[int] = 9000
    setting: ClassVar[str] = "clickhouse_url"

    def __init__(
        self,
        name: str,
        data: Path,
        log: Path,
        port: int | None = None,
        tcp_port: int | None = None,
        *,
        query_log: bool = False,
    ) -> None:
        super().__init__(name, data, log, port)
        self.tcp_port = tcp_port if tcp_port is not None else free_port(taken=[self.port])
        self._query_log = query_log

    @property
    def address(self) -> str:
        """The HTTP URL."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Write the configuration into the data directory."""
        if importlib.util.find_spec("chdb") is None:
            raise ModuleNotFoundError("No module named 'chdb'", name="chdb")
        values = {
            "http_port": str(self.port),
            "tcp_port": str(self.tcp_port),
            "users_config": "users.xml",
            "backups": f"{self.data.parent.parent.absolute() / 'backups'}/",
            "query_log": _QUERY_LOG if self._query_log else "",
        }
        config = _CONFIG.read_text("utf-8")
        for key, value in values.items():
            config = config.replace("{{" + key + "}}", value)
        (self.data / "config.xml").write_text(config, "utf-8")
        (self.data / "users.xml").write_text(_USERS.read_text("utf-8"), "utf-8")
        self.command = [sys.executable, "-m", "deploy.local.clickhouse_server", "."]

    def answers(self) -> bool:
        """GET /ping."""
        return speaks_clickhouse(self.port)

    def version(self) -> str:
        """Return the version of the package, which is ClickHouse's without the build number."""
        return f"ClickHouse {importlib.metadata.version('chdb-core')}"


def speaks_clickhouse(port: int) -> bool:
    """Return whether a ClickHouse server answers over HTTP on a loopback port."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1.0)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().read() == b"Ok.\n"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def serve(directory: Path) -> int:
    """Run a server that reads `config.xml` in `directory` until SIGTERM or SIGINT.

    Returns:
        0 after a signal, 1 if the server ended by itself.
    """
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread of the engine exists: they inherit it
    _chdb: Any = importlib.import_module(
        "chdb._chdb"
    )  # before chdir: a throw-away engine starts and looks for config.xml
    os.chdir(directory)
    _chdb.set_signal_handlers_enabled(0)
    Path(_STOP_PIPE).unlink(missing_ok=True)
    os.mkfifo(_STOP_PIPE)
    stop = os.open(_STOP_PIPE, os.O_RDWR)
    failed = threading.Event()

    def run() -> None:
        try:
            _chdb.query(_SERVE, "TSV", path=str(Path("store").absolute()))
        except Exception as error:  # noqa: BLE001  (the engine raises plain RuntimeError; the log is all there is)
            print(f"ClickHouse stopped: {error}", file=sys.stderr, flush=True)
        failed.set()
        os.kill(os.getpid(), signal.SIGTERM)

    engine = threading.Thread(target=run, name="engine", daemon=True)
    engine.start()
    signal.sigwait(signals)
    ended_by_itself = failed.is_set()
    os.close(stop)
    engine.join(_STOP_WITHIN_S)  # it waits for clients that keep connections open; its files are safe at any moment
    return 1 if ended_by_itself else 0


def main() -> None:
    """Run the server in the directory named as the only argument."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.clickhouse_server", description=serve.__doc__)
    parser.add_argument("directory", type=Path, help="holds config.xml and users.xml; the data goes below it")
    code = serve(parser.parse_args().directory)
    sys.stderr.flush()
    os._exit(code)  # skips the engine's own exit handlers, which can hang


if __name__ == "__main__":
    main()

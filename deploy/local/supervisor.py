"""The process behind `throughline up`: starts the servers and the workers, restarts them, stops them in order.

It runs in a session of its own until SIGTERM. Its children end with it, even on `kill -9`. It logs to
`logs/supervisor.log`, keeps the state in `stack.json`, and reports its start on a pipe to the process that started it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, get_args
from urllib.parse import urlsplit

from deploy.home import home
from deploy.local.broker import SESSION_TIMEOUT_S, Tansu
from deploy.local.keeper import Keeper
from deploy.local.ports import LOOPBACK, PortMemory, listen
from deploy.local.process import ChildProcess, stop_all
from deploy.local.recurring import Recurring
from deploy.local.server import Server, ServerFailedError
from deploy.local.servers import Broker, Servers
from deploy.local.state import AlreadyRunningError, LocalHome
from deploy.local.valkey_cluster import is_cluster
from deploy.operations.backfill_schedule import BackfillSchedule
from deploy.operations.definition_files import DefinitionError, load
from deploy.operations.destinations import enabled_destinations
from deploy.operations.predictions import can_fit
from deploy.operations.roles import ROLES
from deploy.settings import Settings
from schemas.intake.sources import SourceDefinitions
from schemas.time import clock_ms, text_of_ms

WORKERS: tuple[str, ...] = ROLES
_TICK_S = 0.2
_SCORE_FIRST_S, _SCORE_AGAIN_S, _SCORE_FAILED_S = 300.0, 600.0, 3600.0
"""From the start to the first look whether predictions are due, by when a first import is in; between looks; after one
that failed, such as with too few customers."""
_WORKERS_READY_WITHIN_S = 180.0  # 5 s; the machine may be busy
_WORKER_TRIES = 3
_STOP_WITHIN_S = 10.0
_PROVISION_WITHIN_S = 180.0
_PORT_TRIES = 3


class Supervisor:
    """Runs the processes of one local stack."""

    def __init__(
        self,
        home: LocalHome,
        *,
        broker: Broker,
        provision: bool,
        workers: Sequence[str],
        report_start: Callable[[dict[str, Any]], None],
        redis_cluster: bool = False,
    ) -> None:
        """Configure a stack; nothing starts yet.

        Args:
            home: The home of the stack.
            broker: The Kafka broker to run.
            provision: Create the topics and the database.
            workers: The roles to run; with any of them, the collector runs too.
            report_start: Called with the progress of the start: `{"step": …}`, then `{"ready": true}`.
            redis_cluster: Run three masters of a cluster in place of one Redis; a home that has them keeps them.

        Raises:
            ServerFailedError: The home has people in one Redis.
        """
        self._home = home
        self._broker = broker
        self._provision = provision
        self._roles = workers
        self._report_start = report_start
        self._redis_cluster = is_cluster(home.path, wanted=redis_cluster)
        self._servers = self._choose_servers()
        self._workers: list[ChildProcess] = []
        self._collector: dict[str, str] = {}
        self._console: dict[str, str] = {}
        self._console_link = ""
        self._listeners: list[socket.socket] = []
        self._write_keys: dict[str, str] = {}
        self._backfill: ChildProcess | None = None
        self._backfills = BackfillSchedule()
        self._scores: Recurring | None = None
        self._keeper = Keeper(self._report)
        self._started_at = datetime.now(UTC)
        self._ready = False
        self._versions: dict[str, str] = {}
        self._notices: list[str] = []
        self._stop = threading.Event()

    def run(self) -> None:
        """Start everything, keep it running until SIGTERM or SIGINT, stop it.

        Raises:
            ServerFailedError: A server or a worker does not start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            self._start_servers()
            if self._provision:
                self._report_start({"step": "topics and tables"})
                self._run_provision()
            self._start_workers()
            self._scores = self._plan_scores()
            self._ready = True
            self._write()
            self._report("ready: " + ", ".join(self._settings.values()))
            self._report_start({"ready": True})
            while not self._stop.wait(_TICK_S):
                if self._keeper.tick():
                    self._write()
                self._fill_segments()
                if self._scores and self._scores.tick():
                    self._write()
        finally:
            self._shut_down()

    def _choose_servers(self) -> Servers:
        return Servers(self._home.path, broker=self._broker, standard_ports=True, redis_cluster=self._redis_cluster)

    def _start_servers(self) -> None:
        self._report_start({"step": "Kafka, Redis, ClickHouse"})
        for attempt in range(1, _PORT_TRIES + 1):
            try:
                self._servers.start()
                break
            except ServerFailedError as error:
                # Another stack that starts at the same time may have taken a port after it was found free.
                if attempt == _PORT_TRIES or not _port_was_taken(str(error)):
                    raise
                self._report("a port was taken meanwhile; choosing other ports")
                self._servers = self._choose_servers()
        for server in self._servers:
            self._versions[server.name] = server.version()
            self._report(f"{server.name}: {self._versions[server.name]} on {server.address}, pid {server.pid}")
            self._keeper.keep(server, partial(self._revive, server))
        self._write()

    def _revive(self, server: Server) -> None:
        try:
            if isinstance(server, Tansu):
                self._revive_empty(server)
            else:
                server.launch()
        except Exception as error:  # noqa: BLE001  (of any kind: the keeper tries again later)
            server.kill()
            self._report(f"{server.name} did not restart: {error}")

    def _revive_empty(self, broker: Tansu) -> None:
        # A worker that keeps its old offsets would wait beyond the end of the new, empty log. SIGKILL, because without
        # a broker it has nothing to commit.
        for worker in self._workers:
            worker.kill()
        broker.start()
        if self._provision:
            self._run_provision("--topics-only")
        self._notice("the broker was restarted and keeps nothing: events that had not been processed are lost")
        for worker in self._workers:
            worker.launch()

    def _run_provision(self, *arguments: str) -> None:
        log = self._home.log("provision")
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "deploy.local.provision", *arguments]
        provision = ChildProcess("provision", command, log, environment=self._environment())
        provision.launch()
        if (code := provision.wait(_PROVISION_WITHIN_S)) != 0:
            provision.kill()
            reason = f"topics and tables took over {_PROVISION_WITHIN_S:g} s" if code is None else ""
            raise ServerFailedError("\n".join(filter(None, (reason, provision.last_log_lines()))))
        for line in provision.last_log_lines().splitlines():
            self._report(line)

    def _start_workers(self) -> None:
        if not self._roles:
            return
        self._report_start({"step": "workers"})
        environment = self._environment()
        if self._broker == "tansu" and "session_timeout_s" not in Settings().model_fields_set:
            environment["THROUGHLINE_SESSION_TIMEOUT_S"] = str(SESSION_TIMEOUT_S)
        roles = [*self._roles, *_optional_workers(Settings())]
        self._workers = [worker_process(role, self._home.log(role), environment) for role in roles]
        self._workers.append(self._collector_process(environment))
        self._workers.append(self._console_process(environment))
        for worker in self._workers:
            self._home.heartbeat(worker.name).unlink(missing_ok=True)
            worker.launch()
            self._keeper.keep(worker)
        self._write()
        deadline = time.monotonic() + _WORKERS_READY_WITHIN_S
        while waiting := [worker for worker in self._workers if not self._home.heartbeat(worker.name).exists()]:
            self._keeper.tick()
            for worker in waiting:
                if self._keeper.restarts(worker.name) >= _WORKER_TRIES or time.monotonic() > deadline:
                    raise ServerFailedError(
                        f"the worker {worker.name} does not start. The end of {worker.log}:\n{worker.last_log_lines()}"
                    )
            if self._stop.wait(_TICK_S / 4):
                return

    def _collector_process(self, environment: dict[str, str]) -> ChildProcess:
        """Describe the collector. This process holds its port, so that a restart neither refuses nor loses a client."""
        listener, url = self._listen("collector", Settings().collector_url)
        self._collector = {"collector_url": url}
        environment = environment | address_environment(self._collector)
        if urlsplit(url).hostname in (LOOPBACK, "localhost") and not Settings().write_keys.get_secret_value():
            self._write_keys = local_write_keys(Settings(), self._home)
            keys = ",".join(f"{name}={key}" for name, key in self._write_keys.items())
            environment["THROUGHLINE_WRITE_KEYS"] = keys
        command = [sys.executable, "-m", "deploy.cli.main", "collector"]
        log = self._home.log("collector")
        return ChildProcess("collector", command, log, environment=environment, listener=listener)

    def _console_process(self, environment: dict[str, str]) -> ChildProcess:
        """Describe the console. On loopback it has a token of this home, which the link that `up` prints has too."""
        listener, url = self._listen("console", Settings().console_url)
        self._console = {"console_url": url}
        environment = environment | address_environment(self._console)
        secret = self._home.secret()
        if not Settings().console_secret.get_secret_value():
            environment["THROUGHLINE_CONSOLE_SECRET"] = sha256(secret + b"console sessions").hexdigest()
        self._console_link = url
        if urlsplit(url).hostname in (LOOPBACK, "localhost") and not Settings().console_tokens.get_secret_value():
            token = sha256(secret + b"console").hexdigest()[:32]
            environment["THROUGHLINE_CONSOLE_TOKENS"] = f"local={token}"
            self._console_link = f"{url}/sign-in?token={token}"
        command = [sys.executable, "-m", "deploy.cli.main", "console"]
        return ChildProcess("console", command, self._home.log("console"), environment=environment, listener=listener)

    def _listen(self, name: str, url: str) -> tuple[socket.socket, str]:
        """Listen for a child at an address, or at another port if that one is taken; return the address, too."""
        wanted = urlsplit(url)
        memory = PortMemory(self._home.path / "ports.json")
        host, wanted_port = str(wanted.hostname), wanted.port or 0
        try:
            listener = listen(host, memory.preferred(f"{name} at {wanted_port}", wanted_port))
        except OSError as error:
            raise ServerFailedError(f"the {name} cannot listen at {url}: {error}") from error
        self._listeners.append(listener)
        port = listener.getsockname()[1]
        memory.remember({f"{name} at {wanted_port}": port})
        return listener, f"http://{wanted.netloc.rpartition(':')[0]}:{port}"

    def _fill_segments(self) -> None:
        """Take history into segments that are new or changed, also when they were published, beside the workers.

        Events that arrived long after they happened, as by an import, are history too.
        """
        if not self._roles or (self._backfill and self._backfill.alive):
            return
        deployment = Settings().model_copy(update=self._settings)
        if not self._backfills.is_due(deployment, time.monotonic(), clock_ms()):
            return
        command = [sys.executable, "-m", "deploy.cli.main", "segments", "backfill"]
        log = self._home.log("backfill")
        self._backfill = ChildProcess("backfill", command, log, environment=self._environment())
        self._backfill.launch()
        self._report(f"taking history into segments: {log}")

    def _plan_scores(self) -> Recurring | None:
        """Plan the predictions of people: a process that ends, since it takes much memory and is idle for a day."""
        every = Settings().scores_every
        if not self._roles or not every or not can_fit():
            return None
        command = [sys.executable, "-m", "deploy.cli.main", "segments", "score", "--every", every, "--once"]
        child = ChildProcess("scores", command, self._home.log("scores"), environment=self._environment())
        return Recurring(child, first_s=_SCORE_FIRST_S, again_s=_SCORE_AGAIN_S, failed_s=_SCORE_FAILED_S)

    def _shut_down(self) -> None:
        self._report("stopping")
        for listener in self._listeners:
            listener.close()  # from now on the children alone listen, until they stop
        now_and_then = [self._backfill, self._scores.child if self._scores else None]
        stop_all([*self._workers, *filter(None, now_and_then)], _STOP_WITHIN_S)
        self._servers.stop(_STOP_WITHIN_S)
        self._home.forget()

    @property
    def _settings(self) -> dict[str, str]:
        return {**self._servers.settings, **self._collector, **self._console}

    def _environment(self) -> dict[str, str]:
        return {**address_environment(self._settings), "THROUGHLINE_HOME": str(self._home.path)}

    def _notice(self, text: str) -> None:
        self._report(f"WARNING: {text}")
        self._notices.append(f"{_now()} {text}")

    def _report(self, text: str) -> None:
        print(f"{_now()} {text}", file=sys.stderr, flush=True)

    def _write(self) -> None:
        children: list[ChildProcess] = [*self._servers, *self._workers]
        self._home.write(
            {
                "supervisor_pid": os.getpid(),
                "started_at": self._started_at.isoformat(timespec="seconds"),
                "ready": self._ready,
                "broker": self._broker,
                "settings": self._settings,
                "write_keys": self._write_keys,
                "console": self._console_link,
                "versions": self._versions,
                "notices": self._notices,
                "processes": {
                    child.name: {
                        "pid": child.pid,
                        "restarts": self._keeper.restarts(child.name),
                        "log": str(child.log),
                    }
                    for child in children
                },
            }
        )


def worker_process(role: str, log: Path | None, environment: dict[str, str]) -> ChildProcess:
    """Describe the worker of a role, as a child process that is not started."""
    return ChildProcess(role, [sys.executable, "-m", "deploy.cli.main", "worker", role], log, environment=environment)


def local_write_keys(settings: Settings, home: LocalHome) -> dict[str, str]:
    """Return a write key for each source by name: the same at each start of this home, and no other home's."""
    try:
        sources = load(settings.sources_file, SourceDefinitions).sources
    except DefinitionError as error:
        raise ServerFailedError(str(error)) from error
    secret = home.secret()
    return {name: f"local-{name}-{sha256(secret + name.encode()).hexdigest()[:12]}" for name in sources}


def address_environment(settings: dict[str, str]) -> dict[str, str]:
    """Turn addresses, named as the fields of `Settings`, into environment variables."""
    return {f"THROUGHLINE_{field.upper()}": value for field, value in settings.items()}


def _optional_workers(settings: Settings) -> tuple[str, ...]:
    """Return the workers that a deployment needs for what it has defined: `export`, if a destination is enabled."""
    try:
        return ("export",) if enabled_destinations(settings) else ()
    except DefinitionError as error:
        raise ServerFailedError(str(error)) from error


def run_workers(settings: Settings) -> None:
    """Run one worker of each role in the foreground until SIGTERM or SIGINT; one that ends is started again."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    fields = ("kafka_bootstrap", "redis_url", "clickhouse_url")
    environment = address_environment({field: getattr(settings, field) for field in fields})
    keeper = Keeper(lambda text: print(f"{_now()} {text}", file=sys.stderr, flush=True))
    workers = [worker_process(role, None, environment) for role in (*WORKERS, *_optional_workers(settings))]
    for worker in workers:
        worker.launch()
        keeper.keep(worker)
    while not stop.wait(_TICK_S):
        keeper.tick()
    stop_all(workers, _STOP_WITHIN_S)


def main() -> None:
    """Run the supervisor of the stack in `THROUGHLINE_HOME`; `throughline up` calls it."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.supervisor", description=main.__doc__)
    parser.add_argument("--broker", choices=get_args(Broker), default="tansu")
    parser.add_argument("--servers-only", action="store_true", help="no topics, no tables, no workers")
    parser.add_argument("--no-workers", action="store_true", help="servers, topics and tables")
    parser.add_argument("--redis-cluster", action="store_true", help="three masters of Redis")
    parser.add_argument("--tell", type=int, metavar="FD", help="file descriptor for JSON lines about the start")
    arguments = parser.parse_args()
    pipe: IO[str] | None = None
    if arguments.tell is not None:
        if os.fork():  # the caller waits for this process alone, not for its child
            os._exit(0)
        pipe = os.fdopen(arguments.tell, "w", encoding="utf-8")
        os.set_inheritable(pipe.fileno(), False)
    report_start = partial(_write_message, pipe)
    here = LocalHome(home())
    try:
        with here.locked():
            Supervisor(
                here,
                broker=arguments.broker,
                provision=not arguments.servers_only,
                workers=() if arguments.servers_only or arguments.no_workers else WORKERS,
                report_start=report_start,
                redis_cluster=arguments.redis_cluster,
            ).run()
    except AlreadyRunningError:
        report_start({"busy": True})
        sys.exit(1)
    except BrokenPipeError:
        sys.exit("the process that started this stack ended before the stack was ready: stopped")
    except Exception as error:  # the process at the other end of the pipe shows it
        report_start({"failed": str(error) or repr(error)})
        if isinstance(error, ServerFailedError):
            sys.exit(str(error))
        raise


def _write_message(pipe: IO[str] | None, message: dict[str, Any]) -> None:
    """Write a message to the process that started this one.

    Raises:
        BrokenPipeError: That process has ended.
    """
    if pipe is None:
        return
    pipe.write(json.dumps(message) + "\n")
    pipe.flush()
    if "step" not in message:
        pipe.close()


def _port_was_taken(error: str) -> bool:
    return "address already in use" in error.lower() or "did not answer" in error


def _now() -> str:
    return f"{text_of_ms(clock_ms())[:19]}Z"


if __name__ == "__main__":
    main()

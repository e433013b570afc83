"""The servers of the local stack, as child processes, and the supervisor that keeps them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from deploy.local.control import StackFailedError, down, up
from deploy.local.kafka import Kafka
from deploy.local.ports import LOOPBACK
from deploy.local.process import python_environment
from deploy.local.server import ServerFailedError
from deploy.local.servers import Servers
from deploy.local.state import LocalHome
from deploy.local.supervisor import local_write_keys
from deploy.settings import Settings
from tests.support.stack import local_stack

pytestmark = pytest.mark.integration


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Servers]:
    """The three servers, in a directory with a space in its name."""
    with local_stack(tmp_path / "a stack") as servers:
        yield servers


@pytest.fixture
def home(tmp_path: Path) -> Iterator[LocalHome]:
    """A home in which a test may start a supervisor; it is stopped afterwards."""
    home = LocalHome(tmp_path / "a home")
    yield home
    if home.running():
        down(home)


def ask_clickhouse(url: str, query: str, user: str = "default") -> str:
    request = urllib.request.Request(f"{url}/?user={user}", data=query.encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode().strip())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.headers["X-ClickHouse-Exception-Code"])


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class TestServers:
    def test_clickhouse_serves_over_http_through_the_private_entry_point(self, local: Servers) -> None:
        assert ask_clickhouse(local.settings["clickhouse_url"], "SELECT 6 * 7") == "42"

    def test_clickhouse_keeps_its_tables_over_kill_9(self, local: Servers) -> None:
        url = local.settings["clickhouse_url"]
        ask_clickhouse(url, "CREATE DATABASE kept")
        ask_clickhouse(url, "CREATE TABLE kept.t (n UInt8) ENGINE MergeTree ORDER BY n")
        ask_clickhouse(url, "INSERT INTO kept.t VALUES (1), (2)")
        local["clickhouse"].kill()
        local["clickhouse"].start()
        assert ask_clickhouse(url, "SELECT sum(n) FROM kept.t") == "3"

    def test_the_analyst_reads_and_writes_nothing(self, local: Servers) -> None:
        url = local.settings["clickhouse_url"]
        assert ask_clickhouse(url, "SELECT 1", user="analyst") == "1"
        assert ask_clickhouse(url, "CREATE DATABASE mine", user="analyst") == "497"  # ACCESS_DENIED

    def test_clickhouse_stops_cleanly_when_asked(self, local: Servers) -> None:
        local["clickhouse"].stop()
        assert local["clickhouse"].exit_code == 0

    def test_valkey_keeps_what_it_acknowledged_over_kill_9(self, local: Servers) -> None:
        with redis.Redis.from_url(local.settings["redis_url"]) as client:
            client.set("acknowledged", "yes")
            local["redis"].kill()
            local["redis"].start()
            assert client.get("acknowledged") == b"yes"

    def test_valkey_refuses_writes_rather_than_evict(self, local: Servers) -> None:
        with redis.Redis.from_url(local.settings["redis_url"], decode_responses=True) as client:
            found = client.config_get("append*", "maxmemory-policy")
        assert {key: found[key] for key in ("appendonly", "appendfsync", "maxmemory-policy")} == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }

    def test_the_broker_answers_clients(self, local: Servers) -> None:
        admin = AdminClient({"bootstrap.servers": local.settings["kafka_bootstrap"], "log_level": 0})
        brokers = admin.list_topics(timeout=5).brokers.values()
        assert [f"{broker.host}:{broker.port}" for broker in brokers] == [local.settings["kafka_bootstrap"]]

    def test_all_listen_on_loopback_alone(self, local: Servers) -> None:
        listening = {
            at.laddr.ip
            for server in local
            for at in psutil.Process(server.pid).net_connections("tcp")
            if at.status == psutil.CONN_LISTEN
        }
        assert listening == {LOOPBACK}

    def test_a_paused_server_answers_again_when_it_is_resumed(self, local: Servers) -> None:
        local["redis"].pause()
        paused = local["redis"].answers()
        local["redis"].resume()
        assert (paused, local["redis"].answers()) == (False, True)

    def test_two_stacks_run_side_by_side(self, local: Servers, tmp_path: Path) -> None:
        with local_stack(tmp_path / "another") as other:
            assert set(local.settings.values()).isdisjoint(other.settings.values())
            assert [server.alive for server in (*local, *other)] == [True] * 6

    async def test_an_async_block_starts_and_ends_them(self, tmp_path: Path) -> None:
        async with Servers(tmp_path, only=("redis",)) as servers:
            assert servers["redis"].answers()
        assert not servers["redis"].alive

    @pytest.mark.parametrize("name", ["kafka", "redis", "clickhouse"])
    def test_a_port_that_another_process_took_is_an_error_that_shows_the_log(self, tmp_path: Path, name: str) -> None:
        servers = Servers(tmp_path, only=(name,))
        with socket.socket() as other:
            other.bind((LOOPBACK, servers[name].port))
            other.listen()
            with pytest.raises(ServerFailedError, match=rf"{name} ended .*The end of .*{name}\.log"):
                servers.start()

    def test_servers_die_with_a_parent_that_is_killed(self, tmp_path: Path) -> None:
        program = (
            "import json, pathlib, signal, sys\n"
            "from deploy.local.servers import Servers\n"
            "servers = Servers(pathlib.Path(sys.argv[1]))\n"
            "servers.start()\n"
            "print(json.dumps([server.pid for server in servers]), flush=True)\n"
            "signal.pause()\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=python_environment()) as parent:
            assert parent.stdout is not None
            pids = json.loads(parent.stdout.readline())
            parent.kill()
        wait_until(lambda: all(map(gone, pids)))


class TestApacheKafka:
    def test_topics_outlive_kill_9(self, kafka_servers: Servers) -> None:
        from confluent_kafka.admin import NewTopic

        admin = AdminClient({"bootstrap.servers": kafka_servers.settings["kafka_bootstrap"], "log_level": 0})
        admin.create_topics([NewTopic("outlives", 3, 1)])["outlives"].result(timeout=10)
        kafka_servers["kafka"].kill()
        kafka_servers["kafka"].start()
        assert len(admin.list_topics("outlives", timeout=10).topics["outlives"].partitions) == 3

    def test_a_missing_java_is_named_with_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ServerFailedError, match="`java` was not found; Apache Kafka needs a Java 17 runtime"):
            Kafka("kafka", tmp_path / "data", tmp_path / "log").start()


class TestSupervisor:
    def start(self, home: LocalHome, **options: Any) -> dict[str, Any]:
        state, started = up(home, broker="tansu", servers_only=True, **options)
        assert started
        return state

    def test_up_leaves_servers_that_answer_and_their_addresses(self, home: LocalHome) -> None:
        state = self.start(home)
        assert ask_clickhouse(state["settings"]["clickhouse_url"], "SELECT 1") == "1"
        assert home.read() == state

    def test_a_second_up_changes_nothing(self, home: LocalHome) -> None:
        first = self.start(home)
        assert up(home, broker="tansu", servers_only=True) == (first, False)

    def test_two_ups_at_once_start_one_stack(self, home: LocalHome) -> None:
        with ThreadPoolExecutor() as pool:
            calls = [pool.submit(up, home, broker="tansu", servers_only=True) for _ in range(2)]
            states, started = zip(*(call.result() for call in calls), strict=True)
        assert states[0] == states[1]
        assert sorted(started) == [False, True]

    def test_down_stops_every_process_and_removes_the_addresses(self, home: LocalHome) -> None:
        state = self.start(home)
        pids = [state["supervisor_pid"], *(process["pid"] for process in state["processes"].values())]
        assert down(home)
        wait_until(lambda: all(map(gone, pids)))
        assert (home.read(), (home.path / "stack.json").exists()) == (None, False)

    def test_data_is_there_after_down_and_up(self, home: LocalHome) -> None:
        with redis.Redis.from_url(self.start(home)["settings"]["redis_url"]) as client:
            client.set("still", "here")
        down(home)
        with redis.Redis.from_url(self.start(home)["settings"]["redis_url"]) as client:
            assert client.get("still") == b"here"

    def test_a_killed_supervisor_takes_its_servers_along_and_up_works_again(self, home: LocalHome) -> None:
        state = self.start(home)
        os.kill(state["supervisor_pid"], signal.SIGKILL)
        wait_until(lambda: all(gone(process["pid"]) for process in state["processes"].values()))
        assert not home.running()
        assert home.read() is None
        assert self.start(home)["supervisor_pid"] != state["supervisor_pid"]

    def test_a_server_that_dies_is_started_again_on_its_port(self, home: LocalHome) -> None:
        state = self.start(home)
        os.kill(state["processes"]["redis"]["pid"], signal.SIGKILL)
        wait_until(lambda: ((home.read() or {})["processes"]["redis"]["restarts"]) == 1)
        with redis.Redis.from_url(state["settings"]["redis_url"]) as client:
            wait_until(lambda: _answers(client))

    def test_a_broker_that_lost_its_log_gets_its_topics_back_and_says_so(self, home: LocalHome) -> None:
        state, _ = up(home, broker="tansu", workers=False)
        admin = AdminClient({"bootstrap.servers": state["settings"]["kafka_bootstrap"], "log_level": 0})
        before = set(admin.list_topics(timeout=5).topics)
        os.kill(state["processes"]["kafka"]["pid"], signal.SIGKILL)
        wait_until(lambda: bool((home.read() or {}).get("notices")))
        assert set(admin.list_topics(timeout=10).topics) == before
        assert "resolved-touchpoints" in before
        assert [notice.partition(" ")[2] for notice in (home.read() or {})["notices"]] == [
            "the broker was restarted and keeps nothing: events that had not been processed are lost"
        ]

    def test_two_homes_run_at_once(self, home: LocalHome, tmp_path: Path) -> None:
        other = LocalHome(tmp_path / "other")
        first, second = self.start(home), self.start(other)
        try:
            assert set(first["settings"].values()).isdisjoint(second["settings"].values())
        finally:
            down(other)

    def test_a_start_that_fails_shows_the_log_of_what_failed_and_leaves_nothing(self, home: LocalHome) -> None:
        (home.path / "data").mkdir(parents=True)
        (home.path / "data" / "redis").mkdir()
        (home.path / "data" / "redis" / "appendonlydir").write_text("a file where Valkey wants a directory")
        with pytest.raises(StackFailedError, match=r"redis ended with exit code 1.*redis\.log"):
            up(home, broker="tansu", servers_only=True)
        wait_until(lambda: not home.running())
        assert not (home.path / "stack.json").exists()


class TestCommands:
    def run(self, home: LocalHome, *words: str, code: int = 0) -> Any:
        """Run `throughline …` on a home; return its JSON, or None when it printed none."""
        # What the environment names would come before what runs in the home.
        inherited = {name: value for name, value in python_environment().items() if not name.startswith("THROUGHLINE_")}
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli.main", *words],
            env={**inherited, "THROUGHLINE_HOME": str(home.path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if "--json" in words else None

    def test_an_unprocessed_record_keeps_drain_waiting_and_shows_in_status(self, home: LocalHome) -> None:
        self.run(home, "up", "--no-workers")
        state = home.read()
        assert state is not None
        idle = self.run(home, "drain", "--timeout", "20", "--json")
        producer = Producer({"bootstrap.servers": state["settings"]["kafka_bootstrap"]})
        producer.produce("touchpoints.web", value=b"{}")
        assert producer.flush(10) == 0
        waiting = self.run(home, "drain", "--timeout", "1", "--json", code=1)
        status = self.run(home, "status", "--json")
        behind = [row for row in status["lag"] if row["records"]]
        assert (idle["drained"], waiting["drained"]) == (True, False)
        assert waiting["lag"] == behind == [{"role": "identify", "topic": "touchpoints.web", "records": 1}]
        assert status["settings"] == state["settings"]
        assert {row["name"]: row["alive"] for row in status["processes"]} == {
            "supervisor": True,
            "kafka": True,
            "redis": True,
            "clickhouse": True,
        }

    def test_kill_9_of_the_collector_refuses_no_connection_and_loses_no_event_of_the_whole_stack(
        self, home: LocalHome
    ) -> None:
        state, _ = up(home, broker="tansu")
        assert {"identify", "profile", "record", "deliver", "collector"} <= set(state["processes"])
        url, key = state["settings"]["collector_url"], state["write_keys"]["server"]
        refusals: list[OSError] = []
        sent = [f"e{number:02}" for number in range(40)]
        for number, event_id in enumerate(sent):
            if number == 20:
                os.kill(state["processes"]["collector"]["pid"], signal.SIGKILL)
            collect(url, key, event_id, refusals)
        assert [] == refusals
        wait_until(lambda: (home.read() or {})["processes"]["collector"]["restarts"] == 1)
        assert self.run(home, "drain", "--json")["drained"]
        counted = "SELECT groupArray(event_id) FROM (SELECT event_id FROM throughline.touchpoints ORDER BY event_id)"
        assert str(sent).replace(" ", "") == ask_clickhouse(state["settings"]["clickhouse_url"], counted)
        assert 401 == status_of(url, key_of_another_home(home.path / "another"))

    def test_down_with_wipe_leaves_no_data(self, home: LocalHome) -> None:
        self.run(home, "up", "--servers-only")
        self.run(home, "down", "--wipe")
        assert (home.running(), [path.name for path in home.path.iterdir()]) == (False, ["stack.lock"])

    def test_an_unknown_broker_is_a_usage_error(self, home: LocalHome) -> None:
        self.run(home, "up", "--broker", "rabbit", code=2)


def post(url: str, key: str, event_id: str) -> int:
    """Post an event on a connection of its own, which the request is the first of; return the status."""
    body = json.dumps({"userId": "u", "event": "Seen", "messageId": event_id, "writeKey": key}).encode()
    with urllib.request.urlopen(f"{url}/v1/track", body, timeout=20) as answer:
        return int(answer.status)


def collect(url: str, key: str, event_id: str, refusals: list[OSError]) -> None:
    """Post an event until it is taken, as an SDK does; connections that are refused are noted."""

    def taken() -> bool:
        try:
            return post(url, key, event_id) == 200
        except OSError as error:  # a request that has begun when the collector is killed breaks off
            if isinstance(getattr(error, "reason", error), ConnectionRefusedError):
                refusals.append(error)
            return False

    wait_until(taken)


def key_of_another_home(path: Path) -> str:
    """Return the key of the same source in another stack."""
    path.mkdir()
    return local_write_keys(Settings(), LocalHome(path))["server"]


def status_of(url: str, key: str) -> int:
    """Return the status of an event with a key."""
    try:
        return post(url, key, "other")
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False

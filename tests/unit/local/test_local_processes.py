"""What the local stack decides without a server: ports, pauses between starts, its files."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import child
from deploy.local.keeper import CALM_AFTER_S, Keeper, pause_s
from deploy.local.ports import LOOPBACK, PortMemory, free_port, is_free, listen
from deploy.local.process import ChildProcess, rotate, tail
from deploy.local.recurring import Recurring
from deploy.local.server import ServerFailedError
from deploy.local.servers import Servers
from deploy.local.state import AlreadyRunningError, LocalHome
from deploy.local.supervisor import Supervisor, local_write_keys
from deploy.settings import Settings, passed_descriptors


class TestPorts:
    def test_the_preferred_port_is_taken_when_it_is_free(self) -> None:
        port = free_port()
        assert free_port(port) == port

    def test_a_port_with_a_listener_is_avoided(self) -> None:
        with socket.socket() as other:
            other.bind((LOOPBACK, 0))
            other.listen()
            port = other.getsockname()[1]
            assert not is_free(port)
            assert free_port(port) != port

    def test_a_port_reserved_for_another_server_is_avoided(self) -> None:
        port = free_port()
        assert free_port(port, taken=[port]) != port

    def test_free_ports_lie_below_those_of_clients(self) -> None:
        assert all(20_000 <= free_port() < 32_768 for _ in range(50))


class TestPortMemory:
    def test_a_stack_keeps_the_ports_that_it_had_to_take(self, tmp_path: Path) -> None:
        memory = PortMemory(tmp_path / "ports.json")
        memory.remember({"clickhouse": 20123, "redis": 6379})
        memory.remember({"redis": 20124})

        assert [20123, 20124, 9092] == [
            PortMemory(tmp_path / "ports.json").preferred(name, standard)
            for name, standard in (("clickhouse", 8123), ("redis", 6379), ("kafka", 9092))
        ]

    def test_the_next_servers_of_a_home_have_the_same_ports(self, tmp_path: Path) -> None:
        memory = PortMemory(tmp_path / "ports.json")
        memory.remember({"redis": (port := free_port())})

        assert port == Servers(tmp_path, standard_ports=True, only=("redis",))["redis"].port
        assert port != Servers(tmp_path, only=("redis",))["redis"].port

    @pytest.mark.parametrize("content", ["", "[]", '{"redis": "x"}', '{"redis": 99999}', '{"redis": true}'])
    def test_a_file_that_makes_no_sense_is_as_none(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "ports.json").write_text(content)

        assert 6379 == PortMemory(tmp_path / "ports.json").preferred("redis", 6379)


class TestListening:
    def test_the_preferred_port_is_held_until_the_socket_is_closed(self) -> None:
        port = free_port()
        with listen(LOOPBACK, port) as listener:
            with listen(LOOPBACK, port) as other:
                ports = listener.getsockname()[1], other.getsockname()[1]
            taken = is_free(port)

        assert (port, False, True) == (ports[0], taken, is_free(port))
        assert 20_000 <= ports[1] < 32_768

    def test_a_host_of_another_machine_is_an_error(self) -> None:
        with pytest.raises(OSError, match="assign requested address"):
            listen("192.0.2.1", 8088)


class FakeChild(ChildProcess):
    """A child that runs or not as the test says."""

    def __init__(self, name: str) -> None:
        super().__init__(name, [], None)
        self.runs = True
        self.failed = True
        self.launches = 0

    @property
    def alive(self) -> bool:
        return self.runs

    @property
    def exit_code(self) -> int | None:
        return None if self.runs else int(self.failed)

    def launch(self) -> None:
        self.launches += 1
        self.runs = True


class TestRecurring:
    def test_a_child_that_ended_is_started_again_after_a_pause_which_is_longer_after_an_error(self) -> None:
        now, child = [100.0], FakeChild("scores")
        child.runs = False
        recurring = Recurring(child, first_s=300, again_s=600, failed_s=3600, clock=lambda: now[0])

        def starts(*times: float) -> list[bool]:
            found = []
            for now[0] in times:
                found.append(recurring.tick())
                child.runs = False
            return found

        failed = starts(399, 400, 3999, 4000)
        child.failed = False
        done = starts(4599, 4600)

        assert ([False, True, False, True], [False, True]) == (failed, done)

    def test_a_child_that_runs_is_not_started(self) -> None:
        child = FakeChild("scores")
        recurring = Recurring(child, first_s=0, again_s=0, failed_s=0)

        assert ([False, False], 0) == ([recurring.tick(), recurring.tick()], child.launches)


class TestProvision:
    @pytest.mark.parametrize(
        ("code", "said"),
        [
            pytest.param(None, "topics and tables took over 180 s\ntopics: 36 created of 36", id="it takes too long"),
            pytest.param(1, "topics: 36 created of 36", id="it fails, and its log says why"),
        ],
    )
    def test_a_start_that_fails_has_a_reason(
        self, code: int | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Provision(FakeChild):
            def __init__(self, name: str, *_: object, **__: object) -> None:
                super().__init__(name)

            def wait(self, timeout_s: float) -> int | None:
                return code

            def kill(self) -> None:
                self.runs = False

            def last_log_lines(self, count: int = 15) -> str:
                return "topics: 36 created of 36"

        monkeypatch.setattr("deploy.local.supervisor.ChildProcess", Provision)
        supervisor = Supervisor(
            LocalHome(tmp_path), broker="tansu", provision=True, workers=(), report_start=lambda _: None
        )
        with pytest.raises(ServerFailedError) as failed:
            supervisor._run_provision()

        assert said == str(failed.value)


class TestKeeper:
    def test_the_pause_doubles_up_to_fifteen_seconds(self) -> None:
        assert [pause_s(failures) for failures in range(1, 9)] == [0.5, 1, 2, 4, 8, 15, 15, 15]

    def test_a_child_that_ends_is_started_after_its_pause_and_not_before(self) -> None:
        now, reports = [100.0], list[str]()
        keeper = Keeper(reports.append, clock=lambda: now[0])
        worker = FakeChild("identify")
        keeper.keep(worker)
        worker.runs = False
        keeper.tick()
        now[0] += 0.4
        keeper.tick()
        before = worker.launches
        now[0] += 0.2
        keeper.tick()
        assert (before, worker.launches, keeper.restarts("identify")) == (0, 1, 1)
        assert reports == ["identify ended with exit code 1; it starts again in 0.5 s"]

    @pytest.mark.parametrize(
        ("lived_s", "pause"),
        [
            pytest.param(1.0, "1", id="soon after its last start"),
            pytest.param(CALM_AFTER_S + 1, "0.5", id="long after"),
        ],
    )
    def test_the_pause_grows_only_for_a_child_that_keeps_ending(self, lived_s: float, pause: str) -> None:
        now, reports = [0.0], list[str]()
        keeper = Keeper(reports.append, clock=lambda: now[0])
        worker = FakeChild("identify")
        keeper.keep(worker)
        for _ in range(2):
            now[0] += lived_s
            worker.runs = False
            keeper.tick()
            now[0] += 15
            keeper.tick()
        assert reports[-1] == f"identify ended with exit code 1; it starts again in {pause} s"

    def test_one_child_that_cannot_start_keeps_no_other_from_it(self) -> None:
        now = [0.0]
        keeper = Keeper(lambda _: None, clock=lambda: now[0])
        broken, fine = FakeChild("broken"), FakeChild("fine")
        keeper.keep(broken, revive=lambda: None)
        keeper.keep(fine)
        broken.runs = fine.runs = False
        keeper.tick()
        now[0] += 1
        keeper.tick()
        assert (broken.alive, fine.alive) == (False, True)


class TestChild:
    def test_it_becomes_the_program_after_the_dashes(self) -> None:
        command = [sys.executable, child.__file__, str(os.getpid()), "--", "echo", "a b", "c"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "a b c\n"

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's death signal is Linux's")
    def test_it_does_not_start_when_its_parent_has_gone_already(self) -> None:
        command = [sys.executable, child.__file__, "1", "--", "echo", "started"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")

    def test_without_a_program_it_says_how_it_is_used(self) -> None:
        done = subprocess.run([sys.executable, child.__file__, "1"], capture_output=True, text=True, check=False)
        assert done.stderr == "usage: child.py PARENT_PID [LISTENER] -- program arguments…\n"

    def test_connections_wait_for_a_child_that_is_started_again_and_takes_them_as_those_of_systemd(self) -> None:
        program = (
            "import os, socket; from deploy.settings import passed_descriptors; "
            "[descriptor] = passed_descriptors(); "
            "socket.socket(fileno=descriptor).accept()[0].sendall(os.environ['LISTEN_FDS'].encode() + b' taken')"
        )
        with listen(LOOPBACK, free_port()) as listener:
            child_process = ChildProcess("child", [sys.executable, "-c", program], None, listener=listener)
            answers = []
            for _ in range(2):
                with socket.create_connection(listener.getsockname(), timeout=20) as waiting:
                    child_process.launch()
                    answers.append(waiting.recv(100))
                child_process.stop()

        assert [b"1 taken"] * 2 == answers

    def test_a_descriptor_that_was_passed_to_another_process_is_not_taken(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LISTEN_FDS", "2")
        monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
        of_another = list(passed_descriptors())
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))

        assert ([], [3, 4]) == (of_another, list(passed_descriptors()))


class TestLogs:
    def test_a_long_log_moves_aside(self, tmp_path: Path) -> None:
        log = tmp_path / "kafka.log"
        log.write_text("eleven bytes")
        rotate(log, above_bytes=11)
        assert [path.name for path in tmp_path.iterdir()] == ["kafka.log.1"]

    def test_a_short_log_stays(self, tmp_path: Path) -> None:
        log = tmp_path / "kafka.log"
        log.write_text("eleven bytes")
        rotate(log, above_bytes=12)
        assert [path.name for path in tmp_path.iterdir()] == ["kafka.log"]

    def test_the_tail_is_the_last_lines(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_text("".join(f"line {n}\n" for n in range(20_000)))
        assert tail(tmp_path / "log", 2) == "line 19998\nline 19999"

    def test_the_tail_of_no_log_is_empty(self, tmp_path: Path) -> None:
        assert tail(tmp_path / "none") == ""


class TestHome:
    def test_what_was_written_is_read_while_the_lock_is_held(self, tmp_path: Path) -> None:
        home = LocalHome(tmp_path / "home")
        with home.locked():
            home.write({"ready": True})
            found = home.read()
        assert (found, home.read()) == ({"ready": True}, None)

    def test_write_keys_are_the_same_at_each_start_of_a_home_and_those_of_no_other(self, tmp_path: Path) -> None:
        first, second = LocalHome(tmp_path / "first"), LocalHome(tmp_path / "second")
        for home in (first, second):
            home.path.mkdir()
        keys = local_write_keys(Settings(), first)

        assert keys == local_write_keys(Settings(), first)
        assert {"web", "app", "server"} <= set(keys)
        assert len(set(keys.values())) == len(keys)
        assert set(keys.values()).isdisjoint(local_write_keys(Settings(), second).values())

    def test_what_names_keys_is_readable_for_its_owner_alone(self, tmp_path: Path) -> None:
        home = LocalHome(tmp_path)
        home.secret()
        home.write({"write_keys": {"web": "key"}})

        assert {"secret": 0o600, "stack.json": 0o600} == {
            path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()
        }

    def test_it_runs_exactly_while_a_process_holds_the_lock(self, tmp_path: Path) -> None:
        home = LocalHome(tmp_path)
        before = home.running()
        with home.locked():
            during = home.running()
        assert (before, during, home.running()) == (False, True, False)

    def test_a_second_holder_is_refused(self, tmp_path: Path) -> None:
        home = LocalHome(tmp_path)
        with (
            home.locked(),
            pytest.raises(AlreadyRunningError, match="a stack already runs in"),
            LocalHome(tmp_path).locked(),
        ):
            pass

    def test_wiping_removes_the_stack_s_own_files_alone(self, tmp_path: Path) -> None:
        home = LocalHome(tmp_path)
        for name in ("data", "logs", "mine"):
            (tmp_path / name).mkdir()
        home.write({})
        home.secret()
        home.wipe()
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

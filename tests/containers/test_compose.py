"""The unchanged compose.yaml on a real engine, under load: upgrade, scale, restarts, down and up; nothing is missing.

The tests of this file are one story, in their order, about one deployment.
"""

from __future__ import annotations

import io
import json
import socket
import subprocess
import tarfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.containers.engine import ROOT, Engine
from tests.containers.producers import WRITE_KEY, Producers, event

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

COMPOSE = ROOT / "deploy/compose.yaml"
SERVICES = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
CORE = {name: service for name, service in SERVICES.items() if "profiles" not in service}
LASTING = [name for name, service in CORE.items() if service["restart"] == "unless-stopped"]
PASSWORD = "password-of-the-stores"
COLLECTOR, KAFKA, CLICKHOUSE = "http://127.0.0.1:8088", "127.0.0.1:9092", "http://127.0.0.1:8123"
PORTS = (8088, 9092, 6379, 8123)
HEALTHY_WITHIN_S = 400
PUBLISHED_AT_ONCE = 500


class Deployment:
    """The project `throughline` of Compose, with the secrets of `env.example` filled in.

    Attributes:
        published: The ids of events that `throughline publish` has sent.
    """

    def __init__(self, engine: Engine, secrets: Path) -> None:
        self._engine = engine
        self._secrets = secrets
        self.published: set[str] = set()

    def compose(self, *arguments: str, file: Path = COMPOSE, timeout_s: float = 600, text: str | None = None) -> str:
        """Run `docker compose`, and print how long it took; returns standard output."""
        started = time.monotonic()
        out = self._run(*arguments, file=file, timeout_s=timeout_s, text=text)
        print(f"{time.monotonic() - started:6.1f} s  docker compose {' '.join(arguments)}", flush=True)
        return out

    def _run(self, *arguments: str, file: Path = COMPOSE, timeout_s: float = 600, text: str | None = None) -> str:
        command = ("compose", "--file", str(file), "--env-file", str(self._secrets), "--progress", "plain")
        return self._engine.run(*command, *arguments, timeout_s=timeout_s, text=text).stdout

    def up(self, *options: str, file: Path = COMPOSE) -> None:
        """Bring all up, and wait until all are healthy."""
        self.compose("up", "--detach", "--wait", *options, file=file, timeout_s=900)

    def wait_until_healthy(self, **replicas: int) -> None:
        """Wait until each service has its healthy containers: one, or as many as are named."""
        expected = dict.fromkeys(LASTING, 1) | replicas
        started = time.monotonic()
        while (found := self.healthy()) != expected:
            assert time.monotonic() - started < HEALTHY_WITHIN_S, f"healthy: {found}"
            time.sleep(2)
        print(f"{time.monotonic() - started:6.1f} s  until all are healthy", flush=True)

    def throughline(self, *arguments: str, text: str | None = None) -> str:
        """Run a command in an identify worker."""
        return self.compose("exec", "-T", "identify", "throughline", *arguments, text=text)

    def publish(self) -> None:
        """Publish some more events by `throughline publish`."""
        first = len(self.published)
        events = [event("publisher", number) for number in range(first, first + PUBLISHED_AT_ONCE)]
        self.throughline("publish", "-", text="\n".join(map(json.dumps, events)))
        self.published |= {one["event_id"] for one in events}

    def ask(self, query: str) -> list[str]:
        """Ask ClickHouse as the analyst over HTTP; returns lines."""
        parameters = urllib.parse.urlencode({"user": "analyst", "password": PASSWORD, "query": query})
        with urllib.request.urlopen(f"{CLICKHOUSE}/?{parameters}", timeout=60) as answer:
            return str(answer.read().decode()).splitlines()

    def healthy(self) -> dict[str, int]:
        """How many healthy containers each service has."""
        shown = self._run("ps", "--format", "json").splitlines()
        healthy = [one["Service"] for one in map(json.loads, shown) if one["Health"] == "healthy"]
        return {name: healthy.count(name) for name in LASTING}


def is_free(port: int) -> bool:
    """Tell whether nothing listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def deployment(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    deadline = time.monotonic() + 180
    while taken := [port for port in PORTS if not is_free(port)]:
        if time.monotonic() > deadline:
            pytest.fail(f"compose.yaml publishes the ports {taken}, which something else uses")
        time.sleep(1)
    secrets = tmp_path_factory.mktemp("deployment") / "env"
    names = [line[:-1] for line in (ROOT / "deploy/env.example").read_text("utf-8").splitlines() if line.endswith("=")]
    secrets.write_text("".join(
        f"{name}={f'server={WRITE_KEY}' if name == 'THROUGHLINE_WRITE_KEYS' else PASSWORD}\n" for name in names
    ))  # fmt: skip
    found = Deployment(engine, secrets)
    found.compose("down", "--volumes", "--remove-orphans")
    try:
        yield found
    finally:
        print(found.compose("logs", "--tail", "15", "--no-color")[-12_000:])
        found.compose("down", "--volumes", "--remove-orphans", "--timeout", "20")


@pytest.fixture(scope="module")
def producers(deployment: Deployment) -> Iterator[Producers]:
    with Producers(COLLECTOR, KAFKA) as started:
        yield started


def tree_before(target: Path) -> Path | None:
    """Write the files of the commit before into `target`; None where this is no checkout with one."""
    archived = subprocess.run(["git", "archive", "HEAD~1"], cwd=ROOT, capture_output=True, check=False)
    if archived.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
        archive.extractall(target, filter="data")
    return target


def test_the_commit_before_is_up(deployment: Deployment, tmp_path: Path) -> None:
    before = tree_before(tmp_path)
    if before is None:
        pytest.skip("no upgrade is tested: this is no git checkout with a commit before")

    try:
        deployment.up("--build", file=before / "deploy/compose.yaml")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        deployment.compose("down", "--volumes", "--remove-orphans")
        pytest.skip(f"no upgrade is tested: the commit before does not come up: {error}")
    deployment.publish()


def test_the_upgrade_takes_place_under_load(deployment: Deployment, request: pytest.FixtureRequest) -> None:
    if deployment.published:
        request.getfixturevalue("producers")

    deployment.up("--build")
    deployment.publish()

    assert dict.fromkeys(LASTING, 1) == deployment.healthy()


def test_identify_and_profile_scale_to_three(deployment: Deployment, producers: Producers) -> None:
    # Without --wait, which fails at once where a container is unhealthy; a rebalance may take a loaded machine so long.
    deployment.compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "identify=3", "--scale", "profile=3")
    deployment.wait_until_healthy(identify=3, profile=3)
    deployment.publish()

    assert "" == producers.problem


def test_every_service_is_restarted_under_load(deployment: Deployment, producers: Producers) -> None:
    for service in LASTING:
        deployment.compose("restart", service)
    deployment.wait_until_healthy(identify=3, profile=3)
    deployment.publish()

    assert "" == producers.problem


def test_data_are_there_after_down_and_up(deployment: Deployment, producers: Producers) -> None:
    deadline = time.monotonic() + HEALTHY_WITHIN_S  # no `drain`: producers send all the while
    while not deployment.published <= (before := stored(deployment)):
        assert time.monotonic() < deadline, f"{len(deployment.published - before)} published events are not stored"
        time.sleep(2)
    deployment.compose("down", "--timeout", "60")
    deployment.up("--no-build")
    deployment.publish()

    assert before
    assert set() == before - stored(deployment)


def test_nothing_is_missing_and_nothing_is_invented(deployment: Deployment, producers: Producers) -> None:
    producers.stop()
    assert "" == producers.problem
    acknowledged = set().union(deployment.published, *producers.acknowledged.values())
    deployment.throughline("drain", "--timeout", "300")
    account = json.loads(deployment.throughline("accounting", "--json"))
    print(json.dumps({name: account[name] for name in ("received", "stored", "duplicate", "difference", "missing")}))

    assert {"kafka-client", "server"} == {name for name, ids in producers.acknowledged.items() if len(ids) > 100}
    assert (0, 0) == (account["difference"], account["missing"])
    found = stored(deployment)
    assert (set(), set()) == (found - acknowledged, acknowledged - found)


def stored(deployment: Deployment) -> set[str]:
    """The ids of all events in ClickHouse."""
    return set(deployment.ask("SELECT event_id FROM throughline.touchpoints"))

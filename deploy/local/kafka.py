"""Apache Kafka as one KRaft node, from the jars of Maven Central: no Docker and no tarball.

It starts more slowly than Tansu (some 5 s), needs more memory (some 400 MB), and keeps its log on disk: the broker for
tests of restarts and rebalances, and for a last check before production.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from deploy.local.broker import speaks_kafka
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.process import ROOT
from deploy.local.server import Server, ServerFailedError

VERSION = "4.1.2"
_COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>throughline</groupId><artifactId>kafka</artifactId><version>{VERSION}</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
_CLUSTER_ID = "dGhyb3VnaGxpbmUtbG9jYQ"  # any 16 bytes in base64url: "throughline-loca"


class Kafka(Server):
    """One Apache Kafka node, broker and controller, on loopback.

    Args:
        name: As for `Server`, like `data`, `log` and `port`.
        data: Its directory.
        log: Its log.
        port: That of its listener without TLS and users.
        properties: Further properties, which win over its own.
    """

    standard_port: ClassVar[int] = 9092
    setting: ClassVar[str] = "kafka_bootstrap"
    ready_within_s: ClassVar[float] = 60.0

    def __init__(
        self,
        name: str,
        data: Path,
        log: Path,
        port: int | None = None,
        *,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, data, log, port)
        self.properties = dict(properties or {})
        self.controller_port = free_port(taken=[self.port])

    @property
    def address(self) -> str:
        """The bootstrap server."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Write `server.properties` and format the log directory, once."""
        properties = self.data / "server.properties"
        properties.write_text(
            "\n".join(f"{key}={value}" for key, value in self._properties().items()) + "\n", encoding="utf-8"
        )
        java = [_tool("java"), "-cp", str(jars() / "*"), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        if not (self.data / "log" / "meta.properties").exists():
            storage = [*java, "-Xmx128m", "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool"]
            _run(
                [*storage, "format", "--cluster-id", _CLUSTER_ID, "--config", str(properties)],
                "format the log directory",
            )
        self.command = [*java, "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "kafka.Kafka", str(properties)]

    def answers(self) -> bool:
        """Ask for the API versions. The port opens only once the broker is registered and unfenced."""
        return speaks_kafka(self.port)

    def version(self) -> str:
        """Return the version of the jars."""
        return f"Apache Kafka {VERSION}"

    def _properties(self) -> dict[str, str]:
        controller = f"{LOOPBACK}:{self.controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": str(self.data / "log"),
            "auto.create.topics.enable": "false",  # a misspelt topic is an error, here as in production
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # After kill -9 the node waits until the session of its former process has expired: 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            **self.properties,
        }


def jars() -> Path:
    """Return the directory of Kafka's jars; the first call fetches 45 MB through Maven.

    Raises:
        ServerFailedError: Java or Maven is missing, or Maven could not fetch them.
    """
    cache = _cache()
    found = cache / f"kafka-{VERSION}"
    if found.exists():
        return found
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetch-") as scratch:
        Path(scratch, "pom.xml").write_text(_POM, "utf-8")
        fetched = Path(scratch, "jars")
        maven = [_tool("mvn"), "--quiet", "--batch-mode", "--file", str(Path(scratch, "pom.xml")), _COPY_DEPENDENCIES]
        _run([*maven, f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"], "fetch Apache Kafka's jars with Maven")
        try:
            fetched.rename(found)
        except OSError:
            if not found.exists():  # another process fetched them first
                raise
    return found


def missing_tools() -> str:
    """Return which of Java and Maven is not installed; empty when both are."""
    return " and ".join(tool for tool in ("java", "mvn") if shutil.which(tool) is None)


def _cache() -> Path:
    from deploy.home import home

    checkout = (ROOT / "pyproject.toml").exists() and os.access(ROOT, os.W_OK)
    return ROOT / ".kafka" if checkout else home() / "kafka-jars"


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        package = {"java": "a Java 17 runtime (Debian: openjdk-17-jre-headless)", "mvn": "Maven (Debian: maven)"}[name]
        raise ServerFailedError(
            f"`{name}` was not found; Apache Kafka needs {package}. The broker `tansu` needs neither."
        )
    return found


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise ServerFailedError(f"could not {what}:\n{done.stdout.strip()[-2000:]}")


def main() -> None:
    """Run Kafka in the foreground until Ctrl-C or SIGTERM, on port 9092 if that is free."""
    import signal
    import sys

    from deploy.home import home

    signals = {signal.SIGINT, signal.SIGTERM}
    data, log = home() / "data" / "apache-kafka", home() / "logs" / "apache-kafka.log"
    kafka = Kafka("kafka", data, log, free_port(Kafka.standard_port))
    try:
        print(f"Starting {kafka.version()}; its log is {log}", file=sys.stderr, flush=True)
        kafka.start()
        print(f"THROUGHLINE_KAFKA_BOOTSTRAP={kafka.address}", flush=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        while kafka.alive and signal.sigtimedwait(signals, 0.5) is None:
            pass
        if not kafka.alive:
            sys.exit(f"Kafka ended with exit code {kafka.exit_code}:\n{kafka.last_log_lines()}")
    except ServerFailedError as error:
        sys.exit(str(error))
    finally:
        kafka.stop()


if __name__ == "__main__":
    main()

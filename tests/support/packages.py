"""Clients of other languages as they come: packages of npm and Maven Central, fetched once for a run of the tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.stack import unavailable

_COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def npm_packages(target: Path, *packages: str) -> Path:
    """Install packages of npm below `target` and return their folder `node_modules`."""
    npm = _tool("npm")
    target.mkdir(parents=True, exist_ok=True)
    _run([npm, "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
          "--prefix", str(target), *packages], target)  # fmt: skip
    return target / "node_modules"


def java_packages(target: Path, *artifacts: str) -> Path:
    """Fetch artifacts, `group:artifact:version`, and what they need; return the folder of the jars."""
    _tool("java")
    target.mkdir(parents=True, exist_ok=True)
    wanted = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        for group, name, version in (artifact.split(":") for artifact in artifacts)
    )
    pom = target / "pom.xml"
    pom.write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>throughline</groupId>'
        "<artifactId>clients</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{wanted}</dependencies></project>",
        "utf-8",
    )
    jars = target / "jars"
    _run([_tool("mvn"), "--quiet", "--batch-mode", "--file", str(pom), _COPY_DEPENDENCIES,
          f"-DoutputDirectory={jars}", "-DincludeScope=runtime"], target)  # fmt: skip
    return jars


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        unavailable(f"`{name}` is not installed, and real clients need it")
    return found


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False
    )  # fmt: skip
    if done.returncode != 0:
        unavailable(f"{command[0]} cannot fetch packages: {done.stdout[-1000:]}")

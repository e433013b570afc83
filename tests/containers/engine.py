"""A Docker engine for the tests of containers: the one that answers, or one that is started here and stopped again.

Debian 12's own engine is too old for `start_interval` of health checks (25 is needed), so Debian 13's packages are
installed there; they run on Debian 12's libraries. Needs root. The engine's images stay in `.engine`, for the next run.

    python -m tests.containers.engine     # starts one, makes the images, prints DOCKER_HOST, waits for Ctrl-C
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.local.process import ChildProcess
from tests.support.stack import docker_answers

ROOT = Path(__file__).parents[2]
DATA = ROOT / ".engine"
OLDEST_ENGINE = 25
PACKAGES = ("docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd")
TOOLS = ("mmdebstrap", "iptables", "python3")
_DEBIAN_12, _DEBIAN_13 = "bookworm", "trixie"
_READY_S = 60


class NoEngineError(RuntimeError):
    """No Docker engine answers; the message says why none was started."""


class NotHereError(NoEngineError):
    """This machine cannot run an engine: no root, no right to make namespaces, not Debian."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers.

    Attributes:
        docker: The client, one that has the plugin `compose`.
        environment: In which the client finds the engine.
        ours: Whether it was started here: then it pulls nothing, and has images made of packages.
    """

    docker: str
    environment: Mapping[str, str]
    ours: bool

    def run(
        self, *arguments: str | Path, timeout_s: float = 600, text: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the client; an AssertionError has what it printed.

        Args:
            arguments: Of `docker`.
            timeout_s: Longest time, in seconds.
            text: Standard input.
            check: Whether an exit code other than 0 is an error.
        """
        done = subprocess.run(
            [self.docker, *map(str, arguments)],
            env=dict(self.environment), cwd=ROOT, input=text, timeout=timeout_s,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = f"docker {' '.join(map(str, arguments))}: {done.returncode}\n{(done.stdout + done.stderr)[-6000:]}"
        assert done.returncode == 0 or not check, said
        return done


@contextmanager
def engine() -> Iterator[Engine]:
    """Find an engine, or run one.

    Raises:
        NotHereError: None answers, and this machine cannot run one.
        NoEngineError: None answers, and starting one failed.
    """
    if docker_answers():
        docker = _client()
        if docker is None:
            raise NoEngineError("a Docker engine answers, but no `docker` has the plugin `compose`")
        yield _checked(Engine(docker, dict(os.environ), ours=False))
        return
    _check_machine()
    if _client() is None or not all(map(shutil.which, ("dockerd", "containerd", "mmdebstrap", "iptables"))):
        _install()
    docker = _client()
    if docker is None:
        raise NoEngineError("no `docker` has the plugin `compose`, though the packages are installed")
    # Sockets have a short path of their own: 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="engine-") as directory, _running(Path(directory)) as host:
        yield _checked(Engine(docker, {**os.environ, "DOCKER_HOST": host}, ours=True))


def _client() -> str | None:
    """Return the first `docker` that has the plugin `compose`."""
    for directory in [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin"]:
        docker = Path(directory, "docker")
        if os.access(docker, os.X_OK):
            asked = subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
            if asked.returncode == 0:
                return str(docker)
    return None


def _checked(found: Engine) -> Engine:
    version = found.run("version", "--format", "{{.Server.Version}}").stdout.strip()
    if int(version.partition(".")[0]) < OLDEST_ENGINE:
        raise NoEngineError(f"the Docker engine has version {version}: compose.yaml needs {OLDEST_ENGINE} or newer")
    return found


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise NotHereError("no Docker engine answers, and only root can start one")
    if shutil.which("apt-get") is None or _release() not in (_DEBIAN_12, _DEBIAN_13):
        raise NotHereError("no Docker engine answers, and only on Debian 12 or 13 one can be installed here")
    namespaces = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if namespaces.returncode:
        raise NotHereError(f"no Docker engine answers, and none can run here: {namespaces.stderr.strip()}")


def _release() -> str:
    with suppress(OSError):
        found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text("utf-8"), re.MULTILINE)
        return found[1] if found else ""
    return ""


def _install() -> None:
    """Install the engine, its client with both plugins, and what makes the base images."""
    print(f"Installing {', '.join((*PACKAGES, *TOOLS))} …", file=sys.stderr, flush=True)
    _apt("update")
    if _release() == _DEBIAN_13:
        _apt("install", *PACKAGES, *TOOLS)
        return
    with tempfile.TemporaryDirectory(prefix="debian-13-") as scratch:
        # apt of its own, so that nothing else of this machine is upgraded.
        place = Path(scratch)
        place.chmod(0o755)
        for part in ("sources", "lists/partial", "cache/archives/partial", "packages"):
            (place / part).mkdir(parents=True)
        (place / "sources/debian-13.sources").write_text(
            f"Types: deb\nURIs: {debian_mirror()}\nSuites: {_DEBIAN_13}\nComponents: main\n"
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        )
        (place / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{place}/sources";\n'
            f'Dir::State::lists "{place}/lists";\nDir::Cache "{place}/cache";\nAPT::Sandbox::User "root";\n'
        )
        own = {"APT_CONFIG": str(place / "apt.conf")}
        _apt("update", environment=own)
        _apt("download", *PACKAGES, environment=own, directory=place / "packages")
        _apt("install", *TOOLS, *map(str, (place / "packages").glob("*.deb")))


def debian_mirror() -> str:
    """Return where this machine has Debian's packages from."""
    deb822 = Path("/etc/apt/sources.list.d/debian.sources")
    lines = deb822.read_text("utf-8") if deb822.exists() else Path("/etc/apt/sources.list").read_text("utf-8")
    found = re.search(r"^(?:URIs:|deb(?: \[.*\])?) *(http\S+)", lines, re.MULTILINE)
    return found[1] if found else "http://deb.debian.org/debian"


def _apt(
    command: str, *packages: str, environment: Mapping[str, str] | None = None, directory: Path | None = None
) -> None:
    options = ["--no-install-recommends", "--yes"] if command == "install" else []
    done = subprocess.run(
        ["apt-get", "--quiet", "--quiet", "--option", "DPkg::Lock::Timeout=300", command, *options, *packages],
        # Run level 1: the package's own service is not started, where an init system of the old kind would do so.
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", **(environment or {})},
        cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise NoEngineError(f"apt-get {command} failed:\n{done.stdout[-2000:]}")


@contextmanager
def _running(directory: Path) -> Iterator[str]:
    """Run containerd and dockerd with sockets in `directory` and data in `.engine`; yields the engine's address."""
    DATA.mkdir(exist_ok=True)
    address = directory / "containerd.sock"
    configuration = directory / "containerd.toml"
    configuration.write_text(
        f'version = 2\nroot = "{DATA}/containerd"\nstate = "{directory}/containerd"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{address}"\n'
    )
    containerd = ChildProcess("containerd", ["containerd", "--config", str(configuration)], DATA / "containerd.log")
    host = f"unix://{directory}/docker.sock"
    runtime = Path(__file__).with_name("capped_runc.py")
    dockerd = ChildProcess(
        "dockerd",
        ["dockerd", "--containerd", str(address), "--data-root", str(DATA / "docker"),
         "--exec-root", str(directory / "docker"), "--pidfile", str(directory / "docker.pid"), "--host", host,
         "--add-runtime", f"capped={runtime}", "--default-runtime", "capped",
         "--mtu", "1400"],  # smaller than that of any network that the machine may be on
        DATA / "dockerd.log",
    )  # fmt: skip
    try:
        containerd.launch()
        _wait(containerd, ["ctr", "--address", str(address), "version"])
        dockerd.launch()
        _wait(dockerd, ["docker", "--host", host, "version"])
        yield host
    finally:
        dockerd.stop(timeout_s=60)
        containerd.stop(timeout_s=20)


def _wait(process: ChildProcess, question: list[str]) -> None:
    deadline = time.monotonic() + _READY_S
    while subprocess.run(question, capture_output=True, check=False).returncode:
        if not process.alive or time.monotonic() > deadline:
            raise NoEngineError(f"{process.name} did not start. The end of its log:\n{process.last_log_lines()}")
        time.sleep(0.2)


def main() -> None:
    """Run an engine with the base images in the foreground, until Ctrl-C or SIGTERM."""
    import signal

    from tests.containers.images import make_images

    signals = {signal.SIGINT, signal.SIGTERM}
    with engine() as found:
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        if found.ours:
            make_images(found)
        print(f"export DOCKER_HOST={found.environment.get('DOCKER_HOST', '')}", flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()

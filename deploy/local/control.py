"""Starts and stops the supervisor of a home, and reports the progress of a start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from deploy.local.process import python_environment, rotate, tail
from deploy.local.servers import Broker
from deploy.local.state import LocalHome

_START_WITHIN_S = 420.0  # Apache Kafka's first start fetches it; tables and workers have three minutes each
_STOP_WITHIN_S = 45.0


class StackFailedError(RuntimeError):
    """The stack did not start or stop; the message holds the reason and the last lines of the log concerned."""


def up(
    home: LocalHome,
    *,
    broker: Broker,
    servers_only: bool = False,
    workers: bool = True,
    redis_cluster: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, Any], bool]:
    """Start the stack of a home, unless it runs.

    Args:
        home: The home of the stack.
        broker: The Kafka broker to run.
        servers_only: No topics, no tables, no workers.
        workers: Run the workers.
        redis_cluster: Have Redis be a cluster of three masters.
        progress: Called with the name of each step.

    Returns:
        The content of `stack.json`, and whether this call started the stack.

    Raises:
        StackFailedError: The stack did not start.
    """
    home.logs.mkdir(parents=True, exist_ok=True)
    rotate(home.log("supervisor"))
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "deploy.local.supervisor", "--broker", broker, "--tell", str(writing)]
    command += ["--servers-only"] if servers_only else []
    command += ["--redis-cluster"] if redis_cluster else []
    command += [] if workers else ["--no-workers"]
    with home.log("supervisor").open("ab") as log:
        subprocess.run(  # it forks; the child process goes on
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[writing],
            env={**python_environment(), "THROUGHLINE_HOME": str(home.path)},
            start_new_session=True,
            check=False,
        )
    os.close(writing)
    match _follow(reading, progress):  # on Ctrl-C the pipe closes, and the supervisor stops what it began
        case {"ready": True}:
            return _state(home), True
        case {"busy": True}:
            return _wait_for_other(home, progress), False
        case {"failed": reason}:
            raise StackFailedError(str(reason))
    raise StackFailedError(
        f"the supervisor ended. The end of {home.log('supervisor')}:\n{tail(home.log('supervisor'))}"
    )


def down(home: LocalHome) -> bool:
    """Stop the stack of a home and return when it has ended; False when none ran.

    Raises:
        StackFailedError: It has not ended within 45 seconds and a SIGKILL.
    """
    state = home.read()
    if state is None and not home.running():
        home.forget()
        return False
    if state is None:
        raise StackFailedError(f"the stack in {home.path} is just starting or stopping; try again in a moment")
    pid = int(state["supervisor_pid"])
    for number, seconds in ((signal.SIGTERM, _STOP_WITHIN_S), (signal.SIGKILL, 5.0)):
        os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not home.running():
                home.forget()
                return True
            time.sleep(0.05)
    raise StackFailedError(f"the supervisor, process {pid}, does not end")


def _follow(reading: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Read the supervisor's messages up to the result of the start; empty if it ended without a result."""
    with os.fdopen(reading, encoding="utf-8") as pipe:
        for line in pipe:
            message: dict[str, Any] = json.loads(line)
            if "step" not in message:
                return message
            progress(str(message["step"]))
    return {}


def _wait_for_other(home: LocalHome, progress: Callable[[str], None]) -> dict[str, Any]:
    """Wait until the stack that another process starts, or has started, is ready."""
    deadline = time.monotonic() + _START_WITHIN_S
    while home.running():
        state = home.read()
        if state is not None and state["ready"]:
            return state
        if time.monotonic() > deadline:
            raise StackFailedError(f"another `throughline up` has not finished for {_START_WITHIN_S:g} s")
        progress("waiting for another `throughline up`")
        time.sleep(0.1)
    raise StackFailedError(f"another `throughline up` failed; see {home.log('supervisor')}")


def _state(home: LocalHome) -> dict[str, Any]:
    state = home.read()
    if state is None:
        raise StackFailedError(
            f"the stack ended right after its start. The end of its log:\n{tail(home.log('supervisor'))}"
        )
    return state

"""Starts a program that ends with its parent: `python child.py PARENT_PID [LISTENER] -- program arguments…`.

Linux sends SIGKILL to the program the moment its parent is gone, even when the parent was killed with `kill -9` and
could clean up nothing. Elsewhere the program starts without that guarantee. LISTENER is the descriptor of a socket that
the program is to take connections from. Standard library alone: this file runs by its path, before the project can be
imported.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_FIRST_PASSED_DESCRIPTOR = 3


def die_with(parent: int) -> None:
    """Have the kernel kill this process, and the program it becomes, when `parent` ends; exit if it has ended."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended before the request was in place
        sys.exit(1)


def pass_listener(descriptor: int) -> None:
    """Hand a listening socket to the program as systemd does: descriptor 3, `LISTEN_FDS` and `LISTEN_PID`."""
    if descriptor != _FIRST_PASSED_DESCRIPTOR:
        os.dup2(descriptor, _FIRST_PASSED_DESCRIPTOR)
        os.close(descriptor)
    os.environ["LISTEN_FDS"] = "1"
    os.environ["LISTEN_PID"] = str(os.getpid())


def main(arguments: list[str]) -> None:
    """Replace this process by the program named after `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, program = arguments[:end], arguments[end + 1 :]
    if len(options) not in (1, 2) or not program:
        sys.exit("usage: child.py PARENT_PID [LISTENER] -- program arguments…")
    die_with(int(options[0]))
    for listener in options[1:]:
        pass_listener(int(listener))
    os.execvp(program[0], program)  # noqa: S606  (no shell is the point)


if __name__ == "__main__":
    main(sys.argv[1:])

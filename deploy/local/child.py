"""Starts a program that ends with its parent: `python child.py PARENT_PID -- program arguments…`.

Linux sends SIGKILL to the program the moment its parent is gone, even when the parent was killed with `kill -9` and
could clean up nothing. Elsewhere the program starts without that guarantee. Standard library alone: this file runs
by its path, before the project can be imported.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the kernel kill this process, and the program it becomes, when `parent` ends; exit if it has ended."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended before the request was in place
        sys.exit(1)


def main(arguments: list[str]) -> None:
    """Replace this process by the program named after `--`."""
    if len(arguments) < 3 or arguments[1] != "--":
        sys.exit("usage: child.py PARENT_PID -- program arguments…")
    die_with(int(arguments[0]))
    os.execvp(arguments[2], arguments[2:])  # noqa: S606  (no shell is the point)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Input and output streams of commands that handle many events: files, standard input and output, a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from deploy.cli.output import fail

if TYPE_CHECKING:
    from deploy.operations.publish import Progress


@contextmanager
def reading(name: str) -> Iterator[tuple[Iterator[bytes], int | None]]:
    """Open a file, or standard input for `-`, as its lines and its size in bytes; None where the size is unknown."""
    if name == "-":
        yield iter(sys.stdin.buffer), None
        return
    path = Path(name)
    if not path.is_file():
        fail(f"{name}: there is no such file", 2)
    with path.open("rb", buffering=1 << 20) as stream:
        yield iter(stream), path.stat().st_size or None


@contextmanager
def writing(name: str) -> Iterator[BinaryIO]:
    """Open a file for writing, or standard output for `-`."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with Path(name).open("wb", buffering=1 << 20) as stream:
            yield stream
    except OSError as error:
        fail(f"{name}: cannot be written: {error.strerror}")


@contextmanager
def progress_bar(title: str, size: int | None) -> Iterator[Progress]:
    """Show events, events a second and, where the size is known, the time left; on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TextColumn("{task.fields[speed]:,.0f}/s"),
        TimeElapsedColumn() if size is None else TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=size, events=0, speed=0.0)

        def progress(events: int, handled: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            bar.update(task, completed=handled, events=events, speed=events / elapsed if elapsed else 0.0)

        yield progress

"""Patience: a store that is down is waited for, with growing pauses, for as long as it takes.

Nothing is acknowledged meanwhile, so nothing is lost; consumer lag and the log show what is being waited for.
"""

from __future__ import annotations

import functools
import inspect
import logging
from typing import Any, TypeVar, cast

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never, wait_random_exponential

log = logging.getLogger(__name__)
Port = TypeVar("Port")


class _Patient:
    def __init__(self, port: object, down: tuple[type[BaseException], ...], longest_pause_s: float) -> None:
        self._port = port
        self._down = down
        self._longest_pause_s = longest_pause_s

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not inspect.iscoroutinefunction(found):
            return found

        @functools.wraps(found)
        async def until_it_works(*args: Any, **kwargs: Any) -> Any:
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(self._down),
                wait=wait_random_exponential(multiplier=0.1, max=self._longest_pause_s),
                stop=stop_never,
                before_sleep=functools.partial(_tell, f"{type(self._port).__name__}.{name}"),
            )
            return await retrying(found, *args, **kwargs)

        setattr(self, name, until_it_works)  # look it up once
        return until_it_works


def _tell(what: str, state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0.0
    log.warning("%s is waiting: try %d failed, next in %.1f s: %r", what, state.attempt_number, pause, error)


def patient(port: Port, *, down: tuple[type[BaseException], ...], longest_pause_s: float) -> Port:
    """Wrap a port so that each of its coroutine methods is tried until the other side answers.

    Args:
        port: Any object with coroutine methods that are safe to repeat.
        down: Exceptions that mean "not reachable now"; any other goes through at once.
        longest_pause_s: Cap of the growing pause between two tries, in seconds.
    """
    return cast(Port, _Patient(port, down, longest_pause_s))

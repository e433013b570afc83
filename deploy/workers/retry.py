"""Retries calls to a store that is down, without limit, with capped exponential backoff.

A record is acknowledged only after its stores have answered, so waiting loses nothing. Consumer lag and a log line
for each try show the outage.
"""

from __future__ import annotations

import functools
import inspect
import logging
from typing import Any, TypeVar, cast

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_never, wait_random_exponential

from deploy.connections.faults import explain, is_denied
from schemas.metrics import NO_METER, RETRIES, Meter

log = logging.getLogger(__name__)
Port = TypeVar("Port")


class _RetryingPort:
    def __init__(
        self, port: object, down: tuple[type[BaseException], ...], longest_pause_s: float, meter: Meter
    ) -> None:
        self._port = port
        self._store = _store(port)
        self._meter = meter
        self._down = down
        self._longest_pause_s = longest_pause_s

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not inspect.iscoroutinefunction(found):
            return found

        @functools.wraps(found)
        async def retried(*args: Any, **kwargs: Any) -> Any:
            retrying = AsyncRetrying(
                retry=retry_if_exception(self._may_pass),
                wait=wait_random_exponential(multiplier=0.1, max=self._longest_pause_s),
                stop=stop_never,
                before_sleep=functools.partial(
                    _log_retry, f"{type(self._port).__name__}.{name}", self._store, self._meter
                ),
            )
            return await retrying(found, *args, **kwargs)

        setattr(self, name, retried)  # the next access does not come here
        return retried

    def _may_pass(self, error: BaseException) -> bool:
        """Return whether a retry may help: the store is down, or its operator has yet to grant a right."""
        return isinstance(error, self._down) or (self._store == "redis" and is_denied(error))


def _store(port: object) -> str:
    """Return which store a port reaches: the room of `sinks` that it is from."""
    layer, _, module = type(port).__module__.partition(".")
    return module.partition(".")[0] if layer == "sinks" else "other"


def _log_retry(method: str, store: str, meter: Meter, state: RetryCallState) -> None:
    meter.add(RETRIES, 1, store)
    error = state.outcome.exception() if state.outcome else None
    pause_s = state.next_action.sleep if state.next_action else 0.0
    reason = explain(store, error) or repr(error)
    log.warning("%s failed, attempt %d, retry in %.1f s: %s", method, state.attempt_number, pause_s, reason)


def with_retry(
    port: Port, *, down: tuple[type[BaseException], ...], longest_pause_s: float, meter: Meter = NO_METER
) -> Port:
    """Wrap a port so that each of its coroutine methods is retried until the store answers.

    Args:
        port: Any object with coroutine methods that are safe to repeat.
        down: Exceptions that mean "not reachable now"; any other is raised at once.
        longest_pause_s: Cap of the growing pause between two attempts, in seconds.
        meter: Counts the retries.
    """
    return cast(Port, _RetryingPort(port, down, longest_pause_s, meter))

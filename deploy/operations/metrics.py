"""Serves the metrics of a process to Prometheus: `GET /metrics` on a port of its own."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from threading import Lock, Thread
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client import Histogram as PrometheusHistogram

from deploy.home import Home, home
from deploy.operations.roles import ROLES
from deploy.settings import Settings
from schemas.metrics import Counter, Gauge, Histogram, Metric

log = logging.getLogger(__name__)

PORTS_TRIED = 100
"""From the port of a process on: further ports, where others have taken it."""
MAX_SERIES = 1_000
"""Combinations of labels of one metric; a further one is counted as `other`, so that no mistake fills the memory."""
_OTHER = "other"
PROCESSES = (*ROLES, "collector", "export")
"""In the order of their ports."""


class PrometheusMeter:
    """Counts and measures in this process, with the collectors of the client library for the process itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._made: dict[str, Any] = {}
        self._series: dict[tuple[str, ...], Any] = {}
        self._numbers: dict[str, int] = {}
        self._making = Lock()  # gauges are measured in threads

    def add(self, metric: Counter, amount: float, *labels: str) -> None:
        """Add to a counter."""
        if amount:
            self._of(metric, labels).inc(amount)

    def set(self, metric: Gauge, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._of(metric, labels).set(value)

    def forget(self, metric: Gauge) -> None:
        """Serve a gauge no more until it is set again: its last value would look like one of now."""
        with self._making:
            if (made := self._made.pop(metric.name, None)) is not None:
                self.registry.unregister(made)
                self._numbers.pop(metric.name)
                self._series = {key: one for key, one in self._series.items() if key[0] != metric.name}

    def observe(self, metric: Histogram, value: float, *labels: str) -> None:
        """Add a measured number to a histogram."""
        self._of(metric, labels).observe(value)

    def _of(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        return self._series.get((metric.name, *labels)) or self._new(metric, labels)

    def _new(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        key = (metric.name, *labels)
        with self._making:
            if key in self._series:
                return self._series[key]
            made = self._made.get(metric.name)
            if made is None:  # a metric is served once it was measured: a zero of what is not measured would be a lie
                made = self._made[metric.name] = _made(metric, self.registry)
            number = self._numbers[metric.name] = self._numbers.get(metric.name, 0) + 1
            if number > MAX_SERIES:
                return made.labels(*(_OTHER for _ in labels))
            self._series[key] = made.labels(*labels) if labels else made
            return self._series[key]


def _made(metric: Metric, registry: CollectorRegistry) -> Any:
    if isinstance(metric, Histogram):
        return PrometheusHistogram(
            metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets
        )
    kind: Callable[..., Any] = PrometheusCounter if isinstance(metric, Counter) else PrometheusGauge
    return kind(metric.name, metric.meaning, metric.labels, registry=registry)


def serve(meter: PrometheusMeter, settings: Settings, process: str) -> str:
    """Serve the metrics of a process until it ends, and note the address in its home.

    Each process has a port of its own: that of the setting, or of the next ones. One that is taken is left to whoever
    has it.

    Args:
        meter: Of the process.
        settings: `metrics_address` is where to serve; empty: nowhere.
        process: One of `PROCESSES`.

    Returns:
        The address, as `http://127.0.0.1:9464/metrics`; empty: the metrics are not served.
    """
    file = Home(home()).metrics(process)
    file.unlink(missing_ok=True)
    if not settings.metrics_address:
        return ""
    host, _, port = settings.metrics_address.rpartition(":")
    first = int(port) + PROCESSES.index(process)
    served = _listen(meter.registry, host.strip("[]"), first)
    if served is None:
        log.error("no port from %d to %d of %s is free: metrics are not served", first, first + PORTS_TRIED - 1, host)
        return ""
    address = f"http://{host}:{served}/metrics"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(address, "utf-8")
    log.info("metrics are served at %s", address)
    return address


def _listen(registry: CollectorRegistry, host: str, first: int) -> int | None:
    for port in range(first, min(first + PORTS_TRIED, 65_536)):
        try:
            server, thread = start_http_server(port, host, registry)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                log.error("metrics are not served at %s:%d: %s", host, port, error)
                return None
            continue
        assert isinstance(thread, Thread)
        return int(server.server_port)
    return None


def addresses(processes: dict[str, Any]) -> dict[str, str]:
    """Return where processes of a home serve their metrics, by name; those that serve none are left out."""
    found = {}
    for name in processes:
        if name in PROCESSES:
            try:
                found[name] = Home(home()).metrics(name).read_text("utf-8")
            except OSError:
                continue
    return found

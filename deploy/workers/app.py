"""A worker process: one Faust app with the agents of one role, and the heartbeat file that health checks read.

`throughline worker identify|profile|record|deliver` runs one; more workers of a role share its partitions.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from time import monotonic
from typing import Any

import faust
from mode.supervisors import CrashingSupervisor

from deploy.connections.kafka import faust_credentials
from deploy.home import Home, home
from deploy.operations.logs import logging_config
from deploy.operations.metrics import PrometheusMeter, serve
from deploy.operations.roles import Role, group_id
from deploy.settings import Settings
from deploy.workers.gauges import register_gauges
from deploy.workers.transport import BatchScheduler, BatchSchema, Transport
from deploy.workers.wiring import WIRING

POLL_SILENCE_S = 30.0
"""Seconds without a poll of Kafka after which the heartbeat file is no longer touched."""


def build_app(role: Role, settings: Settings, meter: PrometheusMeter | None = None) -> faust.App:
    """Build the Faust app of one role; nothing connects before it is started."""
    app = faust.App(
        group_id(settings.topic_prefix, role),
        broker=[f"kafka://{address.strip()}" for address in settings.kafka_bootstrap.split(",")],
        broker_credentials=faust_credentials(settings),
        store="memory://",
        datadir=home() / "faust" / role,
        web_enabled=False,
        topic_allow_declare=False,  # `throughline topics apply` creates them
        topic_disable_leader=True,
        table_standby_replicas=0,  # no tables: state is in Redis
        stream_wait_empty=False,  # with manual acknowledgement the one clean way to stop with a stuck batch
        stream_buffer_maxsize=8,  # record batches of up to 1,000, so this bounds what is in memory
        agent_supervisor=CrashingSupervisor,  # an agent that raises ends the process, unacknowledged; it is restarted
        broker_max_poll_records=5000,
        broker_commit_interval=1.0,
        broker_commit_livelock_soft_timeout=3600.0,  # an outage is logged by the retries; to Faust it looks like a bug
        broker_session_timeout=float(settings.session_timeout_s),
        broker_heartbeat_interval=settings.session_timeout_s / 6,
        broker_rebalance_timeout=float(max(settings.session_timeout_s, 10)),
        consumer_auto_offset_reset="earliest",
        ConsumerScheduler=BatchScheduler,
    )
    app.transport = Transport(app.conf.broker_consumer, app)

    def topic(*names: str) -> Any:
        full = [settings.topic_prefix + name for name in names]
        return app.topic(*full, schema=BatchSchema(), allow_empty=True)

    meter = meter or PrometheusMeter()
    WIRING[role](app, topic, settings, meter)
    register_gauges(app, role, settings, meter)
    _write_heartbeat(app, role)
    return app


def _write_heartbeat(app: faust.App, role: str) -> None:
    """Touch the heartbeat file each second while Kafka is polled, so that health checks detect a stuck worker."""
    path = Home(home()).heartbeat(role)

    @app.task
    async def heartbeat() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not app.should_stop:
            if monotonic() - app.consumer.polled_at < POLL_SILENCE_S:
                path.touch()
            await asyncio.sleep(1)


def run(role: Role, settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT; exit code 1 when it cannot go on and is to be restarted."""
    meter = PrometheusMeter()
    app = build_app(role, settings, meter)
    serve(meter, settings, role)
    app.conf.datadir.mkdir(parents=True, exist_ok=True)
    # A batch makes hundreds of thousands of short-lived objects and no cycles. The collector's default threshold walks
    # all of them several times a batch, which doubled the cost of an event; so it starts later, and skips what is
    # loaded before the first batch.
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 20)
    worker = faust.Worker(
        app,
        loglevel=settings.log_level,
        redirect_stdouts=False,
        quiet=True,
        override_logging=True,
        logging_config=logging_config(settings, role) if settings.log_format == "json" else None,  # None: Faust's own
    )
    sys.exit(worker.execute_from_commandline())

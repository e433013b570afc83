"""Runs the demo: publishes events of a simulated retailer and a public data set, and waits for their outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.redis import redis_client
from schemas.time import clock_ms, ms_of_time

if TYPE_CHECKING:
    from deploy.demo.simulator import Simulation
    from deploy.settings import Settings
    from processors.journeys.rehearsal import Rehearsal
    from sinks.clickhouse.overview import OutcomeCounts
    from sinks.clickhouse.reports import AttributionOptions

DRAIN_S = 150.0
REHEARSED_EVENTS = 120_000
"""Maximum number of events of a rehearsal; of more events, a sample of people is rehearsed."""

Progress = Callable[[str], None]


class DemoError(RuntimeError):
    """The demo cannot continue; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Published events and their outcomes.

    Attributes:
        published: Lines confirmed by the broker.
        seconds: From the first line published until the last one was in ClickHouse.
        outcomes: Numbers of events by outcome.
        without_sample: Why the public data set is not included; empty if it is.
    """

    published: int
    seconds: float
    outcomes: OutcomeCounts
    without_sample: str = ""

    @property
    def difference(self) -> int:
        """Published lines without an outcome; negative: lines with two. 0 is correct."""
        return self.published - self.outcomes.total


def run(settings: Settings, people: int, cache: Path, report_progress: Progress) -> Flow:
    """Simulate, import, publish, and wait until all events are processed.

    Args:
        settings: Settings of a running stack with its workers.
        people: Number of people of the simulated retailer.
        cache: Folder in which the public data set is kept after its download.
        report_progress: Gets a line about each step.

    Raises:
        DemoError: A server does not answer, or the workers do not finish in time.
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from deploy.demo.simulator import Options, Simulation
    from deploy.operations.publish import KafkaNotReadyError, publish
    from sinks.clickhouse.client import StoreDown
    from sinks.clickhouse.overview import outcomes

    report_progress(f"simulating {people:,} people")
    simulation = Simulation(Options(people=people))
    lines = list(simulation.lines())
    report_progress("fetching a sample of a real web shop's history")
    sample, missing = _sample(cache)
    lines += sample
    try:
        client = clickhouse_client(settings)
        _import_spend(client, simulation)
        report_progress(f"publishing {len(lines):,} events")
        since_ms, started = clock_ms(), time.perf_counter()
        outcome = publish(lines, settings)
        if not outcome.ok:
            raise DemoError("not everything could be published: " + "; ".join(outcome.problems))
        _drain(settings, report_progress)
        seconds = time.perf_counter() - started
        return Flow(outcome.published, seconds, outcomes(client, since_ms), missing)
    except KafkaNotReadyError as error:
        raise DemoError(str(error)) from error
    except (StoreDown, ClickHouseError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DemoError(f"ClickHouse: {reason}\nIs the stack up? `throughline up` starts it.") from error


def period(models: tuple[str, ...]) -> AttributionOptions:
    """Return the options of an attribution report over the days of the simulation."""
    from sinks.clickhouse.reports import AttributionOptions

    start, stop = days()
    return AttributionOptions(models=models, start=start, stop=stop)


def days() -> tuple[datetime, datetime]:
    """Return the beginning and the end of the simulation."""
    from deploy.demo.simulator import Options

    simulated = Options()
    start = datetime.combine(simulated.start, datetime.min.time(), UTC)
    return start, start + timedelta(days=simulated.days)


def rehearse(settings: Settings, client: Any) -> tuple[Rehearsal, float]:
    """Rehearse the journeys over the days of the simulation: decide, without sending.

    Live journeys do not start on events that are weeks old.

    Args:
        settings: Settings of the deployment.
        client: ClickHouse client.

    Returns:
        The rehearsal, and the share of people in it.

    Raises:
        DemoError: A definition has an error.
    """
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.engines import load_definitions
    from processors.journeys.rehearsal import rehearse as run_over
    from sinks.clickhouse.history import read_people

    try:
        definitions = load_definitions(settings)
    except DefinitionError as error:
        raise DemoError(str(error)) from error
    start, stop = days()
    events = int(client.query("SELECT count() FROM touchpoints").first_row[0])
    share = min(1.0, REHEARSED_EVENTS / max(events, 1))
    rehearsed = run_over(
        definitions.decider(),
        [journey.name for journey in definitions.journeys],
        read_people(client, datetime.now(UTC), share),
        ms_of_time(start),
        ms_of_time(stop),
        settings.timezone,
    )
    return rehearsed, share


def _sample(cache: Path) -> tuple[list[bytes], str]:
    """Return the events of the public data set, or none and the reason, as without a network."""
    from deploy.demo.ecom import DownloadError, download, table, touchpoints

    try:
        return list(touchpoints(table(download(cache)))), ""
    except DownloadError as error:
        return [], str(error).splitlines()[0]


def _import_spend(client: Any, simulation: Simulation) -> None:
    from deploy.demo.simulator.advertising import SPEND_COLUMNS
    from deploy.operations.importers.spend import read_spend
    from sinks.clickhouse.spend import insert_spend

    insert_spend(client, read_spend([",".join(SPEND_COLUMNS), *(",".join(row) for row in simulation.spend())]))


def _drain(settings: Settings, report_progress: Progress) -> None:
    import redis

    from deploy.operations.bots import judge_all_bots
    from deploy.operations.completion import drain, pending
    from deploy.operations.lag import KafkaUnreachableError, LagReader

    try:
        with (
            LagReader(settings) as reader,
            redis_client(settings, timeout_s=10) as client,
        ):
            left = drain(
                lambda: pending(settings, reader, client),
                DRAIN_S,
                progress=lambda found: report_progress(f"under way: {found.summary()}"),
                has_answered=True,  # all events were published just now
            )
    except (KafkaUnreachableError, redis.RedisError) as error:
        raise DemoError(f"cannot measure what is pending: {error}. `throughline doctor` says more.") from error
    if not left.empty:
        raise DemoError(
            f"still under way after {DRAIN_S:.0f} s: {left.summary()}.\n"
            "Do the workers run? `throughline status` shows them; `throughline worker all` runs them."
        )
    judge_all_bots(settings)

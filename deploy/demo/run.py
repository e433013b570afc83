"""The demo: a simulated retailer and a public sample through the whole pipeline, and what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.time import clock_ms, ms_of_time

if TYPE_CHECKING:
    from deploy.demo.simulator import Simulation
    from deploy.settings import Settings
    from processors.journeys.rehearsal import Rehearsed
    from sinks.clickhouse.overview import Outcomes
    from sinks.clickhouse.reports import AttributionOptions

DRAIN_S = 150.0
REHEARSED_EVENTS = 120_000
"""A rehearsal of more of them would take longer than anybody waits; then some of the people stand for all."""

Say = Callable[[str], None]


class DemoError(RuntimeError):
    """The demo cannot go on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What went in and where it ended.

    Attributes:
        published: Lines confirmed by the broker.
        seconds: From the first line published until the last one could be read in ClickHouse.
        outcomes: Where they are.
        without_sample: Why the public sample is not among them; empty when it is.
    """

    published: int
    seconds: float
    outcomes: Outcomes
    without_sample: str = ""

    @property
    def difference(self) -> int:
        """Published lines without an outcome (or, negative, with two): 0 when all is well."""
        return self.published - self.outcomes.total


def run(settings: Settings, people: int, cache: Path, say: Say) -> Flow:
    """Simulate, publish, import, and wait until everything is through.

    Args:
        settings: Of a running stack with its workers.
        people: How many people the simulated retailer has.
        cache: Where the public sample is kept once it is downloaded.
        say: Told what happens now.

    Raises:
        DemoError: A server does not answer, or the workers do not get through in time.
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from deploy.demo.simulator import Options, Simulation
    from deploy.operations.publish import KafkaNotReadyError, publish
    from sinks.clickhouse.client import StoreDown, connect
    from sinks.clickhouse.overview import outcomes

    say(f"simulating {people:,} people")
    simulation = Simulation(Options(people=people))
    lines = list(simulation.lines())
    say("fetching a sample of a real web shop's history")
    sample, missing = _sample(cache)
    lines += sample
    try:
        client = connect(settings.clickhouse_url, settings.clickhouse_database)
        _import_spend(client, simulation)
        say(f"publishing {len(lines):,} events")
        since_ms, started = clock_ms(), time.perf_counter()
        outcome = publish(lines, settings)
        if not outcome.ok:
            raise DemoError("not everything could be published: " + "; ".join(outcome.problems))
        _drain(settings, say)
        seconds = time.perf_counter() - started
        return Flow(outcome.published, seconds, outcomes(client, since_ms), missing)
    except KafkaNotReadyError as error:
        raise DemoError(str(error)) from error
    except (StoreDown, ClickHouseError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DemoError(f"ClickHouse: {reason}\nIs the stack up? `throughline up` starts it.") from error


def period(models: tuple[str, ...]) -> AttributionOptions:
    """Ask for an attribution report about the days of the simulation."""
    from sinks.clickhouse.reports import AttributionOptions

    start, stop = days()
    return AttributionOptions(models=models, start=start, stop=stop)


def days() -> tuple[datetime, datetime]:
    """Tell when the simulation begins and ends."""
    from deploy.demo.simulator import Options

    simulated = Options()
    start = datetime.combine(simulated.start, datetime.min.time(), UTC)
    return start, start + timedelta(days=simulated.days)


def rehearse(settings: Settings, client: Any) -> tuple[Rehearsed, float]:
    """Run the deployment's journeys over the days of the simulation, with nothing sent.

    Live, they let nobody in for events that are weeks old.

    Args:
        settings: Of the deployment.
        client: Of its database.

    Returns:
        What came out, and the share of people that it is about.

    Raises:
        DemoError: A definition is wrong.
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
        definitions.decider(settings.timezone),
        [journey.name for journey in definitions.journeys],
        read_people(client, datetime.now(UTC), share),
        ms_of_time(start),
        ms_of_time(stop),
        settings.timezone,
    )
    return rehearsed, share


def _sample(cache: Path) -> tuple[list[bytes], str]:
    """Get the public sample, or the reason why there is none: without a network the demo does without it."""
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


def _drain(settings: Settings, say: Say) -> None:
    import redis

    from deploy.operations.lag import KafkaUnreachableError, LagReader, drain, pending

    try:
        with (
            LagReader(settings) as reader,
            redis.Redis.from_url(settings.redis_url, socket_timeout=10) as client,
        ):
            left = drain(
                lambda: pending(settings, reader, client),
                DRAIN_S,
                progress=lambda found: say(f"under way: {found}"),
            )
    except (KafkaUnreachableError, redis.RedisError) as error:
        raise DemoError(f"cannot tell what is pending: {error}. `throughline doctor` says more.") from error
    if not left.nothing:
        raise DemoError(
            f"still under way after {DRAIN_S:.0f} s: {left}.\n"
            "Do the workers run? `throughline status` shows them; `throughline worker all` runs them."
        )

"""Attribution at size: 10 million touches, 200,000 orders, a million people, 2 million e-mails, and bots.

All of it is generated in ClickHouse.

`measure` is part of `make bench`. Each query runs twice, the better time counts, the questions of analysts once; memory
is the server's own account of the query. The same month is done by pandas beside it, from the rows of the journeys, as
a notebook would.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from deploy.reporting.attribution import database_paths
from deploy.settings import Settings, settings
from processors.attribution.learned import shares
from sinks.clickhouse.attribution import refresh
from sinks.clickhouse.bots import judge_bots
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import migrate
from sinks.clickhouse.reports import FIRST, LAST, AttributionOptions, attribution
from sinks.clickhouse.tables import questions
from tests.benchmarks.attribution_history import History, generate
from tests.support.stack import corner

SIX = ("first_touch", "last_touch", "last_non_direct", "linear", "time_decay", "position_based")
MONTH = AttributionOptions(
    models=SIX, start=datetime(2026, 5, 1, tzinfo=UTC), stop=datetime(2026, 6, 1, tzinfo=UTC), timezone="UTC"
)
EVERYTHING = AttributionOptions(models=SIX, timezone="UTC")
DASHBOARD = (
    "SELECT model, key, sum(conversions), sum(revenue) FROM v_attribution_stored_by_day"
    " WHERE dimension = 'channel' AND conversion_type = 'purchase' GROUP BY model, key"
)


def measure(servers: Settings, history: History | None = None) -> dict[str, Any]:
    """Generate a history in a database of its own, and time what analysts ask of it.

    Args:
        servers: Where ClickHouse is.
        history: How much; the default is the size that the targets are for.

    Returns:
        Seconds and, for queries, peak megabytes by name; `targets_met`.
    """
    with corner(servers.model_dump(include={"kafka_bootstrap", "redis_url", "clickhouse_url"})) as own:
        client = connect(own.clickhouse_url)
        migrate(client, own.clickhouse_database)
        client = connect(own.clickhouse_url, own.clickhouse_database)
        found: dict[str, Any] = {"generate_s": _timed(lambda: generate(client, history or History()))[0]}
        found["judge_bots_s"] = _timed(lambda: judge_bots(client))[0]
        found["month_six_models_s"], found["month_mb"] = _best(client, lambda: attribution(client, MONTH))
        found["all_six_models_s"], found["all_mb"] = _best(client, lambda: attribution(client, EVERYTHING))
        found["markov_1_s"], found["markov_mb"] = _best(
            client, lambda: shares(database_paths(client, AttributionOptions()), ["markov_1"]), times=1
        )
        found["pandas_month_s"] = _timed(lambda: _pandas(client))[0]
        found["refresh_s"] = _timed(lambda: refresh(client, 1, FIRST, LAST))[0]
        found["stored_s"], found["stored_mb"] = _best(client, lambda: client.query(DASHBOARD), times=5)
        found["questions_s"] = {one.name: _timed(partial(client.query, one.sql))[0] for one in questions()}
        client.close()
    found["targets_met"] = {
        "month below 1.5 s": found["month_six_models_s"] < 1.5,
        "150 days below 4 s": found["all_six_models_s"] < 4,
        "below 1 GB": max(found["month_mb"], found["all_mb"]) < 1000,
        "Markov below 8 s": found["markov_1_s"] < 8,
        "stored below 50 ms": found["stored_s"] < 0.05,
        "each question below 5 s": max(found["questions_s"].values()) < 5,
    }
    return found


def _pandas(client: Any) -> None:
    """Linear, first and last touch of the month in pandas: rows out of the database, then a merge and a group-by."""
    parameters = MONTH.parameters()
    touches = client.query_df(
        "SELECT profile_id, touched_at AS occurred_at, channel AS marketing_channel"
        " FROM touches(start_ms = {start:Int64} - {lookback:Int64}, stop_ms = {stop:Int64}, contacts = 'all',"
        " only = [], without = [])",
        parameters=parameters,
    )
    conversions = client.query_df(
        "SELECT conversion_id, profile_id, converted_at, toFloat64(revenue) AS revenue FROM v_conversions"
        " WHERE converted_at >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')"
        " AND converted_at < fromUnixTimestamp64Milli({stop:Int64}, 'UTC')",
        parameters=parameters,
    )
    pairs = conversions.merge(touches, on="profile_id")
    age = pairs.converted_at - pairs.occurred_at
    pairs = pairs[(age.dt.total_seconds() >= 0) & (age.dt.days < 30)].sort_values(["conversion_id", "occurred_at"])
    journeys = pairs.groupby("conversion_id")
    pairs["linear"] = 1 / journeys.occurred_at.transform("size")
    pairs.groupby("marketing_channel").linear.sum()
    journeys.first().groupby("marketing_channel").size()
    journeys.last().groupby("marketing_channel").size()


def _timed(work: Callable[[], object]) -> tuple[float, object]:
    begun = time.monotonic()
    result = work()
    return round(time.monotonic() - begun, 3), result


def _best(client: Any, work: Callable[[], object], times: int = 2) -> tuple[float, float]:
    """Best time in seconds, and the server's highest memory for queries of this database meanwhile, in MB."""
    peak, over = [0.0], threading.Event()
    watcher = connect(client.url, client.database)

    def watch() -> None:
        while not over.wait(0.02):
            rows = watcher.query(
                "SELECT max(peak_memory_usage) FROM system.processes WHERE current_database = {name:String}"
                " AND query NOT LIKE '%system.processes%'",
                parameters={"name": client.database},
            ).result_rows
            peak[0] = max(peak[0], rows[0][0] / 1e6)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    best = min(_timed(work)[0] for _ in range(times))
    over.set()
    thread.join()
    watcher.close()
    return best, round(peak[0], 1)


def main() -> None:
    """Measure with the servers of the settings, and print JSON."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--touches", type=int, default=History().touches)
    chosen = arguments.parse_args()
    full = History()
    share = chosen.touches / full.touches
    history = History(
        touches=chosen.touches,
        conversions=round(full.conversions * share),
        people=round(full.people * share),
        merges=round(full.merges * share),
        letters=round(full.letters * share),
        crawls=round(full.crawls * share),
    )
    print(json.dumps(measure(settings(), history), indent=2))


if __name__ == "__main__":
    main()

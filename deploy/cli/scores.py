"""The command `segments score`: predictions of people in their profiles, once or again and again."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.output import fail
from deploy.cli.stores import clickhouse

LOOK_S = 10
"""Pause between two looks at whether a fit is due; health checks see that looks succeed."""


def segments_score(
    every: Annotated[
        str, typer.Option("--every", metavar="DURATION", help="Fit anew and score, again and again: 24h, 7d.")
    ] = "",
    once: Annotated[
        bool, typer.Option("--once", help="With --every: do what is due now, and end, as a task of cron does.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the predictions of `ltv fit` into the profiles, for conditions on `scores.…`, and update segments.

    With --every it runs until it is stopped: it fits when the newest fit is so old, and scores each fit once. After a
    restart it goes on where it was, and an error, such as a store that is down, is tried again. The local stack does
    this by itself, every THROUGHLINE_SCORES_EVERY.
    """
    from deploy.home import Home, home
    from schemas.durations import prediction_period_ms

    if not every:
        if once:
            raise typer.BadParameter("it needs --every", param_hint="--once")
        _score(as_json)
        return
    try:
        period_ms = prediction_period_ms(every)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--every") from None
    if once:
        if not_before_ms := _score_if_due(period_ms, 0, as_json):
            _score_if_due(period_ms, not_before_ms, as_json)  # an earlier fit may not be scored yet
            raise typer.Exit(1)
        return
    heartbeat = Home(home()).heartbeat("scores")
    heartbeat.parent.mkdir(parents=True, exist_ok=True)
    not_before_ms = 0
    while True:
        try:
            not_before_ms = _score_if_due(period_ms, not_before_ms, as_json)
            heartbeat.touch()
        except typer.Exit:
            pass  # a store is down, and was named on standard error
        time.sleep(LOOK_S)


def _score_if_due(period_ms: int, not_before_ms: int, as_json: bool) -> int:
    """Fit and score as far as it is due; return the time before which a further fit is not worth the try, in ms."""
    from deploy.operations.predictions import NotFittedError, fit_and_store, pause_ms
    from schemas.durations import HOUR_MS
    from schemas.time import clock_ms
    from sinks.clickhouse.predictions import fit_state

    with clickhouse() as client:
        state = fit_state(client)
        if pause_ms(state.fitted_ms, period_ms, clock_ms()) == 0 and clock_ms() >= not_before_ms:
            try:
                if objection := fit_and_store(client).objection:
                    typer.echo(f"no new predictions: {objection} (`throughline ltv card`)", err=True)
                    return clock_ms() + min(period_ms, HOUR_MS)
            except NotFittedError as error:
                typer.echo(f"no new predictions: {error}", err=True)
                return clock_ms() + min(period_ms, HOUR_MS)
        elif state.is_scored or state.fitted_ms is None:
            return not_before_ms
    _score(as_json)
    return 0


def _score(as_json: bool) -> None:
    """Write the newest predictions into the profiles, and print the counts."""
    from deploy.cli.stores import Stores, exit_on_store_error, with_stores
    from deploy.operations.engines import load_segments
    from deploy.operations.scores import ScoreCounts, write_scores
    from deploy.settings import settings
    from processors.segments.scores import Prediction
    from schemas.time import clock_ms, time_of_ms
    from sinks.clickhouse.audiences import read_predictions
    from sinks.clickhouse.predictions import newest_run, store_score_run

    with exit_on_store_error():  # an error of the definitions, before anything is written
        prior = load_segments(settings()).engagement
    with clickhouse() as client:
        run_id = newest_run(
            client
        )  # first: a fit that is stored meanwhile is scored again, and none is taken for scored
        predictions = {who: Prediction(*one) for who, one in read_predictions(client).items()}
    if not predictions:
        fail("there is no prediction yet: run `throughline ltv fit` first")
    now_ms = clock_ms()

    async def write(stores: Stores) -> ScoreCounts:
        return await write_scores(stores.profiles, predictions, now_ms)

    written = asdict(with_stores(write))
    with clickhouse() as client:
        run = {"run_id": run_id, "scored_at": time_of_ms(now_ms), "prior_clicks": prior.prior_clicks}
        store_score_run(client, {**run, "prior_messages": prior.prior_messages, **written})
    print(json.dumps(written) if as_json else ", ".join(f"{count:,} {name}" for name, count in written.items()))

"""The command `frequency`: how many messages a week are best."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deploy.cli.arguments import AsJson, FirstDay, LastDay, Markets, asked_markets, period
from deploy.cli.output import print_json, print_table
from deploy.cli.stores import clickhouse

if TYPE_CHECKING:
    from processors.attribution.frequency import BestFrequency

BOOTSTRAP_GROUPS = 200
"""Groups of people that the bootstrap resamples for an interval."""


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("frequency")(frequency)


def frequency(
    segment: Annotated[str, typer.Option(help="Only this segment; (all) is all people.")] = "",
    channel: Annotated[str, typer.Option(help="Only this channel of messages; (all) is all together.")] = "",
    objective: Annotated[
        Literal["revenue", "margin", "conversions", "responses"], typer.Option(help="What to maximise.")
    ] = "revenue",
    unsubscribe_cost: Annotated[
        float, typer.Option(min=0, help="Cost of an unsubscribe, in the unit of the objective.")
    ] = 0,
    least_weeks: Annotated[
        int, typer.Option(min=1, help="Person-weeks that a number of messages needs to be the best.")
    ] = 100,
    first: FirstDay = None,
    last: LastDay = None,
    market: Markets = None,
    as_json: AsJson = False,
) -> None:
    """Show the effect of the number of messages a week, by segment and channel, and which number is best.

    Intervals are of 95 %, from resampled people. People who get many messages differ from people who get few: test the
    answer in an experiment with a holdout.
    """
    from processors.attribution.frequency import WeekCounts, best_frequency
    from sinks.clickhouse.behaviour import message_frequency

    start, stop = period(first, last)
    with clickhouse() as client:
        rows = message_frequency(
            client,
            segment=segment,
            channel=channel,
            start=start,
            stop=stop,
            groups=BOOTSTRAP_GROUPS,
            markets=asked_markets(client, market),
        )
    answers = [
        (key, best_frequency([WeekCounts(*row[2:]) for row in found], objective,
                   unsubscribe_cost=unsubscribe_cost, min_person_weeks=least_weeks))
        for key, found in groupby(rows, key=lambda row: (row.segment, row.channel))
    ]  # fmt: skip
    if as_json:
        print_json(
            [
                {
                    "segment": key[0], "channel": key[1], "best": answer.messages, "best_low": answer.low,
                    "best_high": answer.high, "certainty": answer.certainty,
                    "curve": [rate._asdict() for rate in answer.curve],
                }
                for key, answer in answers
            ]
        )  # fmt: skip
        return
    for (named, on), answer in answers:
        _print_frequency(named, on, answer, objective)


def _print_frequency(segment: str, channel: str, answer: BestFrequency, objective: str) -> None:
    title = f"{segment} × {channel}: "
    if answer.messages is None:
        title += "too few weeks for a best number"
    else:
        title += (
            f"best {answer.messages} a week ({answer.low} to {answer.high}; first in {answer.certainty:.0%} of draws)"
        )
    print_table(
        ("messages", "people", "person-weeks", f"{objective} a week", "95 % interval", "unsubscribes", ""),
        [
            (
                str(rate.messages), f"{rate.people:,}", f"{rate.person_weeks:,}", f"{rate.value:,.3f}",
                f"{rate.low:,.3f} to {rate.high:,.3f}", f"{rate.unsubscribe_rate:.2%}",
                "best" if rate.messages == answer.messages else "" if rate.counts else "too few",
            )
            for rate in answer.curve
        ],
        title=title,
    )  # fmt: skip

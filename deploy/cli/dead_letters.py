"""The command group `dead-letters`: list, show and replay refused records."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.acts import noted_act
from deploy.cli.arguments import AsJson
from deploy.cli.output import fail
from deploy.cli.stores import clickhouse

if TYPE_CHECKING:
    from sinks.clickhouse.dead_letters import DeadLetterFilter, StoredDeadLetter

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S"]
_MESSAGE_WIDTH = 120
_MAX_REFUSAL_REASONS = 20
_MAX_REFUSAL_REASONS = 20

Reason = Annotated[str, typer.Option(help="Only this reason, such as not_json.")]
Stage = Annotated[str, typer.Option(help="Only what this stage refused, such as identify.")]
Topic = Annotated[str, typer.Option(help="Only records of this topic, such as touchpoints.web.")]
From = Annotated[datetime | None, typer.Option("--from", formats=_TIMES, help="Received then or later; UTC.")]
To = Annotated[datetime | None, typer.Option("--to", formats=_TIMES, help="Received before then; UTC.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    letters = typer.Typer(help="Refused records: list, show and replay them.", no_args_is_help=True)
    letters.command("list")(dead_letters_list)
    # What the collector refused has partition -1, which is no option.
    letters.command("show", context_settings={"ignore_unknown_options": True})(dead_letters_show)
    letters.command("replay")(dead_letters_replay)
    app.add_typer(letters, name="dead-letters")


def dead_letters_list(
    reason: Reason = "",
    stage: Stage = "",
    topic: Topic = "",
    from_: From = None,
    to: To = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of dead letters, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest first; print the number by reason on standard error."""
    from schemas.time import readable_text
    from sinks.clickhouse.dead_letters import count_dead_letters, read_dead_letters

    wanted = _filter(reason, stage, topic, from_, to)
    with clickhouse() as client:
        counts = count_dead_letters(client, wanted)
        letters = list(read_dead_letters(client, wanted, limit=limit, newest_first=True))
    total = sum(counts.values())
    by_reason = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    typer.echo(f"{total:,} dead letters{f': {by_reason}' if by_reason else ''}", err=True)
    if as_json:
        print(json.dumps([_described(letter) for letter in letters], indent=2))
        return
    for letter in letters:
        at = readable_text(letter.received_at)
        place = f"{letter.topic} {letter.partition} {letter.offset}"
        print(_printable(f"{at}  {letter.reason:16} {place:28} {letter.message[:_MESSAGE_WIDTH]}"))
    if total > len(letters):
        typer.echo(f"the newest {len(letters):,} of {total:,}; see more with --limit", err=True)


def dead_letters_show(
    topic: Annotated[str, typer.Argument(help="The topic of the record.")],
    partition: Annotated[int, typer.Argument(help="Its partition.")],
    offset: Annotated[int, typer.Argument(help="Its offset.")],
    as_json: AsJson = False,
) -> None:
    """Show one dead letter with its original value; `dead-letters list` prints the three arguments."""
    from sinks.clickhouse.dead_letters import DeadLetterFilter, read_dead_letters

    with clickhouse() as client:
        found = list(read_dead_letters(client, DeadLetterFilter(topic=topic, partition=partition, offset=offset)))
    if not found:
        fail(f"no dead letter of {topic}, partition {partition}, offset {offset}: see `throughline dead-letters list`")
    described = _described(found[0], whole=True)
    if as_json:
        print(json.dumps(described, indent=2))
        return
    for name, value in described.items():
        if not name.endswith("_base64"):
            print(_printable(f"{name:12} {value}"))


def dead_letters_replay(
    reason: Reason = "",
    stage: Stage = "",
    topic: Topic = "",
    from_: From = None,
    to: To = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be published.")] = False,
    with_: Annotated[
        Path | None,
        typer.Option(
            "--with",
            exists=True,
            dir_okay=False,
            help="A transform that corrects the events; only shows what would be accepted, unless --apply is given.",
        ),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="With --with: publish what is accepted.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what a replay has published before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish refused records again, once the cause is mended: the original bytes, to their topic, and each once.

    With --with FILE, a transform as those of sources, the events are corrected and judged first: what is refused still
    stays as it is, and nothing is published without --apply.

    What the collector refused is translated and validated again instead, with the rights of its source. Safe to repeat:
    what was published before is left out; one that is still bad is refused again, as a new dead letter.
    """
    from deploy.operations.dead_letters import replay
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.transforms import load_transform
    from deploy.settings import settings
    from sinks.clickhouse.dead_letters import count_dead_letters, mark_replayed, read_dead_letters

    if apply and (with_ is None or dry_run):
        raise typer.BadParameter("--apply publishes what --with FILE corrects, and is no dry run")
    dry_run = dry_run or (with_ is not None and not apply)
    matching = _filter(reason, stage, topic, from_, to)
    wanted = matching if again else replace(matching, replayed=False)
    with clickhouse() as client, clickhouse() as marking:  # one reads while the other writes
        counts = count_dead_letters(client, wanted)
        left_out = 0 if again else sum(count_dead_letters(client, replace(matching, replayed=True)).values())
        mark = partial(mark_replayed, marking)
        try:
            transform = load_transform(with_) if with_ is not None else None
            letters = read_dead_letters(client, wanted)
            with nullcontext() if dry_run else noted_act("replay", "dead letters", detail=_selection(wanted)):
                outcome = replay(letters, settings(), dry_run=dry_run, mark=mark, transform=transform)
        except DefinitionError as error:
            fail(str(error))
    refused = outcome.refused.total()
    if as_json:
        published = 0 if dry_run else outcome.published
        summary = {"matching": counts, "published": published, "dry_run": dry_run, "refused": refused}
        if dry_run:
            summary["would_publish"] = outcome.published
        print(json.dumps(summary, indent=2))
    for name, count in counts.items():
        typer.echo(f"{count:10,} {name}", err=True)
    typer.echo(f"{'would publish' if dry_run else 'published'} {outcome.published:,}", err=True)
    if with_ is not None and not apply:
        typer.echo("nothing is published yet: add --apply", err=True)
    if left_out:
        typer.echo(f"left out {left_out:,} that were published before: publish them too with --again", err=True)
    if refused:
        typer.echo(f"not published {refused:,}, which stay dead letters:", err=True)
        for why, count in outcome.refused.most_common(_MAX_REFUSAL_REASONS):
            typer.echo(_printable(f"{count:10,} {why}"), err=True)
    if outcome.failure:
        fail(f"Kafka did not confirm every record ({outcome.failure}): replay again, what was confirmed is left out")


def _selection(wanted: DeadLetterFilter) -> str:
    """Name the fields of a filter that are set."""
    from dataclasses import asdict

    return ", ".join(f"{name} {value}" for name, value in asdict(wanted).items() if value not in (None, ""))


def _filter(reason: str, stage: str, topic: str, start: datetime | None, end: datetime | None) -> DeadLetterFilter:
    from schemas.dead_letters import Reason as Known
    from schemas.time import utc
    from sinks.clickhouse.dead_letters import DeadLetterFilter

    known = [str(one) for one in Known]
    if reason and reason not in known:
        raise typer.BadParameter(
            f"{reason!r} is not a reason: expected one of {', '.join(known)}", param_hint="--reason"
        )
    return DeadLetterFilter(reason=reason, stage=stage, topic=topic, start=start and utc(start), end=end and utc(end))


def _described(letter: StoredDeadLetter, *, whole: bool = False) -> dict[str, Any]:
    """Return a dead letter as JSON values; `whole` adds the key and the value, as text as far as they are text."""
    from dataclasses import asdict

    from schemas.time import text_of_time

    described = asdict(letter)
    for name in ("received_at", "stored_at"):
        described[name] = text_of_time(described[name])
    key, value = described.pop("key_base64"), described.pop("value_base64")
    if whole:
        described["key"] = (letter.key or b"").decode(errors="backslashreplace")
        described["value"] = letter.value.decode(errors="backslashreplace")
        described |= {"key_base64": key, "value_base64": value}
    return described


def _printable(text: str) -> str:
    """Escape control characters: a record may contain any, and a terminal would obey them."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)

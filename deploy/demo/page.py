"""The output of `throughline demo`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from processors.journeys.rehearsal import CONVERSION_DAYS

if TYPE_CHECKING:
    from deploy.demo.run import Flow
    from processors.journeys.rehearsal import Rehearsal
    from sinks.clickhouse.overview import IdentityTotals, Step, Totals
    from sinks.clickhouse.reports import AttributionReport, AttributionRow

MODELS = {
    "first_touch": "first touch",
    "last_touch": "last touch",
    "last_non_direct": "last but Direct",
    "linear": "linear",
    "time_decay": "time decay",
    "position_based": "position based",
}
"""The models shown, with their column headings."""
_STEPS_SHOWN = 25
_SEGMENTS = ("prospects", "customers", "vip", "cart_abandoners", "browse_abandoners", "discount_prone", "reachable")
_GATES = {
    "consent": "no consent",
    "suppression": "suppressed",
    "holdout": "control group",
    "channel": "no address",
    "quiet_hours": "quiet hours",
    "send_time": "waiting for the best hour",
    "caps": "frequency caps",
    "priority": "something more important",
    "expiry": "expired",
    "withdrawn": "run ended first",
}


def show_flow(console: Console, flow: Flow) -> None:
    """Print the throughput and the outcomes of all events."""
    found = flow.outcomes
    _title(console, "What went in, and where it is")
    console.print(
        f"{flow.published:,} events from producers to ClickHouse and profiles in {flow.seconds:.1f} s: "
        f"[bold]{flow.published / flow.seconds:,.0f} events a second[/], everything on this machine."
    )
    parts = [f"{found.stored:,} stored", f"{found.duplicate:,} duplicate", f"{found.dead_lettered:,} dead-lettered"]
    if found.suppressed:
        parts.append(f"{found.suppressed:,} suppressed")
    colour = "red" if flow.difference else "green"
    console.print(f"[bold]{flow.published:,} published = {' + '.join(parts)}[/]")
    console.print(f"[{colour}]difference {flow.difference:,}[/]")
    if not found.stored:
        console.print("Nothing new: all of it had been published before, and every event was recognised.")
    if flow.without_sample:
        console.print(f"[yellow]Without the sample of a real shop: {flow.without_sample}[/]")


def show_totals(console: Console, found: Totals) -> None:
    """Print what became of visits, bots, mended values, orders and business days of tills."""
    _title(console, "What it was, as the world sends it")
    console.print(
        f"[bold]{found.visits:,} visits[/] by {found.devices:,} browsers and phones, although events name none: "
        f"a pause ends a visit. They have {found.touches:,} touches, one for each of the campaigns that events carry "
        f"along; {found.continuations:,} times a visit went on after a payment page, a bank or a sign-in."
    )
    console.print(
        f"[bold]{found.orders:,} orders[/] in {found.reports:,} reports: {found.several_reports:,} were told more than "
        "once, by page and webhook, by a page that was loaded again, by an update or a receipt, with other amounts. "
        f"{found.own_numbers:,} are of shops that give the same numbers."
    )
    if found.till_days:
        colour = "green" if found.till_days == found.confirmed_till_days else "yellow"
        console.print(
            f"{found.till_days:,} business days of tills that send at night, [{colour}]{found.confirmed_till_days:,} "
            "confirmed[/]: numbers and sums are those that the tills declare."
        )
    console.print(
        f"{found.bot_events:,} events of bots are kept and left out of reports; {found.mended:,} values broke a rule, "
        "had one meaning and were mended, as 59.97000000000001."
    )


def show_identity(console: Console, identity: IdentityTotals) -> None:
    """Print the counts of identity resolution."""
    _title(console, "Who is who")
    console.print(
        f"{identity.identifiers:,} identifiers (browsers, apps, addresses, cards) are "
        f"[bold]{identity.people:,} people[/]; {identity.merges:,} times two profiles were merged into one person."
    )
    causes = ", ".join(f"{event} {times:,}" for event, times in identity.causes)
    if causes:
        console.print(f"Events that merged them: {causes}.")
    if identity.refused:
        console.print(f"{identity.refused:,} links were refused, most of them on devices that a household shares.")


def show_person_title(console: Console) -> None:
    """Print the title of the section about one person."""
    _title(console, "One of them")


def show_path(console: Console, steps: Sequence[Step]) -> None:
    """Print one person's events with touches, orders and merges."""
    table = Table("when", "where", "what", "touch of, or revenue", box=None, header_style="dim")
    for column, width in zip(table.columns, (12, 11, 20), strict=False):
        column.no_wrap = True
        column.min_width = column.max_width = width
    for step in steps[:_STEPS_SHOWN]:
        detail, style = " · ".join(filter(None, (step.marketing_channel, step.campaign))), ""
        if step.event == "Order Completed":
            detail, style = f"{step.revenue:,.2f} {step.currency}", "bold green"
        if step.joins:
            detail, style = f"{detail} ⇐ two profiles become one".strip(), style or "magenta"
        table.add_row(f"{step.at:%d %b %H:%M}", step.channel, step.event, Text(detail), style=style)
    console.print("\nThe path, across devices, shops and merges", style="bold cyan")
    console.print(table)
    if len(steps) > _STEPS_SHOWN:
        console.print(f"… and {len(steps) - _STEPS_SHOWN:,} more")


def show_attribution(console: Console, report: AttributionReport) -> None:
    """Print credited revenue and ROAS by marketing channel and model."""
    _title(console, f"What marketing brought: credited revenue, {' and '.join(report.currencies)}")
    cells: dict[str, dict[str, AttributionRow]] = defaultdict(dict)
    for row in report.rows:
        cells[row.key][row.model] = row
    ordered = sorted(cells.items(), key=lambda cell: -sum(row.revenue for row in cell[1].values()))
    table = _by_model("channel")
    for channel, found in ordered:
        table.add_row(channel, *(f"{row.revenue:,.0f}" if row else "" for row in map(found.get, MODELS)))
    table.add_section()
    totals = (sum(row.revenue for row in report.rows if row.model == model) for model in MODELS)
    table.add_row("all", *(f"{total:,.0f}" for total in totals), style="bold")
    console.print(table)
    if wrong := report.discrepancies():
        console.print(f"[red]Credits that do not add up: {'; '.join(wrong)}[/]")
    else:
        console.print(
            f"Each model divides the same {report.revenue:,.2f} of {report.conversions:,} purchases. (unattributed) are"
            " purchases by unknown people at a till, or by people without a touch."
        )
    _title(console, "Revenue for each unit spent (ROAS)")
    table = _by_model("channel", "spend")
    for channel, found in ordered:
        spend = next(iter(found.values())).spend
        if spend:
            rates = (f"{row.roas:,.1f}" if row and row.roas is not None else "" for row in map(found.get, MODELS))
            table.add_row(channel, f"{spend:,.0f}", *rates)
    console.print(table)
    console.print(
        "In this simulated world Direct persuades nobody: who already wants to buy comes directly, and last touch pays "
        "it for what other channels did. The true effects are in deploy/demo/simulator/advertising.py.",
        style="dim",
    )


def _by_model(*columns: str) -> Table:
    table = Table(*columns, *MODELS.values(), box=None, header_style="dim", padding=(0, 1))
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def show_journeys(console: Console, rehearsed: Rehearsal, share: float) -> None:
    """Print people and messages of the journeys, the gates that blocked messages, the lift, and segment sizes."""
    _title(console, "Journeys, in rehearsal")
    scope = "" if share == 1 else f" of {share:.0%} of all people"
    console.print(
        "These events are history, and live journeys start only on fresh ones. So the functions that decide live ran "
        f"over {rehearsed.events:,} events{scope} as if they happened now; [bold]nothing was sent[/]."
    )
    table = Table("journey", "people in", "messages", "by", box=None, header_style="dim", padding=(0, 1))
    table.columns[0].no_wrap = True
    for column in table.columns[1:3]:
        column.justify = "right"
    tallies = sorted(rehearsed.tallies.items(), key=lambda item: (-len(item[1].people), item[0]))
    for journey, tally in tallies:
        channels = rehearsed.channels(journey)
        each = ", ".join(f"{name} {messages:,}" for name, messages in channels.most_common())
        if tally.people:
            table.add_row(journey, f"{len(tally.people):,}", f"{channels.total():,}", each)
    console.print(table)
    if idle := [journey for journey, tally in tallies if not tally.people]:
        console.print(f"Nobody had a reason to enter {', '.join(idle)}.", style="dim")
    held_back = (f"{_GATES.get(gate, gate)} {times:,}" for gate, times in rehearsed.held_back().most_common())
    console.print(f"Messages held back: {', '.join(held_back) or 'none'}.")
    _show_lift(console, rehearsed)
    sizes = (f"{name} {rehearsed.segments[name]:,}" for name in _SEGMENTS)
    console.print(f"Segments at the end of these days: {', '.join(sizes)}.")
    if rehearsed.story:
        console.print("\nOne person's run, as `throughline journeys why` tells it", style="bold cyan")
        for line in rehearsed.story[1:]:
            console.print(Padding(Text(line.strip()), (0, 0, 0, 2)))


def _show_lift(console: Console, rehearsed: Rehearsal) -> None:
    found, reached, held_out = rehearsed.lift, rehearsed.reached, rehearsed.held_out
    if found is None:
        console.print("Lift of the holdout: unknown, as nobody was reached or nobody held out.")
        return
    console.print(
        f"Lift of the holdout: of {reached.people:,} people reached {found.treated:.1%} ordered within "
        f"{CONVERSION_DAYS} days, of {held_out.people:,} held out {found.control:.1%}: [bold]"
        f"{found.difference * 100:+.1f} points[/], 95 % interval {found.low * 100:+.1f} to {found.high * 100:+.1f}. "
        "As nothing was sent, the true lift is zero; the rest is random variation."
    )


def show_next(console: Console, console_link: str, clickhouse_url: str, profile_id: str | None) -> None:
    """Print where to look further, first of all the address of the console."""
    _title(console, "Look further")
    rows = [
        (console_link, "the console: all of this, and what is live, as pages"),
        (f"{clickhouse_url}/play", "ask ClickHouse: SELECT * FROM throughline.v_paths LIMIT 20"),
        ("throughline attribution report --model all", "every model; --by campaign, creative, product"),
        ("throughline journeys list", "the journeys; `simulate FILE` rehearses a change, `why` explains a message"),
        ("throughline dead-letters list", "what was refused: field and rule"),
    ]
    if profile_id:
        rows.insert(2, (f"throughline identity explain {profile_id}", "why these identifiers are one person"))
    for command, meaning in rows:
        console.print(Text(command, style="bold"), soft_wrap=True)
        console.print(f"  {meaning}")


def _title(console: Console, text: str) -> None:
    console.print()
    console.rule(f"[bold]{text}[/]", align="left", style="cyan")

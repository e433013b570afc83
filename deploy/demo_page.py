"""The page that `throughline demo` prints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from deploy.demo import Flow
    from sinks.overview import Identity, Step
    from sinks.reports import AttributionReport, AttributionRow

MODELS = ("first_touch", "last_touch", "last_non_direct", "linear", "time_decay", "position_based")
_STEPS_SHOWN = 25


def show_flow(console: Console, flow: Flow) -> None:
    """Print the speed and the accounting."""
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
    console.print(
        f"[bold]{flow.published:,} published = {' + '.join(parts)}[/], difference [{colour}]{flow.difference:,}[/]"
    )
    if not found.stored:
        console.print("Nothing new: all of it had been published before, and every event was recognised.")
    if flow.without_sample:
        console.print(f"[yellow]Without the sample of a real shop: {flow.without_sample}[/]")


def show_identity(console: Console, identity: Identity) -> None:
    """Print how identifiers became people."""
    _title(console, "Who is who")
    console.print(
        f"{identity.identifiers:,} identifiers (browsers, apps, addresses, cards) are "
        f"[bold]{identity.people:,} people[/]; {identity.merges:,} times two profiles turned out to be one person."
    )
    causes = ", ".join(f"{event} {times:,}" for event, times in identity.causes)
    if causes:
        console.print(f"What brought them together: {causes}.")
    if identity.refused:
        console.print(f"{identity.refused:,} links were refused, most of them on devices that a household shares.")


def show_person_title(console: Console) -> None:
    """Print the title of the part about one person."""
    _title(console, "One of them")


def show_path(console: Console, steps: Sequence[Step]) -> None:
    """Print one person's way from touch to touch."""
    table = Table("when", "where", "what", "marketing channel", "campaign", "revenue", box=None, header_style="dim")
    table.columns[-1].justify = "right"
    for step in steps[:_STEPS_SHOWN]:
        order = step.event == "Order Completed"
        what = step.event + ("  ⇐ two profiles become one" if step.joins else "")
        table.add_row(
            f"{step.at:%d %b %H:%M}",
            step.channel,
            Text(what, style="bold green" if order else "magenta" if step.joins else ""),
            "" if order else step.marketing_channel,
            "" if order else step.campaign,
            f"{step.revenue:,.2f} {step.currency}" if order else "",
        )
    console.print("\nThe path, across devices, shops and merges:", style="bold cyan")
    console.print(table)
    if len(steps) > _STEPS_SHOWN:
        console.print(f"… and {len(steps) - _STEPS_SHOWN:,} more")


def show_attribution(console: Console, report: AttributionReport) -> None:
    """Print revenue and ROAS of each marketing channel by each model."""
    _title(console, f"What marketing brought: revenue in {' and '.join(report.currencies)}, and in brackets ROAS")
    cells: dict[str, dict[str, AttributionRow]] = defaultdict(dict)
    for row in report.rows:
        cells[row.key][row.model] = row
    table = Table("channel", "spend", *MODELS, box=None, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for channel, by_model in sorted(cells.items(), key=lambda cell: -sum(row.revenue for row in cell[1].values())):
        spend = next(iter(by_model.values())).spend
        table.add_row(channel, f"{spend:,.0f}" if spend else "", *(_revenue(by_model.get(model)) for model in MODELS))
    totals = [sum(row.revenue for row in report.rows if row.model == model) for model in MODELS]
    table.add_section()
    table.add_row("all", f"{report.spend or 0:,.0f}", *(f"{total:,.0f}" for total in totals), style="bold")
    console.print(table)
    wrong = report.discrepancies()
    if wrong:
        console.print("[red]Credits that do not add up:[/] " + "; ".join(wrong))
    else:
        console.print(f"Each model divides the same {report.revenue:,.2f} of {report.conversions:,} purchases.")
    console.print(
        "In this simulated world Direct causes no purchase: people who already want to buy come directly. last_touch "
        "credits it all the same. The true effects are in deploy/simulate/advertising.py.",
        style="dim",
    )


def show_next(console: Console, clickhouse_url: str, profile_id: str | None) -> None:
    """Print where to look next."""
    _title(console, "Look further")
    rows = [
        (f"{clickhouse_url}/play", "ask ClickHouse anything: SELECT * FROM throughline.v_paths LIMIT 20"),
        ("throughline attribution report --model all", "every model, also by campaign, creative, product"),
        ("throughline dead-letters list", "what was refused, by field and rule"),
    ]
    if profile_id:
        rows.insert(1, (f"throughline profile show {profile_id}", "the whole profile"))
        rows.insert(2, (f"throughline identity explain {profile_id}", "why these identifiers are one person"))
    table = Table.grid(padding=(0, 3))
    for command, meaning in rows:
        table.add_row(Text(command, style="bold"), meaning)
    console.print(table)


def _revenue(row: AttributionRow | None) -> str:
    if row is None:
        return ""
    roas = f" ({row.roas:,.1f})" if row.roas is not None else ""
    return f"{row.revenue:,.0f}{roas}"


def _title(console: Console, text: str) -> None:
    console.print()
    console.rule(f"[bold]{text}[/]", align="left", style="cyan")

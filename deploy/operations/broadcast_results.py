"""What a broadcast brought: messages by variant, what was not sent and why, and the comparison of its variants."""

from __future__ import annotations

from typing import Any, NamedTuple

from processors.attribution.winners import Outcomes, judge
from sinks.clickhouse.broadcasts import BroadcastTotals, VariantResults, read_totals, read_variants
from sinks.clickhouse.experiments import Experiment, read_experiments

METRICS = {"ordered": "order rate", "clicked": "click rate", "goal": "rate of the goal", "revenue": "revenue a person"}


class BroadcastResults(NamedTuple):
    """The results of a broadcast.

    Attributes:
        totals: Its people.
        variants: Its messages.
        not_sent: Outcome, gate and number of what was not sent.
    """

    totals: BroadcastTotals
    variants: list[VariantResults]
    not_sent: list[tuple[str, str, int]]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "entered": self.totals.entered,
            "under_way": self.totals.under_way,
            "last_sent_at": self.totals.last_sent_at,
            "messages": [one._asdict() for one in self.variants],
            "not_sent": [dict(zip(("outcome", "gate", "messages"), one, strict=True)) for one in self.not_sent],
        }


class BroadcastComparison(NamedTuple):
    """How the variants of a broadcast compare.

    Attributes:
        experiments: Its split, and its messages against the holdout; empty: neither has people yet.
        lines: What they say.
    """

    experiments: list[Experiment]
    lines: list[str]

    def as_json(self) -> list[dict[str, Any]]:
        """Return it as plain data."""
        return [
            {"step": one.step, "metric": one.metric, "control": one.control, "variants": one.variants}
            for one in self.experiments
        ]


def read_results(client: Any, name: str) -> BroadcastResults:
    """Read the results of a broadcast; those of a name that nobody started are empty."""
    totals = read_totals(client, name)
    not_sent: dict[tuple[str, str], int] = {}
    for row in totals.rows:
        if row["outcome"] not in ("sent", "failed", "regretted"):
            key = (row["outcome"], row["gate"])
            not_sent[key] = not_sent.get(key, 0) + row["messages"]
    ordered = sorted(not_sent.items(), key=lambda item: -item[1])
    return BroadcastResults(
        totals,
        read_variants(client, name) if totals.entered else [],
        [(outcome, gate, count) for (outcome, gate), count in ordered],
    )


def read_comparison(client: Any, name: str) -> BroadcastComparison:
    """Compare the variants of a broadcast: with orders and revenue, which takes longer than `read_results`."""
    experiments = read_experiments(client, name)
    return BroadcastComparison(experiments, [line for one in experiments for line in _compared(one)])


def _compared(one: Experiment) -> list[str]:
    """Describe the variants of a split, and how each differs from the one that they are compared with."""
    lines = []
    for row in one.variants:
        rate = {"clicked": "click_rate", "revenue": "revenue_per_person"}.get(one.metric, "order_rate")
        low, high = ("revenue_low", "revenue_high") if one.metric == "revenue" else (f"{rate}_low", f"{rate}_high")
        shown = "{:,.2f}" if one.metric == "revenue" else "{:.2%}"
        said = (
            f"{shown.format(row[rate])} ({shown.format(row[low])} to {shown.format(row[high])})"
            if row[rate] is not None and row[low] is not None
            else "not known yet"
        )
        lines.append(
            f"{one.step} {row['variant']}: {row['assigned']:,} people, {METRICS[one.metric]} {said},"
            f" {row['ordered']:,} ordered, revenue {row['revenue']:,.2f}"
        )
    known = [outcome.variant for outcome in one.outcomes]
    if len(one.variants) > 1 and one.control in known:
        outcomes = [Outcomes(*outcome) for outcome in one.outcomes]
        verdict = judge(outcomes, one.control, share=one.metric != "revenue", fixed=False, mismatch=one.mismatch)
        lines.append(f"{one.step}: {verdict.winner or 'no difference that is sure'}, {verdict.reason}")
    return lines

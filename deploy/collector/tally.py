"""Counts what came in, by source, for a line of the log and a metric every few seconds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from schemas.metrics import COLLECTED, Meter

Outcome = Literal["accepted", "refused", "ignored", "tried again", "read"]


@dataclass
class Tally:
    """What came in since the last report.

    Attributes:
        counts: Source, outcome and detail, such as the code of a refusal → how many.
    """

    counts: Counter[tuple[str, Outcome, str]] = field(default_factory=Counter)

    def add(self, source: str, outcome: Outcome, count: int = 1, detail: str = "") -> None:
        """Count."""
        if count:
            self.counts[source, outcome, detail] += count

    def report(self, meter: Meter) -> str:
        """Count all in the metric, begin anew, and return it as text; empty: nothing came."""
        taken, self.counts = self.counts, Counter()
        for (_, outcome, _), count in taken.items():
            meter.add(COLLECTED, count, outcome)
        return ", ".join(
            f"{source} {outcome}{': ' if detail else ''}{detail} {count:,}"
            for (source, outcome, detail), count in sorted(taken.items())
        )

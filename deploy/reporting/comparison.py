"""Comparison of attribution reports: differences between models, changes between periods."""

from __future__ import annotations

from dataclasses import dataclass

from processors.attribution.rules import UNATTRIBUTED
from sinks.clickhouse.reports import AttributionReport


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The difference between the models for a key.

    Attributes:
        key: Channel, campaign, creative or product.
        least: Smallest share of the conversions with a touch among the additive models.
        least_by: The model with it.
        most: Largest share.
        most_by: The model with it.
        spread: most - least.
    """

    key: str
    least: float
    least_by: str
    most: float
    most_by: str
    spread: float


@dataclass(frozen=True, slots=True)
class Drift:
    """A key's share of the conversions with a touch in two periods."""

    model: str
    key: str
    before: float
    after: float


def disagreements(report: AttributionReport) -> list[Disagreement]:
    """Compare the additive models of a report key by key, largest difference first."""
    shares = shares_of(report)
    models = list(dict.fromkeys(model for model, _ in shares if model not in report.not_additive))
    found = []
    for key in dict.fromkeys(key for _, key in shares):
        by_model = sorted((shares.get((model, key), 0.0), model) for model in models)
        (least, least_by), (most, most_by) = by_model[0], by_model[-1]
        found.append(Disagreement(key, least, least_by, most, most_by, most - least))
    return sorted(found, key=lambda row: (-row.spread, row.key))


def drifts(before: AttributionReport, after: AttributionReport) -> list[Drift]:
    """Compare two periods model by model and key by key, largest change first."""
    earlier, later = shares_of(before), shares_of(after)
    found = [
        Drift(model, key, earlier.get((model, key), 0.0), later.get((model, key), 0.0))
        for model, key in dict.fromkeys((*later, *earlier))
        if model not in after.not_additive
    ]
    return sorted(found, key=lambda row: (-abs(row.after - row.before), row.model, row.key))


def shares_of(report: AttributionReport) -> dict[tuple[str, str], float]:
    """Return the share of the conversions with a touch by model and key."""
    touched = [row for row in report.rows if row.key != UNATTRIBUTED]
    whole: dict[str, float] = {}
    for row in touched:
        whole[row.model] = whole.get(row.model, 0.0) + row.conversions
    return {(row.model, row.key): row.conversions / whole[row.model] for row in touched if whole[row.model]}

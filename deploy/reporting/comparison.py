"""Attribution reports held against each other: models that disagree, shares that drift."""

from __future__ import annotations

from dataclasses import dataclass

from processors.attribution.rules import UNATTRIBUTED
from sinks.clickhouse.reports import AttributionReport


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How far models differ about a key.

    Attributes:
        key: Channel, campaign, creative or product.
        least: The smallest share of the conversions with a touch that an additive model gives it.
        least_by: That model.
        most: The largest share.
        most_by: That model.
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
    """How a key's share of the conversions with a touch moved from one period to the next."""

    model: str
    key: str
    before: float
    after: float


def disagreements(report: AttributionReport) -> list[Disagreement]:
    """Compare the additive models of a report key by key, most disputed first."""
    shares = shares_of(report)
    models = list(dict.fromkeys(model for model, _ in shares if model not in report.not_additive))
    found = []
    for key in dict.fromkeys(key for _, key in shares):
        by_model = sorted((shares.get((model, key), 0.0), model) for model in models)
        (least, least_by), (most, most_by) = by_model[0], by_model[-1]
        found.append(Disagreement(key, least, least_by, most, most_by, most - least))
    return sorted(found, key=lambda row: (-row.spread, row.key))


def drifts(before: AttributionReport, after: AttributionReport) -> list[Drift]:
    """Compare two periods model by model and key by key, largest movement first."""
    earlier, later = shares_of(before), shares_of(after)
    found = [
        Drift(model, key, earlier.get((model, key), 0.0), later.get((model, key), 0.0))
        for model, key in dict.fromkeys((*later, *earlier))
        if model not in after.not_additive
    ]
    return sorted(found, key=lambda row: (-abs(row.after - row.before), row.model, row.key))


def shares_of(report: AttributionReport) -> dict[tuple[str, str], float]:
    """Each model's and key's share of the conversions with a touch."""
    touched = [row for row in report.rows if row.key != UNATTRIBUTED]
    whole: dict[str, float] = {}
    for row in touched:
        whole[row.model] = whole.get(row.model, 0.0) + row.conversions
    return {(row.model, row.key): row.conversions / whole[row.model] for row in touched if whole[row.model]}

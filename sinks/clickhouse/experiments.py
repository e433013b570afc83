"""Reads experiments: the variants of each split, and the outcomes of the people whose window is over."""

from __future__ import annotations

from typing import Any, NamedTuple

VARIANT_COLUMNS = (
    "variant", "is_control", "share", "assigned", "crossed", "measured", "held_out", "sent", "delivered", "clicked",
    "reached_goal", "ordered", "orders", "revenue", "click_rate", "click_rate_low", "click_rate_high", "order_rate",
    "order_rate_low", "order_rate_high", "revenue_per_person", "revenue_low", "revenue_high", "difference",
    "difference_low", "difference_high",
)  # fmt: skip


class VariantOutcomes(NamedTuple):
    """What the people of one variant did whose window is over: their number, and sums of the experiment's metric."""

    variant: str
    people: int
    total: float
    squares: float
    positive: int


class Experiment(NamedTuple):
    """One split of a version of a journey.

    Attributes:
        journey: The journey.
        version: Its version.
        step: The split, the message with variants, or `holdout`.
        metric: `ordered`, `clicked`, `goal` or `revenue`.
        control: The variant that the others are compared with.
        window_ms: How long after the draw what a person does counts.
        horizon_ms: When the winner is decided, after `started_ms`; None: by a sequential test.
        started_ms: The first draw, in ms.
        sample_ratio_p: Probability of a split at least so uneven; None: shares are not recorded.
        mismatch: It is so improbable that there must be a fault.
        variants: Rows of `v_experiment_variants`, by column.
        outcomes: Of people whose window is over, by the horizon if there is one.
    """

    journey: str
    version: str
    step: str
    metric: str
    control: str
    window_ms: int
    horizon_ms: int | None
    started_ms: int
    sample_ratio_p: float | None
    mismatch: bool
    variants: list[dict[str, Any]]
    outcomes: list[VariantOutcomes]


def read_experiments(client: Any, journey: str = "") -> list[Experiment]:
    """Read all experiments, the latest first; those of one journey if it is named.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        journey: Name of the journey; empty: all.
    """
    variants = client.query(
        f"""
        SELECT journey, version, step, sample_ratio_p, sample_ratio_mismatch, {", ".join(VARIANT_COLUMNS)}
        FROM v_experiment_variants
        WHERE journey = {{journey:String}} OR {{journey:String}} = ''
        ORDER BY journey, version, step, is_control DESC, variant
        """,  # noqa: S608 - the parts are constants
        parameters={"journey": journey},
    ).result_rows
    # Everybody up to the horizon has a whole window before it, so that a later look finds the same people.
    outcomes = client.query(
        """
        SELECT journey, version, step, any(metric), any(control), any(window_ms), any(horizon_ms),
            min(toUnixTimestamp64Milli(started)), variant, countIf(counts) AS people, sumIf(outcome, counts) AS total,
            sumIf(outcome * outcome, counts) AS squares, countIf(counts AND outcome != 0) AS positive
        FROM
        (
            SELECT journey, version, step, metric, control, window_ms, horizon_ms, variant,
                min(assigned_at) OVER (PARTITION BY journey, version, step) AS started,
                ifNull(addMilliseconds(assigned_at, window_ms) <= addMilliseconds(started, horizon_ms), 1) AS in_time,
                NOT crossed AND measured AND in_time AS counts,
                multiIf(metric = 'clicked', toFloat64(clicked), metric = 'goal', toFloat64(goal),
                    metric = 'revenue', revenue, toFloat64(orders > 0)) AS outcome
            FROM v_experiment_people
            WHERE journey = {journey:String} OR {journey:String} = ''
        )
        GROUP BY journey, version, step, variant
        ORDER BY variant
        """,
        parameters={"journey": journey},
    ).result_rows
    found: dict[tuple[str, str, str], Experiment] = {}
    for name, version, step, metric, control, window_ms, horizon_ms, started_ms, *sums in outcomes:
        key = (name, version, step)
        if key not in found:
            found[key] = Experiment(*key, metric, control, window_ms, horizon_ms, started_ms, None, False, [], [])
        found[key].outcomes.append(VariantOutcomes(*sums))
    for name, version, step, sample_ratio_p, mismatch, *columns in variants:
        key = (name, version, step)
        if one := found.get(key):
            one.variants.append(dict(zip(VARIANT_COLUMNS, columns, strict=True)))
            found[key] = one._replace(sample_ratio_p=sample_ratio_p, mismatch=bool(mismatch))
    # What was drawn for the first time between the two queries is in one of them only.
    return sorted(
        (one for one in found.values() if one.variants), key=lambda one: (one.started_ms, one.step), reverse=True
    )

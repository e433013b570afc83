"""Reads how many runs of a journey have reached, wait at and have left each of its steps."""

from __future__ import annotations

from typing import Any, NamedTuple

_STEPS = """
SELECT step, uniqExact(run_id) AS reached
FROM
(
    SELECT run_id, step FROM v_journey_events WHERE journey = {journey:String} AND step != ''
    UNION ALL
    SELECT run_id, step FROM v_decisions WHERE journey = {journey:String} AND step != ''
)
GROUP BY step
"""

_RUNS = """
SELECT
    step, countIf(ended_at IS NULL) AS waiting, countIf(ended_at IS NOT NULL) AS ended,
    countIf(ended_at IS NULL AND held) AS held
FROM v_journey_runs
WHERE journey = {journey:String}
GROUP BY step
"""

_MESSAGES = """
SELECT
    step, sum(j.sent) AS sent, sum(j.postponed) AS postponed, sum(j.suppressed) AS suppressed, sum(j.ghost) AS ghost,
    sum(j.failed) AS failed
FROM v_journeys AS j
WHERE journey = {journey:String}
GROUP BY step
"""

_TOTALS = """
SELECT journey, sum(j.entered) AS entered, sum(j.sent) AS sent, sum(j.suppressed) AS suppressed, sum(j.goal) AS goal
FROM v_journeys AS j
WHERE day > today() - {days:UInt16}
GROUP BY journey
"""

_ENDINGS = """
SELECT reason, count() AS runs
FROM v_journey_runs
WHERE journey = {journey:String} AND ended_at IS NOT NULL
GROUP BY reason
ORDER BY runs DESC, reason
LIMIT 20
"""

_LIFT = """
SELECT treated, control, treated_rate, control_rate, difference, difference_low, difference_high
FROM v_experiments
WHERE journey = {journey:String}
"""


class StepCounts(NamedTuple):
    """Runs at one step; those that have gone on are `reached - waiting - ended`.

    Attributes:
        reached: Runs that came to it.
        waiting: Runs that are there now.
        ended: Runs that ended there.
        held: Of those that wait, the ones that a pause holds.
        sent: Messages sent.
        postponed: Runs whose message was put off.
        suppressed: Messages that a gate held back.
        ghost: Messages to people who are held out.
        failed: Messages that could not be delivered.
    """

    reached: int = 0
    waiting: int = 0
    ended: int = 0
    held: int = 0
    sent: int = 0
    postponed: int = 0
    suppressed: int = 0
    ghost: int = 0
    failed: int = 0

    @property
    def passed(self) -> int:
        """Runs that have gone on."""
        return max(0, self.reached - self.waiting - self.ended)


class JourneyTotals(NamedTuple):
    """What a journey did in a period."""

    entered: int
    sent: int
    suppressed: int
    goal: int


def count_steps(client: Any, journey: str) -> dict[str, StepCounts]:
    """Count the runs of a journey by step; the step `` is the journey before its first step."""
    asked = {"journey": journey}
    counts: dict[str, dict[str, int]] = {}
    for query, names in (
        (_STEPS, ("reached",)),
        (_RUNS, ("waiting", "ended", "held")),
        (_MESSAGES, ("sent", "postponed", "suppressed", "ghost", "failed")),
    ):
        for step, *values in client.query(query, asked).result_rows:
            counts.setdefault(step, {}).update(zip(names, map(int, values), strict=True))
    return {step: StepCounts(**found) for step, found in counts.items()}


def journey_totals(client: Any, days: int = 30) -> dict[str, JourneyTotals]:
    """Sum up what each journey did in the last days."""
    return {name: JourneyTotals(*map(int, row)) for name, *row in client.query(_TOTALS, {"days": days}).result_rows}


def run_endings(client: Any, journey: str) -> list[tuple[str, int]]:
    """Count the runs that have ended by reason, the most frequent first."""
    return [(reason, int(runs)) for reason, runs in client.query(_ENDINGS, {"journey": journey}).result_rows]


def journey_lift(client: Any, journey: str) -> dict[str, Any] | None:
    """Return people reached and held out, their rates and the difference with its interval; None: there are none."""
    found = list(client.query(_LIFT, {"journey": journey}).named_results())
    return dict(found[0]) if found else None

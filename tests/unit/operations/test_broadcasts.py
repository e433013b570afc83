"""States of broadcasts as people see them, who wins, and what a forecast says of a whole audience."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.operations.broadcast_forecast import Forecast
from deploy.operations.broadcast_winners import best
from deploy.operations.broadcasts import statuses
from deploy.operations.definitions_report import DefinitionsReport
from deploy.operations.publication import after
from schemas.durations import DAY_MS, HOUR_MS
from schemas.journeys.broadcasts import Broadcast
from schemas.journeys.control import ChangeKind, DefinitionChange, DefinitionsState
from sinks.clickhouse.experiments import VariantOutcomes

START_MS = 1_800_000_000_000


def broadcast(**fields: Any) -> Broadcast:
    return Broadcast.model_validate(
        {"name": "news", "description": "N.", "segment": "known", "message": "hello", **fields}
    )


def after_changes(*changes: tuple[ChangeKind, int], **detail: Any) -> DefinitionsState:
    """What is in force after changes of the broadcast, each so many hours after the start."""
    state = DefinitionsState()
    for kind, hours in changes:
        said = {"version": "v1", "audience": 10} if kind == "start" else detail if kind == "winner" else {}
        at_ms = START_MS + hours * HOUR_MS
        state = after(state, DefinitionChange(state.number + 1, at_ms, "mia", kind, ("news",), "", detail=said))
    return state


class _Files:
    def __init__(self, *broadcasts: Broadcast) -> None:
        self.broadcasts = broadcasts


@pytest.mark.parametrize(
    ("changes", "share", "waiting", "hours", "expected"),
    [
        pytest.param([], 0.0, 0, 1, "planned", id="not started"),
        pytest.param([("start", 0)], 0.4, 4, 1, "running", id="people enter"),
        pytest.param([("start", 0)], 1.0, 4, 1, "running", id="people wait"),
        pytest.param([("start", 0)], 1.0, 0, 1, "done", id="all have it"),
        pytest.param([("start", 0)], 0.4, 4, 61 * 24, "done", id="two months later"),
        pytest.param([("start", 0), ("pause", 1)], 0.4, 4, 2, "paused", id="paused"),
        pytest.param([("start", 0), ("pause", 1), ("resume", 2)], 0.4, 4, 3, "running", id="resumed"),
        pytest.param([("start", 0), ("stop", 1)], 1.0, 0, 2, "cancelled", id="cancelled"),
    ],
)
def test_the_state_of_a_broadcast(
    changes: list[tuple[ChangeKind, int]], share: float, waiting: int, hours: int, expected: str
) -> None:
    files: Any = _Files(broadcast())
    report = DefinitionsReport(after_changes(*changes), files, [])
    (found,) = statuses(report, {"news": share}, {"news": waiting}, START_MS + hours * HOUR_MS)

    assert expected == found.state


def test_nothing_is_said_to_be_done_while_nobody_knows_who_waits() -> None:
    files: Any = _Files(broadcast())
    report = DefinitionsReport(after_changes(("start", 0)), files, [])
    (found,) = statuses(report, {"news": 1.0}, None, START_MS + HOUR_MS)

    assert "running" == found.state


def test_a_live_broadcast_is_not_done_while_people_may_still_come() -> None:
    files: Any = _Files(broadcast(members="live", expires_after="1d"))
    report = DefinitionsReport(after_changes(("start", 0)), files, [])
    found = [statuses(report, {"news": 1.0}, {}, START_MS + days * DAY_MS)[0].state for days in (0, 1, 2)]

    assert ["running", "running", "done"] == found


def test_pauses_of_a_broadcast_add_up_and_its_winner_stays() -> None:
    changes: list[tuple[ChangeKind, int]] = [("start", 0), ("pause", 1), ("winner", 2), ("resume", 3), ("pause", 5)]
    control = after_changes(*changes, ("resume", 6), winner="story").journeys["news"]

    assert (START_MS, 10, 3 * HOUR_MS, "story") == (
        control.started_ms,
        control.audience,
        control.paused_ms,
        control.winner,
    )


def test_the_winner_has_the_greatest_mean_and_of_equals_it_is_the_first() -> None:
    outcomes = [VariantOutcomes("a", 100, 5.0, 5.0, 5), VariantOutcomes("b", 10, 1.0, 1.0, 1)]

    assert "b" == best(["a", "b"], outcomes)
    assert "a" == best(["a", "b"], outcomes[:1])
    assert "a" == best(["a", "b"], [])


def test_a_forecast_of_a_sample_is_of_all_with_a_margin() -> None:
    found = Forecast("news", audience=1000, looked_at=100, reached=50)
    whole = Forecast("news", audience=100, looked_at=100, reached=50)

    assert (500, 98) == (found.whole(50), found.margin(50))
    assert (50, 0) == (whole.whole(50), whole.margin(50))

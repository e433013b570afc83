"""When history is taken into segments without anybody asking."""

from __future__ import annotations

import pytest

from deploy.operations import backfill_schedule
from deploy.operations.backfill_schedule import BackfillSchedule
from deploy.settings import Settings


class Stores:
    """What a look at the stores finds, and how often each was asked."""

    def __init__(self) -> None:
        self.waiting: list[str] | None = []
        self.late = False
        self.looks = {"segments": 0, "late": 0}

    def segments(self, *_: object) -> list[str] | None:
        self.looks["segments"] += 1
        return self.waiting

    def late_events(self, *_: object) -> bool:
        self.looks["late"] += 1
        return self.late


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    found = Stores()
    monkeypatch.setattr(backfill_schedule, "waiting_segments", found.segments)
    monkeypatch.setattr(backfill_schedule, "late_events_wait", found.late_events)
    return found


def due(schedule: BackfillSchedule, *seconds: float) -> list[float]:
    settings = Settings()
    return [one for one in seconds if schedule.is_due(settings, one, 0)]


def test_a_new_segment_is_filled_at_the_next_look(stores: Stores) -> None:
    schedule = BackfillSchedule(5)
    assert [] == due(schedule, 100, 105)
    stores.waiting = ["vip"]

    assert [110] == due(schedule, 106, 109, 110)


def test_after_a_backfill_that_failed_there_is_a_pause(stores: Stores) -> None:
    stores.waiting = ["vip"]

    assert [100, 160] == due(BackfillSchedule(5), 100, 105, 159, 160)


def test_late_events_are_looked_for_once_a_minute(stores: Stores) -> None:
    schedule = BackfillSchedule(5)
    assert [] == due(schedule, *range(100, 160, 5))
    stores.late = True

    assert ([160], {"segments": 13, "late": 2}) == (due(schedule, 160), stores.looks)


def test_a_store_that_does_not_answer_makes_nothing_due(stores: Stores) -> None:
    stores.waiting = None

    assert [] == due(BackfillSchedule(5), 100, 105)

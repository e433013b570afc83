"""What came in is counted by what became of it, whatever its source is called, and reported once."""

from __future__ import annotations

from deploy.collector.tally import Tally
from deploy.operations.metrics import PrometheusMeter
from schemas.metrics import COLLECTED


def test_a_source_counts_by_its_outcomes_and_not_by_its_name() -> None:
    tally, meter = Tally(), PrometheusMeter()
    tally.add("shop accepted goods", "refused", 2, "not_json")
    tally.add("app", "accepted", 3)
    tally.add("app", "read")
    tally.add("app", "ignored", 0, "ping")

    assert "app accepted 3, app read 1, shop accepted goods refused: not_json 2" == tally.report(meter)
    assert "" == tally.report(meter)
    outcomes = ("accepted", "refused", "read", "ignored")
    assert [3, 2, 1, None] == [meter.registry.get_sample_value(COLLECTED.name, {"outcome": one}) for one in outcomes]

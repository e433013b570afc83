"""When predictions are made anew."""

from __future__ import annotations

import pytest

from deploy.operations.predictions import pause_ms
from schemas.durations import DAY_MS, HOUR_MS

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("fitted_ms", "pause"),
    [
        pytest.param(None, 0, id="there is no fit"),
        pytest.param(NOW - HOUR_MS, 23 * HOUR_MS, id="one of an hour ago"),
        pytest.param(NOW - DAY_MS, 0, id="one of a day ago"),
        pytest.param(NOW - 9 * DAY_MS, 0, id="one of before a long pause"),
        pytest.param(NOW + 9 * DAY_MS, DAY_MS, id="one of a clock that is ahead"),
    ],
)
def test_a_fit_is_due_when_the_newest_one_is_a_period_old(fitted_ms: int | None, pause: int) -> None:
    assert pause == pause_ms(fitted_ms, DAY_MS, NOW)

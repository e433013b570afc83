"""When predictions are made anew."""

from __future__ import annotations

import pytest

from deploy.operations.predictions import describe, pause_ms
from deploy.settings import Settings
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


@pytest.mark.parametrize(
    ("fitted_ms", "is_scored", "period", "found", "hint"),
    [
        pytest.param(None, False, DAY_MS, "none yet", "ltv fit", id="none"),
        pytest.param(NOW - HOUR_MS, False, DAY_MS, "1.0 hours ago, not written", "segments score`", id="not scored"),
        pytest.param(NOW - HOUR_MS, True, DAY_MS, "1.0 hours ago, and written", "", id="fresh"),
        pytest.param(NOW - HOUR_MS // 10, True, DAY_MS, "fitted 6 minutes ago", "", id="just now"),
        pytest.param(NOW - 3 * DAY_MS, True, DAY_MS, "72.0 hours ago", "--every 24h", id="nothing made new ones"),
        pytest.param(NOW - 3 * DAY_MS, True, None, "72.0 hours ago", "", id="as old as it likes"),
    ],
)
def test_the_age_of_predictions_is_said_with_what_is_to_be_done(
    fitted_ms: int | None, is_scored: bool, period: int | None, found: str, hint: str
) -> None:
    said = describe(fitted_ms, is_scored, NOW, period)

    assert (True, True) == (found in said.found, hint in said.hint if hint else not said.hint)


@pytest.mark.parametrize(
    ("every", "is_right"), [("24h", True), ("7 days", True), ("", True), ("9m", False), ("soon", False)]
)
def test_how_often_predictions_are_made_is_a_length_of_time(every: str, is_right: bool) -> None:
    if is_right:
        assert every == Settings(scores_every=every).scores_every
    else:
        with pytest.raises(ValueError, match="scores_every"):
            Settings(scores_every=every)

"""How long data is kept: what settings contradict each other, and what looks back further."""

from __future__ import annotations

import pytest

from deploy.operations.kept_history import RetentionRefusedError, check_kept, look_backs
from schemas.durations import DAY_MS
from schemas.recording.retention import SHORTEST_DAYS
from schemas.segments.definitions import SegmentDefinitions
from schemas.topics import topics
from sinks.redis.deduplication import KNOWN_MS, TTL_S
from sinks.redis.delivery import KEPT_MS

SEGMENTS = SegmentDefinitions.model_validate(
    {
        "segments": [
            {"name": "keen", "description": "Often here.", "when": {"performed": "Page Viewed", "within": "100d"}},
            {"name": "new", "description": "Just here.", "when": {"performed": "Page Viewed", "within": "30d"}},
        ],
        "traits": [
            {"name": "spent", "description": "Sum.", "function": "count", "event": "Order Completed", "within": "365d"},
        ],
    }
)  # fmt: skip


def kept(payloads: int = 0, events: int = 0, reports: int = 0) -> dict[str, int]:
    return {"payloads": payloads, "events": events, "reports": reports}


@pytest.mark.parametrize(
    "days",
    [kept(), kept(400), kept(400, 400), kept(90, 400, 1000), kept(35)],
    ids=["for ever", "payloads alone", "payloads as long as events", "each longer than the one before", "the shortest"],
)
def test_days_that_can_be(days: dict[str, int]) -> None:
    check_kept(days)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        (kept(34), r"THROUGHLINE_KEEP_PAYLOADS_DAYS=34 is less than 35 days.*rebuild of Redis"),
        (kept(0, 400), r"KEEP_PAYLOADS_DAYS \(for ever\) is longer than .*KEEP_EVENTS_DAYS \(400 days\).*part of its"),
        (kept(500, 400), r"KEEP_PAYLOADS_DAYS \(500 days\) is longer than"),
        (
            kept(90, 0, 400),
            r"KEEP_EVENTS_DAYS \(for ever\) is longer than .*KEEP_REPORTS_DAYS \(400 days\).*lack orders",
        ),
    ],
)
def test_days_that_cannot_be(days: dict[str, int], reason: str) -> None:
    with pytest.raises(RetentionRefusedError, match=reason):
        check_kept(days)  # type: ignore[arg-type]


def test_the_shortest_time_covers_what_a_rebuild_of_redis_reads_and_what_kafka_gives_again() -> None:
    replayed = [topic.retention_ms for topic in topics(("web",)) if "touchpoints" in topic.name]

    assert max(KNOWN_MS, TTL_S * 1000, KEPT_MS, *replayed) <= SHORTEST_DAYS * DAY_MS


def test_what_looks_back_further_is_named_with_its_window() -> None:
    found = look_backs(kept(60, 400), SEGMENTS)  # type: ignore[arg-type]

    assert 3 == len(found)
    assert "60 days who looked at a product, not for 90" in found[0]
    assert "segment keen looks back 100 days" in found[1]
    assert "trait spent looks back 365 days" in found[2]


def test_nothing_looks_back_further_than_for_ever() -> None:
    assert [] == look_backs(kept(reports=400), SEGMENTS)  # type: ignore[arg-type]

"""Waiting until nothing is pending, and how a lag is put into words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploy.operations.lag import PartitionLag, Pending, consumed_topics, drain, group_id

NOTHING = Pending((), 0, 0)
BUSY = Pending((PartitionLag("identify", "touchpoints.web", 3, 1200),), 2, 1)


def looks(*found: Pending) -> Callable[[], Pending]:
    """Answer with one after the other, then with the last for ever."""
    left = list(found)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_it_is_drained_when_two_looks_in_a_row_find_nothing() -> None:
    seen: list[Pending] = []
    assert drain(looks(BUSY, NOTHING, BUSY, NOTHING, NOTHING), 10, pause_s=0, progress=seen.append) == NOTHING
    assert seen == [BUSY, NOTHING, BUSY, NOTHING, NOTHING]


def test_after_the_timeout_it_says_what_is_left() -> None:
    assert drain(looks(BUSY), 0, pause_s=0) == BUSY


@pytest.mark.parametrize(
    ("pending", "text"),
    [
        pytest.param(NOTHING, "nothing", id="nothing"),
        pytest.param(
            BUSY,
            "1,200 records before identify, 2 identity changes in the outbox, 1 changed profiles to export",
            id="everything",
        ),
        pytest.param(
            Pending((PartitionLag("record", "a", 0, 1), PartitionLag("record", "b", 5, 2)), 0, 0),
            "3 records before record",
            id="partitions of one role add up",
        ),
    ],
)
def test_what_is_pending_is_put_into_words(pending: Pending, text: str) -> None:
    assert str(pending) == text


@pytest.mark.parametrize(
    ("role", "topics"),
    [
        ("identify", ["touchpoints.web", "touchpoints.store"]),
        ("profile", ["resolved-touchpoints"]),
        (
            "record",
            [
                "resolved-touchpoints",
                "identity-changes",
                "dropped-touchpoints",
                "dead-letters",
                "decisions",
                "journey-events",
            ],
        ),
    ],
)
def test_each_role_reads_its_topics(role: str, topics: list[str]) -> None:
    assert consumed_topics(role, ["web", "store"]) == topics


def test_groups_carry_the_prefix_of_the_deployment() -> None:
    assert group_id("staging-", "identify") == "staging-throughline-identify"

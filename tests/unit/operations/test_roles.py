"""The topics and the consumer group of each role."""

from __future__ import annotations

import pytest

from deploy.operations.roles import consumed_topics, group_id


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

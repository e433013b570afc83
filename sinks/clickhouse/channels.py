"""The channels that the message policy alone knows, as the views of reachability read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sinks.clickhouse.client import without_deduplication


def publish_channels(client: Any, channels: Sequence[tuple[str, Sequence[str], int]]) -> bool:
    """Write the channels on which messages go to identifier types of one's own.

    Args:
        client: Of the deployment's database.
        channels: Name, the types of identifiers (the preferred one first), and the days without a sign of life after
            which an address is taken to be given up.

    Returns:
        Whether they were different before.
    """
    wanted = sorted((name, list(types), days) for name, types, days in channels)
    found = client.query("SELECT argMax(channels, changed_at) FROM policy_channels").first_row[0]
    if sorted((name, list(types), days) for name, types, days in found) == wanted:
        return False
    client.insert("policy_channels", [[wanted]], column_names=["channels"], settings=without_deduplication())
    return True

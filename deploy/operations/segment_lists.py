"""Members of a segment as lists of advertising networks, and conditions of segments as they are written."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

import yaml

from deploy.operations.definition_files import yaml_files
from deploy.settings import Settings
from processors.segments.audiences import LIST_FORMATS, Network, agreed_since, may_be_targeted, rows, withdrew_since
from schemas.segments.definitions import Segment
from schemas.time import ms_of_time
from sinks.clickhouse.audiences import member_ids, read_members, read_members_since

ListChange = Literal["all", "entered", "left"]


class AudienceList(NamedTuple):
    """A list of hashed addresses.

    Attributes:
        columns: Names of the network's columns.
        rows: One for each address.
        refused: People who are left out, since they have not agreed.
    """

    columns: tuple[str, str]
    rows: list[tuple[str, str]]
    refused: int


def read_list(
    client: Any,
    segment: str,
    network: Network,
    now: datetime,
    *,
    change: ListChange = "all",
    since: datetime | None = None,
) -> AudienceList:
    """Read hashed e-mail addresses and telephone numbers of people whom an advertising network may be given.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        segment: Name of the segment.
        network: The network.
        now: The time.
        change: All members, or those to add to or remove from the network's list since a time.
        since: That time.
    """
    written: list[tuple[str, str]] = []
    refused, since_ms = 0, ms_of_time(since) if since else 0
    if since is None:
        people, elsewhere = read_members(client, segment, now), set[str]()
    elif change == "entered":
        people, elsewhere = read_members(client, segment, now), member_ids(client, segment, since)
    else:
        people, elsewhere = read_members_since(client, segment, since), member_ids(client, segment, now)
    for profile_id, document in people:
        allowed = may_be_targeted(document)
        if change == "left":
            # A person without consent then and since was on no list, and is not named now.
            gone = profile_id not in elsewhere and allowed
            written += rows(document, network) if gone or withdrew_since(document, since_ms) else []
        elif profile_id not in elsewhere or agreed_since(document, since_ms):
            refused += not allowed
            written += rows(document, network) if allowed else []
    return AudienceList(LIST_FORMATS[network].columns, written, refused)


def condition_as_written(segment: Segment, settings: Settings) -> Any:
    """Return the condition as it is written in its file, with durations as text."""
    for path in yaml_files(settings.definitions_dir / "segments"):
        for one in yaml.safe_load(path.read_text("utf-8")).get("segments", ()):
            if one["name"] == segment.name:
                return one["when"]
    return segment.when.model_dump(by_alias=True, exclude_unset=True)

"""Takes a person apart again: what it would do, and the act, with both profiles rebuilt from history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from uuid import uuid4

from deploy.operations.deployment import Deployment, Progress
from deploy.operations.rebuild import NotRebuiltError, rebuild_people
from processors.decisions.engine import DecisionEngine
from schemas.identity.resolution import Split, TypedAnchor
from schemas.time import clock_ms
from sinks.clickhouse.history import count_affected


class UnmergePreview(NamedTuple):
    """What an unmerge would do.

    Attributes:
        source: The profile.
        moved: Identifiers that would leave it, by type.
        stayed: Identifiers that it would keep, by type.
        events: Events that would go with them.
        orders: Orders among these.
    """

    source: str
    moved: dict[str, int]
    stayed: dict[str, int]
    events: int
    orders: int


class Unmerge(NamedTuple):
    """What an unmerge did.

    Attributes:
        source: The profile.
        target: The new profile.
        moved: Identifiers of the new one, by type.
        stayed: Identifiers of the old one, by type.
        version: Of the identity log after the split.
        rebuilt: Both profiles → events that were folded again.
    """

    source: str
    target: str
    moved: dict[str, int]
    stayed: dict[str, int]
    version: int
    rebuilt: dict[str, int]


async def preview_unmerge(deployment: Deployment, identifier_hashes: Sequence[bytes]) -> UnmergePreview:
    """Return what an unmerge of these identifiers would do.

    Raises:
        ImpossibleSplitError: They have no owner, are of two people, or are all that the person has.
    """
    found = await deployment.identities.preview_split(identifier_hashes)
    follow = count_affected(deployment.tables, [anchor for anchor, _ in found.moved], found.source)
    return UnmergePreview(found.source, found.moved_counts, found.stayed_counts, follow["events"], follow["orders"])


async def split_off(deployment: Deployment, identifier_hashes: Sequence[bytes]) -> Split:
    """Split identifiers off a person into a new one, and keep the two from being merged again.

    Raises:
        ImpossibleSplitError: As `preview_unmerge`; nothing was changed.
        KafkaUnreachableError: Nothing was changed.
    """
    deployment.lags.lags()  # fail before the split, not after it, when the broker is down
    return await deployment.identities.split(uuid4().hex, identifier_hashes, occurred_ms=clock_ms())


async def rebuild_both(
    deployment: Deployment,
    split: Split,
    decider: DecisionEngine,
    *,
    timeout_s: float,
    progress: Progress = lambda _: None,
) -> Unmerge:
    """Rebuild both profiles of a split from history, as if they had never been one.

    Args:
        deployment: Its stores.
        split: What `split_off` did.
        decider: From `load_rebuild_decider`, before the split: after it a bad definition would come too late.
        timeout_s: Longest time of each wait for the workers, in seconds.
        progress: Called with the name of what is being waited for.

    Raises:
        NotRebuiltError: They are two people, but their profiles are not rebuilt; the message says how to go on.
    """
    try:
        rebuilt = await rebuild_people(
            deployment,
            (split.source, split.target),
            timeout_s=timeout_s,
            after_version=split.version,
            decider=decider,
            split=True,
            progress=progress,
        )
    except NotRebuiltError as error:
        raise NotRebuiltError(
            f"{error}\nThe identifiers are split, the profiles are not rebuilt yet. Once the workers have caught up:"
            f" throughline profile rebuild --after-split {split.source} {split.target}"
        ) from error
    return Unmerge(split.source, split.target, _counts(split.moved), _counts(split.stayed), split.version, rebuilt)


def _counts(anchors: Sequence[TypedAnchor]) -> dict[str, int]:
    return dict(sorted(Counter(kind for _, kind in anchors).items()))

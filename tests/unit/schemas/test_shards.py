"""A person's shard never changes; whoever reads a partition has all events of its shards."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest
from pydantic import ValidationError

from deploy.settings import Settings
from schemas.shards import SHARDS, partition_of, shard_of

PEOPLE = [str(UUID(int=number * 2**64 + number)).encode() for number in range(20_000)]


def shards_in(partition: int, partitions: int) -> list[int]:
    return [shard for shard in range(SHARDS) if shard % partitions == partition]


def test_the_shard_of_a_person_is_for_the_life_of_a_deployment() -> None:
    assert [73, 135] == [shard_of(PEOPLE[0]), shard_of(PEOPLE[1])]


def test_people_are_spread_evenly() -> None:
    sizes = Counter(map(shard_of, PEOPLE))

    assert SHARDS == len(sizes)
    assert max(sizes.values()) < 2 * len(PEOPLE) / SHARDS


@pytest.mark.parametrize("partitions", [1, 5, 12, 48, 192])
def test_a_partition_has_whole_shards_and_each_shard_is_in_one(partitions: int) -> None:
    shards = [shard for number in range(partitions) for shard in shards_in(number, partitions)]

    assert list(range(SHARDS)) == sorted(shards)
    assert all(shard_of(person) in shards_in(partition_of(person, partitions), partitions) for person in PEOPLE[:99])


@pytest.mark.parametrize("partitions", [10, 7, 384])
def test_partitions_that_would_have_unequal_numbers_of_shards_are_refused(partitions: int) -> None:
    with pytest.raises(ValidationError, match="192 shards"):
        Settings(partitions=partitions)

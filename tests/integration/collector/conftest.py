"""A collector on a real broker, which the tests of a module share."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import count

import pytest

from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from tests.support.collector import Ids, RunningCollector, collector
from tests.support.stack import Addresses, corner


@pytest.fixture(scope="module")
def place(servers: Addresses) -> Iterator[Settings]:
    """A deployment of few topics, which are quickly read; each test looks for events of its own."""
    with corner(servers) as settings:
        small = settings.model_copy(update={"channels": ("web", "app", "api", "store"), "partitions": 1})
        apply_topics(small)
        yield small


@pytest.fixture(scope="module")
def service(place: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """A collector that a module's tests share: leave it running."""
    with collector(place, tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.fixture
def ids() -> Ids:
    """Makes ids that no other test has."""
    mine = secrets.token_hex(4)
    numbers = count(1)
    return lambda: f"{mine}-{next(numbers)}"

"""Fixtures that every kind of test may ask for. How they work is in `tests/support/stack.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as property_settings
from xdist.scheduler import LoadFileScheduling

from deploy.local.kafka import missing_tools
from deploy.local.servers import Servers
from deploy.settings import Settings
from tests.support.stack import Addresses, addresses, corner, local_stack, unavailable
from tests.support.valkey_cluster import valkey_cluster

ONE_RUN = "tests/e2e/field_events/"
"""Its files share a run of the pipeline."""
ON_CLUSTER = "a cluster"

# A property is about what comes out, not about how soon: on a loaded machine any example may take a second. CI's own
# profile of Hypothesis, where it is in force, keeps its other settings.
property_settings.register_profile(
    "loaded machine", property_settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
property_settings.load_profile("loaded machine")


class _ByFile(LoadFileScheduling):  # type: ignore[misc] # not typed
    """Gives the tests of a file to one process, and those of files that share a run of the pipeline."""

    def _split_scope(self, nodeid: str) -> str:
        return ONE_RUN if nodeid.startswith(ONE_RUN) else str(super()._split_scope(nodeid))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that has the mark `on_cluster` with Redis as one server, and as a cluster."""
    if metafunc.definition.get_closest_marker("on_cluster") and "stack" in metafunc.fixturenames:
        metafunc.parametrize("stack", ["one server", ON_CLUSTER], indirect=True)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Distribute `--dist loadfile` by `_ByFile`: the groups of xdist have no effect with pytest 9.2."""
    return _ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """Addresses of Kafka, Redis and ClickHouse, named as the fields of `Settings`. Shared: leave them running."""
    with addresses(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Valkey Cluster of three masters, which starts in 2 s. Shared: take a namespace of your own."""
    with valkey_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes.url


@pytest.fixture
def stack(servers: Addresses, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings of one test: topic prefix, Redis namespace and database of its own on the shared servers."""
    of_cluster = getattr(request, "param", "") == ON_CLUSTER
    with corner({**servers, "redis_url": request.getfixturevalue("cluster")} if of_cluster else servers) as settings:
        yield settings


@pytest.fixture(scope="session")
def kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The local stack with Apache Kafka as its broker. A test may kill a server, if it starts it again."""
    if missing := missing_tools():
        unavailable(f"Apache Kafka needs {missing}")
    with local_stack(tmp_path_factory.mktemp("kafka"), broker="kafka") as started:
        yield started


@pytest.fixture
def kafka_stack(kafka_servers: Servers) -> Iterator[Settings]:
    """As `stack`, on Apache Kafka."""
    with corner(kafka_servers.settings) as settings:
        yield settings

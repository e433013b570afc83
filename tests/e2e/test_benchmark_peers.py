"""The peers of `make bench-peers` give the outcome of the oracle, also after a crash and after a failed insert.

Skipped where their packages are not installed: `make bench-peers` does it.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from deploy.settings import Settings
from tests.benchmarks.peers.contenders import PEERS, PYTHON, TABLE, Peer, running, warm_up_line
from tests.benchmarks.peers.oracle import Outcome, expected
from tests.benchmarks.race import lines, wait

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not PYTHON.exists(), reason="the peers are not installed: make bench-peers"),
]

EVENTS = 500
EVERY_PEER = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
MINIMUM_SESSION_S = 6


def with_merges(count: int) -> list[bytes]:
    """Lines of the simulation, and at their end one event that makes one person of the first two of the web."""
    found = list(lines(count))
    events = [orjson.loads(line) for line in found]
    names = list(dict.fromkeys(
        one["identifiers"][0]["value"] for one in events
        if one.get("channel") == "web" and isinstance(one.get("identifiers"), list) and len(one["identifiers"]) == 1
    ))  # fmt: skip
    both = [{"type": "anonymous_id", "value": name} for name in names[:2]]
    return [*found, orjson.dumps({**orjson.loads(warm_up_line()), "event_id": "both", "identifiers": both}), found[0]]


@pytest.fixture(scope="module")
def events() -> list[bytes]:
    return with_merges(EVENTS)


@pytest.fixture(scope="module")
def wanted(events: list[bytes]) -> Outcome:
    found = expected(events, Settings())
    assert found.people < found.rows < len(events)  # people come back, and some lines are junk or come twice
    return found


@EVERY_PEER
def test_a_peer_gives_the_outcome_of_the_oracle(
    peer: Peer, stack: Settings, tmp_path: Path, events: list[bytes], wanted: Outcome
) -> None:
    with running(peer, stack, tmp_path, session_timeout_s=MINIMUM_SESSION_S) as run:
        run.publish(events)
        wait(lambda: run.has(wanted.rows), 90)

        assert "" == run.outcome().difference(wanted)


@EVERY_PEER
def test_a_peer_that_is_killed_half_way_loses_and_doubles_nothing(
    peer: Peer, stack: Settings, tmp_path: Path, events: list[bytes], wanted: Outcome
) -> None:
    with running(peer, stack, tmp_path, batch=20, session_timeout_s=MINIMUM_SESSION_S) as run:
        run.publish(events[: EVENTS // 2])
        wait(lambda: run.stored() > 0, 60, every_s=0.02)
        run.workers[0].kill()
        run.publish(events[EVENTS // 2 :])
        run.workers[0].launch()
        wait(lambda: run.has(wanted.rows), 90)

        assert "" == run.outcome().difference(wanted)


@EVERY_PEER
def test_an_insert_that_fails_loses_nothing(
    peer: Peer, stack: Settings, tmp_path: Path, events: list[bytes], wanted: Outcome
) -> None:
    with running(peer, stack, tmp_path, batch=100, session_timeout_s=MINIMUM_SESSION_S) as run:
        worker = run.workers[0]
        run.publish(events[: EVENTS // 2])
        wait(lambda: run.stored() > 0, 60)
        run.command(f"RENAME TABLE {TABLE} TO away")
        run.publish(events[EVENTS // 2 :])
        wait(lambda: not worker.alive or "tried again" in worker.last_log_lines(200), 60)
        run.command(f"RENAME TABLE away TO {TABLE}")
        worker.launch()  # does nothing where it waits
        wait(lambda: run.has(wanted.rows), 90)

        assert "" == run.outcome().difference(wanted)

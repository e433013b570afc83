"""Replays stored events into profiles on purpose: after a correction of code, of a transform, or of a lost write.

The one effect has a name, `profiles`: people whose events they are get their profile made anew from all their events,
and their segments evaluated anew. No journey is entered, no message decided and none sent, since decisions that were
taken stay as they are. It is paced, goes on where it broke off, and closes with an account of every event it is about.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from deploy.operations.deployment import Deployment
from deploy.operations.rebuild import NotRebuiltError, rebuild_people
from deploy.operations.segment_backfill import OUTBOX_LIMIT
from processors.decisions.engine import DecisionEngine
from schemas.time import text_of_time
from sinks.clickhouse.replay import count_replayed, people_after

Effect = Literal["profiles"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
PEOPLE_A_STEP = 50
"""So many people are done before the progress is kept: a replay that broke off repeats as many at most."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """What to replay.

    Attributes:
        start, stop: Events that occurred from `start` to before `stop`.
        sources: Their sources; none: all.
        into: The effect.
    """

    start: datetime
    stop: datetime
    sources: tuple[str, ...] = ()
    into: Effect = "profiles"

    @property
    def name(self) -> str:
        """Return a name of its own: a repeated order goes on."""
        written = json.dumps([text_of_time(self.start), text_of_time(self.stop), sorted(self.sources), self.into])
        return hashlib.sha256(written.encode()).hexdigest()[:16]


@dataclass(slots=True)
class ReplayAccount:
    """Where the events of a replay ended: `events` is what the other three counts of events add up to.

    Attributes:
        events: Events of people that it is about.
        replayed: Of people whose profile was made anew.
        gone: Of people who were erased, or merged into another, while it ran.
        failed: Of people whose profile is as before.
        people: Profiles that were made anew.
        unowned: Events of nobody, which no profile has.
        failures: Why, by profile id; the first hundred.
    """

    events: int = 0
    replayed: int = 0
    gone: int = 0
    failed: int = 0
    people: int = 0
    unowned: int = 0
    failures: dict[str, str] | None = None

    @property
    def difference(self) -> int:
        """Events without an outcome; 0: the account closes."""
        return self.events - self.replayed - self.gone - self.failed


class ReplayProgress:
    """Keeps how far a replay has come, in a file.

    Args:
        folder: Below `THROUGHLINE_HOME`.
        order: The replay.
    """

    def __init__(self, folder: Path, order: ReplayOrder) -> None:
        self._path = folder / "replays" / f"{order.name}.json"

    def read(self) -> tuple[str, ReplayAccount] | None:
        """Return the last person that is done, and the account so far; None: it has not begun."""
        try:
            found = json.loads(self._path.read_text("utf-8"))
            return str(found["after"]), ReplayAccount(**found["account"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, after: str, account: ReplayAccount) -> None:
        """Keep it, in one step."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._path.with_suffix(".new")
        whole.write_text(json.dumps({"after": after, "account": asdict(account)}), "utf-8")
        whole.replace(self._path)

    def forget(self) -> None:
        """Forget it: the replay is done, or begins anew."""
        with suppress(FileNotFoundError):
            self._path.unlink()


async def replay(
    deployment: Deployment,
    order: ReplayOrder,
    decider: DecisionEngine,
    progress: ReplayProgress,
    *,
    people_a_second: float,
    timeout_s: float,
    report: Callable[[ReplayAccount], None] = lambda _: None,
    clock: Callable[[], float] | None = None,
    sleep: Sleep = asyncio.sleep,
) -> ReplayAccount:
    """Replay events into profiles.

    Args:
        deployment: Open; its workers may run.
        order: What to replay.
        decider: Of the definitions in force.
        progress: Where it goes on from.
        people_a_second: The most people of a second.
        timeout_s: Longest wait for the recorder, seconds.
        report: Takes the account after each step.
        clock: Seconds of a monotonic clock.
        sleep: Waits for seconds.

    Raises:
        NotRebuiltError: The workers did not catch up; repeat the order, and it goes on.
    """
    now = clock or asyncio.get_running_loop().time
    after, account = progress.read() or ("", ReplayAccount())
    asked: tuple[datetime, datetime, Sequence[str]] = (order.start, order.stop, order.sources)
    while people := await asyncio.to_thread(people_after, deployment.tables, *asked, after, PEOPLE_A_STEP):
        begun = now()
        await _wait_for_relay(deployment, sleep)
        for profile_id, events in people.items():
            await _replay_person(deployment, profile_id, events, decider, timeout_s, account)
        after = max(people)
        account.events += sum(people.values())
        progress.write(after, account)
        report(account)
        if (rest := len(people) / people_a_second - (now() - begun)) > 0:
            await sleep(rest)
    account.unowned = (await asyncio.to_thread(count_replayed, deployment.tables, *asked)).unowned
    progress.forget()
    return account


async def _replay_person(
    deployment: Deployment,
    profile_id: str,
    events: int,
    decider: DecisionEngine,
    timeout_s: float,
    account: ReplayAccount,
) -> None:
    try:
        rebuilt = await rebuild_people(deployment, [profile_id], timeout_s=timeout_s, decider=decider)
    except NotRebuiltError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # a profile that this release cannot read
        account.failed += events
        failures: dict[str, Any] = account.failures or {}
        if len(failures) < 100:
            failures[profile_id] = f"{type(error).__name__}: {error}"[:200]
        account.failures = failures
        return
    if profile_id in rebuilt:
        account.replayed += events
        account.people += 1
    else:
        account.gone += events


async def _wait_for_relay(deployment: Deployment, sleep: Sleep) -> None:
    """Wait while changes of segments wait to be published."""
    while await deployment.outbox.size() >= OUTBOX_LIMIT:
        await sleep(0.2)

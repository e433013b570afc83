"""Changes what is in force: publish, roll back, pause, resume, stop; workers follow within a second.

Redis has what is in force (`sinks/redis/definitions.py`), ClickHouse the history with every version, who and when. A
change comes to Redis first, in one step that fails if somebody else was faster. After a loss of Redis, whoever asks
first restores it from the history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.connections.clickhouse import clickhouse_client
from deploy.operations.definition_bundle import (
    Bundle,
    BundleDifference,
    checked,
    difference,
    read_bundle,
    settings_of,
    with_journeys,
)
from deploy.operations.definition_files import DefinitionError
from deploy.operations.engines import Definitions, load_definitions
from deploy.operations.provision import market_rows
from deploy.settings import Settings
from processors.identity.countries import country_names
from schemas.journeys.control import ChangeKind, DefinitionChange, DefinitionsState, JourneyControl
from schemas.time import text_of_ms
from sinks.clickhouse.client import StoreDown
from sinks.clickhouse.definitions import insert_change, read_changes, read_files, read_people_under_way
from sinks.clickhouse.markets import publish_markets
from sinks.redis.definitions import RedisDefinitions

ALIVE_MS = 15_000
"""A worker reports what it has in force more often than this."""
_ATTEMPTS = 20
_PEOPLE_A_CALL = 1000


class NotPublishedError(Exception):
    """Nothing was changed; the message says why and what to do."""


class Changed(NamedTuple):
    """The outcome of a change.

    Attributes:
        state: What is in force now.
        journeys: The journeys whose state was changed.
        difference: What a new version changes; None: no version was published.
        recorded: Whether the history in ClickHouse has it.
    """

    state: DefinitionsState
    journeys: Sequence[str] = ()
    difference: BundleDifference | None = None
    recorded: bool = True


@dataclass(frozen=True, slots=True)
class Publication:
    """Changes what is in force in one deployment.

    Attributes:
        settings: Of the deployment.
        store: What is in force.
        by: The person who changes it.
        clock: The time, milliseconds since 1970.
    """

    settings: Settings
    store: RedisDefinitions
    by: str
    clock: Callable[[], int]

    async def publish(self, names: Sequence[str] = ()) -> Changed:
        """Put the files of the folder in force; a stopped journey that is named starts again.

        Args:
            names: Only these journeys, with the templates that they send; everything else stays as published.

        Raises:
            DefinitionError: Something is wrong with the files; nothing has changed.
            NotPublishedError: ClickHouse, which is to keep the version, cannot be reached.
        """
        folder = read_bundle(self.settings)

        async def wanted(state: DefinitionsState) -> Bundle:
            if not names or not state.version:
                checked(self.settings)  # its errors name the files of the folder
                return folder
            base = await self._bundle(state.version)
            return await asyncio.to_thread(with_journeys, base, folder, names, self.settings)

        return await self._put("publish", names, wanted)

    async def roll_back(self, names: Sequence[str] = (), version: str = "") -> Changed:
        """Put an earlier version in force: of everything, or of journeys with the templates that they send.

        Runs go on in the version that they entered with.

        Args:
            names: Only these journeys; none: everything.
            version: The version; empty: the last one that differs from what is in force.

        Raises:
            NotPublishedError: There is no such version, or ClickHouse, which keeps it, cannot be reached.
        """

        async def wanted(state: DefinitionsState) -> Bundle:
            base = await self._bundle(state.version)
            for earlier in await self._versions(state.version, version):
                bundle = await self._bundle(earlier)
                if names:
                    bundle = await asyncio.to_thread(with_journeys, base, bundle, names, self.settings)
                if bundle.version != state.version:
                    return bundle
            what = f"of {', '.join(names)} " if names else ""
            raise NotPublishedError(f"no other version {what}was ever published: `throughline journeys history`")

        return await self._put("rollback", names, wanted)

    async def control(self, kind: ChangeKind, names: Sequence[str]) -> Changed:
        """Pause, resume or stop journeys; no names: all.

        It works without ClickHouse; the history then lacks it.

        Raises:
            NotPublishedError: No journey has a name, or it is stopped and cannot be paused.
        """
        for _ in range(_ATTEMPTS):
            state = await state_in_force(self.settings, self.store)
            known = await asyncio.to_thread(_names, await settings_in_force(self.settings, self.store, state))
            known |= {name for name, one in state.journeys.items() if one.version and one.state != "stopped"}
            chosen = list(dict.fromkeys(names or sorted(known)))
            if unknown := [name for name in chosen if name not in known and name not in state.journeys]:
                raise NotPublishedError(f"{', '.join(unknown)}: not in force; there are {', '.join(sorted(known))}")
            if kind == "pause" and not names:
                chosen = [name for name in chosen if not _is(state, name, "stopped")]
            elif kind == "pause" and (stopped := [name for name in chosen if _is(state, name, "stopped")]):
                raise NotPublishedError(f"{', '.join(stopped)}: stopped already, so that there is nothing to pause")
            if kind == "resume" and (
                over := [name for name in chosen if name in state.journeys and state.journeys[name].is_cancelled]
            ):
                raise NotPublishedError(f"{', '.join(over)}: cancelled, which is for good: start it under another name")
            change = DefinitionChange(state.number + 1, self.clock(), self.by, kind, tuple(chosen), state.version)
            following = after(state, change)
            if await self.store.change(state.number, following):
                if kind == "resume":
                    for name in chosen:
                        await self.store.release(name, self.clock())
                return Changed(following, chosen, recorded=await self._recorded(change))
        raise NotPublishedError("others change what is in force all the time: try again")

    async def begin(self, name: str, version: str, audience: int, at_ms: int) -> Changed:
        """Start a broadcast; it is started once.

        Args:
            name: Of the broadcast.
            version: Of the journey that it becomes.
            audience: How many people it is for.
            at_ms: When its members were listed, milliseconds since 1970.

        Raises:
            NotPublishedError: It was started before.
        """
        return await self._of_broadcast("start", name, {"version": version, "audience": audience}, at_ms)

    async def choose_winner(self, name: str, winner: str) -> Changed:
        """State which variant of a broadcast has won; it is stated once.

        Raises:
            NotPublishedError: It was never started, was cancelled, or has a winner.
        """
        return await self._of_broadcast("winner", name, {"winner": winner}, self.clock())

    async def _of_broadcast(self, kind: ChangeKind, name: str, detail: dict[str, Any], at_ms: int) -> Changed:
        for _ in range(_ATTEMPTS):
            state = await state_in_force(self.settings, self.store)
            control = state.journeys.get(name)
            if kind == "start" and control is not None:
                said = f"since {text_of_ms(control.started_ms)}: a broadcast is sent once" if control.version else ""
                raise NotPublishedError(f"{name}: it was started already, {said or 'as a journey of that name'}")
            if kind == "winner" and (control is None or control.state == "stopped" or control.winner):
                raise NotPublishedError(f"{name}: it is not under way, or has a winner")
            change = DefinitionChange(state.number + 1, at_ms, self.by, kind, (name,), state.version, detail=detail)
            following = after(state, change)
            if await self.store.change(state.number, following):
                return Changed(following, (name,), recorded=await self._recorded(change))
        raise NotPublishedError("others change what is in force all the time: try again")

    async def stop(self, names: Sequence[str]) -> Changed:
        """Stop journeys; no names: all. People whose runs are known to be under way are woken, so that these end now.

        All other runs end when something next happens to them; none of them has any effect before.

        Raises:
            NotPublishedError: No journey has a name.
        """
        changed, loop = await self.control("stop", names), asyncio.get_running_loop()

        def wake(tables: Any, name: str) -> None:  # a broadcast may have millions of people under way
            found = read_people_under_way(tables, name)
            while people := list(islice(found, _PEOPLE_A_CALL)):
                asyncio.run_coroutine_threadsafe(self.store.wake(name, people, self.clock()), loop).result()

        for name in changed.journeys:
            with suppress(NotPublishedError):
                await self._tables(partial(wake, name=name))
        return changed

    async def _put(
        self, kind: ChangeKind, names: Sequence[str], wanted: Callable[[DefinitionsState], Awaitable[Bundle]]
    ) -> Changed:
        await self._tables(lambda tables: tables.command("SELECT 1"))  # a version that nobody keeps is not published
        for _ in range(_ATTEMPTS):
            state = await state_in_force(self.settings, self.store)
            bundle = await wanted(state)
            definitions = await asyncio.to_thread(_checked_bundle, self.settings, bundle)
            old = await self._definitions(state)
            change = DefinitionChange(
                state.number + 1, self.clock(), self.by, kind, tuple(names), bundle.version, bundle.files
            )
            following = after(state, change)
            if following._replace(number=0) == state._replace(number=0):
                return Changed(state, (), difference(definitions, old))
            if await self.store.change(state.number, following, bundle.files, definitions.archived()):
                recorded = await self._recorded(change) and await self._reported(definitions)
                return Changed(following, names, difference(definitions, old), recorded)
        raise NotPublishedError("others change what is in force all the time: try again")

    async def _definitions(self, state: DefinitionsState) -> Definitions | None:
        """Return what is published; None: nothing, or what this release cannot read."""
        if not state.version:
            return None
        try:
            return load_definitions(settings_of(self.settings, await self._bundle(state.version)))
        except DefinitionError:
            return None

    async def _bundle(self, version: str) -> Bundle:
        if not version:
            raise NotPublishedError(
                "nothing was ever published: `throughline journeys publish` puts the folder in force"
            )
        files = await self.store.files(version)
        if files is None:
            files = await self._tables(lambda tables: read_files(tables, version))
        if files is None:
            raise NotPublishedError(f"{version}: no such version: `throughline journeys history` lists them")
        return Bundle(files)

    async def _versions(self, current: str, wanted: str) -> list[str]:
        if wanted:
            return [wanted]
        changes = await self._tables(read_changes)
        return list(dict.fromkeys(one.version for one in changes if one.version and one.version != current))

    async def _recorded(self, change: DefinitionChange) -> bool:
        try:
            await self._tables(lambda tables: insert_change(tables, change))
        except NotPublishedError:
            return False
        return True

    async def _reported(self, definitions: Definitions) -> bool:
        """Write the table of markets that reports read; return whether ClickHouse has it."""
        territory = definitions.territory
        rows = market_rows(territory.markets, territory.zone.key)
        try:
            await self._tables(lambda tables: publish_markets(tables, rows, country_names()))
        except NotPublishedError:
            return False
        return True

    async def _tables(self, task: Callable[[Any], Any]) -> Any:
        try:
            return await asyncio.to_thread(_with_tables, self.settings, task)
        except StoreDown as error:
            raise NotPublishedError(
                f"ClickHouse, which keeps the versions: {error}\nIs it up, and are its tables there (`throughline"
                " migrate`)? THROUGHLINE_CLICKHOUSE_URL is its address."
            ) from error


def after(state: DefinitionsState, change: DefinitionChange) -> DefinitionsState:
    """Return what is in force after a change."""
    controls = dict(state.journeys)
    for name in change.journeys:
        before = controls.get(name, JourneyControl("running", 0))
        stopped = before.state == "stopped" and not before.version
        changed = before._replace(since_ms=change.at_ms, by=change.by)
        if change.kind == "start":
            controls[name] = changed._replace(started_ms=change.at_ms, **change.detail)
        elif change.kind == "winner":
            controls[name] = before._replace(**change.detail)
        elif change.kind == "pause":
            controls[name] = changed._replace(state="paused")
        elif change.kind == "stop":
            controls[name] = changed._replace(state="stopped", stopped_ms=change.at_ms)
        elif change.kind == "resume" or (change.kind == "publish" and stopped):
            paused_ms = change.at_ms - before.since_ms if before.version and before.state == "paused" else 0
            controls[name] = changed._replace(state="running", paused_ms=before.paused_ms + paused_ms)
    return DefinitionsState(change.number, change.version, controls)


async def wait_for_workers(
    store: RedisDefinitions, number: int, timeout_s: float, clock: Callable[[], int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Wait until every worker that is alive has taken up a change.

    Args:
        store: What is in force.
        number: Of the change.
        timeout_s: Longest wait, seconds.
        clock: The time, milliseconds since 1970.

    Returns:
        The reports of those that have, and of those that have not within the time.
    """
    seconds = asyncio.get_running_loop().time
    deadline = seconds() + timeout_s
    while True:
        reports = await store.reports(clock() - ALIVE_MS)
        late = [report for report in reports if report["number"] < number]
        if not late or seconds() > deadline:
            return [report for report in reports if report not in late], late
        await asyncio.sleep(0.05)


async def state_in_force(settings: Settings, store: RedisDefinitions) -> DefinitionsState:
    """Return what is in force; where Redis does not know, it is restored from the history.

    Raises:
        StoreDown: Redis does not know, and ClickHouse does not answer.
    """
    state = await store.state()
    if state is not None:
        return state
    restored, files = await asyncio.to_thread(_restored, settings)
    await store.change(0, restored, files)
    return await store.state() or restored


async def settings_in_force(settings: Settings, store: RedisDefinitions, state: DefinitionsState) -> Settings:
    """Return settings by which the definitions in force are read.

    Raises:
        DefinitionError: The published files are nowhere, or cannot be written.
        StoreDown: Redis does not have them, and ClickHouse does not answer.
    """
    if not state.version:
        return settings
    files = await store.files(state.version)
    if files is None:
        files = await asyncio.to_thread(_with_tables, settings, lambda tables: read_files(tables, state.version))
    if files is None:
        raise DefinitionError(f"version {state.version} of the definitions is in force, and its files are nowhere")
    return settings_of(settings, Bundle(files))


async def restore_archive(settings: Settings, store: RedisDefinitions) -> None:
    """Put the journeys of every version that was ever published, and of the folder, into the archive: runs need them.

    Raises:
        StoreDown: ClickHouse does not answer.
    """
    changes = await asyncio.to_thread(_with_tables, settings, read_changes)
    for version in dict.fromkeys(change.version for change in changes if change.version):
        files = await asyncio.to_thread(_with_tables, settings, partial(read_files, version=version))
        if files is not None:
            await _archive(store, settings_of(settings, Bundle(files)))
    await _archive(store, settings)


async def _archive(store: RedisDefinitions, at: Settings) -> None:
    with suppress(DefinitionError):  # a version that this release cannot read: runs that entered with it end
        await store.archive(load_definitions(at).archived())


def _restored(settings: Settings) -> tuple[DefinitionsState, dict[str, str] | None]:
    state = DefinitionsState()
    try:
        for change in reversed(_with_tables(settings, read_changes)):
            state = after(state, change)
    except StoreDown as error:
        if "UNKNOWN_TABLE" in str(error) or "UNKNOWN_DATABASE" in str(error):
            return DefinitionsState(), None  # a new deployment, before its migrations
        raise
    files = _with_tables(settings, lambda tables: read_files(tables, state.version)) if state.version else None
    return state, files


def _with_tables(settings: Settings, task: Callable[[Any], Any]) -> Any:
    """Ask ClickHouse.

    Raises:
        StoreDown: It does not answer, or cannot now; a worker that waits for a version has to ask it again.
    """
    tables = clickhouse_client(settings)
    try:
        return task(tables)
    except (ClickHouseError, OSError) as error:
        raise StoreDown(str(error).strip().partition("\n")[0]) from error
    finally:
        tables.close()


def _checked_bundle(settings: Settings, bundle: Bundle) -> Definitions:
    at = settings_of(settings, bundle)
    try:
        return checked(at)
    except DefinitionError as error:
        raise DefinitionError(str(error).replace(f"{at.definitions_dir}/", "")) from None


def _names(settings: Settings) -> set[str]:
    return {journey.name for journey in load_definitions(settings).journeys}


def _is(state: DefinitionsState, name: str, wanted: str) -> bool:
    control = state.journeys.get(name)
    return control is not None and control.state == wanted

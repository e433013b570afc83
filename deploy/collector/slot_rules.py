"""Follows the slots in force: a version that is published counts within a second; a bad one is refused, the good stays.

Nothing here reads ClickHouse. While Redis is away at the start, the deployment's own folder counts.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from deploy.operations.definition_bundle import Bundle, note_use, settings_of
from deploy.operations.definition_files import DefinitionError
from deploy.operations.engines import Definitions, load_sound_definitions
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from processors.decisions.slots import SlotDecider
from schemas.journeys.control import Controls, DefinitionsState
from sinks.redis.definitions import RedisDefinitions

log = logging.getLogger(__name__)

READ_EVERY_S = 0.4
NOTE_EVERY_S = 60.0


class SlotRules(NamedTuple):
    """What decides requests of slots.

    Attributes:
        definitions: With the texts.
        engine: Opens profiles.
        decider: Decides.
        controls: States of journeys and broadcasts.
    """

    definitions: Definitions
    engine: DecisionEngine
    decider: SlotDecider
    controls: Controls


class FollowedSlots:
    """The slots in force.

    Args:
        settings: Of the deployment.
        redis: A client that answers bytes.

    Attributes:
        rules: What decides; None: not read yet.
    """

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self.rules: SlotRules | None = None
        self._settings = settings
        self._store = RedisDefinitions(redis, settings.redis_namespace)
        self._loaded: str | None = None
        self._refused: str | None = None

    async def follow_for_ever(self) -> None:
        """Look every half second whether something else is in force."""
        loop = asyncio.get_running_loop()
        noted_at = loop.time()
        while True:
            try:
                await self.follow()
            except Exception as error:  # noqa: BLE001 - what was in force goes on, whatever the error is
                log.error("slots cannot be followed: %s", error)
            if loop.time() - noted_at > NOTE_EVERY_S:
                noted_at = loop.time()
                await asyncio.to_thread(note_use, self._loaded or "")
            await asyncio.sleep(READ_EVERY_S)

    async def follow(self) -> None:
        """Take up what is in force now."""
        try:
            state = await self._store.state() or DefinitionsState()
            is_new = state.version not in (self._loaded, self._refused)
            files = await self._store.files(state.version) if state.version and is_new else None
        except (RedisError, OSError):
            if self.rules is None:
                await self._take_up("", None, {})
            return
        if is_new and not (state.version and files is None and self.rules):
            await self._take_up(state.version if files is not None else "", files, state.journeys)
        if self.rules is not None and self.rules.controls != state.journeys:
            self.rules = self.rules._replace(controls=state.journeys)

    async def _take_up(self, version: str, files: dict[str, str] | None, controls: Controls) -> None:
        if version == self._refused:
            return
        try:
            definitions, engine, decider = await asyncio.to_thread(self._load, files)
        except (DefinitionError, LookupError, ValueError) as error:
            self._refused = version
            log.error("definitions %s are refused, slots stay as they are: %s", _named(version), error)
            return
        self.rules, self._loaded, self._refused = SlotRules(definitions, engine, decider, controls), version, None
        log.info("%d slots in force, of definitions %s", len(decider.slots), _named(version))

    def _load(self, files: dict[str, str] | None) -> tuple[Definitions, DecisionEngine, SlotDecider]:
        settings = self._settings if files is None else settings_of(self._settings, Bundle(files))
        definitions = load_sound_definitions(settings)
        engine = definitions.decider()
        return definitions, engine, definitions.slot_decider(engine)


def _named(version: str) -> str:
    return version or "of the folder"

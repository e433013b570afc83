"""How long ClickHouse keeps what: the settings, what speaks against them, and what they would remove.

`throughline migrate` sets what removes nothing; what removes something is set by `throughline retention apply --yes`
alone, so that a wrong number in the environment of a restart costs no history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploy.connections.clickhouse import clickhouse_client
from schemas.durations import DAY_MS, duration_text
from schemas.recording.retention import SHORTEST_DAYS, KeptClass, RetentionClass, kept_text
from sinks.clickhouse.retention import (
    ClassSize,
    Kept,
    count_expiring,
    is_set,
    measure_classes,
    read_retention,
    set_retention,
)

if TYPE_CHECKING:
    from deploy.settings import Settings
    from schemas.segments.definitions import SegmentDefinitions

WATCHED_DAYS = 90
APPLY = "`throughline retention apply --yes`"
_WINDOWS = frozenset({"within", "older_than"})


class RetentionRefusedError(Exception):
    """The settings contradict each other, or what the product needs; the message says which and why."""


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """How long what is kept, and what the settings say.

    Attributes:
        classes: As it is set in ClickHouse.
        sizes: What each takes, in the same order.
        wanted: Days by class, by the settings.
        is_set: Whether ClickHouse has what the settings say.
    """

    classes: list[KeptClass]
    sizes: list[ClassSize]
    wanted: Kept
    is_set: bool

    def lines(self) -> list[str]:
        """Return a line for each class: how long, how much."""
        return [
            f"{one.name} {kept_text(one.days)} ({size.size_bytes / 1e6:,.1f} MB)"
            + (f", {size.pending} tables still to be looked through" if size.pending else "")
            for one, size in zip(self.classes, self.sizes, strict=True)
        ]

    def summary(self) -> str:
        """Return all of it in one line."""
        differs = "" if self.is_set else f"; the settings say otherwise: {APPLY}"
        return f"kept: {'; '.join(self.lines())}{differs}"


@dataclass(frozen=True, slots=True)
class RetentionChange:
    """What came of applying the settings.

    Attributes:
        was_set: They were in force before.
        expiring: Rows that they remove now, by table.
        done: They are in force.
        warnings: What is shorter than something looks back, a sentence each.
    """

    was_set: bool
    expiring: dict[str, int] = field(default_factory=dict)
    done: bool = False
    warnings: list[str] = field(default_factory=list)


def wanted(settings: Settings) -> dict[RetentionClass, int]:
    """Return the days of each class by the settings."""
    return {
        "payloads": settings.keep_payloads_days,
        "events": settings.keep_events_days,
        "reports": settings.keep_reports_days,
    }


def check_kept(kept: Kept) -> None:
    """Check days against each other and against what the product needs.

    Raises:
        RetentionRefusedError: They cannot be.
    """
    for name, days in kept.items():
        if 0 < days < SHORTEST_DAYS:
            raise RetentionRefusedError(
                f"{_variable(name)}={days} is less than {SHORTEST_DAYS} days: for so long an event or a message has to"
                " be known, or a rebuild of Redis would count or send it again"
            )
    for shorter, longer in (("payloads", "events"), ("events", "reports")):
        few, many = kept[shorter], kept[longer]  # type: ignore[index]  # names of classes
        if many and (few == 0 or few > many):
            why = (
                "a payload is part of its event"
                if longer == "events"
                else "reports would lack orders whose events are there"
            )
            raise RetentionRefusedError(
                f"{_variable(shorter)} ({kept_text(few)}) is longer than {_variable(longer)} ({kept_text(many)}): {why}"
            )


def look_backs(kept: Kept, segments: SegmentDefinitions | None) -> list[str]:
    """Say, in a sentence each, what looks back further than events are kept whole.

    Args:
        kept: Days by class.
        segments: Those in force; None: not known.
    """
    days = min((days for name, days in kept.items() if days and name != "reports"), default=0)
    if not days:
        return []
    found = []
    if days < WATCHED_DAYS:
        found.append(
            f"after a loss of Redis it is known for {days} days who looked at a product, not for {WATCHED_DAYS}: fewer"
            " people would be told of a lower price"
        )
    for kind, name, window_ms in _windows(segments) if segments else ():
        if window_ms > days * DAY_MS:
            found.append(
                f"the {kind} {name} looks back {duration_text(window_ms)}, and payloads or events are kept {days} days:"
                " members stay right, but who is taken in from history, or after a loss of Redis, is judged by less"
            )
    return found


def retention_report(settings: Settings, client: Any) -> RetentionReport:
    """Read how long what is kept, and compare it with the settings."""
    kept = wanted(settings)
    return RetentionReport(read_retention(client), measure_classes(client), kept, is_set(client, kept))


def apply_retention(
    settings: Settings, client: Any, *, remove: bool, wait: bool = False, segments: SegmentDefinitions | None = None
) -> RetentionChange:
    """Set what the settings say.

    Args:
        settings: Of the deployment.
        client: Of its ClickHouse database.
        remove: Also if rows are removed by it now; else those are only counted, and nothing is set.
        wait: Return when what has expired is removed.
        segments: Those in force, whose windows are compared.

    Raises:
        RetentionRefusedError: The settings cannot be.
    """
    kept = wanted(settings)
    check_kept(kept)
    warnings = look_backs(kept, segments)
    if is_set(client, kept):
        return RetentionChange(was_set=True, done=True, warnings=warnings)
    expiring = count_expiring(client, kept)
    if expiring and not remove:
        return RetentionChange(was_set=False, expiring=expiring, warnings=warnings)
    set_retention(client, kept, wait=wait)
    return RetentionChange(was_set=False, expiring=expiring, done=True, warnings=warnings)


def set_harmless_retention(settings: Settings, client: Any) -> str:
    """Set what the settings say if it removes nothing; return advice otherwise, which is empty if all is well."""
    try:
        change = apply_retention(settings, client, remove=False)
    except RetentionRefusedError as error:
        return f"How long data is kept is as before: {error}"
    if change.done:
        return ""
    rows = sum(change.expiring.values())
    return f"How long data is kept would remove {rows:,} rows or payloads now, so it is not set yet: {APPLY}"


def read_report(settings: Settings) -> RetentionReport | None:
    """Read it as `throughline status` and `throughline doctor` do: None if ClickHouse does not say within seconds."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from sinks.clickhouse.client import StoreDown

    try:
        client = clickhouse_client(settings, timeout_s=5)
        try:
            return retention_report(settings, client)
        finally:
            client.close()
    except (StoreDown, ClickHouseError, OSError):
        return None


def _windows(segments: SegmentDefinitions) -> Iterator[tuple[str, str, int]]:
    """Yield the longest window of each segment and trait: kind, name, milliseconds."""
    for kind, definitions in (("segment", segments.segments), ("trait", segments.traits)):
        for one in definitions:
            if window_ms := max(_lengths(one.model_dump()), default=0):
                yield kind, one.name, window_ms


def _lengths(value: Any) -> Iterator[int]:
    """Yield every window in the dump of a definition."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name in _WINDOWS and type(part) is int:
                yield part
            else:
                yield from _lengths(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _lengths(part)


def _variable(name: str) -> str:
    return f"THROUGHLINE_KEEP_{name.upper()}_DAYS"

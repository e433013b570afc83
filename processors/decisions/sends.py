"""The section `sends` of a person's state: messages sent and pending, and learned response rates.

- `log`: idempotency key → sent message as a list (`LogEntry`), kept for the longest window of the policy;
- `pending`: idempotency key → `[until, priority]` of a postponed message;
- `learned`: channel → `[sent, clicked]`;
- `hours`: local hour → number of visits and clicks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

State = dict[str, Any]
Section = dict[str, Any]

FAILED, CLICKED, ARRIVED, REGRETTED, COUNTED, BOUNCED, ANSWERED = 1, 2, 4, 8, 16, 32, 64
"""Flags of a log entry: reported as failed, clicked, arrived; regretted; it counts for caps; bounced, opened or
answered."""

LOG_KEPT = 50
"""Messages of the log that count for no cap: the most recent ones are kept."""
PENDING_KEPT = 50
"""Pending messages kept; those due last are dropped first."""


class LogEntry(NamedTuple):
    """One message that was sent.

    Attributes:
        at: When it was decided, milliseconds.
        attempt: The attempt in which it went out.
        journey: The journey.
        version: Its version.
        run_id: The run.
        step: The node.
        template: The template.
        channel: The channel.
        purpose: The purpose.
        tags: Its tags.
        campaign: Its campaign's name.
        variant: The branch of a random split.
        flags: Its state, a sum of the flags above.
    """

    at: int
    attempt: int
    journey: str
    version: str
    run_id: str
    step: str
    template: str
    channel: str
    purpose: str
    tags: list[str]
    campaign: str
    variant: str
    flags: int


_FLAGS = LogEntry._fields.index("flags")


def entry(state: State, key: str) -> LogEntry | None:
    """Return a message of the log; None if it is not there."""
    found = state.get("sends", {}).get("log", {}).get(key)
    return LogEntry(*found) if found else None


def flag(state: State, key: str, flags: int) -> None:
    """Set the flags of a message that is in the log."""
    state["sends"]["log"][key][_FLAGS] = flags


def record_send(state: State, key: str, sent: LogEntry) -> None:
    """Write a message into the log, and count it for its channel."""
    state.setdefault("sends", {}).setdefault("log", {})[key] = list(sent)
    count_responses(state, sent.channel, sent=1)


def count_responses(state: State, channel: str, *, sent: int = 0, clicked: int = 0) -> None:
    """Count messages of a channel that were sent and clicked."""
    known = state.setdefault("sends", {}).setdefault("learned", {}).setdefault(channel, [0, 0])
    known[0] += sent
    known[1] += clicked


def count_active_hour(state: State, hour: int) -> None:
    """Count a visit or a click in an hour of the person's day."""
    hours = state.setdefault("sends", {}).setdefault("hours", {})
    hours[str(hour)] = hours.get(str(hour), 0) + 1


def set_pending(state: State, key: str, until_ms: int | None, priority: int) -> None:
    """Add a pending message, or (`until_ms` None) remove it."""
    pending: Section = state.get("sends", {}).get("pending", {})
    if until_ms is not None:
        pending = state.setdefault("sends", {}).setdefault("pending", {})
        pending[key] = [until_ms, priority]
        for name in sorted(pending, key=lambda name: (pending[name][0], name))[PENDING_KEPT:]:
            del pending[name]
    elif pending.pop(key, None) and not pending:
        del state["sends"]["pending"]


def prune(state: State, now_ms: int, remembered_ms: int) -> None:
    """Delete messages older than the longest window, pending ones past their time, and empty sections."""
    section: Section | None = state.get("sends")
    if section is None:
        return
    log, pending = section.get("log", {}), section.get("pending", {})
    for key in [key for key, sent in log.items() if sent[0] <= now_ms - remembered_ms]:
        del log[key]
    if len(log) > LOG_KEPT:
        uncounted = sorted((sent[0], key) for key, sent in log.items() if not sent[_FLAGS] & COUNTED)
        for _, key in uncounted[:-LOG_KEPT]:
            del log[key]
    for key in [key for key, (until, _) in pending.items() if until < now_ms]:
        del pending[key]
    for part in [part for part, kept in section.items() if not kept]:
        del section[part]
    if not section:
        del state["sends"]


def combine(mine: State, other: State) -> None:
    """Join the sections of two people: logs are united, counters add up."""
    theirs: Section = other.get("sends", {})
    if not theirs:
        return
    section = mine.setdefault("sends", {})
    for part, join in (("log", _join_sent), ("pending", max), ("learned", _add), ("hours", int.__add__)):
        if part in theirs:
            known = section.setdefault(part, {})
            for name, value in theirs[part].items():
                known[name] = join(known[name], value) if name in known else value


def _join_sent(mine: list[Any], other: list[Any]) -> list[Any]:
    later = max(mine, other, key=lambda sent: (sent[0], sent[1], str(sent)))
    return [*later[:_FLAGS], mine[_FLAGS] | other[_FLAGS]]


def _add(mine: list[int], other: list[int]) -> list[int]:
    return [mine[0] + other[0], mine[1] + other[1]]

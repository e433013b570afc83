"""The history of one person's messages and journeys as text: each decision with its gates and its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from processors.decisions import labels
from processors.profiles.time_zone import zone_named
from schemas.time import ms_of_text, readable_text, time_of_ms

Row = Mapping[str, Any]
_Place = tuple[tuple[int, str], ...]

_GATES = {
    "transactional": "service or marketing",
    "consent": "consent",
    "suppression": "suppression list",
    "holdout": "control group",
    "channel": "reachable channel",
    "quiet_hours": "quiet hours",
    "send_time": "best hour",
    "caps": "frequency caps",
    "priority": "more important messages",
    "expiry": "expiry",
    "withdrawn": "end of the run",
    "delivery": "delivery",
    "late_event": "late event",
    "paused": "pause of the journey",
    "stopped": "stop of the journey",
    "audience": "candidates of the slot",
}

_ORDER = {
    "segment_entered": 0,
    "segment_left": 0,
    "journey_entered": 1,
    "waiting": 7,
    "held": 7,
    "exited": 9,
    "collapsed": 9,
}
_NEVER_WAS = frozenset({"too_late", "already_over", "too_many_runs", "stopped"})
_STEP, _DECISION = 4, 5
"""Order within one millisecond, in which a run may take several steps: it decides, then it waits."""


def story(decisions: Iterable[Row], events: Iterable[Row], timezone: str = "UTC") -> list[str]:
    """Write the history of one person in order of time: a heading for each run, a line for each step and decision.

    Args:
        decisions: Rows of the ledger of one person, in any order; `gates` as a list or as its JSON.
        events: Rows of the topic `journey-events` of the same person, in any order; `detail` likewise.
        timezone: IANA name of the time zone in which times are written.

    Returns:
        Lines; those below a heading are indented. Empty: the person has no decisions and no runs.

    Raises:
        ValueError: There is no such time zone.
    """
    zone = zone_named(timezone)
    if zone is None:
        raise ValueError(f"{timezone!r} is not a time zone")
    lines_of_run: dict[tuple[str, str], list[tuple[str, int, _Place, int, str, list[str]]]] = {}
    headings: dict[tuple[str, str], str] = {}
    for event in _once(events, "id"):
        never_was = event["kind"] in _NEVER_WAS
        run = (event.get("journey") or "", "" if never_was else event.get("run_id") or "")
        lines = [f"{_time(event['at'], zone)}  {_description(event, zone)}"]
        rank = _ORDER.get(event["kind"], _STEP)
        place, sequence = _place(event.get("step", "")), event.get("sequence", 0)
        lines_of_run.setdefault(run, []).append((event["at"], rank, place, sequence, event["id"], lines))
        headings[run] = (
            f"Journey {event['journey']}, not entered" if never_was else _heading(event, event.get("version"))
        )
    for row in _once(decisions, "decision_id"):
        run = (row["journey"], row["run_id"])
        lines = [f"{_time(row['decided_at'], zone)}  {_step(row)}message {row['message']}: {row['reason']}"]
        lines += [f"    {line}" for line in _gates(row)]
        place = _place(row.get("step", ""))
        lines_of_run.setdefault(run, []).append((row["decided_at"], _DECISION, place, 0, row["decision_id"], lines))
        headings.setdefault(run, _heading(row, row.get("journey_version")))
    out: list[str] = []
    for run in sorted(lines_of_run, key=lambda run: min(lines_of_run[run])[:2] + run):
        out.append(headings[run])
        out += [f"  {line}" for *_, lines in sorted(lines_of_run[run]) for line in lines]
    return out


def _once(rows: Iterable[Row], id_: str) -> Iterable[Row]:
    """Drop repeated rows: a table may not have merged them yet."""
    return {row[id_]: row for row in rows}.values()


def _place(step: str) -> _Place:
    """Return the sort key of a step's path: `2` before `10`, `2` before `2.else.1`."""
    return tuple((int(part), "") if part.isdecimal() else (0, part) for part in (step or "").split("."))


def _heading(row: Row, version: Any) -> str:
    if not row.get("journey"):
        return "Segments"
    about = f" about {row['key']}" if row.get("key") else ""
    return f"Journey {row['journey']}{about} (run {row.get('run_id') or '-'}, version {version or '-'})"


def _time(at: str, zone: ZoneInfo) -> str:
    return readable_text(time_of_ms(ms_of_text(at), zone))


def _plain(value: Any) -> Any:
    """Parse a column that holds JSON as text."""
    return orjson.loads(value) if isinstance(value, str | bytes) and value else value


def _step(row: Row) -> str:
    return f"Step {row['step']}, " if row.get("step") else ""


def _gates(row: Row) -> list[str]:
    """Describe the gates that a message passed and the one that stopped it."""
    gates = _plain(row.get("gates")) or []
    stopped = [gate for gate in gates if not gate["passed"]]
    if not stopped or row["outcome"] in ("failed", "regretted"):
        return []
    passed = [_GATES.get(gate["gate"], gate["gate"]) for gate in gates if gate["passed"]]
    lines = [f"passed: {', '.join(passed)}"] if passed else []
    for gate in stopped:
        lines.append(f"stopped by {_GATES.get(gate['gate'], gate['gate'])}: {_facts(gate['input'])}")
    if row["outcome"] == "postponed" and row.get("channel"):
        lines.append(f"to be sent by {labels.channel_label(row['channel'])}; decided again when the time has come")
    return lines


def _facts(value: Any) -> str:
    """Write a gate's input as text: `hours: 21:00-09:00; local: 22:15`."""
    if isinstance(value, dict):
        return "; ".join(_fact(name.replace("_", " "), fact) for name, fact in value.items()) or "-"
    if isinstance(value, list):
        if len(value) == 2 and all(type(number) is int for number in value):  # used and allowed
            return f"{value[0]} of {value[1]}"
        return " and ".join(_facts(fact) for fact in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)


def _fact(name: str, fact: Any) -> str:
    return f"{name} ({_facts(fact)})" if isinstance(fact, dict) else f"{name}: {_facts(fact)}"


def _description(event: Row, zone: ZoneInfo) -> str:
    detail = _plain(event.get("detail")) or {}
    describe = _DESCRIPTIONS.get(event["kind"])
    said = describe(event, detail, zone) if describe else f"{event['kind'].replace('_', ' ')}{_more(detail)}"
    return said[0].upper() + said[1:] + "."


def _more(detail: Mapping[str, Any]) -> str:
    return f" ({_facts(dict(detail))})" if detail else ""


def _by(detail: Mapping[str, Any]) -> str:
    return f" by {detail['by']}" if detail.get("by") else ""


def _waited(event: Row, detail: Mapping[str, Any], zone: ZoneInfo) -> str:
    until = f" until {_time(detail['until'], zone)}" if detail.get("until") else " until it happens"
    return f"{_step(event)}waits{until}"


def _stepped(event: Row, detail: Mapping[str, Any], zone: ZoneInfo) -> str:
    if "happened" in detail:
        said = "what it waited for happened" if detail["happened"] else "what it waited for did not happen in time"
    elif "holds" in detail:
        said = f"the condition {'holds' if detail['holds'] else 'does not hold'}"
    elif "arm" in detail:
        said = f"drew {detail['arm']}"
    elif "winner" in detail:
        said = f"gets {detail['winner']}, which has won"
    elif "webhook" in detail:
        said = f"posted to {detail['webhook']}"
    else:
        said = f"done{_more(detail)}"
    return f"{_step(event)}{said}"


def _exited(event: Row, detail: Mapping[str, Any], zone: ZoneInfo) -> str:
    return f"left the journey: {str(detail.get('reason') or 'it ended').replace('_', ' ')}"


def _late(event: Row, detail: Mapping[str, Any], zone: ZoneInfo) -> str:
    when = f"; it had happened {_time(detail['happened'], zone)}" if detail.get("happened") else ""
    about = f" ({event['key']})" if event.get("key") else ""
    why = "the time of the event is doubtful" if detail.get("time") == "doubtful" else f"the event came too late{when}"
    return f"did not enter{about}: {why}"


_DESCRIPTIONS: dict[str, Callable[[Row, Mapping[str, Any], ZoneInfo], str]] = {
    "segment_entered": lambda event, detail, zone: f"entered segment {event['segment']}",
    "segment_left": lambda event, detail, zone: f"left segment {event['segment']}",
    "journey_entered": lambda event, detail, zone: "entered the journey",
    "waiting": _waited,
    "step": _stepped,
    "trait_updated": lambda event, detail, zone: f"noted in the profile{_more(detail.get('traits') or {})}",
    "goal": lambda event, detail, zone: f"reached the goal{_more(detail)}",
    "exited": _exited,
    "collapsed": lambda event, detail, zone: "joined into another run when two people turned out to be one",
    "too_late": _late,
    "already_over": lambda event, detail, zone: f"did not enter: it was already over{_more(detail)}",
    "held": lambda event, detail, zone: f"{_step(event)}held, since the journey is paused{_by(detail)}",
    "stopped": lambda event, detail, zone: f"did not enter: the journey was stopped{_by(detail)}",
    "too_many_runs": lambda event, detail, zone: "did not enter: too many runs are under way",
}

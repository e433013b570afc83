"""Tells the clicks of mail filters from those of people, as far as is known when a click comes in.

Mail filters open the links of a message to check them: within seconds of its delivery, or several links at once. A
profile decides on each event as it comes, so:

- A click within `INSTANT_MS` of the delivery (of the sending, where no delivery was reported; or before it) is *held*:
  it counts once the person is seen on the site or in the app around that time, and else never. A later click counts by
  itself. Filters that run the page in a browser do so as somebody else, who is not this person.
- A click, or an unsubscription that was stated with it, is a *scan* when another link of the same message was opened
  within `BURST_MS`. Then what was held of that time is given up too.

So a person who clicks 20 seconds after the delivery is heard at once. Of links that are scanned later than
`INSTANT_MS`, the first has counted before the second shows that it was a scan; ClickHouse, which knows both, leaves out
both (`scanned_links`). An unsubscription is never held, since consent fails closed: only with a scan, or as the GET of
a link right after the delivery, it is none; that of a button (a POST) always counts.

What counts depends on what came before, so each verdict is published with the write that applies the event
(`verdict_record`). History has it with the event, and `admit` follows it there. Of an event without one, which came
before verdicts were kept, it judges by the order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from processors.enrichment.enrichment import is_bot
from processors.profiles.document import profile_of_event
from processors.profiles.joins import bounded_text
from schemas.decisions.decision import Emit
from schemas.durations import DAY_MS, MINUTE_MS
from schemas.events.messages import STEPS
from schemas.identity.resolution import uuid_of
from schemas.profiles.document import TEXT_KEPT
from schemas.profiles.verdicts import JUDGED, VERDICT, Verdict, without_verdict
from schemas.time import ms_of_text
from schemas.topics import JOURNEY_EVENTS

Document = dict[str, Any]
Event = dict[str, Any]
State = dict[str, Any]

INSTANT_MS = 10_000
"""A person needs longer from the delivery of a message to a click: to notice, open and read it."""
BURST_MS = 2_000
"""Time within which nobody opens two links of a message."""
VISIT_BEFORE_MS, VISIT_AFTER_MS = 5_000, 10 * MINUTE_MS
"""A visit that begins around a click confirms it. Two clocks may differ by seconds."""
MESSAGES_KEPT, CLICKS_KEPT, HELD_KEPT = 20, 20, 3
"""Messages of a person, clicks of a message and held clicks of a message that are remembered, for a day."""
SECTION = "scans"
"""Section of a person's state: message id → when it was sent and delivered, its clicks, and those that are held."""

_REACHED = ("sent", "delivered")
_CHANNELS_OF_VISITS = ("web", "app")


class Admitted(NamedTuple):
    """What happens now that an event has come.

    Attributes:
        added: What the document gets although nothing is decided on it: a held click is one of its events, no more.
        events: Events that count now, in order, each with what it adds to the document.
        judged: Events whose verdict is new.
    """

    added: Document | None
    events: list[tuple[Event, Document]]
    judged: Sequence[tuple[Event, Verdict]] = ()


def concerns(state: State, event: Event) -> bool:
    """Return whether `admit` is needed for an event; else the event counts as it is."""
    return event["event"] in STEPS or SECTION in state


def admit(document: Document, state: State, event: Event, addition: Document, *, replayed: bool = False) -> Admitted:
    """Return which events count, now that one has come.

    Args:
        document: The profile without the event.
        state: The person's; the section `scans` is changed.
        event: The event that has come. One of history may have its verdict, which is followed.
        addition: What it adds to the document if it counts.
        replayed: The event is one of history, so it changes no verdict that is known.
    """
    counts = Admitted(None, [(event, addition)])
    if is_bot(event) or event.get("derived"):
        return counts
    at = ms_of_text(event["occurred_at"])
    if event["event"] not in STEPS:
        confirmed = _confirmed(state, event, at, replayed)
        judged: list[tuple[Event, Verdict]] = [(one, "counted") for one, _ in confirmed]
        return Admitted(None, [*confirmed, (event, addition)], judged)
    properties = event.get("properties") or {}
    kind, step = STEPS[event["event"]]
    message_id = bounded_text(properties.get("message_id"))
    if kind != "email" or not message_id:
        return counts
    if step in _REACHED:
        note = _note(state, message_id, at)
        note[step] = min(note.get(step, at), at)
    elif step == "clicked":
        return _click(document, state, event, addition, replayed)
    elif step == "unsubscribed":
        known = event.get(VERDICT)
        is_scan = known == "scan" if known else _is_scan(state, properties, message_id, at)
        if is_scan:
            return Admitted(_scan([at]), [], [(event, "scan")])
        return counts._replace(judged=[(event, "counted")])
    return counts


def verdict_record(profile_id: str, event: Event, verdict: Verdict) -> Emit:
    """Return the record that tells a verdict, for the topic `journey-events`.

    Args:
        profile_id: The person.
        event: The event that was judged.
        verdict: What it is.
    """
    source, event_id = event["source"], event["event_id"]
    return Emit(
        JOURNEY_EVENTS,
        {
            "id": uuid_of(JUDGED, source, event_id, verdict),
            "kind": JUDGED,
            "at": event["received_at"],
            # As the event has it, so that the verdict follows merges and splits as the event does.
            "profile_id": event.get("profile_id") or profile_id,
            "anchor": event.get("anchor"),
            "identity_version": event.get("identity_version") or 0,
            "source": source,
            "event_id": event_id,
            "verdict": verdict,
        },
    )


def combine(mine: State, other: State) -> None:
    """Join the sections `scans` of two people; `other` must not be used afterwards."""
    for message_id, theirs in other.items():
        known = mine.get(message_id)
        if known is None:
            mine[message_id] = theirs
            continue
        known["at"] = max(known["at"], theirs["at"])
        for part in _REACHED:
            if part in theirs:
                known[part] = min(known.get(part, theirs[part]), theirs[part])
        for part, kept in (("clicks", CLICKS_KEPT), ("held", HELD_KEPT)):
            if part in theirs:
                known[part] = [*known.get(part, ()), *theirs[part]][-kept:]


def _click(document: Document, state: State, event: Event, addition: Document, replayed: bool) -> Admitted:
    at, properties = ms_of_text(event["occurred_at"]), event["properties"]
    note, link = _note(state, bounded_text(properties["message_id"]), at), _link(properties)
    clicks = note.setdefault("clicks", [])
    is_burst = bool(link) and any(
        other and other != link and abs(clicked - at) <= BURST_MS for clicked, other in clicks
    )
    clicks.append([at, link])
    del clicks[:-CLICKS_KEPT]
    known: Verdict | None = event.get(VERDICT)
    if known == "scan":
        return Admitted(_scan([at]), [])
    if known is None and is_burst:
        given_up = _give_up(note, at, replayed)
        times = [at, *(ms_of_text(one["occurred_at"]) for one in given_up)]
        return Admitted(_scan(times), [], [(event, "scan"), *((one, "scan") for one in given_up)])
    if known == "counted" or (known is None and (not _is_instant(note, at) or _is_present(document, at))):
        return Admitted(None, [(event, addition)], [(event, "counted")])
    held = note.setdefault("held", [])
    held.append(event if replayed else {**event, VERDICT: "held"})
    del held[:-HELD_KEPT]
    return Admitted({"event_count": 1}, [], [(event, "held")])


def _give_up(note: dict[str, Any], at: int, replayed: bool) -> list[Event]:
    """Forget the held clicks of a scan, and return them."""
    held = note.pop("held", ())
    given_up = [
        one
        for one in held
        if abs(ms_of_text(one["occurred_at"]) - at) <= BURST_MS and not (replayed and VERDICT in one)
    ]
    if len(given_up) < len(held):
        note["held"] = [one for one in held if one not in given_up]
    return given_up


def _is_instant(note: dict[str, Any], at: int) -> bool:
    reached = note.get("delivered", note.get("sent"))
    return reached is not None and bool(at < reached + INSTANT_MS)


def _is_scan(state: State, properties: dict[str, Any], message_id: str, at: int) -> bool:
    """Return whether an unsubscription is the work of a filter that opened its link."""
    stated = properties.get("method")
    method = stated.strip().upper() if isinstance(stated, str) else ""
    note = state.get(SECTION, {}).get(message_id)
    if note is None or method == "POST":  # a filter opens links, and presses no button
        return False
    near = {link for clicked, link in note.get("clicks", ()) if link and abs(clicked - at) <= BURST_MS}
    if len(near) > 1:
        return True
    return method == "GET" and _is_instant(note, at)


def _confirmed(state: State, event: Event, at: int, replayed: bool) -> list[tuple[Event, Document]]:
    """Return the held clicks that led to a visit, and hold them no longer."""
    confirmed: list[tuple[Event, Document]] = []
    if event["channel"] not in _CHANNELS_OF_VISITS:
        return confirmed
    for note in state.get(SECTION, {}).values():
        held = note.pop("held", ())
        led = [one for one in held if _leads(ms_of_text(one["occurred_at"]), at) and not (replayed and VERDICT in one)]
        if len(led) < len(held):
            note["held"] = [one for one in held if one not in led]
        for one in led:
            addition = profile_of_event(one)
            del addition["event_count"]  # counted when it was held
            confirmed.append((without_verdict(one), addition))
    return confirmed


def _is_present(document: Document, at: int) -> bool:
    """Return whether the person was last seen on the site or in the app around a time."""
    met = document.get("channels", {})
    return any(_leads(at, met[channel][2]) for channel in _CHANNELS_OF_VISITS if channel in met)


def _leads(clicked: int, visited: int) -> bool:
    return clicked - VISIT_BEFORE_MS <= visited <= clicked + VISIT_AFTER_MS


def _note(state: State, message_id: str, at: int) -> dict[str, Any]:
    """Return what is remembered of a message, from now on; older messages are forgotten."""
    section = state.setdefault(SECTION, {})
    for known in [known for known, note in section.items() if note["at"] < at - DAY_MS]:
        del section[known]
    note: dict[str, Any] = section.setdefault(message_id, {"at": at})
    note["at"] = max(note["at"], at)
    for known in sorted(section, key=lambda known: (section[known]["at"], known))[:-MESSAGES_KEPT]:
        del section[known]
    return note


def _link(properties: dict[str, Any]) -> str:
    for name in ("link_id", "link_url"):
        value = properties.get(name)
        if isinstance(value, str) and value:
            return value[:TEXT_KEPT] if len(value) <= TEXT_KEPT else value[: TEXT_KEPT // 2] + value[-TEXT_KEPT // 2 :]
    return ""


def _scan(times: list[int]) -> Document:
    """Return what the clicks of a scan at these times add: the first of them is new, the others were held."""
    return {"event_count": 1, "bots": {"link_scan": [len(times), max(times)]}}
